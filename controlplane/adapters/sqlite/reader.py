"""A thread of its own for reads that may take a while, so that they hold up neither the event loop nor the writer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from controlplane.adapters.sqlite.schema import Schema, connect
from controlplane.ports.errors import Unavailable

T = TypeVar("T")


class ReaderThread:
    """One read at a time. Each must end its transaction: a snapshot that is kept keeps the -wal file growing."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self._path = path
        self._schema = schema
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """The file must be there, with its tables."""
        self._thread = ThreadPoolExecutor(1, f"{self._schema.what}-reader")
        try:
            self._connection = await self._in_thread(self._thread, lambda: connect(self._path))
        except BaseException:
            await self.aclose()
            raise

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        thread, connection = self._thread, self._connection
        if thread is None or connection is None:
            raise Unavailable(f"{self._schema.name(self._path)} is not open: this process is starting or stopping")
        return await self._in_thread(thread, lambda: query(connection))

    async def _in_thread(self, thread: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, call)
        except sqlite3.Error as error:
            raise self._schema.fault(error, self._path) from error

    async def aclose(self) -> None:
        """Finish the reads under way and close. Idempotent."""
        thread, connection = self._thread, self._connection
        self._thread = self._connection = None
        if thread is not None:
            if connection is not None:
                await asyncio.get_running_loop().run_in_executor(thread, connection.close)
            thread.shutdown(wait=False)
