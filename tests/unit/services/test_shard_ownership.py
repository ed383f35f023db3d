"""Shards of agents that come, go, lose their directory and stall: never two at work in one shard, and all worked in."""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest

from controlplane.adapters.memory.journal import MemoryJournal
from controlplane.adapters.memory.shard_directory import InProcessShards, MemoryShardDirectory
from controlplane.model.keys import Bucket, Key
from controlplane.model.sharding import ALL_SHARDS, Shard, assignment, shard_of
from controlplane.model.task import Draft, Op
from controlplane.ports.shards import NotOwner
from controlplane.services.owned_journal import OwnedJournal
from controlplane.services.shard_ownership import ShardOwnership
from tests.support.virtual_time import VirtualClock

TTL_S = 10.0
PACE_S = 1.0
SEEDS = int(os.environ.get("TEST_SEEDS", "4"))


class Agent:
    """Rounds at their pace, and work in every shard that it may work in."""

    def __init__(self, node: str, shared: InProcessShards, clock: VirtualClock, at_work: dict[Shard, set[str]]) -> None:
        self.node = node
        self.shared = shared
        self.ownership = ShardOwnership(MemoryShardDirectory(shared), node, clock, ttl_s=TTL_S)
        self._clock = clock
        self._at_work = at_work
        self.stalled = False
        """Its rounds do not come (a directory that does not answer); its work and its watch go on."""
        self._tasks = [asyncio.ensure_future(loop()) for loop in (self._rounds, self._watch, self._work)]

    async def _rounds(self) -> None:
        while True:
            if not self.stalled:
                await self.ownership.once()
            await self._clock.sleep(PACE_S)

    async def _watch(self) -> None:
        while True:
            await self.ownership.watch()
            await self._clock.sleep(0.2)

    async def _work(self) -> None:
        chance = random.Random(self.node)
        while True:
            for shard in self.ownership.working():
                if chance.random() < 0.02:
                    asyncio.ensure_future(self._one(shard, chance.uniform(0.1, 6.0)))  # noqa: RUF006
            await self._clock.sleep(0.3)

    async def _one(self, shard: Shard, takes_s: float) -> None:
        try:
            await self.ownership.guarded([shard], self._in(shard, takes_s))
        except NotOwner:
            pass

    async def _in(self, shard: Shard, takes_s: float) -> None:
        self._at_work[shard].add(self.node)
        try:
            assert len(self._at_work[shard]) == 1, f"{shard} is worked in by {self._at_work[shard]}"
            await self._clock.sleep(takes_s)
        finally:
            self._at_work[shard].discard(self.node)

    async def die(self) -> None:
        """What it had under way ends with it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for running in tuple(self.ownership._under_way):
            running.cancel()
        await asyncio.sleep(0)

    async def end(self) -> None:
        await self.die()
        await self.ownership.leave()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_never_two_in_one_shard_and_all_shards_have_an_owner_in_time(seed: int, clock: VirtualClock) -> None:
    chance = random.Random(seed)
    shared = InProcessShards(clock)
    at_work: dict[Shard, set[str]] = defaultdict(set)
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(str(context)))
    agents: dict[str, Agent] = {}
    for step in range(25):
        node = f"n{chance.randrange(4)}"
        match chance.randrange(6):
            case 0 | 1 if node not in agents:
                agents[node] = Agent(node, shared, clock, at_work)
            case 2 if node in agents:
                await agents.pop(node).die()
            case 3 if node in agents:
                await agents.pop(node).end()
            case 4 if node in agents:
                agents[node].stalled = not agents[node].stalled
            case 5:
                shared.away = not shared.away
        await clock.sleep(chance.uniform(0.5, 12.0) if step % 5 else 0.1)
    shared.away = False
    for node in ("n0", "n1"):
        agents.setdefault(node, Agent(node, shared, clock, at_work))
    for agent in agents.values():
        agent.stalled = False
    # Leases of the dead end, drained shards are given back, and taken in the next round.
    await clock.sleep(TTL_S + 6.0 + 4 * PACE_S)
    wanted = assignment(dict.fromkeys(agents, 100))
    assert {s: n for n, agent in agents.items() for s in agent.ownership.working()} == wanted
    for agent in agents.values():
        await agent.die()
    assert not problems, problems[:3]


async def settle(agents: Sequence[Agent], clock: VirtualClock) -> None:
    await clock.sleep(8 * PACE_S + 6.0)
    assert frozenset().union(*(agent.ownership.working() for agent in agents)) == ALL_SHARDS


async def test_shards_of_an_agent_that_died_are_others_within_the_ttl_and_two_seconds(clock: VirtualClock) -> None:
    shared = InProcessShards(clock)
    agents = [Agent(f"n{n}", shared, clock, defaultdict(set)) for n in range(3)]
    await settle(agents, clock)
    await agents[0].die()
    await clock.sleep(TTL_S + 2.0)
    assert agents[1].ownership.working() | agents[2].ownership.working() == ALL_SHARDS
    for agent in agents[1:]:
        await agent.die()


async def test_an_orderly_end_hands_over_at_once(clock: VirtualClock) -> None:
    shared = InProcessShards(clock)
    agents = [Agent(f"n{n}", shared, clock, defaultdict(set)) for n in range(2)]
    await settle(agents, clock)
    await agents[0].end()
    await clock.sleep(2 * PACE_S)
    assert agents[1].ownership.working() == ALL_SHARDS
    await agents[1].die()


async def test_work_ends_before_the_lease_can_when_the_directory_is_away(clock: VirtualClock) -> None:
    shared = InProcessShards(clock)
    agent = Agent("n0", shared, clock, defaultdict(set))
    await settle([agent], clock)
    shared.away = True
    began = clock.monotonic()
    with pytest.raises(NotOwner):
        await agent.ownership.guarded([Shard(1)], clock.sleep(3600))
    assert clock.monotonic() - began < TTL_S - 1.0
    assert agent.ownership.working() == frozenset()
    shared.away = False
    # The former session's keys are gone by now: it joins anew, and goes on.
    await clock.sleep(TTL_S)
    assert agent.ownership.working() == ALL_SHARDS
    await agent.die()


async def test_who_cancels_the_caller_is_not_told_a_story_about_shards(clock: VirtualClock) -> None:
    shared = InProcessShards(clock)
    agent = Agent("n0", shared, clock, defaultdict(set))
    await settle([agent], clock)
    waiting = asyncio.ensure_future(agent.ownership.guarded([Shard(1)], clock.sleep(3600)))
    await clock.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await agent.die()


async def test_outcomes_of_shards_that_were_lost_do_not_reach_the_journal(clock: VirtualClock) -> None:
    shared = InProcessShards(clock)
    agent = Agent("n0", shared, clock, defaultdict(set))
    await settle([agent], clock)
    journal = MemoryJournal(100)
    ours = OwnedJournal(journal, agent.ownership)
    tasks = [await ours.append(Draft(Op.PUT_OBJECT, Bucket("b"), Key(f"k{n}")), clock.now()) for n in range(4)]
    assert [task.seq for task in await ours.due(clock.now(), 10)] == [task.seq for task in tasks]
    await ours.close([tasks[0].seq])
    assert await journal.find(tasks[0].seq) is None
    lost = shard_of(tasks[1].draft.bucket, tasks[1].draft.key)
    del agent.ownership._owned[lost]
    await ours.close([tasks[1].seq])
    await ours.postpone(tasks[1].seq, attempts=9, due_at=0, error="late")
    await ours.bury(tasks[1].seq, attempts=9, error="late")
    assert await journal.find(tasks[1].seq) == tasks[1]
    assert tasks[1].seq not in {task.seq for task in await ours.due(clock.now(), 10)}
    await agent.die()
