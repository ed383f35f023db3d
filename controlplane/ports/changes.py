"""What the processes of one node tell each other at once: that something they may have cached has changed."""

from __future__ import annotations

from typing import Protocol


class Changes(Protocol):
    """Times on a clock that the caller chooses, one and the same for all calls on an instance."""

    def mark(self, name: str, at: float) -> None:
        """`name` has changed at `at`: every process of the node sees it from its next last() on."""
        ...

    def last(self, name: str) -> float:
        """When it changed last, or something that shares its place; -inf: never. Costs less than a microsecond."""
        ...
