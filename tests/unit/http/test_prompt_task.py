"""A prompt task begins where it is made, goes on where it is woken, and is a task to whatever it awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from controlplane.http.prompt_task import PromptTask, Signal, waiter

word: ContextVar[str] = ContextVar("word", default="")


async def outside(work: Callable[[], object]) -> None:
    """Do it where no task runs, as transports call their protocols."""
    done = asyncio.get_running_loop().create_future()

    def call() -> None:
        work()
        done.set_result(None)

    asyncio.get_running_loop().call_soon(call)
    await done


def begin(coro: Coroutine[Any, Any, None]) -> PromptTask:
    task = PromptTask(coro, asyncio.get_running_loop())
    task.step()
    return task


async def until(task: PromptTask) -> None:
    async with asyncio.timeout(5):
        while not task.done:
            await asyncio.sleep(0.01)


async def test_it_runs_at_once_and_goes_on_within_the_call_that_wakes_it() -> None:
    seen: list[str] = []
    signals: list[Any] = []

    async def work() -> None:
        seen.append("begun")
        signals.append(waiter(asyncio.get_running_loop()))
        await signals[0]
        seen.append("woken")

    def drive() -> None:
        task = begin(work())
        assert seen == ["begun"]
        assert isinstance(signals[0], Signal)
        signals[0].set_result(None)
        assert seen == ["begun", "woken"]
        assert task.done
        assert asyncio.current_task() is None

    await outside(drive)


async def test_a_signal_that_was_set_before_is_not_waited_for() -> None:
    async def work() -> None:
        signal = Signal()
        signal.set_result(None)
        await signal

    def drive() -> None:
        assert begin(work()).done

    await outside(drive)


async def test_within_another_task_it_is_put_off_and_that_one_stays_the_current_one() -> None:
    async def work() -> None:
        assert asyncio.current_task() is not mine

    mine = asyncio.current_task()
    task = begin(work())
    assert not task.done
    assert asyncio.current_task() is mine
    await until(task)


async def test_futures_sleeps_and_their_errors_are_those_of_a_task() -> None:
    seen: list[object] = []

    async def work() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(failing.set_exception, ValueError("x"))
        try:
            await failing
        except ValueError as error:
            seen.append(str(error))
        seen.append(await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0.001, "b")))

    task = begin(work())
    await until(task)
    assert seen == ["x", ["a", "b"]]


async def test_timeouts_and_task_groups_take_it_for_a_task() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.001):
                await waiter(asyncio.get_running_loop())
        except TimeoutError:
            seen.append("timeout")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
                raise ValueError
        except* ValueError:
            seen.append("group")
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    def drive() -> None:
        tasks.append(begin(work()))

    tasks: list[PromptTask] = []
    await outside(drive)
    await until(tasks[0])
    assert seen == ["timeout", "group"]


@pytest.mark.parametrize("kind", ["signal", "future", "sleep"])
async def test_cancel_reaches_it_wherever_it_waits(kind: str) -> None:
    seen: list[str] = []
    signals: list[Any] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        try:
            if kind == "sleep":
                await asyncio.sleep(60)
            else:
                signals.append(waiter(loop) if kind == "signal" else loop.create_future())
                await signals[0]
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    def drive() -> None:
        task = begin(work())
        assert task.cancel()
        assert seen == []  # in a later turn: never within the call
        if kind == "signal":
            signals[0].set_result(None)  # too late: it is woken once
        tasks.append(task)

    tasks: list[PromptTask] = []
    await outside(drive)
    await until(tasks[0])
    assert seen == ["cancelled"]
    assert not tasks[0].cancel()


async def test_one_that_has_not_begun_begins_before_it_is_cancelled() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("cleaned up")

    task = begin(work())  # put off: this test is a task
    task.cancel()
    await until(task)
    assert seen == ["cleaned up"]


async def test_it_has_a_context_of_its_own() -> None:
    seen: list[str] = []

    async def work(name: str) -> None:
        word.set(name)
        await asyncio.sleep(0)
        seen.append(word.get())

    tasks = [begin(work("a")), begin(work("b"))]
    for task in tasks:
        await until(task)
    assert seen == ["a", "b"]
    assert word.get() == ""
