"""Publisher: in the directory only while the probe passes (I7); a directory that is away stops nothing (I10)."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.model.endpoints import Endpoint
from controlplane.model.tally import PublishTally
from controlplane.ports.errors import Corrupt, Unavailable
from controlplane.services.publish import Publisher
from controlplane.services.runner import Runner
from tests.support.fakes import FakeAnnouncer
from tests.support.virtual_time import VirtualClock

ENDPOINT = Endpoint("blobs", "node1", "http://127.0.0.1:8470")


class Probe:
    """Passes or fails as it is told."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def __call__(self) -> None:
        if self.error is not None:
            raise self.error


class Stage:
    def __init__(self, clock: VirtualClock, *more: FakeAnnouncer, failures_allowed: int = 2) -> None:
        self.clock = clock
        self.probe = Probe()
        self.directory = FakeAnnouncer(clock)
        self.tally = PublishTally()
        self.publisher = Publisher(
            ENDPOINT,
            self.probe,
            [self.directory, *more],
            ttl_s=15.0,
            failures_allowed=failures_allowed,
            tally=self.tally,
        )
        self.runner = Runner("publish", self.publisher.once, clock, every_s=5.0)


@pytest.fixture
def stage(clock: VirtualClock) -> Stage:
    return Stage(clock)


async def test_i7_announced_only_after_the_probe_passed(stage: Stage) -> None:
    stage.probe.error = Unavailable("no listener")
    await stage.publisher.once()
    assert stage.directory.announced == []
    assert not stage.tally.published
    stage.probe.error = None
    await stage.publisher.once()
    assert stage.directory.visible
    assert stage.tally.published


@pytest.mark.parametrize("error", [Unavailable("502"), Corrupt("other bytes")])
@pytest.mark.parametrize("allowed", [1, 2, 3])
async def test_i7_withdrawn_after_the_allowed_failures_and_back_with_the_next_pass(
    clock: VirtualClock, error: Exception, allowed: int
) -> None:
    stage = Stage(clock, failures_allowed=allowed)
    await stage.publisher.once()
    stage.probe.error = error
    for n in range(1, allowed + 1):
        await stage.publisher.once()
        assert stage.directory.visible == (n < allowed)
    assert not stage.tally.published
    assert stage.tally.probes_failed == allowed
    stage.probe.error = None
    await stage.publisher.once()
    assert stage.directory.visible


async def test_i7_failures_that_are_not_in_a_row_do_not_withdraw(stage: Stage) -> None:
    for _ in range(5):
        await stage.publisher.once()
        stage.probe.error = Unavailable("once")
        await stage.publisher.once()
        stage.probe.error = None
    assert stage.directory.withdrawn == []


async def test_i7_the_runner_keeps_the_lease_alive_and_a_dead_agent_leaves_by_it(stage: Stage) -> None:
    running = asyncio.ensure_future(stage.runner.run())
    for _ in range(20):
        await stage.clock.sleep(5)
        assert stage.directory.visible
    running.cancel()
    await asyncio.wait((running,))
    await stage.clock.sleep(14)
    assert stage.directory.withdrawn == []
    await stage.clock.sleep(1.1)
    assert not stage.directory.visible


async def test_i7_it_leaves_the_in_process_directory_by_its_lease(clock: VirtualClock) -> None:
    directory = InProcessDirectory(clock)
    publisher = Publisher(ENDPOINT, Probe(), [directory], ttl_s=15.0, failures_allowed=2, tally=PublishTally())
    await publisher.once()
    assert (await directory.endpoints("blobs")).endpoints == (ENDPOINT,)
    await clock.sleep(15.1)
    assert (await directory.endpoints("blobs")).endpoints == ()
    await publisher.once()
    await publisher.withdraw()
    assert (await directory.endpoints("blobs")).endpoints == ()
    await directory.aclose()


async def test_i7_withdrawn_at_once_on_stop(stage: Stage) -> None:
    running = asyncio.ensure_future(stage.runner.run())
    await stage.clock.sleep(12)
    stage.runner.stop()
    await stage.publisher.withdraw()
    assert not stage.directory.visible
    assert stage.directory.withdrawn == [stage.clock.now()]
    await running


async def test_i10_a_directory_that_is_away_is_said_and_counted_and_stops_nothing(stage: Stage) -> None:
    stage.directory.error = Unavailable("etcd away")
    running = asyncio.ensure_future(stage.runner.run())
    await stage.clock.sleep(60)
    assert not running.done()
    assert not stage.tally.published
    assert stage.tally.directory_errors >= 10
    assert "etcd away" in stage.tally.last_error
    assert stage.tally.probes_passed >= 10
    stage.directory.error = None
    await stage.clock.sleep(5.1)
    assert stage.directory.visible
    assert stage.tally.last_error == ""
    stage.directory.error = Unavailable("away again")
    stage.runner.stop()
    await stage.publisher.withdraw()
    await running
    await stage.clock.sleep(15.1)
    assert not stage.directory.visible


async def test_i10_one_directory_away_the_other_still_gets_the_endpoint(clock: VirtualClock) -> None:
    other = FakeAnnouncer(clock)
    stage = Stage(clock, other)
    stage.directory.error = Unavailable("away")
    await stage.publisher.once()
    assert other.visible
    assert not stage.tally.published
    await stage.publisher.withdraw()
    assert not other.visible
