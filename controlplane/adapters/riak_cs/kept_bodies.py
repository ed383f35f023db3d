"""Streamed bodies that can be sent again: their bytes are kept until the answer has come, within a bound for all.

Putting the same bytes under the same key twice, or as the same part of an upload, is putting them once.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from controlplane.ports.upstream import Ask

_JOIN_BELOW: Final = 4096
"""A tiny piece is joined to the one before: a body in pieces of a byte must not cost many times its size."""


class KeptBodies:
    """Room for bodies of up to `each` bytes, `together` bytes in all; a body has its room from its first byte on."""

    def __init__(self, each: int, together: int) -> None:
        self._each = each
        self._left = together

    def begin(self, ask: Ask) -> KeptBody | None:
        """None: it is not streamed, may not be repeated, is too large, or there is no room. Else end() it."""
        if isinstance(ask.body, bytes) or not ask.repeatable or ask.length > min(self._each, self._left):
            return None
        self._left -= ask.length
        return KeptBody(self, ask.body, ask.length)

    def give_back(self, room: int) -> None:
        self._left += room


class KeptBody:
    """Iterated anew for every node that is tried, by one at a time: from its first byte, then on from the source."""

    def __init__(self, bodies: KeptBodies, source: AsyncIterable[bytes | memoryview], room: int) -> None:
        self._bodies = bodies
        self._source = source
        self._room = room
        self._kept: list[bytes | memoryview] = []

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        """Raises what the source raises."""
        for piece in tuple(self._kept):
            yield piece
        async for piece in self._source:
            self._keep(piece)
            yield piece

    def end(self) -> None:
        self._kept.clear()
        self._bodies.give_back(self._room)
        self._room = 0

    def _keep(self, piece: bytes | memoryview) -> None:
        kept = self._kept
        if kept and len(piece) < _JOIN_BELOW and len(kept[-1]) < _JOIN_BELOW:
            kept[-1] = bytes(kept[-1]) + piece
        else:
            kept.append(piece)
