"""The threads of the agent's spool finish the oldest body first, so that something can be sent early."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.spool import DiskSpool
from controlplane.adapters.spool.oldest_first import OldestFirst


@pytest.fixture
def threads() -> Iterator[OldestFirst]:
    made = OldestFirst(1, "test")
    yield made
    made.shutdown()


@given(numbers=st.lists(st.integers(0, 3), max_size=12))
def test_calls_run_by_the_age_of_their_body_and_those_of_one_body_in_order(numbers: list[int]) -> None:
    threads, go, ran = OldestFirst(1, "test"), Event(), list[tuple[int, int]]()
    threads.submit(0, go.wait)
    futures = [threads.of_body(number).submit(ran.append, (number, at)) for at, number in enumerate(numbers)]
    go.set()
    for future in futures:
        future.result(10)
    threads.shutdown()
    assert ran == sorted((number, at) for at, number in enumerate(numbers))


def test_what_a_call_raises_is_its_callers_and_the_thread_goes_on(threads: OldestFirst) -> None:
    failed = threads.of_body(1).submit(lambda: 1 // 0)
    assert threads.of_body(2).submit(pow, 2, 5).result(10) == 32
    assert isinstance(failed.exception(10), ZeroDivisionError)


def test_a_cancelled_call_does_not_run(threads: OldestFirst) -> None:
    go, ran = Event(), list[int]()
    threads.submit(0, go.wait)
    cancelled, other = threads.submit(1, lambda: ran.append(1)), threads.submit(2, lambda: ran.append(2))
    assert cancelled.cancel()
    go.set()
    other.result(10)
    assert ran == [2]


def test_the_end_waits_for_what_runs_and_cancels_the_rest() -> None:
    threads, began, go = OldestFirst(1, "test"), Event(), Event()

    def run() -> str:
        began.set()
        go.wait()
        return "whole"

    running, waiting = threads.submit(1, run), threads.submit(2, lambda: "never")
    assert began.wait(10)
    closing = Thread(target=threads.shutdown)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(10)
    assert closing.is_alive()
    go.set()
    closing.join(10)
    assert running.result(0) == "whole"
    with pytest.raises(RuntimeError):
        threads.submit(3, lambda: None)


@pytest.mark.parametrize("stays", [False, True], ids=["to be sent", "to stay: in the order they came"])
async def test_the_older_of_two_bodies_is_whole_first(tmp_path: Path, stays: bool) -> None:
    spool, go, whole = DiskSpool(tmp_path, memory_bytes=1000, threads=1, stays=stays), Event(), list[str]()
    older, younger = spool.open(2 << 20), spool.open(2 << 20)
    spool._threads.submit(0, go.wait)
    for writer in (younger, older):
        await writer.write(bytes(2 << 20))

    async def finish(name: str) -> None:
        body = await (older if name == "older" else younger).finish()
        whole.append(name)
        body.discard()

    finishing = [asyncio.ensure_future(finish(name)) for name in ("younger", "older")]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*finishing)
    spool.close()
    assert whole == (["younger", "older"] if stays else ["older", "younger"])
