"""The write-ahead log of a database, as a file to be flushed."""

from __future__ import annotations

import os
from pathlib import Path


class WalFile:
    """Opening and closing it does not touch SQLite's locks: those are on the database and on its -shm file.

    It stays the same file as long as any connection is open; this one's session has one.
    """

    def __init__(self, database: Path) -> None:
        self._path = f"{database}-wal"
        self._fd = -1

    def flush(self) -> None:
        """When this returns, everything that was committed before is on the disk. Raises OSError."""
        if self._fd < 0:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _flush_name(os.path.dirname(self._path) or ".")
            except BaseException:
                os.close(fd)
                raise
            self._fd = fd
        os.fdatasync(self._fd)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _flush_name(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
