"""The same endpoints in the v2 keyspace, written by the publisher and read back by python-etcd itself."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import etcd
import pytest

from controlplane.adapters.etcd_v2 import EtcdV2Publisher
from controlplane.ports.errors import Rejected, Unavailable
from tests.contract.directory_suite import endpoint
from tests.support.etcd_cluster import EtcdCluster

pytestmark = pytest.mark.usefixtures("forgive_lost_connections")

TIMEOUT_S = 1.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(3, enable_v2=True) as cluster:
        yield cluster


@pytest.fixture
async def publisher(cluster: EtcdCluster) -> AsyncIterator[EtcdV2Publisher]:
    publisher = EtcdV2Publisher(cluster.urls, "test", timeout_s=TIMEOUT_S)
    yield publisher
    await publisher.aclose()


def client_of(cluster: EtcdCluster, at: int = 0) -> etcd.Client:
    parts = urlsplit(cluster.urls[at])
    return etcd.Client(host=parts.hostname, port=parts.port, read_timeout=5)


def read(cluster: EtcdCluster, service: str, node: str = "a", at: int = 0) -> etcd.EtcdResult:
    return client_of(cluster, at).read(f"/millrace/v1/test/endpoints/{service}/{node}", quorum=True)


async def test_an_endpoint_is_written_as_in_v3_with_a_ttl(
    cluster: EtcdCluster, publisher: EtcdV2Publisher, service: str
) -> None:
    await publisher.announce(endpoint("a", service), 30)
    there = read(cluster, service)
    assert json.loads(there.value)["url"] == "http://a.example:8470"
    assert 25 < there.ttl <= 30


async def test_announcing_again_renews_the_time_and_a_change_is_written(
    cluster: EtcdCluster, publisher: EtcdV2Publisher, service: str
) -> None:
    await publisher.announce(endpoint("a", service), 10)
    await publisher.announce(endpoint("a", service), 30)
    assert read(cluster, service).ttl > 20
    await publisher.announce(endpoint("a", service, weight=7), 30)
    assert json.loads(read(cluster, service).value)["weight"] == 7


async def test_an_endpoint_leaves_with_its_ttl_and_comes_back(
    cluster: EtcdCluster, publisher: EtcdV2Publisher, service: str
) -> None:
    async def reading() -> None:
        while read(cluster, service):
            await asyncio.sleep(0.2)

    await publisher.announce(endpoint("a", service), 1)
    with pytest.raises(etcd.EtcdKeyNotFound):
        await asyncio.wait_for(reading(), 60)
    await publisher.announce(endpoint("a", service), 30)
    assert read(cluster, service).value


async def test_a_withdrawn_endpoint_is_gone_at_once(
    cluster: EtcdCluster, publisher: EtcdV2Publisher, service: str
) -> None:
    await publisher.announce(endpoint("a", service), 30)
    await publisher.withdraw(endpoint("a", service))
    with pytest.raises(etcd.EtcdKeyNotFound):
        read(cluster, service)
    await publisher.withdraw(endpoint("a", service))


async def test_members_that_go_are_failed_over(cluster: EtcdCluster, publisher: EtcdV2Publisher, service: str) -> None:
    for at in range(3):
        await asyncio.to_thread(cluster.stop_member, at, signal.SIGKILL)
        await announce_soon(publisher, service, at)
        assert json.loads(read(cluster, service, at=(at + 1) % 3).value)["weight"] == at
        await asyncio.to_thread(cluster.restart_member, at)
    for at in range(3):
        cluster.pause(at)
        await announce_soon(publisher, service, 10 + at)
        cluster.resume(at)
        assert json.loads(read(cluster, service, at=(at + 1) % 3).value)["weight"] == 10 + at
        await asyncio.to_thread(cluster.wait_healthy)


async def announce_soon(publisher: EtcdV2Publisher, service: str, weight: int) -> None:
    """While the members choose a leader, v2 answers nothing: callers announce again, as the agent does."""
    async with asyncio.timeout(60):
        while True:
            try:
                await publisher.announce(endpoint("a", service, weight), 30)
                return
            except Unavailable:
                await asyncio.sleep(0.2)


async def test_a_total_outage_is_unavailable_and_ends(
    cluster: EtcdCluster, publisher: EtcdV2Publisher, service: str
) -> None:
    await publisher.announce(endpoint("a", service), 30)
    for at in range(3):
        await asyncio.to_thread(cluster.stop_member, at, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="etcd v2 at"):
        await publisher.announce(endpoint("a", service), 30)
    assert time.monotonic() - began < 10  # on a busy machine; refused connections need no time-out
    for at in range(3):
        cluster.restart_member(at, wait=False)
    await asyncio.to_thread(cluster.wait_healthy)
    await announce_soon(publisher, service, 3)
    assert json.loads(read(cluster, service).value)["weight"] == 3


async def test_an_etcd_without_v2_is_named_as_the_reason(service: str) -> None:
    with EtcdCluster(1) as plain:
        publisher = EtcdV2Publisher(plain.urls, "test", timeout_s=TIMEOUT_S)
        with pytest.raises(Unavailable, match="--enable-v2"):
            await publisher.announce(endpoint("a", service), 30)
        await publisher.aclose()


async def test_client_certificates_work(service: str) -> None:
    with EtcdCluster(1, tls=True, enable_v2=True) as secure:
        assert secure.authority is not None
        tls = {
            "ca_file": secure.authority.ca_file,
            "cert_file": secure.authority.cert_file,
            "key_file": secure.authority.key_file,
        }
        publisher = EtcdV2Publisher(secure.urls, "test", **tls)
        await publisher.announce(endpoint("a", service), 30)
        await publisher.withdraw(endpoint("a", service))
        await publisher.aclose()


async def test_a_closed_publisher_refuses_work(cluster: EtcdCluster, publisher: EtcdV2Publisher, service: str) -> None:
    await publisher.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await publisher.announce(endpoint("a", service), 30)


@pytest.mark.parametrize("urls", [("http://a:1", "https://b:1"), (), ("ftp://a",)])
def test_endpoints_that_cannot_be_are_rejected(urls: tuple[str, ...]) -> None:
    with pytest.raises(Rejected):
        EtcdV2Publisher(urls, "test")
