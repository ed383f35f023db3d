"""An open object: the body of a GET as it comes in."""

from __future__ import annotations

from collections.abc import AsyncIterator

from controlplane.adapters.s3.client import Answer
from controlplane.ports.errors import Unavailable
from controlplane.ports.object_store import ObjectInfo


class S3Reader:
    """Implements ports.object_store.ObjectReader. The server is slowed down to the speed of iteration."""

    __slots__ = ("_answer", "_left", "info", "length")

    file: tuple[int, int] | None = None

    def __init__(self, answer: Answer, info: ObjectInfo, length: int) -> None:
        self._answer = answer
        self._left = length
        self.info = info
        self.length = length

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._answer.read()
        self._count(chunk)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def _count(self, chunk: bytes | memoryview) -> None:
        """Raises Unavailable when the body is longer than announced, or ends (b"") shorter."""
        self._left -= len(chunk)
        if self._left < 0 or (self._left and not chunk):
            self._answer.close()
            raise Unavailable(f"{self._answer.what}: the body is not {self.length} bytes long")

    def in_blocks(self) -> AsyncIterator[bytes | memoryview]:
        """See ports.object_store.pieces_of."""
        self._answer.in_blocks()
        return _InBlocks(self)

    async def aclose(self) -> None:
        """Bytes that are still on their way cost the connection."""
        self._answer.close()


class _InBlocks:
    """The rest of a body, read without a copy."""

    __slots__ = ("_reader",)

    def __init__(self, reader: S3Reader) -> None:
        self._reader = reader

    def __aiter__(self) -> _InBlocks:
        return self

    async def __anext__(self) -> bytes | memoryview:
        chunk = await self._reader._answer.read_piece()
        self._reader._count(chunk)
        if not chunk:
            raise StopAsyncIteration
        return chunk
