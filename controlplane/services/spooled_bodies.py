"""Bodies that are digested whole before the first byte goes on: through the spool, few of them coming in at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from controlplane.ports.object_store import ObjectReader, pieces_of
from controlplane.ports.spool import Spool, Spooled

_LARGE_BYTES: Final = 4 << 20
_LARGE_AT_ONCE: Final = 4
"""More than that are not digested sooner, and each holds some MiB in memory meanwhile. What has come in goes out from
the file, and holds none."""


class Turn:
    """The right to bring in one body."""

    __slots__ = ("_places", "_spool", "_taken")

    def __init__(self, spool: Spool, places: asyncio.Semaphore) -> None:
        self._spool = spool
        self._places = places
        self._taken = False

    async def wait(self, size: int) -> None:
        """For a body of that size. Waited for before the source is asked: it must not have to wait while it sends."""
        if size > _LARGE_BYTES and not self._taken:
            await self._places.acquire()
            self._taken = True

    def end(self) -> None:
        """Idempotent."""
        if self._taken:
            self._taken = False
            self._places.release()

    async def spooled(self, reader: ObjectReader) -> Spooled:
        """All of the body, digested; ends the turn. Raises StorageFull, and like the reader."""
        await self.wait(reader.length)  # where its size was not known before
        writer = self._spool.open(reader.length)
        try:
            async for chunk in pieces_of(reader):
                await writer.write(chunk)
            return await writer.finish()
        except BaseException:
            writer.discard()
            raise
        finally:
            self.end()


class SpooledBodies:
    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._places = asyncio.Semaphore(_LARGE_AT_ONCE)

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[Turn]:
        """`size`: what the body is likely to have; 0 where nobody knows."""
        turn = Turn(self._spool, self._places)
        try:
            await turn.wait(size)
            yield turn
        finally:
            turn.end()
