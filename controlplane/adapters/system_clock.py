"""Clock: the system's own time."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Implements ports.clock.Clock."""

    __slots__ = ()

    # Not wrapped: each is asked several times in every request.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
