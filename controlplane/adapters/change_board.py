"""Changes in memory that the processes of one node share; implements ports.changes.Changes.

A fixed number of places, each the time of its last change. Names share places: who finds a younger time asks once too
often, never once too seldom. A process that is killed leaves nothing behind that could hinder others.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from functools import lru_cache
from hashlib import blake2b
from math import inf
from typing import Final

_PLACES: Final = 1 << 15
_BYTES: Final = _PLACES * 8


def create_board() -> int:
    """The descriptor of new memory in which nothing has changed yet; to be handed to every process, and closed."""
    fd = os.memfd_create("millrace-changes", os.MFD_CLOEXEC)
    os.ftruncate(fd, _BYTES)
    return fd


class ChangeBoard:
    def __init__(self, fd: int) -> None:
        """`fd`: of create_board(), inherited. It may be closed afterwards."""
        self._memory = mmap.mmap(fd, _BYTES)
        self._times = memoryview(self._memory).cast("d")
        # A description of its own: a lock on the inherited one would be everybody's.
        self._lock = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)

    def mark(self, name: str, at: float) -> None:
        place = _place(name)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # two changes in one place: the younger stays
        try:
            if at > self._times[place]:
                self._times[place] = at
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def last(self, name: str) -> float:
        return self._times[_place(name)] or -inf

    def close(self) -> None:
        self._times.release()
        self._memory.close()
        os.close(self._lock)


@lru_cache(maxsize=4096)
def _place(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4).digest()
    return int.from_bytes(digest, "little") % _PLACES
