"""One put: how a body of each kind becomes a whole, checked file in its place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from controlplane.adapters.filesystem import digests
from controlplane.adapters.filesystem.attributes import Attributes
from controlplane.adapters.filesystem.digests import Found
from controlplane.adapters.filesystem.temp_file import TempFile
from controlplane.adapters.threads import Threads, ended
from controlplane.model.content import Content, Md5, Sha256
from controlplane.ports.object_store import Body, LocalFile

_SMALL_BYTES = 256 * 1024
"""A body up to this size is hashed and written by one job in one thread."""
_BATCH_BYTES = 1024 * 1024
_MOST_PIECES = 64
"""A batch of more pieces is joined: each costs its thread the interpreter lock."""
_FLUSH_FROM_BYTES = 4 * _BATCH_BYTES
"""A larger body keeps the disk busy while it arrives."""


@dataclass(slots=True)
class Upload:
    """Raises what the port says of put, FileExistsError under if_absent, and OSError for failures of the file system;
    `stream_failed` tells an error that the stream raised (perhaps an OSError, too) from those."""

    threads: Threads
    temp: TempFile
    where: str
    """For messages."""
    now: float
    size: int | None
    content: Content | None
    content_type: str
    metadata: Mapping[str, str]
    stream_failed: bool = field(default=False, init=False)

    async def run(self, body: Body) -> Attributes:
        if isinstance(body, LocalFile):
            found = await self._identify(body)
            return await self.threads.run_or(self.temp.abandon, self._store_file, body, found)
        if isinstance(body, bytes):
            if len(body) <= _SMALL_BYTES:
                return await self.threads.run_or(self.temp.abandon, self._store_small, body)
            body = _pieces(body)
        whole = await self._collect(body)
        if isinstance(whole, bytes):
            return await self.threads.run_or(self.temp.abandon, self._store_small, whole)
        return await self.threads.run_or(self.temp.abandon, self._publish, whole)

    async def _collect(self, body: AsyncIterator[bytes]) -> bytes | Found:
        """The whole of a small stream; of a larger one what it turned out to be, written to the temporary file."""
        small = bytearray()
        async with aclosing(self._watched(body)) as stream:
            async for chunk in stream:
                small += chunk
                if len(small) > _SMALL_BYTES:
                    return await self._pipe(bytes(small), stream)
        return bytes(small)

    async def _watched(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in body:
                yield chunk
        except Exception:
            self.stream_failed = True
            raise

    async def _pipe(self, first: bytes, stream: AsyncIterator[bytes]) -> Found:
        """While the stream fills a batch, threads take the last one's digests and write it, and the disk flushes."""
        await self.threads.run(self.temp.open)
        md5, sha256 = digests.new_md5(), digests.new_sha256()
        lanes = [_Lane(self.threads, md5.update), _Lane(self.threads, self.temp.write)]
        if self.content is not None:
            lanes.append(_Lane(self.threads, sha256.update))
        flushes = _Lane(self.threads, lambda _: self.temp.flush())
        try:
            size, batch, length = 0, [first], len(first)
            async for chunk in stream:
                batch.append(chunk)
                length += len(chunk)
                if length >= _BATCH_BYTES:
                    await _feed(lanes, batch)
                    size, batch, length = size + length, [], 0
                    if size >= _FLUSH_FROM_BYTES and flushes.is_free:
                        await flushes.take([b""])
            await _feed(lanes, batch)
            for lane in (*lanes, flushes):
                await lane.idle()
        finally:
            for lane in (*lanes, flushes):
                await lane.stop()
        whole = Sha256(sha256.hexdigest()) if self.content is not None else None
        return Found(Md5(md5.hexdigest()), whole, size + length)

    async def _identify(self, body: LocalFile) -> Found:
        """The digests of the file: its owner's where they are trusted, else computed."""
        path = os.fspath(body.path)
        length = os.stat(path).st_size
        trusted = body.verified
        if trusted is not None and self.content in (None, trusted):
            return Found(trusted.md5, trusted.sha256, length)
        if self.content is None:
            md5 = await self.threads.run(digests.of_file, path, digests.new_md5())
            return Found(Md5(md5), None, length)
        md5, sha256 = await asyncio.gather(
            self.threads.run(digests.of_file, path, digests.new_md5()),
            self.threads.run(digests.of_file, path, digests.new_sha256()),
        )
        return Found(Md5(md5), Sha256(sha256), length)

    # In threads: each job removes its temporary file when it ends, which saves another hop.

    def _store_small(self, body: bytes) -> Attributes:
        found = digests.of_bytes(body, sha256=self.content is not None)
        kept = self._checked(found, self.size)
        try:
            self.temp.open()
            self.temp.write(body)
            self.temp.publish(kept, self.now)
        finally:
            self.temp.close()
        return kept

    def _store_file(self, body: LocalFile, found: Found) -> Attributes:
        self._checked(found, self.size)
        kept = self._checked(found, body.size)
        try:
            attached = self.temp.take(body, kept.encode())
            self.temp.publish(kept, self.now, attached=attached)
        finally:
            self.temp.close()
        return kept

    def _publish(self, found: Found) -> Attributes:
        try:
            kept = self._checked(found, self.size)
            self.temp.publish(kept, self.now)
        finally:
            self.temp.close()
        return kept

    def _checked(self, found: Found, size: int | None) -> Attributes:
        digests.compare(found, size, self.content, self.where)
        return Attributes(found.md5, found.size, self.content_type, self.content, self.metadata)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    view = memoryview(data)
    for at in range(0, len(data), _BATCH_BYTES):
        yield bytes(view[at : at + _BATCH_BYTES])


class _Lane:
    """Runs one function on batches in order, at most one behind the caller."""

    def __init__(self, threads: Threads, work: Callable[[bytes], None]) -> None:
        self._threads = threads
        self._work = work
        self._running: asyncio.Future[None] | None = None

    @property
    def is_free(self) -> bool:
        return self._running is None or self._running.done()

    async def idle(self) -> None:
        """Wait for the batch under way; raise what it raised."""
        if self._running is not None:
            await asyncio.shield(self._running)
            self._running = None

    async def take(self, batch: Sequence[bytes]) -> None:
        await self.idle()
        self._running = self._threads.start(_each, self._work, batch)

    async def stop(self) -> None:
        if self._running is not None:
            await ended(self._running)


async def _feed(lanes: Sequence[_Lane], batch: Sequence[bytes]) -> None:
    if len(batch) > _MOST_PIECES:
        batch = [b"".join(batch)]
    for lane in lanes:
        await lane.take(batch)


def _each(work: Callable[[bytes], None], batch: Sequence[bytes]) -> None:
    for piece in batch:
        work(piece)
