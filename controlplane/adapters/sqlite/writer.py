"""The one thread that writes a database: everything that is queued when it wakes goes into one commit."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from controlplane.adapters.sqlite.write_session import WriteSession
from controlplane.ports.errors import MillraceError, Unavailable

S = TypeVar("S", bound=WriteSession)
T = TypeVar("T")

QUEUE_BOUND = 1024
"""Writes that may be queued or under way; those who bring more wait. It bounds a transaction, too."""


@dataclass(slots=True)
class _Write(Generic[S]):
    operation: Callable[[S], Any]
    guarded: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class WriterThread(Generic[S]):
    """Runs operations on a session, in the order in which they were submitted, and answers each after its commit."""

    def __init__(self, session: S) -> None:
        self._session = session
        self._queue: queue.SimpleQueue[_Write[S] | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(QUEUE_BOUND)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._accepts = False
        self._stopping = False

    async def open(self) -> None:
        """Open the session in the thread. Raises what WriteSession.open() raises; the thread is gone then."""
        if self._thread is not None:
            raise RuntimeError(f"{self._session.name} was opened before")
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name=self._session.name, daemon=True)
        self._thread.start()
        try:
            await asyncio.shield(opened)
        except asyncio.CancelledError:
            self._queue.put(None)
            raise
        except BaseException:
            await self._ended
            self._thread = None
            raise
        self._accepts = True

    async def submit(self, operation: Callable[[S], T], *, guarded: bool = True) -> T:
        """Run `operation` in the thread, in a transaction with others, and return its result after the commit.

        It may raise, and then has done nothing; the others of its transaction are not touched by that. An operation
        that is not guarded gets no savepoint: it must raise before it writes. Cancelling the caller leaves it open
        whether the write happens. Raises Unavailable when closed, and the session's faults."""
        await self._room.acquire()
        if not self._accepts or self._loop is None:
            self._room.release()
            raise Unavailable(f"{self._session.name} is not open: this process is starting or stopping")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Write(operation, guarded, future))
        return await future

    async def aclose(self) -> None:
        """Finish what is queued and close. Idempotent."""
        if self._accepts:
            self._accepts = False
            self._queue.put(None)
        if self._ended is not None:
            await asyncio.shield(self._ended)

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            self._session.open()
        except BaseException as error:  # noqa: BLE001 - it is raised by open()
            self._tell(_fail, opened, error)
            self._tell(_succeed, self._ended)
            return
        self._tell(_succeed, opened)
        try:
            while batch := self._next_batch():
                self._write(batch)
                self._tell(self._answer, batch)
                if self._stopping:
                    break
        finally:
            self._session.close()
            self._tell(_succeed, self._ended)

    def _next_batch(self) -> list[_Write[S]]:
        """What is queued, waiting for the first; empty, or with `_stopping` set, when it is time to end."""
        batch = []
        write = self._queue.get()
        while write is not None:
            batch.append(write)
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return batch
        self._stopping = True
        return batch

    def _write(self, batch: list[_Write[S]]) -> None:
        try:
            self._session.begin()
            for write in batch:
                self._apply(write)
            self._session.commit()
        except BaseException as error:  # noqa: BLE001 - every write of the batch gets it
            self._abandon(batch, error)

    def _abandon(self, batch: list[_Write[S]], error: BaseException) -> None:
        """Nothing of the batch was written: those that had not failed by themselves fail with `error`."""
        try:
            self._session.rollback()
        except sqlite3.Error as worse:
            error.add_note(f"rolling back failed, too: {worse}")
        for write in batch:
            if write.error is None:
                write.error = self._fault(error)

    def _fault(self, error: BaseException) -> BaseException:
        if not isinstance(error, sqlite3.Error):
            return error
        fault = self._session.fault(error)
        fault.__cause__ = error
        return fault

    def _apply(self, write: _Write[S]) -> None:
        if not write.guarded:
            try:
                write.result = write.operation(self._session)
            except MillraceError as error:
                write.error = error
            return
        session = self._session
        session.settle()  # before the savepoint: it belongs to others
        mark = session.mark()
        session.connection.execute("SAVEPOINT guard")
        try:
            write.result = write.operation(session)
            session.settle()
        except Exception as error:
            if not session.connection.in_transaction:
                raise  # SQLite has rolled back everything
            session.connection.execute("ROLLBACK TO guard")
            session.restore(mark)
            write.error = self._fault(error)
        session.connection.execute("RELEASE guard")

    def _answer(self, batch: list[_Write[S]]) -> None:
        for write in batch:
            self._room.release()
            if write.error is not None:
                _fail(write.future, write.error)
            else:
                _succeed(write.future, write.result)

    def _tell(self, answer: Callable[..., object], *args: object) -> None:
        """Run `answer` on the event loop, unless that has ended: then nobody waits."""
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(answer, *args)
            except RuntimeError:
                if not self._loop.is_closed():
                    raise


def _succeed(future: asyncio.Future[Any], result: object = None) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
