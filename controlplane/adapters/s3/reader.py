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
        self._left -= len(chunk)
        if chunk and self._left >= 0:
            return chunk
        if self._left:
            self._answer.close()
            raise Unavailable(f"{self._answer.what}: the body is not {self.length} bytes long")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Bytes that are still on their way cost the connection."""
        self._answer.close()
