"""Blocking work in a bounded pool of threads, that is never left running behind its caller's back."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    def __init__(self, name: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of work(...) in a thread. When cancelled, returns only after the work has ended."""
        return await self.run_or(_nothing, work, *args, **kwargs)

    async def run_or(self, cancel: Callable[[], None], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same; cancel() is called first when the caller is cancelled, to make the work end early."""
        future = self.start(work, *args, **kwargs)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            cancel()
            await ended(future)
            raise

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Start work(...) in a thread; the caller must await it, or ended() of it."""
        call = functools.partial(work, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def aclose(self) -> None:
        """Wait for the work under way, then end the threads."""
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)


def _nothing() -> None:
    pass


async def ended(future: asyncio.Future[T]) -> None:
    """Wait for `future`, whatever becomes of it, also while this task is cancelled again."""
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()  # seen: asyncio would report it as never retrieved
