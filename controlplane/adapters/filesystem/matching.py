"""Replacing or removing an object only if it is the one that was expected: what a file system does not offer by itself.

Everything here blocks and runs in threads. A name's lock is a byte of one file (Linux open-file-description locks):
writers with a condition exclude each other, in one process and in several. Writers without one are not held up, and
not waited for.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from controlplane.adapters.filesystem import attributes

_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


class NotAsExpected(Exception):
    """Another object is there, or none."""


@contextmanager
def only_if(etag: str, target: str, locks: str) -> Iterator[None]:
    """While the caller replaces or removes the file `target`. `locks`: the file whose bytes are locked. Raises
    NotAsExpected, OSError, Corrupt (the object is damaged)."""
    fd = os.open(locks, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _byte(target), 1, 0))
        found = _etag_of(target)
        if found != etag:
            raise NotAsExpected(f"one with ETag {found}" if found else "nothing")
        yield
    finally:
        os.close(fd)


def _byte(name: str) -> int:
    """Names that meet on a byte exclude each other, which is no harm."""
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2  # the last byte of a file is number 2**63 - 1


def _etag_of(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        return attributes.read(fd, path).md5
    finally:
        os.close(fd)
