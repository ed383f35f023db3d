"""When an agent begins with the lifecycle rules: not before what waits in its journal, and not without the lock."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.adapters.no_write_log import NoWriteLog
from controlplane.model.lock_plan import write_claim
from controlplane.model.tally import LifecycleTally
from controlplane.ports.write_log import WriteLog
from controlplane.services.held_lock import HeldLock
from controlplane.services.runner import Runner
from controlplane.settings.stores import MemoryStore
from controlplane.settings.tree import Node, Settings
from controlplane.wiring import lifecycle_sweeps
from controlplane.wiring.lifecycle import LOCK, LOCK_ROUND_S, LOOK_S, LifecyclePart
from tests.support.virtual_time import VirtualClock


class Agent:
    """The part of an agent, whose sweeps only note when they were made and asked."""

    def __init__(self, folder: Path, clock: VirtualClock, patch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        self.made_at: list[float] = []
        self.asked_at: list[float] = []
        self.directory = InProcessDirectory(clock)
        agent = self

        class Sweeps:
            def __init__(
                self, _: Settings, __: WriteLog, lock: HeldLock, clock: VirtualClock, tally: LifecycleTally
            ) -> None:
                agent.made_at.append(clock.monotonic())
                self.duty = self
                self._lock = lock

            async def once(self) -> bool:
                agent.asked_at.append(agent.clock.monotonic())
                return False

            def stop(self) -> None:
                pass

            async def end(self) -> None:
                await self._lock.give_back()

        patch.setattr(lifecycle_sweeps, "LifecycleSweeps", Sweeps)
        settings = Settings(node=Node(cluster="c", name="here", data_dir=folder), primary=MemoryStore())
        self.part = LifecyclePart(settings, self.directory, NoWriteLog(), clock)
        self._runners: list[Runner] = []

    def start(self) -> None:
        def run(runner: Runner) -> asyncio.Task[None]:
            self._runners.append(runner)
            return asyncio.ensure_future(runner.run())

        self.part.start(run)

    async def stop(self) -> None:
        for runner in self._runners:
            runner.stop()
        await self.part.end()


@pytest.fixture
def agent(tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Agent:
    return Agent(tmp_path, clock, monkeypatch)


async def test_the_first_sweep_leaves_the_start_to_the_journal(agent: Agent, clock: VirtualClock) -> None:
    began = clock.monotonic()
    agent.start()
    await clock.sleep(LOOK_S * 0.9)
    assert agent.made_at == []
    await clock.sleep(LOOK_S * 2)
    assert agent.made_at == [pytest.approx(began + LOOK_S)]
    assert agent.asked_at == [pytest.approx(began + LOOK_S), pytest.approx(began + 2 * LOOK_S)]
    assert agent.part.tally.held
    await agent.stop()
    assert await agent.directory.get(LOCK) is None


async def test_an_agent_without_the_lock_makes_no_sweeps(agent: Agent, clock: VirtualClock) -> None:
    await agent.directory.compare_and_swap(LOCK, None, write_claim("there", clock.now()), ttl_s=1e6)
    agent.start()
    await clock.sleep(LOOK_S * 20)
    assert agent.made_at == []
    assert not agent.part.tally.held
    await agent.stop()
    found = await agent.directory.get(LOCK)
    assert found is not None
    assert "there" in found.value


async def test_an_agent_that_ends_before_its_first_sweep_leaves_the_lock_to_others(
    agent: Agent, clock: VirtualClock
) -> None:
    agent.start()
    await clock.sleep(LOCK_ROUND_S * 0.5)
    assert await agent.directory.get(LOCK) is not None
    await agent.stop()
    assert await agent.directory.get(LOCK) is None
    assert agent.made_at == []
