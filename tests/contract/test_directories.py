"""Every Directory keeps the contract: in-process, and etcd on a real cluster of three."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from controlplane.adapters.etcd import EtcdDirectory, EtcdOptions
from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.directory import Directory
from tests.contract.directory_suite import DirectoryContract
from tests.support.etcd_cluster import EtcdCluster

pytestmark = pytest.mark.usefixtures("forgive_lost_connections")


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(3) as cluster:
        yield cluster


class TestInProcessDirectory(DirectoryContract):
    @pytest.fixture
    async def directory(self) -> AsyncIterator[Directory]:
        directory = InProcessDirectory(SystemClock())
        yield directory
        await directory.aclose()


class TestEtcdDirectory(DirectoryContract):
    # etcd looks for expired leases twice a second, and grants at least one and a half election timeouts.
    slack_s = 2.0

    @pytest.fixture
    async def directory(self, cluster: EtcdCluster) -> AsyncIterator[Directory]:
        directory = EtcdDirectory(EtcdOptions(cluster.urls), "test", SystemClock())
        yield directory
        await directory.aclose()

    async def test_check_counts_the_members(self, directory: Directory) -> None:
        assert await directory.check() == "3 of 3 members healthy"
