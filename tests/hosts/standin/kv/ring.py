"""The ring: who owns which partition, who is a member, what is staged. Pure: no clock, no network.

A ring changes only on its claimant, which raises `version`; all others take the highest version of their cluster.
"""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import Any

SPACE = 1 << 160
Change = tuple[str, ...]
"""('join', node), ('leave', node), ('remove', node), ('replace', node, by), ('force_replace', node, by)."""


@dataclass(frozen=True)
class Ring:
    cluster: str
    version: int
    claimant: str
    owners: tuple[str, ...]
    members: dict[str, str]
    """Node name to joining, valid, leaving, exiting or down."""
    moves: dict[int, str] = field(default_factory=dict)
    """Partition number to its next owner."""
    staged: tuple[Change, ...] = ()
    locations: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.owners)

    def index(self, partition: int) -> int:
        return partition * (SPACE // self.size)

    def owned_by(self, node: str) -> list[int]:
        return [p for p, owner in enumerate(self.owners) if owner == node]

    def share(self, node: str) -> float:
        return self.percent(self.owners.count(node))

    def percent(self, partitions: int) -> float:
        """Of the ring, so that 5 of 16 is printed as 31.3."""
        return 100.0 * partitions / self.size + 1e-9

    def future(self) -> tuple[str, ...]:
        return tuple(self.moves.get(p, owner) for p, owner in enumerate(self.owners))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"moves": {str(p): node for p, node in self.moves.items()}}

    def changed(self, **fields: Any) -> "Ring":
        return replace(self, version=self.version + 1, **fields)


def from_json(data: dict[str, Any]) -> Ring:
    return Ring(
        data["cluster"],
        data["version"],
        data["claimant"],
        tuple(data["owners"]),
        data["members"],
        {int(p): node for p, node in data["moves"].items()},
        tuple(tuple(change) for change in data["staged"]),
        data["locations"],
    )


def fresh(node: str, size: int, cluster: str) -> Ring:
    return Ring(cluster, 1, node, (node,) * size, {node: "valid"})


def partition_of(bucket_type: str, bucket: str, key: str, size: int) -> int:
    name = f"{bucket_type}\0{bucket}\0{key}".encode("latin-1", "surrogateescape")
    return int.from_bytes(hashlib.sha1(name).digest()) * size // SPACE


def preference_list(ring: Ring, first: int, n: int, up: set[str]) -> list[tuple[int, str, bool]]:
    """(partition, node, is primary) of the n replicas; the owner of a partition that is down is stood in for by the
    next reachable node that has none of them. Shorter than n when too few nodes are up."""
    wanted = [(first + step) % ring.size for step in range(n)]
    busy = {ring.owners[p] for p in wanted if ring.owners[p] in up}
    result, spare = [], (first + n) % ring.size
    for partition in wanted:
        owner = ring.owners[partition]
        if owner in up:
            result.append((partition, owner, True))
            continue
        for step in range(ring.size):
            stand_in = ring.owners[(spare + step) % ring.size]
            if stand_in in up and stand_in not in busy:
                busy.add(stand_in)
                result.append((partition, stand_in, False))
                break
        else:
            others = sorted(up & set(ring.owners))
            if others:
                result.append((partition, others[partition % len(others)], False))
    return result
