"""Shards: stable numbers, fair and steady owners, and no moment with two of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.model.keys import Bucket, Key
from controlplane.model.sharding import (
    ALL_SHARDS,
    SHARDS,
    Drain,
    LetGo,
    Ownership,
    Shard,
    Take,
    assignment,
    owner_of,
    plan,
    shard_of,
)

NODES = st.text("abcdefgh0123456789-", min_size=1, max_size=8)
MEMBERS = st.dictionaries(NODES, st.integers(0, 300), max_size=5)


def test_shards_of_keys_are_what_is_stored_in_journals_out_there() -> None:
    """These numbers may never change: a shared journal is indexed by them."""
    assert SHARDS == 256
    known = {("photos", "a"): 50, ("photos", "b"): 11, ("photos", "ü/x"): 94, ("logs", "a"): 171, ("b", "\udc80"): 249}
    assert {place: shard_of(Bucket(place[0]), Key(place[1])) for place in known} == known


def test_keys_spread_evenly() -> None:
    counts = Counter(shard_of(Bucket("photos"), Key(f"2026/{n:08}.jpg")) for n in range(51_200))
    assert set(counts) == ALL_SHARDS
    assert max(counts.values()) < 1.5 * 200


def test_owners_of_shards_are_the_same_in_every_version() -> None:
    """Agents of two versions run side by side while they are upgraded."""
    members = {"node1": 100, "node2": 100, "node3": 50}
    assert [owner_of(Shard(n), members) for n in range(8)] == [
        "node3", "node1", "node2", "node2", "node1", "node2", "node1", "node2",
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(MEMBERS)
def test_every_shard_has_one_owner_as_long_as_somebody_has_weight(members: dict[str, int]) -> None:
    owners = assignment(members)
    willing = {node for node, weight in members.items() if weight}
    assert set(owners) == (ALL_SHARDS if willing else set())
    assert set(owners.values()) <= willing


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 3)), max_size=5))
def test_owners_do_not_depend_on_who_was_there_before(courses: list[dict[str, int]]) -> None:
    for members in courses:
        wanted = {shard: owner for shard in ALL_SHARDS if (owner := owner_of(shard, members)) is not None}
        assert assignment(members) == wanted


@settings(max_examples=30, deadline=None)
@given(MEMBERS, NODES, st.integers(1, 300))
def test_a_node_that_joins_or_leaves_moves_its_own_shards_only(members: dict[str, int], node: str, weight: int) -> None:
    without = {name: w for name, w in members.items() if name != node}
    before, after = assignment(without), assignment({**without, node: weight})
    for shard in ALL_SHARDS:
        assert after[shard] == before.get(shard) or after[shard] == node


@settings(max_examples=30, deadline=None)
@given(MEMBERS, NODES, st.integers(0, 300), st.integers(0, 300))
def test_more_weight_only_attracts_shards(members: dict[str, int], node: str, one: int, other: int) -> None:
    less, more = sorted((one, other))
    before, after = assignment({**members, node: less}), assignment({**members, node: more})
    for shard, owner in before.items():
        assert after[shard] in (owner, node)


def test_shares_follow_weights() -> None:
    members = {f"node{n}": 100 for n in range(8)} | {"large": 400}
    shares = Counter(assignment(members).values())
    assert 0.6 * 400 / 1200 * SHARDS < shares["large"] < 1.4 * 400 / 1200 * SHARDS
    assert all(5 <= shares[f"node{n}"] <= 45 for n in range(8))


# Passing shards on


@dataclass
class Agent:
    node: str
    session: str
    working: set[Shard] = field(default_factory=set)
    """Shards in which it has work under way."""
    draining: set[Shard] = field(default_factory=set)


class World:
    """A directory and its agents; each step is atomic, as compare-and-swap makes them."""

    def __init__(self) -> None:
        self.members: dict[str, int] = {}
        self.sessions: set[str] = set()
        self.owners: dict[Shard, Ownership] = {}
        self.agents: dict[str, Agent] = {}
        self.revision = 0

    def start(self, node: str, weight: int) -> None:
        self.revision += 1
        self.agents[node] = Agent(node, f"{node}#{self.revision}")
        self.members[node] = weight
        self.sessions.add(self.agents[node].session)

    def die(self, node: str) -> None:
        """Its lease stays for a while."""
        self.agents.pop(node, None)

    def expire(self) -> None:
        alive = {agent.session for agent in self.agents.values()}
        self.members = {node: weight for node, weight in self.members.items() if node in self.agents}
        self.owners = {shard: there for shard, there in self.owners.items() if there.session in alive}

    def round(self, node: str, *, busy: bool) -> None:
        agent = self.agents.get(node)
        if agent is None:
            return
        owned = {shard for shard, there in self.owners.items() if there.session == agent.session}
        agent.working = (owned - agent.draining) if busy else set()
        for move in plan(node, agent.session, dict(self.members), dict(self.owners), agent.working):
            match move:
                case Take(shard):
                    assert shard not in self.owners
                    self.revision += 1
                    self.owners[shard] = Ownership(agent.session, self.revision)
                case Drain(shard):
                    assert shard in agent.working
                    agent.draining.add(shard)
                case LetGo(shard, epoch):
                    assert shard not in agent.working
                    assert self.owners.pop(shard) == Ownership(agent.session, epoch)
                    agent.draining.discard(shard)


NAMES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.one_of(
    st.tuples(st.just("start"), NAMES, st.integers(1, 200)),
    st.tuples(st.just("die"), NAMES),
    st.tuples(st.just("expire")),
    st.tuples(st.just("round"), NAMES, st.booleans()),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_ownership_settles_whatever_happened_and_never_leaps(steps: list[tuple[object, ...]]) -> None:
    world = World()
    for step in steps:
        match step:
            case ("start", str(node), int(weight)):
                world.start(node, weight)
            case ("die", str(node)):
                world.die(node)
            case ("expire",):
                world.expire()
            case ("round", str(node), bool(busy)):
                world.round(node, busy=busy)
    world.expire()
    for _ in range(3):
        for node in list(world.agents):
            world.round(node, busy=True)
            world.round(node, busy=False)
    wanted = assignment(world.members)
    held = {shard: there.session.split("#")[0] for shard, there in world.owners.items()}
    assert held == wanted


def test_a_shard_of_a_former_session_of_the_same_node_is_waited_for() -> None:
    owners = {shard: Ownership("a#1", 7) for shard in ALL_SHARDS}
    assert plan("a", "a#2", {"a": 100}, owners, ()) == ()


def test_a_node_that_leaves_gives_back_what_is_at_rest_and_drains_the_rest() -> None:
    owners = {Shard(1): Ownership("a#1", 7), Shard(2): Ownership("a#1", 8), Shard(3): Ownership("b#1", 9)}
    assert plan("a", "a#1", {"b": 100}, owners, {Shard(1)}) == (Drain(Shard(1)), LetGo(Shard(2), 8))
