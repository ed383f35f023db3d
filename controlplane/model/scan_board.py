"""One scan that several nodes share: what each has of it, and what a node does next. Pure.

Everything that the nodes must agree on is one value, the board, which lies in the directory as one document: it is
read, changed here, and swapped in by whoever was fastest; so each change is made to what all others saw last.

Invariants. Every key of an open unit is in exactly one piece. A piece has one holder at most, a session whose lease was
there when it was claimed; only the holder moves its cursor and cuts it. When the holder's lease is gone, what is before
the cursor stays done, with what was found in it, and the rest is free. A unit leaves the board once: when all its
pieces are done and all that follows from them is in the journal, or when no node can go on with it. Nothing is deleted
before the guard has judged the sum of what all nodes found in a unit, and what it allows is counted before it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from controlplane.model.keys import Key
from controlplane.model.scan_guard import Evidence, GuardLimits, judge
from controlplane.model.scan_join import Listed
from controlplane.model.scan_notes import broken_off, forbidden, note
from controlplane.model.scan_state import Counts

MOST_OPEN: Final = 4
"""Units under way for each node that takes part: only so many wait for the node that knows them best."""

_MOST_KEPT: Final = 256
"""Stretches that are remembered of a unit; behind them nobody is known to have been last."""


class Stage(Enum):
    """Of a unit, in this order."""

    SCANNING = "scanning"
    CLOSING = "closing"
    """All keys are compared; one node compares the tags."""
    GUARD = "guard"
    """Copies may have to go: each node that found some shows that its source is the one that was copied."""
    DELETING = "deleting"
    """The guard allowed it; the nodes put into the journal what they found."""


@dataclass(slots=True)
class Piece:
    """Keys in (start, until] of a unit; None: to the end."""

    start: Key
    until: Key | None
    cursor: Key
    """Up to here it is compared, and what was found is in the journal."""
    node: str = ""
    """Who has compared it; or, of one that is not begun, who did the last time and knows most of it; "": nobody."""
    session: str = ""
    """Who holds it; "": it is free, or done."""
    done: bool = False


@dataclass(slots=True)
class Part:
    """What one node found in a unit. Only that node writes it, as long as it lives."""

    counts: Counts = field(default_factory=Counts)
    due: int = 0
    """Copies that it would delete: their objects have not been listed for the grace period."""
    witness: Listed | None = None
    error: str = ""
    """Why this node cannot go on with the unit."""
    vote: str | None = None
    """Of the canary: "" when its source has the witness, else why not; None: not yet asked."""
    gone: bool = False
    """Its deletions are in the journal."""
    worker: str = ""
    """The session that asks for the witness, or deletes."""


@dataclass(slots=True)
class OpenUnit:
    name: str
    pieces: list[Piece]
    parts: dict[str, Part] = field(default_factory=dict)
    """By node."""
    stage: Stage = Stage.SCANNING
    closer: str = ""
    """The session that closes it."""
    prefers: str = ""
    """The node that closed it the last time."""
    reserved: int = 0
    """Deletions that the guard has allowed, whether they are made or not."""

    @property
    def counts(self) -> Counts:
        total = Counts()
        for part in self.parts.values():
            total.add(part.counts)
        return total

    @property
    def due(self) -> int:
        return sum(part.due for part in self.parts.values())

    @property
    def witness(self) -> Listed | None:
        return next((part.witness for part in self.parts.values() if part.witness is not None), None)

    def part(self, node: str) -> Part:
        return self.parts.setdefault(node, Part())

    def is_given_up_by(self, node: str) -> bool:
        return node in self.parts and bool(self.parts[node].error)


@dataclass(frozen=True, slots=True)
class Scan:
    """Compare these pieces."""

    order: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """Note who scanned what, compare the tags."""

    order: str


@dataclass(frozen=True, slots=True)
class Vote:
    """Ask the source for the witness, on behalf of `node`."""

    order: str
    node: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Enqueue the deletions that `node` found: at most so many as it said."""

    order: str
    node: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Others have all there is, and who of them has much gives some away; or, when the session is not among the hungry,
    look again at once."""


@dataclass(frozen=True, slots=True)
class Over:
    """Every unit is done: the run can be concluded."""


Task = Scan | Close | Vote | Delete | Wait | Over


def node_of(session: str) -> str:
    return session.rpartition("/")[0]


@dataclass(slots=True)
class Board:
    """Decoded, changed and swapped in by one node at a time: nobody else has this very object."""

    fingerprint: str
    """Of all that nodes must agree on to share a run: rules, guard, where the catalog is."""
    run: int
    """Grows with each run that was begun."""
    started_at: float
    """Unix seconds. Copies are due by this time, so that what is due only becomes less in the course of a run."""
    opened: str = ""
    """Order of the last unit that was opened; all up to it are open or closed."""
    units: dict[str, OpenUnit] = field(default_factory=dict)
    """Open ones by their order."""
    totals: Counts = field(default_factory=Counts)
    """Of closed units."""
    failed: int = 0
    held_back: int = 0
    allowed: int = 0
    """Deletions allowed in closed units."""
    hungry: list[str] = field(default_factory=list)
    """Sessions that wait for work."""
    shares: dict[str, int] = field(default_factory=dict)
    """Keys of the source that each node has compared, in closed units."""
    notes: list[str] = field(default_factory=list)
    """What operators must know of closed units: see model/scan_notes.py."""

    # What becomes of the pieces of those that are gone

    def reap(self, live: Collection[str]) -> int:
        """Free what sessions hold that are no more; how many pieces that were. To be done first in every change."""
        freed = 0
        self.hungry = [session for session in self.hungry if session in live]
        for unit in self.units.values():
            if unit.closer not in live:
                unit.closer = ""
            for part in unit.parts.values():
                if part.worker not in live:
                    part.worker = ""
            for piece in [piece for piece in unit.pieces if piece.session and piece.session not in live]:
                freed += 1
                _release(unit, piece)
        return freed

    # What a node tells

    def report(
        self, session: str, order: str, pieces: Sequence[Piece], given: Sequence[Piece], part: Part
    ) -> OpenUnit | None:
        """How far a session has come with all that it holds in a unit, and what it gives away. Told twice it changes
        nothing. None: the unit is not open any more."""
        unit = self.units.get(order)
        if unit is None or unit.stage is not Stage.SCANNING:
            return None
        node = node_of(session)
        others = [piece for piece in unit.pieces if piece.session != session]
        held = [piece for piece in unit.pieces if piece.session == session]
        # What was told before is no longer held: it is done, or given away and by now perhaps another's.
        extent = [(piece.start, piece.until) for piece in held]
        others += [Piece(at.start, at.until, at.start, at.node) for at in given if _is_within(at, extent)]
        ours = [
            Piece(at.start, at.until, at.cursor, node, "" if at.done else session, at.done)
            for at in pieces
            if _is_within(at, extent)
        ]
        # One that it claimed without knowing, since the answer was lost, stays claimed.
        told = [(piece.start, piece.until) for piece in (*pieces, *given)]
        unknown = [piece for piece in held if not _is_within(piece, told)]
        unit.pieces = _compact(sorted([*others, *unknown, *ours], key=lambda piece: piece.start))
        before = unit.part(node)
        before.counts, before.due, before.witness = part.counts, part.due, part.witness or before.witness
        if all(piece.done for piece in unit.pieces):
            unit.stage = Stage.CLOSING
        return unit

    def fail(self, session: str, order: str, error: str, live: Collection[str]) -> None:
        """The node cannot go on with the unit: others may. When none can, the unit has failed."""
        unit = self.units.get(order)
        if unit is None:
            return
        if unit.stage in (Stage.GUARD, Stage.DELETING):
            note(self.notes, broken_off(unit.name, error))
            self._close(order, failed=True)
            return
        unit.part(node_of(session)).error = error or "unknown"
        for piece in [piece for piece in unit.pieces if piece.session == session]:
            _release(unit, piece)
        if unit.closer == session:
            unit.closer = ""
        self._give_up(live)

    def closed_out(self, session: str, order: str, found: Counts, limits: GuardLimits | None) -> None:
        """The tags are compared, with what was found. `limits`: None when nothing may be deleted under this rule."""
        unit = self.units.get(order)
        if unit is None or unit.stage is not Stage.CLOSING or unit.closer != session:
            return
        unit.closer = ""
        unit.part(node_of(session)).counts.add(found)
        if limits is None or not unit.due:
            self._close(order)
        else:
            unit.stage = Stage.GUARD

    def voted(self, order: str, node: str, reason: str, limits: GuardLimits, able: Container[str]) -> str:
        """The answer about the canary. `able`: nodes whose deletions can be made. The last one decides for the unit:
        why the guard forbids it, or ""."""
        unit = self.units.get(order)
        if unit is None or unit.stage is not Stage.GUARD:
            return ""
        part = unit.part(node)
        part.vote, part.worker = reason, ""
        return self._decide(order, unit, limits, able)

    def _decide(self, order: str, unit: OpenUnit, limits: GuardLimits, able: Container[str]) -> str:
        votes = [part.vote for name, part in unit.parts.items() if part.due and (name in able or part.vote is not None)]
        if any(vote is None for vote in votes):
            return ""
        counts = unit.counts
        evidence = Evidence(
            listed_at_source=counts.listed_at_source,
            copies_at_target=counts.listed_at_target - counts.foreign,
            witnessed=bool(votes) and not any(votes),
            candidates=unit.due,
            deleted_before=self.allowed + sum(each.reserved for each in self.units.values() if each is not unit),
        )
        verdict = judge(evidence, limits)
        if verdict.allowed:
            unit.stage, unit.reserved = Stage.DELETING, unit.due
            return ""
        self.held_back += 1
        note(self.notes, forbidden(unit.name, verdict.reason))
        self._close(order)
        return verdict.reason

    def deleted(self, order: str, node: str, enqueued: int, able: Container[str]) -> None:
        unit = self.units.get(order)
        if unit is None or unit.stage is not Stage.DELETING or unit.part(node).gone:
            return
        part = unit.part(node)
        part.counts.deletes_enqueued += enqueued
        part.gone, part.worker = True, ""
        self._end_deleting(order, unit, able)

    def _end_deleting(self, order: str, unit: OpenUnit, able: Container[str]) -> None:
        if not any(part.due and not part.gone and name in able for name, part in unit.parts.items()):
            self._close(order)

    def _close(self, order: str, *, failed: bool = False) -> None:
        unit = self.units.pop(order)
        self.totals.add(unit.counts)
        self.failed += failed
        self.allowed += unit.reserved
        for node, part in unit.parts.items():
            self.shares[node] = self.shares.get(node, 0) + part.counts.listed_at_source

    def _give_up(self, live: Collection[str]) -> None:
        nodes = {node_of(session) for session in live}
        for order, unit in list(self.units.items()):
            if nodes and all(unit.is_given_up_by(node) for node in nodes):
                errors = {part.error for part in unit.parts.values() if part.error}
                note(self.notes, broken_off(unit.name, "; ".join(sorted(errors))))
                self._close(order, failed=True)

    # What a node does next

    def claim(
        self,
        session: str,
        live: Collection[str],
        *,
        pieces: int,
        limits: GuardLimits | None,
        able: Container[str],
        following: tuple[str, OpenUnit] | None,
    ) -> Task:
        """`pieces`: how many it can work on at once. `able`: nodes whose deletions can be made, this one's or those of
        any. `following`: the unit after the last that was opened, by this node's list; None: there is none."""
        self._give_up(live)
        if limits is not None:
            self._skip_the_dead(limits, able)
        task = self._next(session, live, pieces, limits, able, following)
        if task is None:
            # Who waits already keeps its place: looking again changes nothing.
            self.hungry += [session] if session not in self.hungry else []
            return Wait()
        self.hungry = [name for name in self.hungry if name != session]
        return task

    def _next(
        self,
        session: str,
        live: Collection[str],
        pieces: int,
        limits: GuardLimits | None,
        able: Container[str],
        following: tuple[str, OpenUnit] | None,
    ) -> Task | None:
        """None: others have all there is."""
        node = node_of(session)
        task = self._step(session, node, live, limits, able) or self._pieces(session, node, live, pieces, own=True)
        if task is not None:
            return task
        nodes = {node_of(name) for name in live}
        if following is not None and following[0] > self.opened and len(self.units) < MOST_OPEN * len(nodes):
            self.opened = following[0]
            self.units[following[0]] = following[1]
            # What another node knows better is left to it for now; the next look opens the next one.
            return self._pieces(session, node, live, pieces, own=True) or Wait()
        task = self._pieces(session, node, live, pieces, own=False)
        if task is None and following is None and not self.units:
            return Over()
        return task

    def _skip_the_dead(self, limits: GuardLimits, able: Container[str]) -> None:
        """What only a node that is gone could do is left for the next scan."""
        for order, unit in list(self.units.items()):
            if unit.stage is Stage.GUARD:
                self._decide(order, unit, limits, able)
            elif unit.stage is Stage.DELETING:
                self._end_deleting(order, unit, able)

    def _step(
        self, session: str, node: str, live: Collection[str], limits: GuardLimits | None, able: Container[str]
    ) -> Task | None:
        """What is to be done when all keys of a unit are compared."""
        nodes = {node_of(name) for name in live}
        for order, unit in self.units.items():
            if unit.is_given_up_by(node):
                continue
            if unit.stage is Stage.CLOSING and unit.closer in ("", session):
                rival = unit.prefers
                if rival in nodes and rival != node and not unit.is_given_up_by(rival):
                    continue
                unit.closer = session
                return Close(order)
            for name, part in unit.parts.items():
                if not part.due or part.worker not in ("", session) or not (name == node or name in able):
                    continue
                if name != node and name in nodes:
                    continue
                if unit.stage is Stage.GUARD and part.vote is None and limits is not None:
                    part.worker = session
                    return Vote(order, name)
                if unit.stage is Stage.DELETING and not part.gone:
                    part.worker = session
                    return Delete(order, name)
        return None

    def _pieces(self, session: str, node: str, live: Collection[str], most: int, *, own: bool) -> Scan | None:
        """Free pieces of one unit. `own`: none that another living node knows better."""
        nodes = {node_of(name) for name in live}
        for order, unit in self.units.items():
            if unit.stage is not Stage.SCANNING or unit.is_given_up_by(node):
                continue
            held = [piece for piece in unit.pieces if piece.session == session]
            free = [piece for piece in unit.pieces if not piece.session and not piece.done]
            ours = [piece for piece in free if piece.node == node]
            nobodys = [piece for piece in free if piece.node not in nodes or unit.is_given_up_by(piece.node)]
            wanted = [*ours, *nobodys[:most]] if own else free[:most]
            if held or wanted:
                for piece in wanted:
                    piece.session, piece.node = session, node
                return Scan(order, tuple(sorted((*held, *wanted), key=lambda piece: piece.start)))
        return None


def first_pieces(last: Sequence[tuple[Key | None, str]]) -> list[Piece]:
    """Of a unit that is opened: cut where it was the last time, with who had what. No time before: one piece."""
    pieces: list[Piece] = []
    start = Key("")
    for until, node in last:
        pieces.append(Piece(start, until, start, node))
        if until is None:
            return pieces
        start = until
    return [*pieces, Piece(start, None, start)]


def scanned_by(unit: OpenUnit) -> list[tuple[Key | None, str]]:
    """Who compared which keys, as first_pieces() takes it: ends of stretches, in order, and the node."""
    pieces = _compact(unit.pieces)
    return [(piece.until, piece.node) for piece in pieces[: _MOST_KEPT - 1]] + (
        [(None, "")] if len(pieces) >= _MOST_KEPT else []
    )


def last_node(key: Key, last: Sequence[tuple[Key | None, str]]) -> str:
    """Who compared a key the last time; "": not known."""
    for until, node in last:
        if until is None or key <= until:
            return node
    return ""


def _release(unit: OpenUnit, piece: Piece) -> None:
    """Free what is not done of it."""
    if piece.cursor == piece.start:
        piece.session = ""
        return
    rest = Piece(piece.cursor, piece.until, piece.cursor, piece.node)
    piece.until, piece.session, piece.done = piece.cursor, "", True
    unit.pieces.insert(unit.pieces.index(piece) + 1, rest)


def _compact(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours that one node has compared are one."""
    made: list[Piece] = []
    for piece in pieces:
        if made and piece.done and made[-1].done and made[-1].node == piece.node:
            made[-1].until, made[-1].cursor = piece.until, piece.cursor
        else:
            made.append(piece)
    return made


def _is_within(piece: Piece, stretches: Sequence[tuple[Key, Key | None]]) -> bool:
    """Whether it begins in one of them."""
    return any(start <= piece.start and (until is None or piece.start < until) for start, until in stretches)


def shares_of(board: Board) -> Mapping[str, int]:
    """Keys of the source that each node has compared so far, open units included."""
    shares = dict(board.shares)
    for unit in board.units.values():
        for node, part in unit.parts.items():
            shares[node] = shares.get(node, 0) + part.counts.listed_at_source
    return shares
