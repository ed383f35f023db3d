"""Directories that survive a power failure: made when needed, synced before anything in them is acknowledged."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable


class Directories:
    """Threads that sync one directory share the fsyncs: who comes while one runs waits for one that began later.

    Thread-safe. `top` itself must be durable. `permanent` tells which directories, few in number, are never pruned.
    """

    def __init__(self, top: str, *, fsync: bool, permanent: Callable[[str], bool]) -> None:
        self._top = top
        self._permanent = permanent
        self._fsync = fsync
        self._lock = threading.Lock()
        self._durable: set[str] = set()
        self._syncs: dict[str, _SharedSync] = {}

    def make(self, path: str) -> None:
        """Make a directory and its parents below top; it is durable after the next sync() of it."""
        try:
            os.mkdir(path)
        except FileExistsError:
            pass
        except FileNotFoundError:
            if path == self._top:
                raise
            self.make(os.path.dirname(path))
            self.make(path)

    def sync(self, path: str) -> None:
        """Make what was linked into or renamed in `path` durable, and `path` itself.

        The entries of its parents are synced too: another process may have made them and not come that far. Only the
        permanent ones need that once, because nobody removes and makes them again.
        """
        if not self._fsync:
            return
        self._sync_entries(path)
        while path != self._top and path not in self._durable:
            parent = os.path.dirname(path)
            self._sync_entries(parent)
            if self._permanent(path):
                self._durable.add(path)
            path = parent

    def sync_removal(self, path: str) -> None:
        """Make an unlink in `path` durable, be it by the removal of the whole directory."""
        while self._fsync:
            try:
                self._sync_entries(path)
            except FileNotFoundError:
                if path == self._top:
                    raise
                path = os.path.dirname(path)
            else:
                return

    def prune(self, path: str) -> None:
        """Remove `path` and its parents while they are empty and not permanent; a put that races makes them again."""
        while path != self._top and not self._permanent(path):
            try:
                os.rmdir(path)
            except OSError:
                return
            path = os.path.dirname(path)

    def _sync_entries(self, path: str) -> None:
        with self._lock:
            shared = self._syncs.get(path)
            if shared is None:
                shared = self._syncs[path] = _SharedSync()
            shared.users += 1
        try:
            shared.run(path)
        finally:
            with self._lock:
                shared.users -= 1
                if not shared.users:
                    del self._syncs[path]


class _SharedSync:
    """Callers take tickets; a sync serves every ticket taken before it began, and fails all of them if it fails."""

    def __init__(self) -> None:
        self.users = 0
        self._tickets = itertools.count(1)
        self._latest = 0
        self._served = 0
        self._failed: list[tuple[range, OSError]] = []
        self._running = threading.Lock()
        self._taking = threading.Lock()

    def run(self, path: str) -> None:
        with self._taking:
            mine = self._latest = next(self._tickets)
        with self._running:
            if self._served < mine:
                self._serve(path)
            for tickets, error in self._failed:
                if mine in tickets:
                    raise error

    def _serve(self, path: str) -> None:
        with self._taking:
            tickets = range(self._served + 1, self._latest + 1)
        try:
            fsync_path(path)
        except OSError as error:
            self._failed.append((tickets, error))
        self._served = tickets[-1]


def fsync_path(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
