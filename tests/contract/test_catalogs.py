"""The catalog's contract on every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.adapters.memory.catalog import MemoryCatalog
from controlplane.adapters.riak_kv import RiakCatalog
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.catalog import Catalog
from tests.contract.catalog_suite import CatalogSuite, Make
from tests.support.riak_kv import RiakNode


class TestMemoryCatalog(CatalogSuite):
    @pytest.fixture
    def make(self) -> Make:
        async def make() -> Catalog:
            catalog = MemoryCatalog()
            await catalog.open()
            return catalog

        return make


class TestSqliteCatalog(CatalogSuite):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        async def make() -> Catalog:
            catalog = SqliteCatalog(tmp_path / "catalog.db")
            await catalog.open()
            return catalog

        return make


class TestRiakCatalog(CatalogSuite):
    @pytest.fixture
    def make(self, riak: RiakNode) -> Make:
        async def make() -> Catalog:
            clock = SystemClock()
            kv = riak.over_http(clock)
            catalog = RiakCatalog(kv, cluster=riak.cluster(), clock=clock)
            await catalog.open()
            return catalog

        return make


class TestRiakCatalogByProtocolBuffers(CatalogSuite):
    @pytest.fixture
    def make(self, riak_pb: RiakNode) -> Make:
        async def make() -> Catalog:
            clock = SystemClock()
            kv = riak_pb.over_pb(clock)
            catalog = RiakCatalog(kv, cluster=riak_pb.cluster(), clock=clock)
            await catalog.open()
            return catalog

        return make
