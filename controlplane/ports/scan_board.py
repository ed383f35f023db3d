"""ScanBoards: the one document that nodes share while they scan together, and which of them are there (leases)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from controlplane.ports.errors import MillraceError


class NoSession(MillraceError):
    """The lease is gone: this node takes no part any more, and what it held is others'. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One consistent reading."""

    sessions: frozenset[str]
    """Of the nodes that take part: `<node>/<something>`, never the same again."""
    text: str | None
    """The board; None: there is none."""
    revision: int
    """Of the text; 0: there is none."""


class ScanBoards(Protocol):
    """One node's view. Every method raises Unavailable; the outcome is unknown then, and the next seen() tells."""

    async def join(self, node: str, ttl_s: float) -> str:
        """Take part, under a new lease; the name of the session. A former session of the node ends with it."""
        ...

    async def renew(self) -> None:
        """Begin the lease's time anew. Raises NoSession."""
        ...

    async def seen(self) -> Posted:
        """Without a session too."""
        ...

    async def swap(self, revision: int, text: str | None) -> bool:
        """Replace the board that has this revision (0: there is none), or take it away (None); False: it was another's
        turn, nothing was changed. Raises NoSession: only who is there writes. StorageFull: it is too large."""
        ...

    async def leave(self) -> None:
        """End the session at once. Leaving twice succeeds."""
        ...
