"""The body of a request as its handler reads it: an async iterator with back-pressure."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, Protocol

from controlplane.http.faults import ClientFault, ClientGone

HIGH_WATER: Final = 512 * 1024
LOW_WATER: Final = 128 * 1024
_CHUNK_OVERHEAD: Final = 128  # what holding a chunk costs beside its bytes
_JOIN_BELOW: Final = 4096  # a tiny chunk is joined to the one before: a byte a packet must not cost a list entry a byte


class BodySource(Protocol):
    """The connection, as the body sees it."""

    def body_wanted(self) -> None:
        """The handler waits for bytes (and a client that asked for 100 Continue shall get it)."""

    def body_drained(self) -> None:
        """The body holds less than LOW_WATER again."""

    def body_in_blocks(self) -> None:
        """The handler takes memoryviews for the rest of the body."""


class RequestBody:
    """Chunks as they come from the socket, up to 256 KiB each; one reader.

    Raises ClientGone, ClientTooSlow, BodyTooLarge or BodyMalformed when the body does not become whole.
    At most HIGH_WATER plus one read of the socket is held. What the handler has not read when it returns is dropped.
    """

    __slots__ = ("_chunks", "_ended", "_fault", "_held", "_source", "_waiter")

    def __init__(self, source: BodySource | None) -> None:
        self._source = source
        self._chunks: deque[bytes | memoryview] = deque()
        self._held = 0
        self._ended = source is None
        self._fault: ClientFault | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> RequestBody:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if not await self._more():
                raise StopAsyncIteration
        return bytes(self._take())  # which is itself where it is bytes

    async def _more(self) -> bool:
        """Wait until something has changed; False at the end of the body."""
        if self._fault is not None:
            raise type(self._fault)(*self._fault.args)
        if self._ended or self._source is None:
            return False
        if self._waiter is not None:
            raise RuntimeError("two tasks read one request body")
        self._source.body_wanted()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return True

    def _take(self) -> bytes | memoryview:
        chunk = self._chunks.popleft()
        before = self._held
        self._held -= len(chunk) + _CHUNK_OVERHEAD
        if self._held < LOW_WATER <= before and self._source is not None and not self._ended:
            self._source.body_drained()
        return chunk

    def in_blocks(self) -> AsyncIterator[bytes | memoryview]:
        """To be read where a large body goes on as it comes: its chunks may be memoryviews, of up to 1 MiB. Each holds
        memory that is read into again when it is gone."""
        if self._source is not None and not self._ended:
            self._source.body_in_blocks()
        return _InBlocks(self)

    async def read(self, most: int) -> bytes:
        """The whole body, when it has at most this many bytes; else ValueError."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self:
            size += len(chunk)
            if size > most:
                raise ValueError(f"the body is larger than {most} bytes")
            parts.append(chunk)
        return b"".join(parts)

    # The rest is for the connection.

    def feed(self, data: bytes | memoryview, most: int = HIGH_WATER) -> bool:
        """Hold these bytes; True when reading should pause, for it holds `most`. Views only after in_blocks()."""
        chunks = self._chunks
        if chunks and len(chunks[-1]) < _JOIN_BELOW and len(data) < _JOIN_BELOW:
            chunks[-1] = bytes(chunks[-1]) + bytes(data)
            self._held += len(data)
        else:
            chunks.append(data)
            self._held += len(data) + _CHUNK_OVERHEAD
        self._wake()
        return self._held >= most

    def end(self) -> None:
        self._ended = True
        self._wake()

    def fail(self, fault: ClientFault) -> None:
        """The body will not become whole; what is held is dropped."""
        if not self._ended and self._fault is None:
            self._fault = fault
            self._chunks.clear()
            self._held = 0
            self._wake()

    def discard(self) -> None:
        """The handler has answered: nobody reads on."""
        self._chunks.clear()
        self._held = 0
        self._ended = False
        self.fail(ClientGone("the request was answered before its body was read"))
        self._source = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _InBlocks:
    """A body, read without a copy."""

    __slots__ = ("_body",)

    def __init__(self, body: RequestBody) -> None:
        self._body = body

    def __aiter__(self) -> _InBlocks:
        return self

    async def __anext__(self) -> bytes | memoryview:
        body = self._body
        while not body._chunks:
            if not await body._more():
                raise StopAsyncIteration
        return body._take()


class _NoBody(RequestBody):
    """Shared by all requests without a body."""

    __slots__ = ()

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    def discard(self) -> None:
        pass


NO_BODY: Final = _NoBody(None)
