"""The in-process directory's leases follow the clock, exactly."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.model.endpoints import Endpoint
from controlplane.ports.errors import Unavailable
from tests.support.virtual_time import VirtualClock

A, B = Endpoint("blobs", "a", "http://a"), Endpoint("blobs", "b", "http://b")


@pytest.fixture
def directory(clock: VirtualClock) -> InProcessDirectory:
    return InProcessDirectory(clock)


async def test_an_endpoint_leaves_exactly_at_its_ttl(clock: VirtualClock, directory: InProcessDirectory) -> None:
    await directory.announce(A, 15)
    await clock.sleep(14.9)
    assert (await directory.endpoints("blobs")).endpoints == (A,)
    await clock.sleep(0.1)
    assert (await directory.endpoints("blobs")).endpoints == ()


async def test_a_step_of_unix_time_ends_no_lease(clock: VirtualClock, directory: InProcessDirectory) -> None:
    await directory.announce(A, 15)
    clock.step(3600)
    assert (await directory.endpoints("blobs")).endpoints == (A,)


async def test_a_watcher_is_told_of_expiry_at_the_time_of_expiry(
    clock: VirtualClock, directory: InProcessDirectory
) -> None:
    began = clock.monotonic()
    await directory.announce(A, 10)
    await directory.announce(B, 20)
    async with aclosing(directory.watch("blobs")) as sets:
        seen = [(clock.monotonic() - began, (await anext(sets)).endpoints)]
        await clock.sleep(5)
        await directory.announce(A, 10)
        for _ in range(2):
            now = await anext(sets)
            seen.append((clock.monotonic() - began, now.endpoints))
    assert seen == [(0, (A, B)), (15, (B,)), (20, ())]


async def test_a_shorter_ttl_is_noticed_by_who_waits_already(
    clock: VirtualClock, directory: InProcessDirectory
) -> None:
    began = clock.monotonic()
    await directory.announce(A, 100)
    async with aclosing(directory.watch("blobs")) as sets:
        await anext(sets)
        change = asyncio.create_task(anext(sets))
        await clock.sleep(1)
        await directory.announce(A, 4)
        assert (await change).endpoints == ()
    assert clock.monotonic() - began == 5


async def test_values_expire_and_their_revision_with_them(clock: VirtualClock, directory: InProcessDirectory) -> None:
    first = await directory.compare_and_swap("locks/x", None, "me", ttl_s=5)
    await clock.sleep(5)
    assert await directory.get("locks/x") is None
    assert await directory.compare_and_swap("locks/x", first, "me") is None


async def test_closing_ends_a_waiting_watch(directory: InProcessDirectory) -> None:
    sets = directory.watch("blobs")
    await anext(sets)
    change = asyncio.ensure_future(anext(sets))
    await asyncio.sleep(0)
    await directory.aclose()
    with pytest.raises(Unavailable):
        await change
    with pytest.raises(Unavailable):
        await directory.check()
