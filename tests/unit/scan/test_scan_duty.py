"""The agent's scan: when it is time, by one node at a time, and again where a killed one stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.services.held_lock import HeldLock
from controlplane.services.scan_duty import LAST, ScanDuty
from controlplane.services.scan_run import RUN, ScanRun
from tests.support.scan_world import Place, World
from tests.support.virtual_time import VirtualClock

DAY = 86_400.0


@pytest.fixture
async def world(clock: VirtualClock, tmp_path: Path) -> World:
    world = World(clock, tmp_path / "spool")
    await world.fill([Place(f"k{n}", True, "", "") for n in range(9)])
    return world


class Agent:
    def __init__(self, world: World, directory: InProcessDirectory, name: str) -> None:
        self.runs = 0
        self.lock = HeldLock("locks/mirror-scan", name, directory, world.clock, ttl_s=30)
        self.on_keys: Callable[[], None] = lambda: None

        def new_run(check: Callable[[int], None]) -> ScanRun:
            self.runs += 1

            def moved(keys: int) -> None:
                self.on_keys()
                check(keys)

            return world.run(checkpoints=world.checkpoints, on_keys=moved)

        self.duty = ScanDuty(new_run, self.lock, world.checkpoints, world.clock, every_s=DAY)

    async def round(self) -> None:
        await self.lock.once()
        await self.duty.once()


async def test_it_scans_at_once_and_then_at_its_interval(world: World, clock: VirtualClock) -> None:
    agent = Agent(world, InProcessDirectory(clock), "one")
    await agent.round()
    await agent.round()
    assert agent.runs == 1
    last = await world.checkpoints.load(LAST)
    assert last is not None
    assert last["totals"]["missing"] == 9
    await clock.sleep(DAY)
    await agent.round()
    assert agent.runs == 2


async def test_only_the_holder_of_the_lock_scans(world: World, clock: VirtualClock) -> None:
    directory = InProcessDirectory(clock)
    one, two = Agent(world, directory, "one"), Agent(world, directory, "two")
    await one.lock.once()
    await two.round()
    assert two.runs == 0
    await one.round()
    assert one.runs == 1


async def test_a_scan_stops_when_the_lock_is_lost_and_goes_on_when_it_is_held_again(
    world: World, clock: VirtualClock
) -> None:
    agent = Agent(world, InProcessDirectory(clock), "one")
    await agent.lock.once()
    agent.on_keys = lambda: setattr(agent.lock, "held_until", 0.0)
    await agent.duty.once()
    assert await world.checkpoints.load(RUN) is not None
    assert 0 < len(world.told.differences) < 9
    agent.on_keys = lambda: None
    await agent.round()
    assert agent.runs == 2
    assert sorted(one.key for one in world.told.differences) == [f"k{n}" for n in range(9)]


async def test_a_stopped_agent_scans_no_more(world: World, clock: VirtualClock) -> None:
    agent = Agent(world, InProcessDirectory(clock), "one")
    await agent.lock.once()
    agent.on_keys = agent.duty.stop
    await agent.duty.once()
    await agent.round()
    assert agent.runs == 1
    assert await world.checkpoints.load(RUN) is not None
    await agent.duty.end()
    assert not agent.lock.held
