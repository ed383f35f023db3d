"""The lock of conditional writes: one holder among all gateways, gone with its holder, honest without etcd."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.ports.errors import Unavailable
from controlplane.s3.fault import Code, S3Fault
from controlplane.services.s3.write_locks import WriteLocks
from tests.support.virtual_time import VirtualClock

TTL_S = 30.0


@pytest.fixture
def directory(clock: VirtualClock) -> InProcessDirectory:
    return InProcessDirectory(clock)


def gateway(directory: InProcessDirectory | None, clock: VirtualClock, name: str) -> WriteLocks:
    return WriteLocks(directory, clock, Random(1), name, TTL_S)


async def test_two_gateways_never_hold_a_key_at_once(directory: InProcessDirectory, clock: VirtualClock) -> None:
    inside = most = done = 0

    async def write(locks: WriteLocks) -> None:
        nonlocal inside, most, done
        async with locks.hold("bucket", "key"):
            inside += 1
            most = max(most, inside)
            await clock.sleep(0.2)
            inside -= 1
        done += 1

    both = [gateway(directory, clock, name) for name in ("one", "two")]
    await asyncio.gather(*(write(locks) for locks in both for _ in range(5)))
    assert (most, done) == (1, 10)


async def test_other_keys_do_not_wait(directory: InProcessDirectory, clock: VirtualClock) -> None:
    locks = gateway(directory, clock, "one")
    began = clock.monotonic()
    async with locks.hold("bucket", "a"), locks.hold("bucket", "b"), locks.hold("other", "a"):
        assert clock.monotonic() == began


async def test_who_fails_inside_gives_it_back(directory: InProcessDirectory, clock: VirtualClock) -> None:
    locks = gateway(directory, clock, "one")
    with pytest.raises(S3Fault):
        async with locks.hold("bucket", "key"):
            raise S3Fault(Code.PRECONDITION_FAILED)
    began = clock.monotonic()
    async with locks.hold("bucket", "key"):
        assert clock.monotonic() - began < 0.1


async def test_a_holder_that_hangs_is_conflict_for_others_and_knows_when_to_stop(
    directory: InProcessDirectory, clock: VirtualClock
) -> None:
    async with gateway(directory, clock, "one").hold("bucket", "key") as left:
        assert 0 < left < TTL_S
        with pytest.raises(S3Fault) as refused:
            async with gateway(directory, clock, "two").hold("bucket", "key"):
                raise AssertionError("two holders")
    assert refused.value.code is Code.CONDITIONAL_REQUEST_CONFLICT


async def test_a_holder_that_died_is_followed_after_its_lease(
    directory: InProcessDirectory, clock: VirtualClock
) -> None:
    dead = gateway(directory, clock, "one").hold("bucket", "key")
    await dead.__aenter__()  # never left: the process was killed
    await clock.sleep(TTL_S + 1)
    async with gateway(directory, clock, "two").hold("bucket", "key"):
        pass


async def test_without_etcd_a_conditional_write_is_unavailable_and_says_why(clock: VirtualClock) -> None:
    with pytest.raises(Unavailable, match=r"directory\.etcd\.endpoints"):
        async with gateway(None, clock, "one").hold("bucket", "key"):
            raise AssertionError("held without etcd")
