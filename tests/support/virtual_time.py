"""Virtual time: an event loop that jumps to the next timer instead of waiting for it, and a Clock that reads it.

Time moves only when nothing is runnable. Work handed to threads by run_in_executor (and asyncio.to_thread) takes no
virtual time: the loop waits for it in real time before it jumps. Threads that a test or an adapter starts by itself
are unknown to the loop, so a timeout around them may fire at once: give such code a real loop.
When nothing can ever happen again, the loop raises Deadlock instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable
from typing import Any

EPOCH = 1_750_000_000.0
"""Unix seconds at which a VirtualClock starts."""

_FOREIGN_THREAD_GRACE_S = 10.0


class Deadlock(RuntimeError):
    """No timer is set, no descriptor is ready, no thread works: the test would wait for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves `now` by the timeout that it is asked to wait for, unless a thread works."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads_working = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.threads_working:
            return super().select(None)
        if timeout is None:
            # Also when no thread is left: the last may have woken the loop after the look above, and ended.
            ready = super().select(_FOREIGN_THREAD_GRACE_S if threading.active_count() > 1 else 0)
            if not ready:
                raise Deadlock("every task waits, and nothing is left that could wake one")
            return ready
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads_working += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping.threads_working -= 1


class VirtualClock:
    """ports.clock.Clock on the running loop's time: Unix time starts at EPOCH, and step() sets it without waiting."""

    def __init__(self) -> None:
        self._offset = EPOCH

    def now(self) -> float:
        return self._offset + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def step(self, seconds: float) -> None:
        """Move Unix time alone, as an operator or NTP does; monotonic() is not touched."""
        self._offset += seconds
