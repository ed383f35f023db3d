"""Work that must be done in order, in a thread, beside the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


class Lane:
    """Runs calls one after the other in `executor`; hashing and writing release the GIL, so lanes run side by side.

    At most `depth` calls wait; submit() waits for room, so memory is bounded. The first exception ends the lane:
    later calls are dropped and submit() and drained() raise it.
    """

    def __init__(self, executor: Executor, depth: int) -> None:
        self._executor = executor
        self._depth = depth
        self._calls: deque[Callable[[], Any]] = deque()
        self._running: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._failed: BaseException | None = None
        self._loop = asyncio.get_running_loop()

    async def submit(self, call: Callable[[], Any]) -> None:
        while len(self._calls) >= self._depth and self._failed is None:
            self._room.clear()
            await self._room.wait()
        if self._failed is not None:
            raise self._failed
        self._calls.append(call)
        if self._running is None:
            self._start()

    async def drained(self) -> None:
        """All submitted calls have run."""
        while self._running is not None:
            await asyncio.wait((self._running,))
        if self._failed is not None:
            raise self._failed

    def abandon(self, last: Callable[[], Any]) -> None:
        """Drop what has not begun, and call `last` when nothing runs any more."""
        self._calls.clear()
        if self._running is None:
            last()
        else:
            self._running.add_done_callback(lambda _: last())

    def _start(self) -> None:
        self._running = self._loop.run_in_executor(self._executor, self._work)
        self._running.add_done_callback(self._finished)

    def _work(self) -> None:
        while self._calls:
            call = self._calls.popleft()
            self._loop.call_soon_threadsafe(self._room.set)
            call()

    def _finished(self, running: asyncio.Future[None]) -> None:
        self._running = None
        if not running.cancelled() and (error := running.exception()) is not None:
            self._failed = error
            self._calls.clear()
        self._room.set()
        # A call may have been queued after the thread saw an empty deque and before this callback ran.
        if self._calls:
            self._start()
