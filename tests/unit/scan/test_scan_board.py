"""What nodes that share a scan agree on: any interleaving of claims, cuts, deaths and returns, with lost answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.model.keys import Key
from controlplane.model.scan_board import (
    Board,
    Close,
    Delete,
    OpenUnit,
    Over,
    Part,
    Piece,
    Scan,
    Stage,
    Task,
    Vote,
    Wait,
    first_pieces,
    last_node,
    node_of,
    scanned_by,
)
from controlplane.model.scan_board_document import read_board, write_board
from controlplane.model.scan_guard import GuardLimits
from controlplane.model.scan_join import Listed
from controlplane.model.scan_state import Counts

NODES = ("a", "b", "c")
UNITS = {"1": 12, "2": 1, "3": 7}
"""Orders, and how many keys each has."""
LIMITS = GuardLimits(100, 1.0)


def keys_of(order: str) -> list[Key]:
    return [Key(f"k{number:02d}") for number in range(UNITS[order])]


@dataclass
class Node:
    """As services/shared_scan.py behaves, without the stores."""

    world: World
    name: str
    session: str = ""
    task: Task | None = None
    pieces: list[Piece] = field(default_factory=list)
    given: list[Piece] = field(default_factory=list)
    part: Part = field(default_factory=Part)

    def begin(self) -> None:
        self.world.count += 1
        self.session = f"{self.name}/{self.world.count}"
        self.world.live[self.name] = self.session
        self.task, self.pieces, self.given = None, [], []

    def die(self) -> None:
        """Its lease ends; it goes on without knowing until it writes."""
        self.world.live.pop(self.name, None)

    def step(self, keys: int, *, cut: bool, lost: bool) -> None:
        """`lost`: the answer of the directory does not arrive, whatever it did."""
        if self.world.live.get(self.name) != self.session:
            self.begin()
            return
        match self.task:
            case Scan(order):
                self.compare(order, keys)
                if cut:
                    self.cut(keep=keys % 2 == 0)
                if self.report(order) and not lost:
                    self.given = []
                if all(piece.done for piece in self.pieces) and not self.given:
                    self.task = None
            case Close(order):
                self.world.change(lambda board: board.closed_out(self.session, order, Counts(), LIMITS))
                self.task = None
            case Vote(order, node):
                able = set(self.world.live)
                self.world.change(lambda board: board.voted(order, node, "", LIMITS, able))
                self.task = None
            case Delete(order, node):
                unit = self.world.board.units.get(order)
                if unit is not None and unit.stage is Stage.DELETING:
                    self.world.deletions.setdefault((order, node), unit.part(node).due)
                able = set(self.world.live)
                self.world.change(lambda board: board.deleted(order, node, 1, able))
                self.task = None
            case _:
                self.claim(lost=lost)

    def claim(self, *, lost: bool) -> None:
        following = next((order for order in UNITS if order > self.world.board.opened), None)
        opened = None if following is None else (following, OpenUnit(following, first_pieces(self.world.last)))
        live = frozenset(self.world.live.values())
        task = self.world.change(
            lambda board: board.claim(
                self.session, live, pieces=2, limits=LIMITS, able=set(self.world.live), following=opened
            )
        )
        if lost or isinstance(task, Wait):
            return
        self.task = task
        if isinstance(task, Scan):
            there = self.world.board.units[task.order]
            self.pieces = [replace(piece) for piece in task.pieces]
            part = there.part(self.name)
            self.part = replace(part, counts=replace(part.counts))

    def compare(self, order: str, keys: int) -> None:
        """Its workers are at several pieces at once."""
        for piece in self.pieces[self.world.count % 2 :] or self.pieces:
            ahead = [
                key for key in keys_of(order) if piece.cursor < key and (piece.until is None or key <= piece.until)
            ]
            for key in ahead[:keys]:
                self.world.scanned[order].append(key)
                self.part.counts.listed_at_source += 1
                self.part.counts.listed_at_target += 1
                self.part.due += key.endswith("5")
                self.part.witness = Listed(key, "e", 1, 1)
                piece.cursor = key
            piece.done = len(ahead) <= keys
            if not piece.done:
                return

    def cut(self, *, keep: bool) -> None:
        for piece in self.pieces:
            at = Key(f"{piece.cursor}~")
            if not piece.done and (piece.until is None or at < piece.until):
                rest = Piece(at, piece.until, at)
                piece.until = at
                if keep:
                    self.pieces.insert(self.pieces.index(piece) + 1, rest)
                else:
                    self.given.append(rest)
                return

    def report(self, order: str) -> bool:
        pieces = [replace(piece) for piece in self.pieces]
        given = [replace(piece) for piece in self.given]
        part = replace(self.part, counts=replace(self.part.counts))
        self.world.change(lambda board: board.report(self.session, order, pieces, given, part) and None)
        return True


class World:
    def __init__(self, last: list[tuple[Key | None, str]]) -> None:
        self.board = Board("f", 1, 0.0)
        self.last = last
        self.live: dict[str, str] = {}
        self.count = 0
        self.scanned: dict[str, list[Key]] = {order: [] for order in UNITS}
        self.deletions: dict[tuple[str, str], int] = {}
        self.nodes = [Node(self, name) for name in NODES]

    def change(self, change):  # type: ignore[no-untyped-def]
        """As the seat does: decoded, freed of the dead, changed, whole again."""
        board = read_board(write_board(self.board))
        board.reap(frozenset(self.live.values()))
        result = change(board)
        self.board = board
        self.check()
        return result

    def check(self) -> None:
        """Every key of an open unit is in exactly one piece: read_board() wants them without gap or overlap."""
        board = read_board(write_board(self.board))
        assert board == self.board
        sessions = set(self.live.values())
        for unit in board.units.values():
            for piece in unit.pieces:
                assert piece.start <= piece.cursor
                assert not piece.session or piece.session in sessions
                assert not (piece.done and piece.session)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["step", "step", "step", "step", "die"]),
        st.integers(1, 4),
        st.booleans(),
        st.sampled_from([False, False, True]),
    ),
    min_size=30,
    max_size=90,
)
LAST = st.lists(
    st.tuples(st.sampled_from(keys_of("1")), st.sampled_from(NODES)), max_size=4, unique_by=lambda at: at[0]
)


@settings(max_examples=80)
@given(steps=STEPS, last=LAST)
def test_any_course_compares_every_key_counts_each_once_and_ends(
    steps: list[tuple[int, str, int, bool, bool]], last: list[tuple[Key, str]]
) -> None:
    world = World([*sorted(last), (None, "b")])
    for number, what, keys, cut, lost in steps:
        node = world.nodes[number]
        if what == "die":
            node.die()
        else:
            node.step(keys, cut=cut, lost=lost)
    # From here on two of them live: it ends, whatever was before.
    world.nodes[2].die()
    for _ in range(400):
        for node in world.nodes[:2]:
            node.step(3, cut=False, lost=False)
        world.count += 1
        if all(isinstance(node.task, Over) for node in world.nodes[:2]):
            break
    else:
        pytest.fail(f"it did not end: {world.board}")
    total = sum(UNITS.values())
    for order, scanned in world.scanned.items():
        assert set(scanned) == set(keys_of(order))
    # What a node told and did not report before it died is told twice, and counted once.
    assert world.board.totals.listed_at_source == total
    assert sum(world.board.shares.values()) == total
    assert world.board.failed == 0
    assert not world.board.units
    # Deletions: never more than what was counted, by the nodes that found them.
    due = sum(key.endswith("5") for order in UNITS for key in keys_of(order))
    assert sum(world.deletions.values()) <= due
    assert world.board.allowed <= due


def unit_of(*pieces: Piece, **parts: Part) -> OpenUnit:
    return OpenUnit("u", list(pieces), dict(parts))


def board_with(unit: OpenUnit) -> Board:
    return Board("f", 1, 0.0, opened="1", units={"1": unit})


def claim(board: Board, session: str, live: set[str], limits: GuardLimits | None = LIMITS) -> Task:
    able = {node_of(one) for one in live}
    return board.claim(session, live, pieces=2, limits=limits, able=able, following=None)


def test_the_rest_of_a_dead_nodes_piece_goes_on_from_its_cursor_and_what_it_told_stays() -> None:
    board = board_with(unit_of(Piece(Key(""), None, Key("m"), "a", "a/1"), a=Part(Counts(listed_at_source=7))))
    assert board.reap({"b/1"}) == 1
    task = claim(board, "b/1", {"b/1"})
    assert task == Scan("1", (Piece(Key("m"), None, Key("m"), "b", "b/1"),))
    assert scanned_by(board.units["1"]) == [(Key("m"), "a"), (None, "b")]
    assert board.units["1"].counts.listed_at_source == 7


def test_a_node_takes_what_it_knows_and_leaves_to_others_what_they_know() -> None:
    board = board_with(unit_of(*first_pieces([(Key("h"), "a"), (Key("p"), "b"), (None, "gone")])))
    task = claim(board, "b/1", {"a/1", "b/1"})
    assert isinstance(task, Scan)
    assert [piece.start for piece in task.pieces] == ["h", "p"]
    # With nothing else to do it takes that of the other, too.
    board.report("b/1", "1", [replace(piece, done=True) for piece in task.pieces], [], Part())
    task = claim(board, "b/1", {"a/1", "b/1"})
    assert isinstance(task, Scan)
    assert [piece.start for piece in task.pieces] == [""]


def test_a_bucket_has_failed_only_when_no_node_can_go_on_with_it() -> None:
    board = board_with(unit_of(Piece(Key(""), None, Key(""))))
    live = {"a/1", "b/1"}
    claim(board, "a/1", live)
    board.fail("a/1", "1", "no way to the target", live)
    assert board.failed == 0
    assert isinstance(claim(board, "a/1", live), Wait)
    assert isinstance(claim(board, "b/1", live), Scan)
    board.fail("b/1", "1", "nor from here", live)
    assert (board.failed, board.units) == (1, {})
    assert isinstance(claim(board, "a/1", live), Over)


def finished(**parts: Part) -> Board:
    unit = unit_of(Piece(Key(""), Key("m"), Key("m"), "a", done=True), Piece(Key("m"), None, Key("m"), "b", done=True))
    unit.parts, unit.stage = dict(parts), Stage.CLOSING
    board = board_with(unit)
    assert claim(board, "a/1", {"a/1", "b/1"}) == Close("1")
    board.closed_out("a/1", "1", Counts(), LIMITS)
    return board


def part(listed: int, due: int) -> Part:
    return Part(Counts(listed_at_source=listed, listed_at_target=listed + due), due, Listed(Key("k"), "e", 1, 1))


@pytest.mark.parametrize(("most", "allowed"), [(9, False), (10, True)])
def test_i6_the_sum_over_the_nodes_is_judged_before_anything_is_deleted(most: int, allowed: bool) -> None:
    limits = GuardLimits(most, 1.0)
    live = {"a/1", "b/1"}
    board = finished(a=part(50, 5), b=part(50, 5))
    assert claim(board, "a/1", live, limits) == Vote("1", "a")
    assert board.voted("1", "a", "", limits, {"a", "b"}) == ""
    assert isinstance(claim(board, "a/1", live, limits), Wait)  # for the other's word
    assert claim(board, "b/1", live, limits) == Vote("1", "b")
    reason = board.voted("1", "b", "", limits, {"a", "b"})
    assert bool(reason) != allowed
    assert board.held_back == (0 if allowed else 1)
    board = read_board(write_board(board))
    assert [reason in told for told in board.notes] == ([] if allowed else [True])  # operators are told why
    if allowed:
        assert claim(board, "a/1", live, limits) == Delete("1", "a")
        board.deleted("1", "a", 5, {"a", "b"})
        assert claim(board, "b/1", live, limits) == Delete("1", "b")
        board.deleted("1", "b", 4, {"a", "b"})
        assert board.totals.deletes_enqueued == 9
        assert board.allowed == 10
    assert not board.units


def test_i6_the_share_of_a_bucket_is_of_the_copies_that_all_nodes_saw() -> None:
    limits = GuardLimits(1000, 0.1)
    board = finished(a=part(10, 5), b=part(90, 0))
    board.voted("1", "a", "", limits, {"a", "b"})
    assert board.units["1"].stage is Stage.DELETING  # 5 of 105, though they are a third of that node's
    board = finished(a=part(10, 5), b=part(90, 7))
    board.voted("1", "a", "", limits, {"a", "b"})
    assert "10%" in board.voted("1", "b", "", limits, {"a", "b"})


def test_i6_what_open_buckets_were_allowed_counts_in_the_run() -> None:
    limits = GuardLimits(8, 1.0)
    board = finished(a=part(50, 5))
    board.voted("1", "a", "", limits, {"a"})
    other = unit_of(Piece(Key(""), None, Key(""), "b", done=True), b=part(50, 4))
    other.stage = Stage.GUARD
    board.units["2"] = other
    assert "after 5 in this run" in board.voted("2", "b", "", limits, {"a", "b"})


def test_i6_one_node_that_sees_another_source_forbids_it_for_all() -> None:
    board = finished(a=part(50, 5), b=part(50, 5))
    board.voted("1", "a", "", LIMITS, {"a", "b"})
    assert "mirrored" in board.voted("1", "b", "b sees another source", LIMITS, {"a", "b"})
    assert board.held_back == 1


def test_i6_a_bucket_that_some_node_could_not_finish_deletes_nothing() -> None:
    board = finished(a=part(50, 5), b=part(50, 5))
    board.fail("a/1", "1", "the source does not answer", {"a/1", "b/1"})
    assert (board.failed, board.totals.deletes_enqueued, board.allowed) == (1, 0, 0)


def test_what_only_a_dead_node_could_delete_is_left_and_counts_all_the_same() -> None:
    limits = GuardLimits(9, 1.0)
    board = finished(a=part(50, 5), b=part(50, 5))
    board.reap({"a/1"})
    task = claim(board, "a/1", {"a/1"}, limits)
    assert task == Vote("1", "a")
    assert "9" in board.voted("1", "a", "", limits, {"a"})  # ten, with those of the dead one
    board = finished(a=part(50, 5), b=part(50, 5))
    board.voted("1", "a", "", LIMITS, {"a"})
    assert claim(board, "a/1", {"a/1"}) == Delete("1", "a")
    board.deleted("1", "a", 5, {"a"})
    assert not board.units


@given(last=LAST, key=st.sampled_from(keys_of("1")))
def test_who_was_last_at_a_key_is_who_has_its_piece(last: list[tuple[Key, str]], key: Key) -> None:
    ends: list[tuple[Key | None, str]] = [*sorted(last), (None, "b")]
    (piece,) = [at for at in first_pieces(ends) if at.start < key and (at.until is None or key <= at.until)]
    assert last_node(key, ends) == piece.node


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version":2}', '{"version":1,"units":3}'])
def test_a_board_of_others_is_told_from_ours(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the reason
        read_board(text)


def test_waiting_changes_nothing_that_would_have_to_be_written() -> None:
    board = board_with(unit_of(Piece(Key(""), None, Key(""), "a", "a/1")))
    live = {"a/1", "b/1", "c/1"}
    for session in ("b/1", "c/1"):
        assert isinstance(claim(board, session, live), Wait)
    before = write_board(board)
    for session in ("b/1", "c/1", "c/1", "b/1"):
        assert isinstance(claim(board, session, live), Wait)
    assert write_board(board) == before
    assert board.hungry == ["b/1", "c/1"]
