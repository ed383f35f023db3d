"""One database's write connection and what is known inside the transaction in progress."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from controlplane.adapters.sqlite.schema import Schema, open_database
from controlplane.ports.errors import MillraceError


class WriteSession:
    """Lives in the writer thread. Subclasses add operations, and keep what they count in load(), store() and mark()."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self._path = path
        self._schema = schema
        self._connection: sqlite3.Connection | None = None

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
        self.connection.execute("BEGIN IMMEDIATE")
        self.load()

    def commit(self) -> None:
        self.settle()
        self.store()
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        if self.connection.in_transaction:  # SQLite has rolled back by itself after some errors
            self.connection.execute("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

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
