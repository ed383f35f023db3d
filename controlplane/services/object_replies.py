"""Answers that look like Riak CS's own; they implement ports.upstream.Reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import read_whole


class Told:
    """An answer without a body."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers

    async def read(self) -> bytes:
        return b""

    async def read_all(self, limit: int) -> bytes:  # noqa: ARG002 - the port's
        return b""

    def close(self) -> None:
        """Nothing to close."""


class Streamed:
    """`length` bytes from an iterator; `end` is called once, when they are read or no longer wanted."""

    __slots__ = ("_chunks", "_end", "_left", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        chunks: AsyncIterator[bytes],
        length: int,
        end: Callable[[], None],
    ) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks
        self._left = length
        self._end: Callable[[], None] | None = end

    async def read(self) -> bytes:
        if not self._left or self._end is None:
            self.close()
            return b""
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self.close()
            raise Unavailable(f"the mirror's target sent {self._left} bytes less than it announced") from None
        except BaseException:
            self.close()
            raise
        self._left -= len(chunk)
        return chunk

    async def read_all(self, limit: int) -> bytes:
        return await read_whole(self, limit, "the mirror's target")

    def close(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end()
