"""Bodies on their way into requests: file pieces, checked streams, and streams cut into parts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from hashlib import md5
from typing import Final

from controlplane.adapters.s3.digests import Digests, difference
from controlplane.http.message import FileBody
from controlplane.model.content import Content
from controlplane.ports.errors import Corrupt, Rejected
from controlplane.ports.object_store import LocalFile

PIECE_BYTES: Final = 1024 * 1024
READ_INLINE_BELOW: Final = 64 * 1024


async def read_file(file: LocalFile) -> bytes:
    """A small file, whole."""
    data = _read_whole(file) if file.size <= READ_INLINE_BELOW else await asyncio.to_thread(_read_whole, file)
    if len(data) != file.size:
        raise Corrupt(f"{file.path} has {len(data)} bytes or more, {file.size} were announced")
    return data


def _read_whole(file: LocalFile) -> bytes:
    try:
        with open(file.path, "rb") as opened:
            return opened.read(file.size + 1)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: LocalFile, error: OSError) -> Rejected:
    return Rejected(f"{file.path} cannot be read: {error}")


async def file_pieces(
    file: LocalFile, offset: int, length: int, passed: Callable[[bytes], None] | None
) -> AsyncGenerator[bytes, None]:
    """`length` bytes from `offset`; each piece is read, and handed to `passed` (a hash), in a thread.

    Raises Corrupt when the file is shorter."""
    end = offset + length

    def piece(fd: int, at: int) -> bytes:
        data = os.pread(fd, min(PIECE_BYTES, end - at), at)
        if passed is not None:
            passed(data)
        return data

    try:
        fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        while offset < end:
            try:
                # The thread may outlive a cancellation, and must then not read from a descriptor of somebody else.
                data = await _undisturbed(asyncio.to_thread(piece, fd, offset))
            except OSError as error:
                raise _unreadable(file, error) from error
            if not data:
                raise Corrupt(f"{file.path} ends at {offset} bytes, {file.size} were announced")
            offset += len(data)
            yield data
    finally:
        os.close(fd)


class FilePart:
    """Some bytes of a file that may be sent several times; md5() is that of the last time."""

    __slots__ = ("_file", "_md5", "_offset", "length")

    def __init__(self, file: LocalFile, offset: int, length: int) -> None:
        self._file = file
        self._offset = offset
        self.length = length
        self._md5 = md5()

    def pieces(self) -> AsyncGenerator[bytes, None]:
        self._md5 = md5()
        return file_pieces(self._file, self._offset, self.length, self._md5.update)

    def md5(self) -> bytes:
        return self._md5.digest()


@dataclass(frozen=True, slots=True)
class ProvedFile:
    """A whole file whose digests are known: it may go out without coming into this process (sendfile)."""

    file: LocalFile

    def opened(self) -> FileBody:
        """Raises Rejected, Corrupt (the file is shorter)."""
        try:
            fd = os.open(self.file.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(self.file, error) from error
        size = os.fstat(fd).st_size
        if size < self.file.size:
            os.close(fd)
            raise Corrupt(f"{self.file.path} ends at {size} bytes, {self.file.size} were announced")
        return FileBody(fd, 0, self.file.size, partial(os.close, fd))

    def pieces(self) -> AsyncGenerator[bytes, None]:
        return file_pieces(self.file, 0, self.file.size, None)


async def _undisturbed(work: Awaitable[bytes]) -> bytes:
    """Wait for `work` to its end also when cancelled, and be cancelled then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def held_back(pieces: AsyncGenerator[bytes, None], verify: Callable[[], None]) -> AsyncGenerator[bytes, None]:
    """`pieces`, the last one only after verify() found everything right: a server that never gets the last byte keeps
    nothing."""
    held = b""
    async with aclosing(pieces):
        async for piece in pieces:
            if held:
                yield held
            held = piece
    verify()
    if held:
        yield held


async def counted(stream: AsyncIterator[bytes], digests: Digests, size: int) -> AsyncGenerator[bytes, None]:
    """`stream`, digested on the way. Raises Corrupt as soon as it is longer than `size`, and when it is shorter.

    A chunk is digested while the one before is sent."""
    async for chunk in stream:
        if digests.size + len(chunk) > size:
            raise Corrupt(f"the body has more than the {size} bytes that were announced")
        await digests.update(chunk)
        yield chunk
    if digests.size != size:
        raise Corrupt(f"the body ended after {digests.size} of {size} bytes")


def verify(what: str, expected: Content | None, digests: Digests) -> None:
    """Raise Corrupt unless what was digested is `expected`."""
    if expected is None:
        return
    differs = difference(expected, digests.content())
    if differs:
        raise Corrupt(f"{what}: the body has {differs}; nothing was stored")


class PartSource:
    """A stream cut into parts of exactly `part_bytes`, but for the last."""

    def __init__(self, stream: AsyncIterator[bytes], part_bytes: int, size: int | None) -> None:
        self._stream = stream
        self._part_bytes = part_bytes
        self._size = size
        self._rest = memoryview(b"")
        self.total = 0
        """Bytes handed out."""
        self.ended = False

    async def next_part(self) -> bytearray:
        """Up to part_bytes; fewer (perhaps none) only at the end. Raises Corrupt when the size is not as announced."""
        part = bytearray()
        while len(part) < self._part_bytes:
            if not self._rest:
                try:
                    self._rest = memoryview(await anext(self._stream))
                except StopAsyncIteration:
                    self.ended = True
                    break
            room = self._part_bytes - len(part)
            part += self._rest[:room]
            self._rest = self._rest[room:]
        self.total += len(part)
        self._check(len(part))
        return part

    def _check(self, last: int) -> None:
        if self._size is None:
            return
        if self.total > self._size:
            raise Corrupt(f"the body has more than the {self._size} bytes that were announced")
        if self.ended and self.total != self._size:
            raise Corrupt(f"the body ended after {self.total} of {self._size} bytes ({last} in the last part)")
