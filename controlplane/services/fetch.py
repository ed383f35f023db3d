"""One fetch of one blob or object into the spool, followed by as many readers as ask for it (stampede protection)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from controlplane.model.content import Content
from controlplane.model.keys import StoreName
from controlplane.ports.errors import Corrupt, MillraceError, Unavailable
from controlplane.ports.object_store import ByteRange, ObjectInfo, ObjectReader
from controlplane.ports.spool import Spool, Spooled, SpoolWriter
from controlplane.services.proving import HOLD_BACK

_READ = 256 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Where a blob was found."""

    store: StoreName
    reader: ObjectReader
    most_bytes: int | None
    """A larger blob is not worth a spool file: every reader streams it for itself. None: always fetched."""
    expected: Content | None
    """What the catalog says that the blob is, if it knows it."""


Locate: TypeAlias = Callable[[], Awaitable[Source]]
Keep: TypeAlias = Callable[[Source, Spooled], Awaitable[None]]
Check: TypeAlias = Callable[[Content | None, Content, StoreName], None]
"""(what was claimed or expected, what was found, where): raises Corrupt unless it is what was asked for."""


class Fetch:
    """run() moves bytes from their store into the spool, proves them and hands them to `keep`; others follow meanwhile.

    The spooled bytes live until run() has ended and the last follower has left.
    """

    def __init__(self, what: str, spool: Spool, locate: Locate, keep: Keep, check: Check) -> None:
        self._what = what
        self._check = check
        self._spool = spool
        self._locate = locate
        self._keep = keep
        self.info: ObjectInfo | None = None
        self.content: Content | None = None
        """Set when the store claims digests, or when the blob is proved."""
        self.too_large = False
        """Not fetched, see Source.most_bytes."""
        self._proved = False
        self.source: StoreName | None = None
        """Where it was found."""
        self.failure: MillraceError | None = None
        self._writer: SpoolWriter | None = None
        self._spooled: Spooled | None = None
        self._progress = asyncio.Event()
        self._users = 1

    @property
    def is_corrupt(self) -> bool:
        """It ended because the copy is not the blob."""
        return isinstance(self.failure, Corrupt) and not self._proved

    async def run(self) -> None:
        """Never raises but for cancellation: a failure is what the followers get."""
        try:
            source = await self._locate()
            self.source = source.store
            try:
                if source.most_bytes is not None and source.reader.length > source.most_bytes:
                    self.too_large = True
                    return
                spooled = await self._transfer(source)
            finally:
                await source.reader.aclose()
            await self._keep(source, spooled)
        except MillraceError as error:
            self.failure = error
        except BaseException as error:
            self.failure = Unavailable(f"fetching {self._what} broke off: {type(error).__name__}")
            raise
        finally:
            self._notify()
            self.leave()

    async def opened(self) -> None:
        """Wait until the answer can begin: its content is known and its first bytes may be served, or it failed.

        When it returns, the caller is a user, who must leave()."""
        self._users += 1  # from now on: the fetch may end, and drop its bytes, before this one is woken
        try:
            while not self.too_large:
                if self.failure is not None and not self._proved:
                    raise self.failure
                if self._proved:
                    break
                if self.info is not None and self.content is not None and self.info.size > HOLD_BACK:
                    break
                await self._next_progress()
        except BaseException:
            self.leave()
            raise

    async def chunks(self, part: ByteRange) -> AsyncIterator[bytes]:
        """Follow bytes part.first..part.last while they arrive. Only between opened() and leave()."""
        offset, end = part.first, part.last + 1
        while offset < end:
            if self.failure is not None and not self._proved:
                raise self.failure
            assert self._writer is not None
            assert self.info is not None
            limit = end if self._proved else min(end, self.info.size - HOLD_BACK, self._writer.written)
            data = await self._writer.read(offset, min(limit - offset, _READ)) if limit > offset else b""
            if data:
                offset += len(data)
                yield data
            else:
                await self._next_progress()

    def leave(self) -> None:
        """One user less; the last one drops the spooled bytes."""
        self._users -= 1
        if self._users == 0:
            if self._spooled is not None:
                self._spooled.discard()
            elif self._writer is not None:
                self._writer.discard()

    async def _transfer(self, source: Source) -> Spooled:
        reader = source.reader
        claimed = reader.info.content
        if claimed is not None and source.expected is not None:
            self._check(source.expected, claimed, source.store)
        writer = self._writer = self._spool.open(reader.length)
        self.info = reader.info
        self.content = claimed
        async for chunk in reader:
            await writer.write(chunk)
            self._notify()
        spooled = self._spooled = await writer.finish()
        self._check(claimed or source.expected, spooled.content, source.store)
        self.content = spooled.content
        self._proved = True
        self._notify()
        return spooled

    def _notify(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    async def _next_progress(self) -> None:
        await self._progress.wait()
