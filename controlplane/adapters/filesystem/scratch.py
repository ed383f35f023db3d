"""Temporary files of one process, that the next process removes when this one has died.

Each process has a directory tmp/<random> and holds an flock on it: the kernel gives the lock up when the process dies,
so what can be locked is left over, however young it is, and what cannot is in use, however old it is.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager


class Scratch:
    def __init__(self, tmp: str) -> None:
        self._tmp = tmp
        self._directory = ""
        self._lock_fd = -1
        self._numbers = itertools.count()

    def open(self) -> int:
        """Take a directory of our own and remove those of dead processes; return how many files those had left."""
        os.makedirs(self._tmp, exist_ok=True)
        # Held while a directory exists that is not locked yet: nobody mistakes it for a dead process's.
        with _locked(self._tmp):
            removed = sum(_remove_if_dead(os.path.join(self._tmp, name)) for name in os.listdir(self._tmp))
            self._directory = os.path.join(self._tmp, secrets.token_hex(8))
            os.mkdir(self._directory)
            self._lock_fd = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        return removed

    @property
    def is_open(self) -> bool:
        return self._lock_fd >= 0

    def path(self) -> str:
        """A name that nobody uses yet."""
        return f"{self._directory}/{next(self._numbers)}"

    def close(self) -> None:
        if not self.is_open:
            return
        _empty(self._directory)
        os.close(self._lock_fd)
        self._lock_fd = -1


@contextmanager
def _locked(path: str) -> Iterator[None]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _remove_if_dead(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _empty(path)
    except BlockingIOError:
        return 0
    finally:
        os.close(fd)


def _empty(path: str) -> int:
    names = os.listdir(path)
    for name in names:
        os.unlink(os.path.join(path, name))
    os.rmdir(path)
    return len(names)
