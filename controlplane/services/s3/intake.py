"""The body of an upload on its way through the gateway: decoded, hashed, and proved before its last bytes go on.

Riak CS commits an object when its body is complete. So the last piece is held back until every checksum, signature and
length has been found right; what fails before that breaks the request to Riak CS off, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor
from threading import Lock
from typing import Final

from controlplane.s3.aws_chunked import ChunkDecoder
from controlplane.s3.body_checksums import BodyHasher, HashedBody
from controlplane.s3.fault import Code, S3Fault

INLINE_BYTES: Final = 64 * 1024
"""Bodies up to this are hashed where they are: a thread would cost more."""
_BATCH_BYTES: Final = 128 * 1024
_BATCHES_A_TURN: Final = 16
"""After so many a body's thread goes to another body that waits for one."""
_AHEAD_OF_ALL: Final = 20 * 1024 * 1024
"""Bytes that wait for threads, of all bodies together; each has its share, within the two below."""
_MOST_AHEAD: Final = 4 * 1024 * 1024
"""Of a body that is alone: its thread never waits, also while the event loop serves others or is not run at all."""
_LEAST_AHEAD: Final = 256 * 1024
"""Of one among very many: a piece is hashed while the next one comes."""


class HashThreads:
    """The threads that hash, and how far each body may be ahead of them."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.ahead = _MOST_AHEAD
        """Bytes of each body."""
        self._bodies = 0

    def begin(self) -> None:
        self._share(1)

    def end(self) -> None:
        self._share(-1)

    def _share(self, more: int) -> None:
        self._bodies += more
        self.ahead = max(_LEAST_AHEAD, min(_MOST_AHEAD, _AHEAD_OF_ALL // max(1, self._bodies)))


class Hashing:
    """A BodyHasher fed by one thread at a time, beside the transfer, which it may lag behind by `threads.ahead` bytes.

    The thread takes batch after batch by itself: it does not come back to the event loop between two of them.
    """

    def __init__(self, hasher: BodyHasher, threads: HashThreads) -> None:
        self._hasher = hasher
        self._threads = threads
        self._executor = threads.executor
        self._batch: list[bytes | memoryview] = []
        self._batch_bytes = 0
        self._given = 0
        """Bytes put into `_waiting`; counted by the event loop."""
        self._done = 0
        """Bytes of them that are hashed; counted by the thread."""
        self._waiting: deque[list[bytes | memoryview]] = deque()
        self._lock = Lock()
        self._active = False
        """A thread looks into `_waiting` before it leaves. Under the lock, as is the end of `_waiting`."""
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        """Set by the event loop before it looks at `_done`; read by the thread after it has changed that."""

    async def take(self, piece: bytes | memoryview) -> None:
        self._batch.append(piece)
        self._batch_bytes += len(piece)
        if self._batch_bytes >= _BATCH_BYTES:
            self._start()
            await self._until(self._threads.ahead)

    async def finish(self, trailers: Mapping[str, str]) -> HashedBody:
        """Raises what BodyHasher.finish raises."""
        if self._batch_bytes > INLINE_BYTES or self._given:
            self._start()
            await self._until(0)
        else:
            for piece in self._batch:
                self._hasher.update(piece)
        return self._hasher.finish(trailers)

    def _start(self) -> None:
        """Give the batch to the thread."""
        self._given += self._batch_bytes
        with self._lock:
            self._waiting.append(self._batch)
            begins, self._active = not self._active, True
        self._batch, self._batch_bytes = [], 0
        if begins:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(self._executor, self._update, loop)

    async def _until(self, ahead: int) -> None:
        """Wait until the thread is no further behind. Raises what it met."""
        while self._error is None and self._given - self._done > ahead:
            self._waiter = asyncio.get_running_loop().create_future()
            if self._error is None and self._given - self._done > ahead:  # the thread may not have seen the waiter
                await self._waiter
            self._waiter = None
        if self._error is not None:
            raise self._error

    def _update(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: until nothing waits, or others have waited for a thread long enough."""
        for _ in range(_BATCHES_A_TURN):
            with self._lock:
                if not self._waiting:
                    self._active = False
                    return
                batch = self._waiting.popleft()
            try:
                for piece in batch:
                    self._hasher.update(piece)
                    self._done += len(piece)
            except BaseException as error:  # noqa: BLE001 - raised by who waits
                self._error = error
            waiter = self._waiter
            if waiter is not None:
                try:
                    loop.call_soon_threadsafe(_wake, waiter)
                except RuntimeError:
                    return  # the event loop is closed: nobody waits
        try:
            self._executor.submit(self._update, loop)
        except RuntimeError as error:  # shut down: the process ends
            self._error = error


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Intake:
    """One body of `length` bytes (decoded). Iterate pieces(), once; then `hashed` is there.

    `before_last` is awaited when all is proved and before the last piece is handed out: what must be decided at the
    moment of the commit belongs there. Raises S3Fault for whatever does not match, and what the source raises.
    """

    def __init__(
        self,
        source: AsyncIterator[bytes | memoryview],
        length: int,
        hasher: BodyHasher,
        threads: HashThreads,
        decoder: ChunkDecoder | None = None,
        before_last: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._source = source
        self.length = length
        self._threads = threads
        self._hashing = Hashing(hasher, threads)
        self._decoder = decoder
        self._before_last = before_last
        self._size = 0
        self._hashed: HashedBody | None = None

    @property
    def hashed(self) -> HashedBody:
        if self._hashed is None:
            raise RuntimeError("the body was not read to its end")
        return self._hashed

    async def whole(self) -> bytes:
        """A small body, proved."""
        parts: list[bytes | memoryview] = []
        async for raw in self._source:
            for piece in self._decoded(raw):
                await self._hashing.take(piece)
                parts.append(piece)
        await self._prove_end()
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        held: bytes | memoryview = b""
        self._threads.begin()
        try:
            async for piece in self._proved():
                if held:
                    yield held
                held = piece
        finally:
            self._threads.end()
        if self._before_last is not None:
            await self._before_last()
        if held:
            yield held

    async def _proved(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The pieces; ends only when all is proved."""
        async for raw in self._source:
            for piece in self._decoded(raw):
                await self._hashing.take(piece)
                yield piece
        await self._prove_end()

    def _decoded(self, raw: bytes | memoryview) -> Iterable[bytes | memoryview]:
        """What is to be stored of what has come. Raises S3Fault when it is more than was announced."""
        for piece in self._decoder.feed(raw) if self._decoder is not None else (raw,):
            self._size += len(piece)
            if self._size > self.length:
                raise S3Fault(Code.INCOMPLETE_BODY, f"The body has more than the {self.length} bytes announced.")
            if piece:
                yield piece

    async def _prove_end(self) -> None:
        trailers = self._decoder.finish() if self._decoder is not None else {}
        if self._size != self.length:
            raise S3Fault(Code.INCOMPLETE_BODY, f"The body ended after {self._size} of {self.length} bytes.")
        self._hashed = await self._hashing.finish(trailers)
