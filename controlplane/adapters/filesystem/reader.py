"""An open object of the filesystem store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from controlplane.adapters.filesystem.failures import translated
from controlplane.adapters.threads import Threads
from controlplane.ports.errors import Unavailable
from controlplane.ports.object_store import ObjectInfo

_CHUNK_BYTES = 256 * 1024


class FileReader:
    """Implements ports.object_store.ObjectReader. Holds one descriptor: replacing or deleting the object does not
    disturb it."""

    __slots__ = ("_fd", "_info", "_length", "_offset", "_threads")

    def __init__(self, fd: int, info: ObjectInfo, offset: int, length: int, threads: Threads) -> None:
        self._fd = fd
        self._info = info
        self._offset = offset
        self._length = length
        self._threads = threads

    @property
    def info(self) -> ObjectInfo:
        return self._info

    @property
    def length(self) -> int:
        return self._length

    @property
    def file(self) -> tuple[int, int] | None:
        return (self._fd, self._offset)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position, end = self._offset, self._offset + self._length
        while position < end:
            chunk = await self._read(position, min(_CHUNK_BYTES, end - position))
            if not chunk:
                raise Unavailable(f"object {self._info.key!r}: its file ends {end - position} bytes short")
            position += len(chunk)
            yield chunk

    async def _read(self, position: int, size: int) -> bytes:
        buffer = bytearray(size)
        try:
            # What the page cache holds is copied here and now: a thread hop would cost more than the copy.
            if os.preadv(self._fd, [buffer], position, os.RWF_NOWAIT) == size:
                return bytes(buffer)
        except OSError:
            pass  # not cached, or a file system without RWF_NOWAIT: the thread finds out what is wrong, if anything
        try:
            return await self._threads.run(os.pread, self._fd, size, position)
        except OSError as error:
            raise translated(error, f"reading object {self._info.key!r}") from error

    async def aclose(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
