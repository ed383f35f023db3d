"""One database's write connection and what is known inside the transaction in progress."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from controlplane.adapters.sqlite.schema import Schema, open_database
from controlplane.adapters.sqlite.wal_file import WalFile
from controlplane.ports.errors import MillraceError, Unavailable


class WriteSession:
    """Lives in the writer thread. Subclasses add operations, and keep what they count in load(), store() and mark().

    A durable schema's commit() flushes the log after SQLite has let go of its write lock. Several processes so hold the
    lock for fractions of a millisecond each and flush at the same time, which the file system makes one of. Others may
    see an entry before it is durable: whoever wrote it has not been told yet, and may do without it after a power cut.
    The log is read in its order, so a flush makes all durable that was committed before, by whomever.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self._path = path
        self._schema = schema
        self._connection: sqlite3.Connection | None = None
        self._log = WalFile(path) if schema.durable else None
        self._torn = False
        """The disk did not take a flush: what is in the log may not be on it, now and after later flushes."""

    @property
    def name(self) -> str:
        return self._schema.name(self._path)

    @property
    def connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError(f"{self.name} is not open")
        return self._connection

    def open(self) -> None:
        self._connection = open_database(self._path, self._schema)

    def begin(self) -> None:
        if self._torn:
            self._mend()
        self.connection.execute("BEGIN IMMEDIATE")
        self.load()

    def commit(self) -> None:
        self.settle()
        self.store()
        self.connection.execute("COMMIT")
        if self._log is not None:
            try:
                self._log.flush()
            except OSError as error:
                self._torn = True
                raise Unavailable(
                    f"{self.name}: its disk did not take a write ({error.strerror}): check the kernel's log; "
                    "whether the entry survives a power cut is not known",
                    retry_after=5.0,
                ) from error

    def _mend(self) -> None:
        """Move everything from the log into the database, which SQLite flushes, and begin the log anew."""
        busy, _, _ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Unavailable(f"{self.name}: its log cannot be written anew while others read it", retry_after=1.0)
        self._torn = False

    def rollback(self) -> None:
        if self.connection.in_transaction:  # SQLite has rolled back by itself after some errors
            self.connection.execute("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._log is not None:
            self._log.close()

    def fault(self, error: sqlite3.Error) -> MillraceError:
        return self._schema.fault(error, self._path)

    def load(self) -> None:
        """Read what the operations need to know: another process may have changed it since the last transaction."""

    def settle(self) -> None:
        """Write what operations have put off in order to write it at once."""

    def store(self) -> None:
        """Write what load() read, as it is now."""

    def mark(self) -> object:
        """What restore() needs to forget the operations from here on, when their savepoint is rolled back."""
        return None

    def restore(self, mark: object) -> None:
        """Undo what is known in memory, as the savepoint undoes what is in the database."""
