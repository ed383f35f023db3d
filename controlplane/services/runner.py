"""The one loop: it owns for ever, pace, back-off and shutdown of every once()."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from controlplane.ports.clock import Clock

log = logging.getLogger(__name__)


class Runner:
    """Calls `once` until stop(). `once` returns True when it should be called again at once.

    An exception is logged and followed by a jittered back-off that doubles up to `most_s`: no loop dies of a bad round.
    """

    def __init__(
        self, name: str, once: Callable[[], Awaitable[bool]], clock: Clock, *, every_s: float, most_s: float = 30.0
    ) -> None:
        self._name = name
        self._once = once
        self._clock = clock
        self._every_s = every_s
        self._most_s = most_s
        self._stopping = asyncio.Event()
        self.failures = 0
        """Failed rounds in a row."""

    async def run(self) -> None:
        while not self._stopping.is_set():
            try:
                again = await self._once()
                self.failures = 0
            except Exception:
                self.failures += 1
                log.exception("%s: a round failed (%d in a row); trying again", self._name, self.failures)
                again = False
            if not again:
                await self._pause()

    def stop(self) -> None:
        """End after the round in progress."""
        self._stopping.set()

    async def _pause(self) -> None:
        seconds = self._every_s
        if self.failures:
            backed_off = min(max(self._every_s, 0.1) * 2.0 ** min(self.failures, 16), self._most_s)
            seconds = backed_off * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret
        await pause(self._clock, seconds, self._stopping)


async def pause(clock: Clock, seconds: float, until: asyncio.Event) -> None:
    """For so long, or until the event."""
    sleeping = asyncio.ensure_future(clock.sleep(seconds))
    waiting = asyncio.ensure_future(until.wait())
    try:
        await asyncio.wait((sleeping, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in (sleeping, waiting):
            waiter.cancel()
        await asyncio.gather(sleeping, waiting, return_exceptions=True)
