"""Which partitions a node of the stand-in sends away: no replica may be dropped while it is the only one."""

from dataclasses import dataclass
from typing import cast

from tests.hosts.standin.kv.cluster import Cluster
from tests.hosts.standin.kv.handoff import Handoff
from tests.hosts.standin.kv.ring import Ring
from tests.hosts.standin.kv.vnodes import Vnodes

MOVING = Ring("c", 1, "a", ("a", "b"), {"a": "valid", "b": "valid"}, {0: "b"})


@dataclass
class Member:
    node: str
    ring: Ring

    def up(self) -> set[str]:
        return set(self.ring.members)


@dataclass
class Held:
    """Vnodes that hold these indexes."""

    held: list[int]

    def indexes(self) -> list[int]:
        return self.held


def sends(node: str, ring: Ring) -> int:
    """How many of all partitions, each of which it holds something of."""
    held = Held([ring.index(partition) for partition in range(ring.size)])
    return Handoff(cast(Cluster, Member(node, ring)), cast(Vnodes, held), lambda: 2, 0.1).waiting()


def test_the_next_owner_keeps_what_arrives_for_it() -> None:
    assert sends("b", MOVING) == 0, "it would be sent back and dropped while the owner still sends"


def test_the_owner_sends_it_until_it_has_moved() -> None:
    kept = MOVING.changed(owners=("a", "a"), moves={0: "b"})
    assert sends("a", kept) == 1
    assert sends("a", kept.changed(owners=("b", "a"), moves={})) == 1, "what is left of it, then it is dropped"


def test_a_node_that_has_left_sends_all() -> None:
    left = MOVING.changed(owners=("b", "b"), members={"b": "valid"}, moves={})
    assert sends("a", left) == 2
