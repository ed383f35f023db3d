"""Every ShardDirectory keeps the contract: in memory, and etcd on a real cluster of three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from controlplane.adapters.etcd import EtcdOptions
from controlplane.adapters.etcd.shard_directory import EtcdShardDirectory
from controlplane.adapters.memory.shard_directory import InProcessShards, MemoryShardDirectory
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.sharding import ALL_SHARDS, Ownership, Shard
from controlplane.ports.shards import SessionLost, ShardDirectory
from controlplane.services.shard_ownership import ShardOwnership
from tests.support.etcd_cluster import EtcdCluster
from tests.support.stalls import stopwatch

pytestmark = pytest.mark.usefixtures("forgive_lost_connections")

TTL_S = 3.0
BUSY_S = 4.0
"""What etcd may take beside it on a busy machine. To the second: tests/unit/services/test_shard_ownership.py."""
Make = Callable[[], ShardDirectory]


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(3) as cluster:
        yield cluster


class ShardDirectorySuite:
    slack_s = 0.1

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    async def test_members_and_owners_are_seen_by_all(self, make: Make) -> None:
        a, b = make(), make()
        one, other = await a.join("a", 100, 60), await b.join("b", 50, 60)
        assert one != other
        epoch = await a.take(Shard(7))
        assert epoch is not None
        seen = await b.seen()
        assert dict(seen.members) == {"a": 100, "b": 50}
        assert dict(seen.owners) == {Shard(7): Ownership(one, epoch)}
        await a.leave()
        await a.leave()
        seen = await b.seen()
        assert (dict(seen.members), dict(seen.owners)) == ({"b": 50}, {})

    async def test_every_change_is_seen_whatever_was_seen_before(self, make: Make) -> None:
        a, b = make(), make()
        await a.join("a", 100, 60)
        session = await b.join("b", 100, 60)
        expected: dict[Shard, int] = {}
        for number in (4, 5, 6):
            epoch = await b.take(Shard(number))
            assert epoch is not None
            expected[Shard(number)] = epoch
            for _ in range(2):
                assert dict((await a.seen()).owners) == {n: Ownership(session, at) for n, at in expected.items()}
        # The newest one goes, the oldest one goes, one goes and another comes between two looks.
        for gone, come in ((6, None), (4, None), (5, 7)):
            await b.let_go(Shard(gone), expected.pop(Shard(gone)))
            if come is not None:
                await b.seen()
                epoch = await b.take(Shard(come))
                assert epoch is not None
                expected[Shard(come)] = epoch
            assert dict((await a.seen()).owners) == {n: Ownership(session, at) for n, at in expected.items()}
        await b.leave()
        seen = await a.seen()
        assert (dict(seen.members), dict(seen.owners)) == ({"a": 100}, {})

    async def test_one_of_many_gets_a_shard_and_epochs_grow(self, make: Make) -> None:
        agents = [make() for _ in range(4)]
        for number, agent in enumerate(agents):
            await agent.join(f"n{number}", 100, 60)
            await agent.seen()
        last = 0
        for _ in range(3):
            epochs = await asyncio.gather(*(agent.take(Shard(3)) for agent in agents))
            (won,) = [(agent, epoch) for agent, epoch in zip(agents, epochs, strict=True) if epoch is not None]
            assert won[1] > last
            last = won[1]
            for other in agents:
                if other is not won[0]:
                    await other.let_go(Shard(3), last)  # not theirs to give, though they know the epoch
                    await other.let_go(Shard(3), 1)
                    break
            await won[0].let_go(Shard(3), last)
            assert Shard(3) not in (await agents[0].seen()).owners

    async def test_all_ends_with_the_lease_and_is_said(self, make: Make) -> None:
        a, b = make(), make()
        former = await a.join("a", 100, TTL_S)
        await a.take(Shard(1))
        for _ in range(4):
            await asyncio.sleep(TTL_S / 3)
            await a.renew()
        assert (await b.seen()).owners[Shard(1)].session == former
        await asyncio.sleep(TTL_S + self.slack_s)
        seen = await b.seen()
        assert (dict(seen.members), dict(seen.owners)) == ({}, {})
        with pytest.raises(SessionLost):
            await a.renew()
        with pytest.raises(SessionLost):
            await a.take(Shard(2))
        assert await a.join("a", 100, 60) != former

    async def test_a_restarted_node_is_another_session_and_waits_for_the_former(self, make: Make) -> None:
        before, after = make(), make()
        former = await before.join("a", 100, 60)
        await before.take(Shard(1))
        await after.join("a", 70, 60)
        seen = await after.seen()
        assert seen.owners[Shard(1)].session == former
        assert await after.take(Shard(1)) is None
        await before.leave()
        assert await after.take(Shard(1)) is not None


class TestMemoryShardDirectory(ShardDirectorySuite):
    @pytest.fixture
    def make(self) -> Make:
        shared = InProcessShards(SystemClock())
        return lambda: MemoryShardDirectory(shared)


class TestEtcdShardDirectory(ShardDirectorySuite):
    # etcd looks for expired leases twice a second, and grants at least one and a half election timeouts.
    slack_s = 2.0

    @pytest.fixture
    async def make(self, cluster: EtcdCluster, request: pytest.FixtureRequest) -> AsyncIterator[Make]:
        opened: list[EtcdShardDirectory] = []

        def make() -> ShardDirectory:
            opened.append(EtcdShardDirectory(EtcdOptions(cluster.urls), "test-" + request.node.name))
            return opened[-1]

        yield make
        for directory in opened:
            await directory.aclose()

    async def test_a_dead_agents_shards_move_within_the_ttl_and_two_seconds(self, make: Make) -> None:
        """Three agents; one stops without a word."""
        ttl_s = 4.0
        agents = [ShardOwnership(make(), f"n{n}", SystemClock(), ttl_s=ttl_s) for n in range(3)]
        for _ in range(4):
            for agent in agents:
                await agent.once()
        assert frozenset().union(*(agent.working() for agent in agents)) == ALL_SHARDS
        assert sum(len(agent.working()) for agent in agents) == len(ALL_SHARDS)
        dead, *living = agents
        with stopwatch() as since_last_renewal:
            await dead.once()
            while living[0].working() | living[1].working() != ALL_SHARDS:
                assert not (dead.working() and dead.working() & (living[0].working() | living[1].working()))
                assert since_last_renewal.seconds < ttl_s + 2.0 + BUSY_S
                await asyncio.gather(*(agent.once() for agent in living))
                await asyncio.sleep(0.5)
        assert not dead.working()
