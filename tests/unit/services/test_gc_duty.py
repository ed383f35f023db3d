"""Garbage collection runs on one node, moves when that node dies, and never runs on two at once."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.model.gc_plan import Times
from controlplane.model.lock_plan import Wish
from controlplane.model.tally import GcTally
from controlplane.ports.directory import Versioned
from controlplane.ports.errors import Unavailable
from controlplane.ports.garbage_collector import CollectorState
from controlplane.services.gc_duty import GcDuty
from controlplane.services.held_lock import HeldLock
from controlplane.services.runner import Runner
from controlplane.settings.tree import Gc
from tests.support.virtual_time import VirtualClock

SHIPPED = Gc()
"""The courses are run with the times that operators get."""
TTL_S = SHIPPED.lease_ttl_s
PACE_S = TTL_S / 6
TIMES = Times(SHIPPED.interval_s, SHIPPED.check_s, SHIPPED.command_timeout_s)
TAKEOVER_S = TTL_S + PACE_S + TIMES.command_s
SEEDS = int(os.environ.get("TEST_SEEDS", "4"))
"""How many random courses are run; raise it to look for more."""


class World:
    """Which Riak CS nodes collect; it remembers when two did."""

    def __init__(self) -> None:
        self.overlaps: list[str] = []
        self.collecting: dict[str, float] = {}
        self.started: list[str] = []

    def start(self, name: str, until: float, now: float) -> None:
        others = [one for one, end in self.collecting.items() if one != name and end > now]
        if others:
            self.overlaps.append(f"{name} began to collect while {others} did")
        self.collecting[name] = until
        self.started.append(name)

    def now(self, now: float) -> list[str]:
        return [name for name, end in self.collecting.items() if end > now]


class RiakCs:
    """A local Riak CS: commands take time, may take effect late, or not at all."""

    def __init__(self, name: str, world: World, clock: VirtualClock, chance: random.Random, batch_s: float) -> None:
        self.name, self._world, self._clock, self._chance, self._batch_s = name, world, clock, chance, batch_s
        self.up = True
        self.own_timer = False
        self.slow = False
        self.questions = 0

    async def _command(self, within_s: float) -> bool:
        """False: the outcome reaches nobody."""
        self.questions += 1
        await self._clock.sleep(self._chance.uniform(0, within_s) if self.slow else 0.5)
        if not self.up:
            raise Unavailable("Node is not responding to pings")
        return not self.slow or self._chance.random() < 0.7

    def _told(self, told: bool) -> None:
        if not told:
            raise Unavailable("no answer in time")

    async def state(self, within_s: float) -> CollectorState:
        self._told(await self._command(within_s))
        return CollectorState(self.name in self._world.now(self._clock.monotonic()), self.own_timer)

    async def start(self, within_s: float) -> None:
        told = await self._command(within_s)
        now = self._clock.monotonic()
        if self.name not in self._world.now(now):
            self._world.start(self.name, now + self._batch_s, now)
        self._told(told)

    async def halt(self, within_s: float) -> None:
        told = await self._command(within_s)
        self.die()
        self.up = True
        self._told(told)

    def die(self) -> None:
        self.up = self.own_timer = False
        self._world.collecting.pop(self.name, None)


class Cable(InProcessDirectory):
    """The shared directory as one node sees it: it can be cut off, or lose answers."""

    def __init__(self, shared: InProcessDirectory, clock: VirtualClock, chance: random.Random) -> None:
        super().__init__(clock)
        self._shared, self._chance = shared, chance
        self.cut = False
        self.lossy = False

    async def get(self, name: str) -> Versioned | None:
        self._pass()
        return await self._shared.get(name)

    async def compare_and_swap(
        self, name: str, expected_revision: int | None, value: str | None, ttl_s: float | None = None
    ) -> int | None:
        self._pass()
        revision = await self._shared.compare_and_swap(name, expected_revision, value, ttl_s)
        if self.lossy and self._chance.random() < 0.4:
            raise Unavailable("the answer was lost")
        return revision

    def _pass(self) -> None:
        if self.cut:
            raise Unavailable("etcd away")


class Host:
    """One machine: Riak CS, and the agent's two loops over it."""

    def __init__(self, name: str, cluster: Cluster, times: Times, seed: int, batch_s: float) -> None:
        chance = random.Random(f"{seed}{name}")
        self.name, self.clock, self._times = name, cluster.clock, times
        self.cs = RiakCs(name, cluster.world, self.clock, chance, batch_s)
        self.cable = Cable(cluster.shared, self.clock, chance)
        self.tasks: list[asyncio.Task[None]] = []
        self.boot()

    def boot(self) -> None:
        self.cs.up = True
        self.tally = GcTally()
        self.lock = HeldLock("locks/gc", self.name, self.cable, self.clock, ttl_s=TTL_S)
        self.duty = GcDuty(self.cs, self.lock, self.clock, self._times, tally=self.tally)
        self.runners = [
            Runner("lock", self.lock.once, self.clock, every_s=PACE_S, most_s=PACE_S),
            Runner("gc", self.duty.once, self.clock, every_s=1.0, most_s=1.0),
        ]
        self.tasks = [asyncio.ensure_future(runner.run()) for runner in self.runners]

    async def crash(self) -> None:
        """The machine loses its power."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.cs.die()

    async def stop_agent(self) -> None:
        for runner in self.runners:
            runner.stop()
        await asyncio.gather(*self.tasks)
        await self.duty.end()


class Cluster:
    def __init__(
        self, clock: VirtualClock, count: int = 3, *, seed: int = 0, batch_s: float = 400, interval_s: float = 900
    ) -> None:
        self.clock, self.world = clock, World()
        self.shared = InProcessDirectory(clock)
        times = replace(TIMES, interval_s=interval_s)
        self.hosts = [Host(f"n{n}", self, times, seed, batch_s) for n in range(1, count + 1)]

    def holder(self) -> Host:
        (found,) = [host for host in self.hosts if host.lock.held]
        return found

    def others(self, host: Host) -> list[Host]:
        return [one for one in self.hosts if one is not host]

    def collecting(self) -> list[str]:
        return self.world.now(self.clock.monotonic())

    async def settle(self) -> Host:
        await self.clock.sleep(2 * PACE_S)
        return self.holder()

    async def close(self) -> None:
        for host in self.hosts:
            await host.crash()
        assert self.world.overlaps == []


@pytest.fixture
async def cluster(clock: VirtualClock):
    made = Cluster(clock)
    yield made
    await made.close()


async def test_one_node_collects_every_interval_and_the_others_never(cluster: Cluster) -> None:
    holder = await cluster.settle()
    await cluster.clock.sleep(4 * TIMES.interval_s)
    assert set(cluster.world.started) == {holder.name}
    assert len(cluster.world.started) in (4, 5)
    assert holder.tally.held
    assert holder.tally.batches == len(cluster.world.started)
    assert not any(host.tally.held or host.tally.batches for host in cluster.others(holder))


async def test_a_quiet_node_is_asked_about_once_a_minute(cluster: Cluster) -> None:
    holder = await cluster.settle()
    before = [host.cs.questions for host in cluster.others(holder)]
    await cluster.clock.sleep(3600)
    asked = [host.cs.questions - first for host, first in zip(cluster.others(holder), before, strict=True)]
    assert all(50 <= count <= 60 for count in asked)


async def test_the_duty_moves_when_the_holder_loses_its_power(cluster: Cluster) -> None:
    dead = await cluster.settle()
    await dead.crash()
    await cluster.clock.sleep(TAKEOVER_S)
    successor = next(host for host in cluster.others(dead) if host.lock.held)
    assert cluster.collecting() == [successor.name]


async def test_a_holder_that_loses_the_directory_halts_before_the_next_one_begins(cluster: Cluster) -> None:
    cut_off = await cluster.settle()
    assert cluster.collecting() == [cut_off.name]
    cut_off.cable.cut = True
    await cluster.clock.sleep(TTL_S - TIMES.command_s)
    assert cluster.collecting() == []
    assert cut_off.tally.halts == 1
    await cluster.clock.sleep(TAKEOVER_S)
    (successor,) = cluster.collecting()
    assert successor != cut_off.name
    cut_off.cable.cut = False
    await cluster.clock.sleep(3600)
    assert cut_off.tally.batches == 1


async def test_the_directory_away_for_a_moment_takes_the_duty_from_nobody(cluster: Cluster) -> None:
    holder = await cluster.settle()
    for host in cluster.hosts:
        host.cable.cut = True
    await cluster.clock.sleep(2 * PACE_S)
    for host in cluster.hosts:
        host.cable.cut = False
    await cluster.clock.sleep(PACE_S)
    assert cluster.holder() is holder
    assert holder.tally.halts == 0
    assert holder.tally.directory_errors >= 1


async def test_the_duty_moves_when_only_riak_cs_of_the_holder_dies_and_stays_when_it_comes_back(
    cluster: Cluster,
) -> None:
    holder = await cluster.settle()
    holder.cs.die()
    await cluster.clock.sleep(TIMES.check_s + 3 * TIMES.retry_s + TAKEOVER_S)
    successor = cluster.holder()
    assert successor is not holder
    holder.cs.up = True
    await cluster.clock.sleep(3600)
    assert cluster.holder() is successor


async def test_nobody_takes_the_duty_without_a_riak_cs_that_answers(clock: VirtualClock) -> None:
    cluster = Cluster(clock, 2)
    for host in cluster.hosts:
        host.cs.die()
    await clock.sleep(600)
    assert not any(host.lock.held for host in cluster.hosts)
    cluster.hosts[1].cs.up = True
    await clock.sleep(TIMES.retry_s + 2 * PACE_S)
    assert cluster.holder() is cluster.hosts[1]
    await cluster.close()


async def test_an_agent_that_ends_in_order_leaves_no_batch_and_the_next_need_not_wait(cluster: Cluster) -> None:
    leaving = await cluster.settle()
    assert cluster.collecting() == [leaving.name]
    await leaving.stop_agent()
    assert cluster.collecting() == []
    await cluster.clock.sleep(PACE_S + 3)
    assert cluster.holder() is not leaving


async def test_an_agent_that_cannot_halt_its_riak_cs_leaves_the_duty_to_the_lease(cluster: Cluster) -> None:
    leaving = await cluster.settle()
    began = cluster.clock.monotonic()

    async def refuses(within_s: float) -> None:
        raise Unavailable("no")

    leaving.cs.halt = refuses  # type: ignore[method-assign]
    await leaving.stop_agent()
    await cluster.clock.sleep(PACE_S)
    assert not any(host.lock.held for host in cluster.others(leaving))
    cluster.world.collecting.clear()
    await cluster.clock.sleep(TAKEOVER_S)
    assert any(host.lock.held for host in cluster.others(leaving))
    assert cluster.clock.monotonic() - began > TTL_S - PACE_S


async def test_a_restarted_agent_goes_on_with_its_own_claim(cluster: Cluster) -> None:
    holder = await cluster.settle()
    await holder.crash()
    holder.boot()
    await cluster.clock.sleep(2 * PACE_S)
    assert cluster.holder() is holder


async def test_an_agent_that_was_killed_does_not_give_its_duty_away_while_its_batch_goes_on(cluster: Cluster) -> None:
    """Nothing halted Riak CS here: the new agent finds the claim and the batch of the former one."""
    holder = await cluster.settle()
    for task in holder.tasks:
        task.cancel()
    holder.boot()
    for _ in range(round(3 * PACE_S)):
        there = await cluster.shared.get("locks/gc")
        assert there is not None
        assert f'"{holder.name}"' in there.value
        await cluster.clock.sleep(1)
    assert cluster.holder() is holder
    assert cluster.collecting() == [holder.name]


async def test_a_timer_that_somebody_switched_on_is_switched_off(cluster: Cluster) -> None:
    holder = await cluster.settle()
    for host in cluster.hosts:
        host.cs.own_timer = True
    await cluster.clock.sleep(TIMES.check_s + 5)
    assert not any(host.cs.own_timer for host in cluster.hosts)
    assert cluster.holder() is holder


async def test_a_deleted_key_costs_the_holder_nothing_or_ends_it_at_once(cluster: Cluster) -> None:
    await cluster.settle()
    there = await cluster.shared.get("locks/gc")
    assert there is not None
    await cluster.shared.compare_and_swap("locks/gc", there.revision, None)
    await cluster.clock.sleep(2 * PACE_S)
    cluster.holder()


async def test_a_key_that_holds_no_claim_is_left_alone_and_said(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    shared = InProcessDirectory(clock)
    await shared.compare_and_swap("locks/gc", None, "what is this")
    lock = HeldLock("locks/gc", "n1", shared, clock, ttl_s=TTL_S)
    lock.wish = Wish.HOLD
    await lock.once()
    assert not lock.held
    assert "locks/gc" in caplog.text
    assert "delete" in caplog.text


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_never_two_at_once_whatever_happens(clock: VirtualClock, seed: int) -> None:
    """Hosts lose power, the directory and their answers; Riak CS gets slow or dies. Then all is well, and one works."""
    chance = random.Random(seed)
    cluster = Cluster(clock, seed=seed, batch_s=3000, interval_s=30)
    for _ in range(60):
        holders = [host for host in cluster.hosts if host.lock.held]
        host = chance.choice(holders if holders and chance.random() < 0.6 else cluster.hosts)
        match chance.randrange(7):
            case 0:
                await host.crash()
                await clock.sleep(chance.uniform(0, TTL_S))
                host.boot()
            case 1:
                await host.stop_agent()
                host.boot()
            case 2 | 3:
                host.cable.cut = not host.cable.cut
            case 4:
                host.cable.lossy = not host.cable.lossy
            case 5:
                host.cs.slow = not host.cs.slow
            case _:
                host.cs.die()
                await clock.sleep(chance.uniform(0, TTL_S))
                host.cs.up = True
        await clock.sleep(chance.choice((0.3, 3, PACE_S, TTL_S, 2 * TTL_S)))
        assert len(cluster.collecting()) <= 1
    for host in cluster.hosts:
        host.cable.cut = host.cable.lossy = host.cs.slow = False
        host.cs.up = True
    await clock.sleep(TIMES.check_s + TAKEOVER_S + 4 * TIMES.retry_s)
    assert cluster.collecting() == [cluster.holder().name]
    assert len(set(cluster.world.started)) > 1
    await cluster.close()
