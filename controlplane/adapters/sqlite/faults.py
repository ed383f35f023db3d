"""From SQLite's result codes to the error tree."""

from __future__ import annotations

import sqlite3

from controlplane.ports.errors import Corrupt, MillraceError, StorageFull, Unavailable

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})  # a full disk cannot grow the -shm file either
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_RETRY_AFTER_S = 5.0


def translate(error: sqlite3.Error, what: str, advice: str) -> MillraceError:
    """`what` names the database ("the journal /…/journal.db"); `advice` says what to do when it is damaged.

    What SQLite cannot do now (busy, read-only, input and output errors) is Unavailable: the outcome of a write may be
    unknown then, since a commit that failed half-way can still be found whole after a crash."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    primary = None if code is None else code & 0xFF
    if code in _FULL or primary in _FULL:
        return StorageFull(f"{what}: the disk is full ({name}): free some space on its file system", _RETRY_AFTER_S)
    if primary in _DAMAGED:
        return Corrupt(f"{what} is damaged ({name}: {error}): {advice}")
    hint = {
        sqlite3.SQLITE_BUSY: "another process held its write lock too long: look for one that hangs",
        sqlite3.SQLITE_READONLY: "it cannot be written: check the owner and mode of the file, its directory and mount",
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that its directory exists and is writable",
        sqlite3.SQLITE_IOERR: "its disk fails: check the kernel's log",
    }.get(primary or 0, "see the message")
    return Unavailable(f"{what}: {error} ({name}); {hint}", _RETRY_AFTER_S)
