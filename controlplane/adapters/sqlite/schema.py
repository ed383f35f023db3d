"""Opening a database file: creating it whole or not at all, knowing it again, and bringing its tables up to date."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from controlplane.adapters.sqlite.faults import translate
from controlplane.ports.errors import Corrupt, MillraceError, Rejected, StorageFull, Unavailable

BUSY_TIMEOUT_S = 5.0
_QUICK_CHECK_BYTES = 32 << 20
"""Files up to this size (a journal nearly always) are checked page by page when they are opened: about 10 ms a MiB."""
_WAL_KEPT_BYTES = 64 << 20
_WAL_CHECKPOINT_PAGES = 4000


@dataclass(frozen=True, slots=True)
class Schema:
    """One kind of database. `versions[n]` is the script from version n to n + 1; it is only ever appended to."""

    what: str
    application_id: int
    """Kept in the file's header, so that a file of another kind is refused."""
    versions: tuple[str, ...]
    durable: bool
    """Whether a commit is on the disk before it is reported (see write_session)."""
    advice: str
    """What to do about a damaged file."""

    def name(self, path: Path) -> str:
        return f"the {self.what} {path}"

    def fault(self, error: sqlite3.Error, path: Path) -> MillraceError:
        return translate(error, self.name(path), self.advice)

    def damaged(self, path: Path, how: str) -> Corrupt:
        return Corrupt(f"{self.name(path)} {how}: {self.advice}")


def connect(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S, cache_kib: int = 2048) -> sqlite3.Connection:
    """A connection to an existing file that any one thread at a time may use. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    try:
        # Never FULL: SQLite would flush under its write lock, and every other process would wait for this disk.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA cache_size=-{cache_kib}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_CHECKPOINT_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_database(path: Path, schema: Schema) -> sqlite3.Connection:
    """The writer's connection to the file at `path`, which is created when there is none, and has every table after.

    Raises Corrupt for a damaged or foreign file (it is left as it is), Rejected for one that a newer version wrote,
    Unavailable and StorageFull."""
    try:
        if not path.exists():
            _create(path, schema)
        if path.stat().st_size == 0:
            raise schema.damaged(path, "is empty, though it was created whole")
        connection = connect(path)
    except sqlite3.Error as error:
        raise schema.fault(error, path) from error
    except OSError as error:
        if error.errno in {28, 122}:  # ENOSPC, EDQUOT
            raise StorageFull(f"{schema.name(path)} cannot be created: {error.strerror}: free some space") from error
        raise Unavailable(
            f"{schema.name(path)} cannot be opened: {error}: check that its directory is there"
        ) from error
    try:
        _check(connection, path, schema)
        _migrate(connection, path, schema)
    except sqlite3.Error as error:
        connection.close()
        raise schema.fault(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path, schema: Schema) -> None:
    """Make the file under another name and link it into place: what is at `path` is always a whole database."""
    if Path(f"{path}-wal").exists():
        if path.exists():  # another process has made it since, and works with it
            return
        raise schema.damaged(path, "is missing, but its -wal file is there")
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.new-", dir=path.parent)
    os.close(descriptor)
    try:
        with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA application_id={schema.application_id}")
            connection.execute("BEGIN IMMEDIATE")
            _apply(connection, schema, 0)
            connection.execute("COMMIT")
        # When another process was faster, its file is the one.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        for leftover in (name, f"{name}-wal", f"{name}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(leftover)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _check(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    if _pragma(connection, "application_id") != schema.application_id:
        raise schema.damaged(path, f"is a database, but not a {schema.what} of Millrace")
    version = _pragma(connection, "user_version")
    if version > len(schema.versions):
        raise Rejected(
            f"{schema.name(path)} has version {version} and this program knows versions up to {len(schema.versions)}: "
            "a newer Millrace wrote it; run that one"
        )
    if path.stat().st_size <= _QUICK_CHECK_BYTES:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise schema.damaged(path, f"is damaged ({found})")


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Also the proof that the file can be written: it takes the write lock in any case."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _pragma(connection, "user_version")  # read under the lock: another process may have been faster
        _apply(connection, schema, version)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        raise schema.damaged(path, "is not in WAL mode")


def _apply(connection: sqlite3.Connection, schema: Schema, version: int) -> None:
    for script in schema.versions[version:]:
        for statement in script.split(";\n"):  # executescript() would commit
            connection.execute(statement)
    if version < len(schema.versions):
        connection.execute(f"PRAGMA user_version={len(schema.versions)}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
