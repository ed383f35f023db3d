"""Byte-range locks of a file (Linux open-file-description locks); implements ports.node_locks.NodeLocks.

A name's byte is a digest of it. Names that meet on a byte exclude each other, which is no harm.
"""

from __future__ import annotations

import fcntl
import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import Final

_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid
_EXCLUSIVE: Final = -1


class FileLocks:
    """`path` is made when it is missing, and stays empty."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._held: dict[int, int] = {}
        """By byte: how many of this process share it, or _EXCLUSIVE. To the kernel this process is one holder."""

    def try_exclusive(self, name: str) -> bool:
        byte = _byte(name)
        if byte in self._held or not self._set(fcntl.F_WRLCK, byte):
            return False
        self._held[byte] = _EXCLUSIVE
        return True

    def try_shared(self, name: str) -> bool:
        byte = _byte(name)
        holders = self._held.get(byte, 0)
        if holders == _EXCLUSIVE or (not holders and not self._set(fcntl.F_RDLCK, byte)):
            return False
        self._held[byte] = holders + 1
        return True

    def release(self, name: str) -> None:
        byte = _byte(name)
        holders = self._held.pop(byte)
        if holders > 1:
            self._held[byte] = holders - 1
        else:
            self._set(fcntl.F_UNLCK, byte)

    def close(self) -> None:
        """Frees all that is held."""
        os.close(self._fd)

    def _set(self, kind: int, byte: int) -> bool:
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
        except BlockingIOError:
            return False
        return True


def _byte(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2  # the last byte of a file is number 2**63 - 1
