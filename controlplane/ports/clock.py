"""Time is an argument: nothing below wiring reads the system's clock."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step back, for measuring spans."""
        ...

    async def sleep(self, seconds: float) -> None: ...
