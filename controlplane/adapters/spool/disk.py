"""DiskSpool: a directory of bodies in progress, with MD5 and SHA-256 computed in two threads beside the transfer."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from controlplane.adapters.spool.lane import Lane
from controlplane.adapters.spool.oldest_first import OldestFirst
from controlplane.model.content import Content, Md5, Sha256
from controlplane.ports.errors import MillraceError, StorageFull, Unavailable
from controlplane.ports.object_store import LocalFile

_BATCH = 1 << 20
_DEPTH = 4
_INLINE_HASH = 64 * 1024
_WRITEBACK_EVERY = 2 << 20
_IOV_MAX = 1024
_JOIN_BELOW = 4096
_SYNC_FILE_RANGE_WRITE = 2


class DiskSpool:
    """Bodies of at most `memory_bytes` stay in memory; larger ones go to files in `path`.

    Put `path` on the file system of the embedded store and of the disk cache, so that they can link instead of copy.
    Memory of one body is bounded by memory_bytes + 2 * 4 MiB, whatever its size.
    """

    def __init__(
        self, path: Path, *, memory_bytes: int, reserve_bytes: int = 64 << 20, threads: int = 8, stays: bool = True
    ) -> None:
        """`stays`: what is spooled is about to become an object of a store, and is flushed then. False: its file goes
        as soon as it was sent, best before the disk ever sees it; and nobody waits for one body rather than another, so
        that the threads finish the oldest first."""
        self._path = path
        self._stays = stays
        self._memory_bytes = memory_bytes
        self._reserve_bytes = reserve_bytes
        self._threads = OldestFirst(threads, "spool")
        self._count = 0

    def prepare(self) -> None:
        """Create the directory and remove what a killed process left. One process owns a spool directory."""
        self._path.mkdir(parents=True, exist_ok=True, mode=0o750)
        for left in self._path.glob("*.part"):
            left.unlink(missing_ok=True)

    def open(self, size: int | None = None) -> Writer:
        if size is not None and size > self._memory_bytes:
            try:
                room = os.statvfs(self._path)
            except OSError as error:
                raise Unavailable(f"spool {self._path}: {error.strerror}") from error
            if room.f_bavail * room.f_frsize < size + self._reserve_bytes:
                raise StorageFull(
                    f"spool {self._path}: {size} bytes do not fit beside a reserve of {self._reserve_bytes}; "
                    "free space or enlarge the file system"
                )
        self._count += 1
        executor = self._threads.of_body(0 if self._stays else self._count)
        return Writer(
            self._path / f"{os.getpid()}-{self._count}.part", self._memory_bytes, executor, stays=self._stays
        )  # fmt: skip

    def close(self) -> None:
        self._threads.shutdown()


class Writer:
    """One body on its way in; see ports.spool.SpoolWriter."""

    def __init__(self, path: Path, memory_bytes: int, executor: Executor, *, stays: bool) -> None:
        self._path = path
        self._stays = stays
        self._memory_bytes = memory_bytes
        self._executor = executor
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._held: list[bytes | memoryview] = []
        self._held_bytes = 0
        self._size = 0
        self._flushed = 0
        """Bytes handed to the lanes."""
        self._on_disk = 0
        """Bytes that the writing lane has written."""
        self._kicked = 0
        self._fd = -1
        self._lanes: tuple[Lane, Lane] | None = None
        self._ended = False

    @property
    def written(self) -> int:
        return self._on_disk if self._lanes is not None else self._size

    async def write(self, chunk: bytes | memoryview) -> None:
        if self._held and len(chunk) < _JOIN_BELOW and len(self._held[-1]) < _JOIN_BELOW:
            self._held[-1] = bytes(self._held[-1]) + chunk  # tiny chunks must not cost a list entry each
        else:
            self._held.append(chunk)
        self._held_bytes += len(chunk)
        self._size += len(chunk)
        if self._lanes is None:
            if self._size <= self._memory_bytes:
                return
            self._open_file()
        if self._held_bytes >= _BATCH:
            await self._flush()

    async def read(self, offset: int, size: int) -> bytes:
        if self._lanes is None:
            return b"".join(self._held)[offset : offset + size]
        return os.pread(self._fd, min(size, self._on_disk - offset), offset)

    async def finish(self) -> Body:
        if self._lanes is None:
            data = bytes(self._held[0]) if len(self._held) == 1 else b"".join(self._held)
            self._held = [data]
            if len(data) <= _INLINE_HASH:
                self._hash(data)
            else:
                lane = Lane(self._executor, 1)
                await lane.submit(lambda: self._hash(data))
                await lane.drained()
            self._ended = True
            return Body(self._content(), data, None, -1, self._executor)
        if self._held:
            await self._flush()
        for lane in self._lanes:
            try:
                await lane.drained()
            except OSError as error:
                raise self._translated(error) from error
        self._ended = True
        content = self._content()
        file = LocalFile(self._path, self._size, verified=content)
        return Body(content, file, self._path, self._fd, self._executor)

    def discard(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._held = []
        if self._lanes is None:
            return
        self._path.unlink(missing_ok=True)
        # A write in progress may still use the descriptor: it is closed behind it.
        fd = self._fd
        hashing, writing = self._lanes
        hashing.abandon(lambda: None)
        writing.abandon(lambda: os.close(fd))

    def _open_file(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise self._translated(error) from error
        self._lanes = (Lane(self._executor, _DEPTH), Lane(self._executor, _DEPTH))

    async def _flush(self) -> None:
        assert self._lanes is not None
        batch, self._held, self._held_bytes = self._held, [], 0
        self._flushed += sum(map(len, batch))
        hashing, writing = self._lanes
        try:
            await hashing.submit(_each(self._md5.update, batch))
            await writing.submit(lambda: self._store(batch))
        except OSError as error:
            raise self._translated(error) from error

    def _store(self, batch: list[bytes | memoryview]) -> None:
        for chunk in batch:
            self._sha256.update(chunk)
        pending = [memoryview(chunk) for chunk in batch]
        while pending:
            done = os.writev(self._fd, pending[:_IOV_MAX])
            self._on_disk += done
            while pending and done >= len(pending[0]):
                done -= len(pending.pop(0))
            if pending and done:
                pending[0] = pending[0][done:]
        if self._stays and self._on_disk - self._kicked >= _WRITEBACK_EVERY:
            # Start write-back now, so that the fsync at the end finds little to do.
            _start_writeback(self._fd, self._kicked, self._on_disk - self._kicked)
            self._kicked = self._on_disk

    def _hash(self, data: bytes) -> None:
        self._md5.update(data)
        self._sha256.update(data)

    def _content(self) -> Content:
        return Content(Md5(self._md5.hexdigest()), Sha256(self._sha256.hexdigest()), self._size)

    def _translated(self, error: OSError) -> MillraceError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageFull(f"spool {self._path.parent}: no space left; free space or enlarge the file system")
        return Unavailable(f"spool {self._path}: {error.strerror}; check the file system and the kernel log")


class Body:
    """A complete body; see ports.spool.Spooled."""

    def __init__(
        self, content: Content, body: bytes | LocalFile, path: Path | None, fd: int, executor: Executor
    ) -> None:
        self.content = content
        self.body = body
        self._path = path
        self._fd = fd
        self._executor = executor

    def discard(self) -> None:
        if self._path is None:
            return
        self._path.unlink(missing_ok=True)
        self._path = None
        fd = self._fd
        # The last name is gone: closing frees the pages, and waits for those that the disk is writing.
        try:
            closing = self._executor.submit(os.close, fd)
        except RuntimeError:  # the spool is closed
            os.close(fd)
        else:
            closing.add_done_callback(lambda done: os.close(fd) if done.cancelled() else None)


def _each(update: Callable[[bytes | memoryview], Any], batch: list[bytes | memoryview]) -> Callable[[], None]:
    def run() -> None:
        for chunk in batch:
            update(chunk)

    return run


_libc = ctypes.CDLL(None, use_errno=True)


def _start_writeback(fd: int, offset: int, size: int) -> None:
    """Linux sync_file_range(WRITE): advice only, so a refusal is ignored."""
    _libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)
