"""The agent's scan: when it is time, by one node at a time, and again where a killed one stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.model.tally import ScanTally
from controlplane.ports.errors import Unavailable
from controlplane.services.held_lock import HeldLock
from controlplane.services.scan_duty import LAST, ScanDuty, is_long_ago
from controlplane.services.scan_run import RUN, ScanRun
from controlplane.services.shared_documents import SharedDocuments
from tests.support.scan_world import Place, World
from tests.support.virtual_time import VirtualClock

DAY = 86_400.0


@pytest.fixture
async def world(clock: VirtualClock, tmp_path: Path) -> World:
    world = World(clock, tmp_path / "spool")
    await world.fill([Place(f"k{n}", True, "", "") for n in range(9)])
    return world


class Killed(BaseException):
    """The process ends here."""


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

            return world.run(checkpoints=world.checkpoints, on_keys=moved, save_every_s=0.0)

        self.tally = ScanTally()
        self.duty = ScanDuty(new_run, self.lock, world.checkpoints, world.clock, every_s=DAY, tally=self.tally)

    async def round(self) -> None:
        await self.lock.once()
        await self.duty.once()


@pytest.mark.parametrize(
    ("ended", "due"), [(-DAY, True), (-DAY + 1, False), (0.0, False), (DAY - 1, False), (365 * DAY, True)]
)
def test_a_clock_that_was_wrong_does_not_put_off_the_next_scan(ended: float, due: bool) -> None:
    """`ended`: the last scan, seconds after now, by the clock of the node that did it."""
    now = 1.8e9
    assert is_long_ago({"finished_at": now + ended}, now, DAY) is due
    assert is_long_ago(None, now, DAY)


async def test_when_the_last_scan_ended_is_told_after_a_restart(world: World, clock: VirtualClock) -> None:
    directory = InProcessDirectory(clock)
    await Agent(world, directory, "one").round()
    ended_at = clock.now()
    await clock.sleep(DAY / 2)
    again = Agent(world, directory, "one")
    assert again.tally.last_finished_at == 0
    await again.round()
    assert again.runs == 0
    assert again.tally.last_finished_at == ended_at


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


@pytest.mark.parametrize("killed_after", [3, 6])
async def test_what_a_dead_node_has_scanned_another_need_not(
    world: World, clock: VirtualClock, killed_after: int
) -> None:
    """Its checkpoint is in the directory, and so is when the last scan ended; its lock runs out."""
    directory = InProcessDirectory(clock)
    world.checkpoints = SharedDocuments(directory, "scan")
    one, two = Agent(world, directory, "one"), Agent(world, directory, "two")
    await one.lock.once()
    seen = 0

    def die() -> None:
        nonlocal seen
        seen += 3
        if seen > killed_after:
            raise Killed

    one.on_keys = die
    with pytest.raises(Killed):
        await one.duty.once()
    told = len(world.told.differences)
    await clock.sleep(31)
    world.told.differences.clear()
    await two.round()
    assert two.runs == 1
    assert max(d.key for d in world.told.differences) == "k8"
    assert told + len(world.told.differences) <= 9 + 3  # a page twice, for want of a later checkpoint
    assert len(world.told.differences) < 9
    await clock.sleep(31)
    await two.lock.give_back()
    await one.round()
    assert one.runs == 1  # the other's scan counts for it too


async def test_a_checkpoint_that_cannot_be_written_does_not_end_the_scan(world: World, clock: VirtualClock) -> None:
    class Away(SharedDocuments):
        async def save(self, name: str, document: Mapping[str, Any]) -> None:
            if document.get("unit"):
                raise Unavailable("told to")
            await super().save(name, document)

    report = await world.run(checkpoints=Away(InProcessDirectory(clock), "scan"), save_every_s=0.0).run()
    assert (report.complete, report.failed, report.totals.missing) == (True, 0, 9)


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
