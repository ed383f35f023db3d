"""Which agent works on which keys: shards of the key space, and how they pass from one owner to the next.

Invariants: a shard is taken only when nobody owns it (its former owner let go, or that owner's lease is gone), so it
never has two owners. A change of the members moves only shards of members that left, or to members that joined or
gained weight. The number of shards and shard_of() are part of stored formats: they never change.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NewType, TypeAlias

from controlplane.model.keys import Bucket, Key

Shard = NewType("Shard", int)
"""0 to SHARDS - 1."""

SHARDS: Final = 256
"""Fixed for ever: a shared journal indexes its entries by shard. Few enough that all owners are read from the directory
in one answer. The busiest of 10 agents has about 1.3 times the mean, of 30 about 1.8 times, of 100 about 3 times (there
some have none): beyond a few dozen agents give most of them the weight 0 (docs/scale.md)."""

ALL_SHARDS: Final = frozenset(Shard(number) for number in range(SHARDS))


def shard_of(bucket: Bucket, key: Key) -> Shard:
    """The shard of a key. Keys that are no valid UTF-8 have one too."""
    name = f"{bucket}/{key}".encode("utf-8", "surrogatepass")
    return Shard(blake2b(name, digest_size=1, person=b"millrace-shard").digest()[0])


def owner_of(shard: Shard, members: Mapping[str, int]) -> str | None:
    """The member that should own a shard, by weighted rendezvous hashing; None: nobody is there to own it.

    `members`: node names and their weights; a weight of 0 owns nothing. Source: Schindelhauer and Schomaker,
    Weighted Distributed Hash Tables (2005): the greatest of -weight / ln(hash) wins.
    """
    running = [(_score(shard, node, weight), node) for node, weight in members.items() if weight > 0]
    return max(running)[1] if running else None


def assignment(members: Mapping[str, int]) -> dict[Shard, str]:
    """Every shard's owner as it should be; empty when nobody is there."""
    return dict(_assignment(frozenset(members.items())))


# Asked for in every round, and the same until somebody comes or goes.
@lru_cache(maxsize=4)
def _assignment(members: frozenset[tuple[str, int]]) -> Mapping[Shard, str]:
    running = frozenset(member for member in members if member[1] > 0)
    return {Shard(number): node for number, (_, node) in enumerate(_AUCTION.best(running))}


class _Auction:
    """The best bid for every shard. Invariant: best() depends on its argument alone; what is kept from the last one
    only spares work: a change of a few among a thousand members costs their bids, not those of all."""

    def __init__(self) -> None:
        self._last: tuple[frozenset[tuple[str, int]], tuple[tuple[float, str], ...]] = (frozenset(), ())

    def best(self, running: frozenset[tuple[str, int]]) -> tuple[tuple[float, str], ...]:
        """Empty when nobody runs."""
        before, best = self._last
        gone, stays = {node for node, _ in before - running}, before & running
        if not stays:
            best = ()
        elif gone:
            best = tuple(
                bid if bid[1] not in gone else max(_bids(*member)[number] for member in stays)
                for number, bid in enumerate(best)
            )
        for member in running - stays:
            best = tuple(map(max, best, _bids(*member))) if best else _bids(*member)
        self._last = running, best
        return best


_AUCTION: Final = _Auction()


@lru_cache(maxsize=4096)
def _bids(node: str, weight: int) -> tuple[tuple[float, str], ...]:
    """Of one member for every shard."""
    return tuple((_score(Shard(number), node, weight), node) for number in range(SHARDS))


def _score(shard: Shard, node: str, weight: int) -> float:
    digest = blake2b(f"{shard}/{node}".encode(), digest_size=8, person=b"millrace-owner").digest()
    # In the open interval (0, 1): neither end has a usable logarithm.
    fraction = (int.from_bytes(digest, "big") + 0.5) / 2.0**64
    return -weight / math.log(min(fraction, 1 - 2.0**-53))


@dataclass(frozen=True, slots=True)
class Ownership:
    """What the directory says of a shard that has an owner."""

    session: str
    """Of the owner: one run of one agent. A restarted agent is another owner, until the lease of the former is gone."""
    epoch: int
    """Grows with every new owner of any shard in the cluster."""


@dataclass(frozen=True, slots=True)
class Take:
    """Claim a shard that nobody owns."""

    shard: Shard


@dataclass(frozen=True, slots=True)
class Drain:
    """Begin nothing more in a shard that is to go; what is under way may end."""

    shard: Shard


@dataclass(frozen=True, slots=True)
class LetGo:
    """Give a shard back: nothing is under way in it."""

    shard: Shard
    epoch: int


Move: TypeAlias = Take | Drain | LetGo


def plan(
    node: str,
    session: str,
    members: Mapping[str, int],
    owners: Mapping[Shard, Ownership],
    busy: Collection[Shard],
) -> tuple[Move, ...]:
    """What this node should do now, in order of the shards.

    `members`: as the directory says, this node among them unless it leaves; `busy`: shards in which it has work under
    way. A shard that belongs to somebody else, also to a former session of this node, is never touched.
    """
    moves: list[Move] = []
    wanted = _assignment(frozenset(members.items()))
    for shard in sorted(ALL_SHARDS):
        there = owners.get(shard)
        ours = wanted.get(shard) == node
        if there is None:
            if ours:
                moves.append(Take(shard))
        elif there.session == session and not ours:
            moves.append(Drain(shard) if shard in busy else LetGo(shard, there.epoch))
    return tuple(moves)
