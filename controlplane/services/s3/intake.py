"""The body of an upload on its way through the gateway: decoded, hashed, and proved before its last bytes go on.

Riak CS commits an object when its body is complete. So the last piece is held back until every checksum, signature and
length has been found right; what fails before that breaks the request to Riak CS off, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Final

from controlplane.s3.aws_chunked import ChunkDecoder
from controlplane.s3.checksums import BodyHasher, HashedBody
from controlplane.s3.fault import Code, S3Fault

INLINE_BYTES: Final = 64 * 1024
"""Bodies up to this are hashed where they are: a thread would cost more."""
_BATCH_BYTES: Final = 256 * 1024


class Hashing:
    """A BodyHasher fed by one thread at a time, beside the transfer; at most one batch is in a thread, one waits."""

    def __init__(self, hasher: BodyHasher, executor: Executor) -> None:
        self._hasher = hasher
        self._executor = executor
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._running: asyncio.Future[None] | None = None

    async def take(self, piece: bytes) -> None:
        self._batch.append(piece)
        self._batch_bytes += len(piece)
        if self._batch_bytes >= _BATCH_BYTES:
            await self._start()

    async def finish(self, trailers: Mapping[str, str]) -> HashedBody:
        """Raises what BodyHasher.finish raises."""
        if self._batch_bytes > INLINE_BYTES or self._running is not None:
            await self._start()
            await self._settled()
        else:
            self._update(self._batch)
        return self._hasher.finish(trailers)

    async def _start(self) -> None:
        await self._settled()
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        self._running = asyncio.get_running_loop().run_in_executor(self._executor, self._update, batch)

    async def _settled(self) -> None:
        if self._running is not None:
            await self._running
            self._running = None

    def _update(self, batch: list[bytes]) -> None:
        for piece in batch:
            self._hasher.update(piece)


class Intake:
    """One body of `length` bytes (decoded). Iterate pieces(), once; then `hashed` is there.

    `before_last` is awaited when all is proved and before the last piece is handed out: what must be decided at the
    moment of the commit belongs there. Raises S3Fault for whatever does not match, and what the source raises.
    """

    def __init__(
        self,
        source: AsyncIterator[bytes],
        length: int,
        hasher: BodyHasher,
        executor: Executor,
        decoder: ChunkDecoder | None = None,
        before_last: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._source = source
        self.length = length
        self._hashing = Hashing(hasher, executor)
        self._decoder = decoder
        self._before_last = before_last
        self._hashed: HashedBody | None = None

    @property
    def hashed(self) -> HashedBody:
        if self._hashed is None:
            raise RuntimeError("the body was not read to its end")
        return self._hashed

    async def whole(self) -> bytes:
        """A small body, proved."""
        parts = [piece async for piece in self._proved()]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        held = b""
        async for piece in self._proved():
            if held:
                yield held
            held = piece
        if self._before_last is not None:
            await self._before_last()
        if held:
            yield held

    async def _proved(self) -> AsyncGenerator[bytes, None]:
        """The pieces; ends only when all is proved."""
        size, decoder, hashing = 0, self._decoder, self._hashing
        async for raw in self._source:
            for piece in decoder.feed(raw) if decoder is not None else (raw,):
                size += len(piece)
                if size > self.length:
                    raise S3Fault(Code.INCOMPLETE_BODY, f"The body has more than the {self.length} bytes announced.")
                if piece:
                    await hashing.take(piece)
                    yield piece
        trailers = decoder.finish() if decoder is not None else {}
        if size != self.length:
            raise S3Fault(Code.INCOMPLETE_BODY, f"The body ended after {size} of {self.length} bytes.")
        self._hashed = await hashing.finish(trailers)
