"""Runner owns pace, back-off and shutdown; GuidLocks let one writer of a GUID in and keep nothing."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref

import pytest

from controlplane.model.content import Md5
from controlplane.services.cycle_collection import EVERY_S, CycleCollection
from controlplane.services.guid_locks import GuidLocks
from controlplane.services.runner import Runner
from tests.support.virtual_time import VirtualClock

ONE, TWO = Md5("1" * 32), Md5("2" * 32)


async def test_a_round_that_has_more_is_followed_at_once_the_others_in_pace(clock: VirtualClock) -> None:
    rounds: list[float] = []

    async def once() -> bool:
        rounds.append(clock.monotonic())
        return len(rounds) < 4

    runner = Runner("test", once, clock, every_s=10.0)
    running = asyncio.ensure_future(runner.run())
    await clock.sleep(25)
    runner.stop()
    await running
    began = rounds[0]
    assert [at - began for at in rounds] == [0, 0, 0, 0, 10, 20]


async def test_what_is_left_in_a_cycle_goes_by_time_however_few_objects_there_are(clock: VirtualClock) -> None:
    class Error(Exception):
        """That a frame of its own traceback has."""

    errors: list[weakref.ref[Error]] = []

    def fail() -> None:
        error = Error()
        errors.append(weakref.ref(error))
        raise error

    gc.disable()
    runner = Runner("test", CycleCollection().once, clock, every_s=EVERY_S)
    running = asyncio.ensure_future(runner.run())
    try:
        for _ in range(5):
            with pytest.raises(Error):
                fail()
            await clock.sleep(EVERY_S + 1)
            assert errors.pop()() is None
    finally:
        gc.enable()
        runner.stop()
        await running


async def test_stop_ends_a_pause_at_once_and_a_round_after_itself(clock: VirtualClock) -> None:
    ended = []

    async def once() -> bool:
        await clock.sleep(3)
        ended.append(True)
        return True

    runner = Runner("test", once, clock, every_s=3600.0)
    running = asyncio.ensure_future(runner.run())
    await clock.sleep(1)
    began = clock.monotonic()
    runner.stop()
    await running
    assert ended == [True]
    assert clock.monotonic() - began == pytest.approx(2)

    async def idle() -> bool:
        return False

    sleeping = Runner("test", idle, clock, every_s=3600.0)
    running = asyncio.ensure_future(sleeping.run())
    await clock.sleep(1)
    began = clock.monotonic()
    sleeping.stop()
    await running
    assert clock.monotonic() == began


async def test_a_bad_round_backs_off_doubling_to_the_most_and_never_ends_the_loop(clock: VirtualClock) -> None:
    rounds: list[float] = []
    well = asyncio.Event()

    async def once() -> bool:
        rounds.append(clock.monotonic())
        if not well.is_set():
            raise ZeroDivisionError("a bug")
        return False

    runner = Runner("test", once, clock, every_s=1.0, most_s=30.0)
    running = asyncio.ensure_future(runner.run())
    await clock.sleep(300)
    waits = [later - earlier for earlier, later in itertools.pairwise(rounds)]
    for n, wait in enumerate(waits, start=1):
        whole = min(2.0**n, 30.0)
        assert whole / 2 <= wait <= whole
    assert runner.failures == len(rounds)
    well.set()
    await clock.sleep(31)
    assert runner.failures == 0
    runner.stop()
    await running


async def test_cancelling_a_runner_leaves_no_task(clock: VirtualClock) -> None:
    async def once() -> bool:
        return False

    running = asyncio.ensure_future(Runner("test", once, clock, every_s=5.0).run())
    await clock.sleep(1)
    running.cancel()
    await asyncio.wait((running,))
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_holder_of_a_guid_at_a_time_in_order_others_beside(clock: VirtualClock) -> None:
    locks = GuidLocks()
    order: list[tuple[str, float]] = []

    async def work(name: str, guid: Md5) -> None:
        async with locks.hold(guid):
            await clock.sleep(1)
            order.append((name, clock.monotonic()))

    began = clock.monotonic()
    await asyncio.gather(work("a", ONE), work("b", ONE), work("c", TWO), work("d", ONE))
    assert sorted((at - began, name) for name, at in order) == [(1, "a"), (1, "c"), (2, "b"), (3, "d")]
    assert locks._locks == {}


async def test_a_waiter_that_leaves_and_a_holder_that_fails_leave_no_lock(clock: VirtualClock) -> None:
    locks = GuidLocks()

    async def hold(seconds: float) -> None:
        async with locks.hold(ONE):
            await clock.sleep(seconds)
            raise ZeroDivisionError

    first = asyncio.ensure_future(hold(2))
    second = asyncio.ensure_future(hold(2))
    third = asyncio.ensure_future(hold(2))
    await clock.sleep(1)
    second.cancel()
    results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError, asyncio.CancelledError, ZeroDivisionError]
    assert locks._locks == {}
