"""Every ScanBoards keeps the contract: in memory, and etcd on a real cluster of three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from controlplane.adapters.etcd import EtcdOptions
from controlplane.adapters.etcd.scan_board import MOST_BYTES, EtcdScanBoards
from controlplane.adapters.memory.scan_board import InProcessBoard, MemoryScanBoards
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.errors import StorageFull
from controlplane.ports.scan_board import NoSession, ScanBoards
from tests.support.etcd_cluster import EtcdCluster

pytestmark = pytest.mark.usefixtures("forgive_lost_connections")

TTL_S = 3.0
Make = Callable[[], ScanBoards]


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(3) as cluster:
        yield cluster


class ScanBoardsSuite:
    slack_s = 0.1

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    async def test_a_board_is_seen_by_all_changed_by_who_saw_it_and_taken_away(self, make: Make) -> None:
        a, b = make(), make()
        one, two = await a.join("a", 60), await b.join("b", 60)
        seen = await make().seen()
        assert (seen.sessions, seen.text, seen.revision) == ({one, two}, None, 0)
        assert one.startswith("a/")
        assert await a.swap(0, "first é")
        assert not await b.swap(0, "too late")
        seen = await b.seen()
        assert seen.text == "first é"
        assert await b.swap(seen.revision, "second")
        assert not await a.swap(seen.revision, "on what is no more")
        seen = await a.seen()
        assert seen.text == "second"
        assert await a.swap(seen.revision, None)
        assert (await b.seen()).text is None
        assert not await b.swap(seen.revision, "on what was taken away")
        assert await b.swap(0, "anew")
        await a.leave()
        await a.leave()
        assert (await b.seen()).sessions == {two}

    async def test_one_of_many_changes_it(self, make: Make) -> None:
        nodes = [make() for _ in range(4)]
        for number, node in enumerate(nodes):
            await node.join(f"n{number}", 60)
        assert sorted(await asyncio.gather(*(node.swap(0, "x") for node in nodes))) == [False, False, False, True]
        for _ in range(3):
            revision = (await nodes[0].seen()).revision
            answers = await asyncio.gather(*(node.swap(revision, f"{n}") for n, node in enumerate(nodes)))
            assert sorted(answers) == [False, False, False, True]
            assert (await nodes[1].seen()).text == str(answers.index(True))

    async def test_who_has_no_lease_any_more_changes_nothing(self, make: Make) -> None:
        a, b = make(), make()
        with pytest.raises(NoSession):
            await a.swap(0, "a stranger")
        await a.join("a", TTL_S)
        await b.join("b", 60)
        for _ in range(4):
            await asyncio.sleep(TTL_S / 3)
            await a.renew()
        assert await a.swap(0, "in time")
        revision = (await b.seen()).revision
        await asyncio.sleep(TTL_S + self.slack_s)
        assert {one.partition("/")[0] for one in (await b.seen()).sessions} == {"b"}
        with pytest.raises(NoSession):
            await a.swap(revision, "too late")
        with pytest.raises(NoSession):
            await a.renew()
        assert (await b.seen()).text == "in time"

    async def test_a_restarted_node_ends_its_former_session_at_once(self, make: Make) -> None:
        before, after = make(), make()
        former = await before.join("a", 60)
        session = await after.join("a", 60)
        assert session != former
        assert (await after.seen()).sessions == {session}
        with pytest.raises(NoSession):
            await before.swap(0, "a ghost")
        assert await after.swap(0, "x")


class TestMemoryScanBoards(ScanBoardsSuite):
    @pytest.fixture
    def make(self) -> Make:
        shared = InProcessBoard(SystemClock())
        return lambda: MemoryScanBoards(shared)


class TestEtcdScanBoards(ScanBoardsSuite):
    # etcd looks for expired leases twice a second, and grants at least one and a half election timeouts.
    slack_s = 2.0

    @pytest.fixture
    async def make(self, cluster: EtcdCluster, request: pytest.FixtureRequest) -> AsyncIterator[Make]:
        opened: list[EtcdScanBoards] = []

        def make() -> ScanBoards:
            opened.append(EtcdScanBoards(EtcdOptions(cluster.urls), "test-" + request.node.name))
            return opened[-1]

        yield make
        for boards in opened:
            await boards.aclose()

    async def test_one_that_is_too_large_is_refused_and_the_former_stays(self, make: Make) -> None:
        a = make()
        await a.join("a", 60)
        assert await a.swap(0, "x" * MOST_BYTES)
        seen = await a.seen()
        with pytest.raises(StorageFull, match="fewer nodes"):
            await a.swap(seen.revision, "x" * (MOST_BYTES + 1))
        assert (await a.seen()).text == seen.text
