"""What lies in etcd's keys: leases, takeovers, foreign values, operators' hands."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from controlplane.adapters.etcd import EtcdDirectory, EtcdOptions
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.errors import Corrupt, Rejected, Unavailable
from tests.contract.directory_suite import endpoint, nodes, watching
from tests.support.etcd_cluster import EtcdCluster, EtcdFailed
from tests.support.ports import free_ports

pytestmark = pytest.mark.usefixtures("forgive_lost_connections")


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(1) as cluster:
        yield cluster


@pytest.fixture
def options(cluster: EtcdCluster) -> EtcdOptions:
    return EtcdOptions(cluster.urls)


@pytest.fixture
async def directory(options: EtcdOptions) -> AsyncIterator[EtcdDirectory]:
    directory = EtcdDirectory(options, "test", SystemClock())
    yield directory
    await directory.aclose()


def key_of(service: str, node: str = "a") -> str:
    return f"/millrace/v1/test/endpoints/{service}/{node}"


async def test_the_key_and_value_are_those_of_the_schema(
    cluster: EtcdCluster, directory: EtcdDirectory, service: str
) -> None:
    await directory.announce(endpoint("a", service), 30)
    assert json.loads(cluster.get(key_of(service))) == {
        "url": "http://a.example:8470",
        "zone": "z1",
        "version": "0.1.0",
        "weight": 100,
    }


async def test_announcing_on_and_on_holds_one_lease_and_writes_once(
    cluster: EtcdCluster, directory: EtcdDirectory, service: str
) -> None:
    before = cluster.leases()
    await directory.announce(endpoint("a", service), 30)
    revision = cluster.revision()
    for _ in range(5):
        await directory.announce(endpoint("a", service), 30)
    assert len(cluster.leases()) == len(before) + 1
    assert cluster.revision() == revision
    await directory.announce(endpoint("a", service), 40)
    assert len(cluster.leases()) == len(before) + 1, "another TTL replaces the lease"
    await directory.withdraw(endpoint("a", service))
    assert sorted(cluster.leases()) == sorted(before)


async def test_a_restarted_node_takes_its_key_over(
    cluster: EtcdCluster, options: EtcdOptions, directory: EtcdDirectory, service: str
) -> None:
    """The former incarnation's lease expires, and its late withdrawal comes: neither touches the new one."""
    former = EtcdDirectory(options, "test", SystemClock())
    await former.announce(endpoint("a", service), 2)
    await directory.announce(endpoint("a", service, 7), 30)
    await former.withdraw(endpoint("a", service))
    assert [one.weight for one in (await directory.endpoints(service)).endpoints] == [7]
    await former.announce(endpoint("b", service), 1)
    await directory.announce(endpoint("b", service), 30)
    await asyncio.sleep(3.5)
    assert nodes(await directory.endpoints(service)) == ["a", "b"]
    await former.aclose()


async def test_a_fresh_process_can_withdraw_what_a_former_one_left(
    cluster: EtcdCluster, options: EtcdOptions, directory: EtcdDirectory, service: str
) -> None:
    await directory.announce(endpoint("a", service), 30)
    cluster.put(key_of(service, "b"), '{"url":"http://b"}')
    leases = len(cluster.leases())
    fresh = EtcdDirectory(options, "test", SystemClock())
    await fresh.withdraw(endpoint("a", service))
    await fresh.withdraw(endpoint("b", service))
    assert (await fresh.endpoints(service)).endpoints == ()
    assert len(cluster.leases()) == leases - 1
    await fresh.aclose()


@pytest.mark.parametrize("harm", ["deleted", "overwritten", "lease revoked"])
async def test_the_next_announcement_repairs_what_others_did(
    cluster: EtcdCluster, directory: EtcdDirectory, service: str, harm: str
) -> None:
    before = set(cluster.leases())
    await directory.announce(endpoint("a", service), 30)
    if harm == "deleted":
        cluster.delete(key_of(service))
    elif harm == "overwritten":
        cluster.put(key_of(service), '{"url":"http://elsewhere"}')
    else:
        (lease,) = set(cluster.leases()) - before
        cluster.call("/v3/lease/revoke", {"ID": str(lease)})
    await directory.announce(endpoint("a", service), 30)
    assert (await directory.endpoints(service)).endpoints == (endpoint("a", service),)
    await directory.withdraw(endpoint("a", service))
    assert (await directory.endpoints(service)).endpoints == ()


async def test_values_that_are_no_endpoints_are_ignored_with_a_line_in_the_log(
    cluster: EtcdCluster, directory: EtcdDirectory, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await directory.announce(endpoint("good", service), 30)
    cluster.put(key_of(service, "bytes"), b"\xff\x00")
    cluster.put(key_of(service, "text"), "http://old-style")
    cluster.put(key_of(service, "deep/er"), '{"url":"http://x"}')
    cluster.put(key_of(service, ""), '{"url":"http://x"}')
    cluster.put(key_of(service, "newer"), '{"url":"http://n","colour":"blue"}')
    assert nodes(await directory.endpoints(service)) == ["good", "newer"]
    assert sum("ignored" in record.message for record in caplog.records) == 4
    async with watching(directory, service) as watcher:
        assert nodes(await watcher.next()) == ["good", "newer"]
        cluster.put(key_of(service, "newer"), "broken")
        assert nodes(await watcher.next()) == ["good"]
        cluster.put(key_of(service, "newer"), '{"url":"http://n"}')
        assert nodes(await watcher.next()) == ["good", "newer"]


async def test_clusters_do_not_see_each_other(options: EtcdOptions, directory: EtcdDirectory, service: str) -> None:
    other = EtcdDirectory(options, "test2", SystemClock())
    await directory.announce(endpoint("a", service), 30)
    await directory.compare_and_swap(f"shards/{service}", None, "x")
    assert (await other.endpoints(service)).endpoints == ()
    assert await other.get(f"shards/{service}") is None
    await other.aclose()


async def test_a_swap_that_lost_leaves_no_lease(cluster: EtcdCluster, directory: EtcdDirectory, service: str) -> None:
    await directory.compare_and_swap(f"locks/{service}", None, "mine", ttl_s=30)
    before = len(cluster.leases())
    assert await directory.compare_and_swap(f"locks/{service}", None, "yours", ttl_s=30) is None
    assert len(cluster.leases()) == before


async def test_a_value_that_is_no_text_is_corrupt(cluster: EtcdCluster, directory: EtcdDirectory, service: str) -> None:
    cluster.put(f"/millrace/v1/test/shards/{service}", b"\xff")
    with pytest.raises(Corrupt, match="not UTF-8"):
        await directory.get(f"shards/{service}")


async def test_a_large_set_is_listed_and_watched_whole(
    cluster: EtcdCluster, directory: EtcdDirectory, service: str
) -> None:
    """Lines longer than one read of a socket."""
    async with watching(directory, service) as watcher:
        await watcher.next()
        big = "v" * 200_000
        for node in "abc":
            cluster.put(key_of(service, node), json.dumps({"url": "http://x", "version": big}))
        found = await watcher.until(lambda found: len(found.endpoints) == 3)
        assert [one.version for one in found.endpoints] == [big] * 3
        assert (await directory.endpoints(service)).endpoints == found.endpoints


async def test_what_is_not_etcd_is_unavailable(service: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    (port,) = free_ports(1)
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    directory = EtcdDirectory(EtcdOptions((f"http://127.0.0.1:{port}",)), "test", SystemClock())
    async with server:
        with pytest.raises(Unavailable, match="not JSON"):
            await directory.endpoints(service)
    await directory.aclose()


async def test_members_of_two_clusters_are_found_out(cluster: EtcdCluster) -> None:
    with EtcdCluster(1) as other:
        directory = EtcdDirectory(EtcdOptions(cluster.urls + other.urls), "test", SystemClock())
        with pytest.raises(Rejected, match="belong to 2 etcd clusters"):
            await directory.check()
        await directory.aclose()


def fill(cluster: EtcdCluster) -> None:
    for at in range(100):
        cluster.put(f"/fill/{at}", "x" * 10_000)


async def test_a_full_etcd_is_unavailable_and_says_what_to_do(service: str) -> None:
    with EtcdCluster(1, extra_arguments=("--quota-backend-bytes", "200000")) as small:
        directory = EtcdDirectory(EtcdOptions(small.urls), "test", SystemClock())
        with pytest.raises(EtcdFailed, match="space exceeded"):
            await asyncio.to_thread(fill, small)
        with pytest.raises(Unavailable, match="etcd is full"):
            await directory.compare_and_swap("shards/1", None, "x")
        assert "NOSPACE" in await directory.check()
        await directory.aclose()
