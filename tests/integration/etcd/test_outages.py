"""Members are stopped, killed, paused and restarted under load: nothing is lost, nothing wrong is reported."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from controlplane.adapters.etcd import EtcdDirectory, EtcdOptions
from controlplane.adapters.etcd.keyspace import Keyspace
from controlplane.adapters.etcd.members import Members
from controlplane.adapters.etcd.wire import read_events
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.endpoints import EndpointSet
from controlplane.ports.errors import Unavailable
from tests.contract.directory_suite import PATIENCE_S, Watcher, endpoint, nodes, watching
from tests.support.etcd_cluster import EtcdCluster

pytestmark = pytest.mark.usefixtures("forgive_lost_connections")

TIMEOUT_S = 1.0
RECHECK_S = 2.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(3) as cluster:
        yield cluster


@pytest.fixture
def options(cluster: EtcdCluster) -> EtcdOptions:
    return EtcdOptions(cluster.urls, timeout_s=TIMEOUT_S, recheck_s=RECHECK_S)


@pytest.fixture
async def directory(options: EtcdOptions) -> AsyncIterator[EtcdDirectory]:
    directory = EtcdDirectory(options, "test", SystemClock())
    yield directory
    await directory.aclose()


@dataclass
class Counting:
    """Tasks that increment one counter by compare-and-swap. Every value names its writer, so that the history of the
    key proves what each swap did."""

    directory: EtcdDirectory
    name: str
    done: dict[str, int] = field(default_factory=dict)
    """Value to the revision that the swap returned."""
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            try:
                there = await self.directory.get(self.name)
            except Unavailable:
                continue
            count = int(there.value.split()[0]) if there else 0
            value = f"{count + 1} {uuid.uuid4().hex}"
            self.unknown.add(value)  # until it is answered, and for good when this task is cancelled before that
            try:
                revision = await self.directory.compare_and_swap(self.name, there.revision if there else None, value)
            except Unavailable:
                continue
            self.unknown.discard(value)
            if revision is None:
                self.refused.add(value)
            else:
                self.done[value] = revision


async def history_of(options: EtcdOptions, key: str, last: int) -> dict[str, int]:
    """Every value that the key ever had, with its revision."""
    members = Members(options)
    found: dict[str, int] = {}
    try:
        stream = await Keyspace(members).watch(key, 1)
        async with asyncio.timeout(PATIENCE_S):
            while last not in found.values():
                for message in await stream.messages():
                    found |= {event.kv.value.decode(): event.kv.mod_revision for event in read_events(message)}
        stream.close()
    finally:
        await members.aclose()
    return found


async def announcing(directory: EtcdDirectory, service: str, failures: list[str]) -> None:
    while True:
        try:
            await directory.announce(endpoint("steady", service), 30)
        except Unavailable as error:
            failures.append(str(error))
        await asyncio.sleep(0.3)


async def insist_on(directory: EtcdDirectory, service: str, weight: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await directory.announce(endpoint("changing", service, weight), 60)
                return
            except Unavailable:
                await asyncio.sleep(0.1)


async def test_members_that_go_one_by_one_cost_nothing(
    cluster: EtcdCluster, options: EtcdOptions, directory: EtcdDirectory, service: str
) -> None:
    other = EtcdDirectory(options, "test", SystemClock())
    counting = Counting(other, f"counters/{service}")
    await counting.directory.compare_and_swap(counting.name, None, "0 start")
    failures: list[str] = []
    weight = 0

    async def see_a_change(watcher: Watcher) -> None:
        nonlocal weight
        weight += 1
        await insist_on(directory, service, weight)
        async with asyncio.timeout(PATIENCE_S):
            await watcher.until(lambda found: any(one.weight == weight for one in found.endpoints))

    async with watching(other, service) as watcher, asyncio.TaskGroup() as group:
        tasks = [group.create_task(counting.run()) for _ in range(4)]
        await directory.announce(endpoint("steady", service), 30)
        tasks.append(group.create_task(announcing(directory, service, failures)))
        await see_a_change(watcher)
        for at, sig in (
            (0, signal.SIGTERM),
            (1, signal.SIGKILL),
            (2, signal.SIGSTOP),
            (cluster.leader(), signal.SIGKILL),
        ):
            if sig == signal.SIGSTOP:
                cluster.pause(at)
                await see_a_change(watcher)
                cluster.resume(at)
            else:
                await asyncio.to_thread(cluster.stop_member, at, sig)
                await see_a_change(watcher)
                await asyncio.to_thread(cluster.restart_member, at)
            await asyncio.to_thread(cluster.wait_healthy)
            await see_a_change(watcher)
        leader = cluster.leader()
        cluster.pause(leader)
        await see_a_change(watcher)
        cluster.resume(leader)
        await asyncio.to_thread(cluster.wait_healthy)
        for task in tasks:
            task.cancel()
    first = next(at for at, found in enumerate(watcher.seen) if "steady" in nodes(found))
    assert all("steady" in nodes(found) for found in watcher.seen[first:])
    assert len(failures) <= 15, failures

    there = await directory.get(counting.name)
    assert there is not None
    history = await history_of(options, f"/millrace/v1/test/{counting.name}", there.revision)
    await other.aclose()
    counts = [int(value.split()[0]) for value in history]
    assert counts == list(range(len(counts))), "an increment was lost or came twice"
    assert len(counting.done) > 50
    assert counting.done.items() <= history.items(), "a swap that was reported done was not"
    assert not counting.refused & history.keys(), "a swap that was reported refused took effect"
    assert counts[-1] == len(counting.done) + len(counting.unknown & history.keys())


async def test_a_stream_that_died_silently_is_noticed_within_the_recheck(
    cluster: EtcdCluster, directory: EtcdDirectory, service: str
) -> None:
    """Half-open: the connection stands, nothing comes through it any more."""
    at = next(at for at in range(3) if at != cluster.leader())
    options = EtcdOptions(
        (cluster.urls[at], *(url for url in cluster.urls if url != cluster.urls[at])),
        timeout_s=TIMEOUT_S,
        recheck_s=RECHECK_S,
    )
    watched = EtcdDirectory(options, "test", SystemClock())
    async with watching(watched, service) as watcher:
        await watcher.next()
        opening = asyncio.create_task(watcher.next())
        await asyncio.sleep(0.3)  # the stream is open, at the first endpoint
        cluster.pause(at)
        try:
            await directory.announce(endpoint("a", service), 30)
            began = time.monotonic()
            assert nodes(await opening) == ["a"]
            assert time.monotonic() - began < PATIENCE_S / 2  # it would never be, without the recheck
        finally:
            cluster.resume(at)
    await watched.aclose()


async def test_a_total_outage_is_unavailable_in_bounded_time_and_ends(
    cluster: EtcdCluster, directory: EtcdDirectory, service: str
) -> None:
    await directory.announce(endpoint("a", service), 60)
    async with watching(directory, service) as watcher:
        await watcher.next()
        change = asyncio.create_task(watcher.next())
        for at in range(3):
            cluster.pause(at)
        try:
            calls = {
                "announce": directory.announce(endpoint("a", service), 60),
                "withdraw": directory.withdraw(endpoint("b", service)),
                "endpoints": directory.endpoints(service),
                "get": directory.get("shards/1"),
                "swap": directory.compare_and_swap("shards/1", 1, "x"),
                "check": directory.check(),
            }
            began = time.monotonic()
            outcomes = await asyncio.gather(*calls.values(), return_exceptions=True)
            assert time.monotonic() - began < 3 * TIMEOUT_S + 10
            for name, outcome in zip(calls, outcomes, strict=True):
                assert isinstance(outcome, Unavailable), (name, outcome)
        finally:
            for at in range(3):
                cluster.resume(at)
        await asyncio.to_thread(cluster.wait_healthy)
        for at in range(3):
            await asyncio.to_thread(cluster.stop_member, at, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="no etcd member answered"):
            await directory.endpoints(service)
        assert time.monotonic() - began < 10, "refused connections need no time-out"
        with pytest.raises(Unavailable, match="0 of 3 members healthy"):
            await directory.check()
        for at in range(3):
            cluster.restart_member(at, wait=False)
        await asyncio.to_thread(cluster.wait_healthy)
        assert nodes(await directory.endpoints(service)) == ["a"]
        await directory.announce(endpoint("b", service), 60)
        assert nodes(await change) == ["a", "b"]


async def test_without_a_quorum_nothing_is_answered_from_a_stale_member(
    cluster: EtcdCluster, options: EtcdOptions, service: str
) -> None:
    lonely = EtcdDirectory(replace(options, endpoints=cluster.urls[:1]), "test", SystemClock())
    for at in (1, 2):
        cluster.pause(at)
    try:
        with pytest.raises(Unavailable):
            await lonely.endpoints(service)
        with pytest.raises(Unavailable):
            await lonely.announce(endpoint("a", service), 5)
    finally:
        for at in (1, 2):
            cluster.resume(at)
        await lonely.aclose()
    await asyncio.to_thread(cluster.wait_healthy)


async def test_check_names_the_member_that_is_away(cluster: EtcdCluster, directory: EtcdDirectory) -> None:
    await asyncio.to_thread(cluster.stop_member, 1, signal.SIGTERM)
    try:
        line = await directory.check()
    finally:
        await asyncio.to_thread(cluster.restart_member, 1)
    assert line.startswith("2 of 3 members healthy (")
    assert cluster.urls[1] in line


async def test_a_watcher_that_was_away_while_its_revision_was_compacted_lists_anew(
    cluster: EtcdCluster, options: EtcdOptions, directory: EtcdDirectory, service: str
) -> None:
    bound = EtcdDirectory(replace(options, endpoints=cluster.urls[:1]), "test", SystemClock())
    await directory.announce(endpoint("a", service), 60)
    await directory.announce(endpoint("b", service), 60)
    async with watching(bound, service) as watcher:
        assert nodes(await watcher.next()) == ["a", "b"]
        change = asyncio.create_task(watcher.next())
        await asyncio.to_thread(cluster.stop_member, 0, signal.SIGTERM)
        await directory.withdraw(endpoint("a", service))
        await directory.announce(endpoint("c", service), 60)
        await asyncio.to_thread(cluster.compact, 1)
        await asyncio.to_thread(cluster.restart_member, 0)
        assert nodes(await change) == ["b", "c"]
    await bound.aclose()


async def test_a_cluster_that_was_restored_from_nothing_ends_the_watch(service: str) -> None:
    with EtcdCluster(1) as single:
        directory = EtcdDirectory(EtcdOptions(single.urls, timeout_s=1, recheck_s=1), "test", SystemClock())
        for weight in range(3):
            await directory.announce(endpoint("a", service, weight), 60)
        async with aclosing(directory.watch(service)) as sets:
            assert isinstance(await anext(sets), EndpointSet)
            await asyncio.to_thread(single.stop_member, 0, signal.SIGKILL)
            single.wipe(0)
            await asyncio.to_thread(single.restart_member, 0)
            with pytest.raises(Unavailable, match="restored or replaced"):
                async with asyncio.timeout(PATIENCE_S):
                    await anext(sets)
        await directory.aclose()
