"""Who holds a lock that lives in the directory under a lease: the pure decision of one round.

Invariant: at any moment at most one node may believe that it holds a lock. The directory keeps a claim for at least
its TTL from the moment that it was asked for, and a holder counts from before it asked; so its belief ends first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum


class Wish(Enum):
    """What a node wants of a lock."""

    HOLD = "hold"
    LEAVE = "leave"
    """Give it back at once: what it guards has surely ended here."""
    LAPSE = "lapse"
    """Let its time run out: what it guards may still go on here, and is being ended."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the directory says of a lock."""

    holder: str
    """Name of the node; empty: a value that is no claim."""
    since: float
    """Unix seconds at which it got the lock."""
    revision: int


@dataclass(frozen=True, slots=True)
class Take:
    """Claim or prolong the lock, if it is still as it was seen."""

    expected_revision: int | None


@dataclass(frozen=True, slots=True)
class Leave:
    """Give the lock back, so that another node need not wait for the lease."""

    expected_revision: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Another node holds it, or this one does not want it."""


Step = Take | Leave | Wait


def plan(node: str, there: Claim | None, wish: Wish) -> Step:
    """The step of `node`. A claim of a former incarnation of this node is its own: there is one agent a node."""
    if there is not None and there.holder != node:
        return Wait()
    if wish is Wish.HOLD:
        return Take(there.revision if there is not None else None)
    if wish is Wish.LEAVE and there is not None:
        return Leave(there.revision)
    return Wait()


def write_claim(node: str, since: float) -> str:
    """As it is stored: names its writer, and tells an operator who reads it with etcdctl since when."""
    return json.dumps({"holder": node, "since": round(since, 3)}, separators=(",", ":"))


def read_claim(value: str, revision: int) -> Claim:
    """What write_claim wrote. Anything else is a claim of nobody, which only an operator may remove."""
    try:
        document = json.loads(value)
        return Claim(str(document["holder"]), float(document["since"]), revision)
    except (ValueError, TypeError, KeyError):
        return Claim("", 0.0, revision)
