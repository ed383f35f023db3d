"""Subresources over memory, with outages; and over the Riak CS stand-in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from controlplane.adapters.memory.object_store import MemoryObjectStore
from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Unavailable
from controlplane.services.s3.subresources import Kind, Subresources
from tests.contract.subresource_suite import EXTRAS, SetClock, SubresourceContract
from tests.hosts.standin.loopback import Standin
from tests.support.s3_buckets import make_bucket

_buckets = itertools.count(1)


class TestMemory(SubresourceContract):
    @pytest.fixture
    def store(self, time: SetClock) -> MemoryObjectStore:
        return MemoryObjectStore(StoreName("documents"), clock=time)

    async def test_i5_an_outage_is_never_no_document(
        self, store: MemoryObjectStore, kept: Subresources, time: SetClock
    ) -> None:
        await kept.keep_extras("b", "k", "e", EXTRAS)
        await kept.put_bucket_document("b", Kind.CORS, b"<C/>")
        time.passed += 5

        def away(op: str, key: Key) -> None:
            raise Unavailable("the store is away")

        store.fault = away
        with pytest.raises(Unavailable):
            await kept.bucket_document("b", Kind.CORS)
        with pytest.raises(Unavailable):
            await kept.extras("b", "k", "e")
        with pytest.raises(Unavailable):
            await kept.put_bucket_document("b", Kind.CORS, b"<D/>")
        store.fault = None
        assert await kept.bucket_document("b", Kind.CORS) == b"<C/>"
        assert await kept.extras("b", "k", "e") == EXTRAS

    @pytest.mark.parametrize("steps", range(9))
    async def test_a_forgetting_that_stops_anywhere_can_be_repeated(
        self, store: MemoryObjectStore, kept: Subresources, time: SetClock, steps: int
    ) -> None:
        for n in range(3):
            await kept.keep_extras("b", f"k{n}", "e", EXTRAS)
        await kept.put_bucket_document("b", Kind.CORS, b"<C/>")
        left = steps

        def breaks(op: str, key: Key) -> None:
            nonlocal left
            if op == "delete":
                left -= 1
                if left < 0:
                    raise Unavailable("the process is gone")

        store.fault = breaks
        try:
            await kept.forget_bucket("b")
        except Unavailable:
            pass
        store.fault = None
        await Subresources(store, time, keep_s=5).forget_bucket("b")
        assert (await store.list()).objects == ()

    async def test_a_hundred_readers_ask_once(
        self, store: MemoryObjectStore, kept: Subresources, time: SetClock
    ) -> None:
        await kept.put_bucket_document("b", Kind.CORS, b"<C/>")
        time.passed += 5
        asked: list[str] = []
        store.fault = lambda op, key: asked.append(op)
        store.latency = 0.02
        found = await asyncio.gather(*(kept.bucket_document("b", Kind.CORS) for _ in range(100)))
        assert (set(found), asked) == ({b"<C/>"}, ["get"])

    async def test_reads_in_a_bucket_without_records_cost_nothing(
        self, store: MemoryObjectStore, kept: Subresources
    ) -> None:
        asked: list[str] = []
        store.fault = lambda op, key: asked.append(f"{op} {key}")
        for n in range(100):
            await kept.extras("b", f"k{n}", "e")
            await kept.forget_object("b", f"k{n}")
        assert asked == ["get b/objects/b", "get b/records/b"]


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    with Standin(tmp_path_factory.mktemp("standin")) as running:
        yield running


class TestRiakCs(SubresourceContract):
    @pytest.fixture
    async def store(self, standin: Standin) -> AsyncIterator[S3ObjectStore]:
        options = S3Options(
            (standin.s3_url,), f"millrace-{next(_buckets)}", access_key=standin.admin.key_id,
            secret_key=standin.admin.key_secret, signature="v2", list_version=1, conditional_put=False,
        )  # fmt: skip
        await make_bucket(options)
        store = S3ObjectStore(StoreName("documents"), options, SystemClock(), Random(1))
        yield store
        await store.aclose()
