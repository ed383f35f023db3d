"""When a scan may send requests: it keeps to the limits of its rule, like copies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

Admit: TypeAlias = Callable[[int], Awaitable[None]]
"""Waits until so many requests may be sent. Raises what ends the scan when no more may."""


async def at_once(_: int) -> None:
    """For scans without a limit."""
