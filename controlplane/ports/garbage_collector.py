"""GarbageCollector: the collector of the Riak CS node beside this agent, one of which may run at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CollectorState:
    collecting: bool
    """A batch is under way."""
    scheduled: bool
    """The node's own timer is on."""


class GarbageCollector(Protocol):
    """Every call ends within the time that it is given, and what it asked for cannot happen after that.

    Raises Unavailable: the node is away, or the outcome is unknown; Rejected: this user may not ask it.
    """

    async def state(self, within_s: float) -> CollectorState: ...

    async def start(self, within_s: float) -> None:
        """Begin a batch; one that is under way goes on, and that is no error."""
        ...

    async def halt(self, within_s: float) -> None:
        """Switch the timer off and cancel the batch. Returns only when neither is left."""
        ...
