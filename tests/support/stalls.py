"""How long something took, without what the machine took from it: promises of time are tested on busy machines too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

_TICK_S = 0.02


class Stopwatch:
    """Counts while this event loop runs. A stall, when the loop was due and did not run, counts as one tick: its
    process had no processor, or somebody blocked the loop (for which there are other tests)."""

    def __init__(self) -> None:
        self._began = self._ticked = time.monotonic()
        self._stalled_s = 0.0

    @property
    def seconds(self) -> float:
        now = time.monotonic()
        return now - self._began - self._stalled_s - max(0.0, now - self._ticked - _TICK_S)

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            self._stalled_s += max(0.0, now - self._ticked - _TICK_S)
            self._ticked = now


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Runs within the block."""
    made = Stopwatch()
    ticking = asyncio.ensure_future(made.tick())
    try:
        yield made
    finally:
        ticking.cancel()


async def seconds(work: Awaitable[object]) -> float:
    """What `work` took, by a stopwatch."""
    with stopwatch() as watch:
        await work
        return watch.seconds
