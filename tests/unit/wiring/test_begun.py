"""What is opened beside the rest of a start: it goes on by itself, and is closed whatever comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from controlplane.ports.errors import Unavailable
from controlplane.wiring.begun import begun


class Door:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def _slowly(door: Door, opened: list[float]) -> Door:
    await asyncio.to_thread(lambda: opened.append(time.monotonic()))
    return door


async def test_what_it_waits_for_goes_on_while_the_loop_is_held_up() -> None:
    door, opened = Door(), list[float]()
    async with AsyncExitStack() as closing:
        opening = await begun(_slowly(door, opened), closing)
        deadline = time.monotonic() + 10
        while not opened and time.monotonic() < deadline:  # without a turn of the loop
            time.sleep(0.001)
        assert opened
        assert await opening is door
        assert not door.closed
    assert door.closed == 1


async def _start_that_fails(opening: Coroutine[Any, Any, Door]) -> None:
    async with AsyncExitStack() as closing:
        await begun(opening, closing)
        raise Unavailable("another part")


async def _start(opening: Coroutine[Any, Any, Door]) -> None:
    async with AsyncExitStack() as closing:
        await (await begun(opening, closing))


async def _fails() -> Door:
    raise Unavailable("no disk")


async def test_it_is_closed_when_the_start_failed_before_anybody_waited_for_it() -> None:
    door = Door()
    with pytest.raises(Unavailable, match="another part"):
        await _start_that_fails(_slowly(door, []))
    assert door.closed == 1


async def test_a_failure_is_told_to_who_waits() -> None:
    with pytest.raises(Unavailable, match="no disk"):
        await _start(_fails())


async def test_a_failure_that_nobody_waited_for_does_not_hide_the_first() -> None:
    with pytest.raises(Unavailable, match="another part"):
        await _start_that_fails(_fails())
