"""The promises of tests/support/virtual_time.py, on which every other unit test stands."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support import virtual_time
from tests.support.virtual_time import EPOCH, Deadlock, VirtualClock, VirtualTimeLoop


async def test_a_long_sleep_takes_no_time(clock: VirtualClock) -> None:
    began = time.monotonic()
    await clock.sleep(86_400 * 30)
    assert clock.now() == pytest.approx(EPOCH + 86_400 * 30)
    assert time.monotonic() - began < 1


async def test_timers_fire_in_order_each_at_its_time(clock: VirtualClock) -> None:
    fired: list[tuple[str, float]] = []

    async def after(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        fired.append((name, clock.monotonic()))

    began = clock.monotonic()
    await asyncio.gather(after("late", 7.5), after("early", 0.5), after("middle", 3))
    assert [(name, pytest.approx(at - began)) for name, at in fired] == [("early", 0.5), ("middle", 3), ("late", 7.5)]


async def test_time_stands_while_anything_is_runnable(clock: VirtualClock) -> None:
    began = clock.monotonic()
    timer = asyncio.create_task(clock.sleep(0.001))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert clock.monotonic() == began
    await timer


async def test_threads_are_waited_for_without_a_jump(clock: VirtualClock) -> None:
    began = clock.monotonic()
    async with asyncio.timeout(0.001):
        await asyncio.to_thread(time.sleep, 0.05)
    assert clock.monotonic() == began


async def test_a_timeout_fires_on_virtual_time(clock: VirtualClock) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()
    assert clock.monotonic() >= 3600


async def test_stepping_the_wall_clock_leaves_the_monotonic_one(clock: VirtualClock) -> None:
    before = clock.monotonic()
    clock.step(-500)
    assert clock.now() == EPOCH + before - 500
    assert clock.monotonic() == before


def test_a_deadlock_is_said_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "_FOREIGN_THREAD_GRACE_S", 0.1)  # xdist has a thread of its own
    loop = VirtualTimeLoop()
    waiting = loop.create_task(asyncio.Event().wait())
    with pytest.raises(Deadlock):
        loop.run_until_complete(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)
    loop.close()
