"""A bucket of several in one place is an object store like any other, and never mixes with its neighbours."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from controlplane.adapters.memory.object_store import MemoryObjectStore
from controlplane.adapters.prefixed_stores import PrefixedStores
from controlplane.adapters.s3 import S3Buckets, S3Options
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.errors import NotFound, Rejected, Unavailable
from controlplane.ports.object_store import ObjectStore
from controlplane.wiring.adapters import create_when_missing
from tests.contract.object_store_suite import ObjectStoreContract, list_all, read_all
from tests.support.ports import free_port
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, S3Server, moto_server

_numbers = itertools.count(1)
A, B = Bucket("bucket-a"), Bucket("bucket-a.b")


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


def s3_buckets(url: str, bucket: str, prefix: str = "") -> S3Buckets:
    options = S3Options((url,), bucket, prefix, access_key=ACCESS_KEY, secret_key=SECRET_KEY, attempts=1)
    return S3Buckets(StoreName("target"), options, SystemClock(), Random(1), create_when_missing)


@pytest.fixture(params=["memory", "a bucket each", "one bucket"])
async def stores(request: pytest.FixtureRequest, moto: S3Server) -> AsyncIterator[BucketStores]:
    number = next(_numbers)
    made: BucketStores
    if request.param == "memory":
        made = PrefixedStores(MemoryObjectStore(StoreName("memory"), clock=SystemClock()))
    elif request.param == "a bucket each":
        made = s3_buckets(moto.url, f"m{number}-{{bucket}}")
    else:
        made = s3_buckets(moto.url, f"mirror-{number}", "copies/{bucket}/")
    yield made
    await made.aclose()


async def test_buckets_do_not_mix(stores: BucketStores) -> None:
    for bucket in (A, B):
        await stores.prepare(bucket)
        await stores.prepare(bucket)
        await stores.store(bucket).put(Key("k"), bucket.encode())
    await stores.check()
    for bucket in (A, B):
        store = stores.store(bucket)
        assert await read_all(store, "k") == bucket.encode()
        assert (await store.head(Key("k"))).key == "k"
        reader = await store.get(Key("k"))
        assert reader.info.key == "k"
        await reader.aclose()
        assert [info.key for info in await list_all(store)] == ["k"]
        assert await stores.has(bucket)
    await stores.store(A).delete(Key("k"))
    with pytest.raises(NotFound):
        await stores.store(A).head(Key("k"))
    assert await read_all(stores.store(B), "k") == B.encode()


class TestFolder(ObjectStoreContract):
    longest_key_bytes = 1024 - len("photos/")

    @pytest.fixture
    async def store(self) -> AsyncIterator[ObjectStore]:
        stores = PrefixedStores(MemoryObjectStore(StoreName("memory"), clock=SystemClock()))
        yield stores.store(Bucket("photos"))
        await stores.aclose()


def test_two_buckets_never_have_one_place() -> None:
    with pytest.raises(ValueError, match="bucket"):
        s3_buckets("http://h", "mirror", "copies/")


async def test_a_name_that_is_too_long_at_the_target_is_said() -> None:
    stores = s3_buckets("http://127.0.0.1:1", "a-long-prefix-{bucket}")
    with pytest.raises(Rejected, match="template"):
        stores.store(Bucket("b" * 60))
    await stores.aclose()


async def test_a_missing_bucket_and_an_outage_are_told_apart(moto: S3Server) -> None:
    stores = s3_buckets(moto.url, "nobody-made-{bucket}")
    await stores.check()  # nothing is known yet
    stores.store(A)
    await stores.check()  # one bucket of many that is gone says nothing about the service
    assert not await stores.has(A)
    away = s3_buckets(f"http://127.0.0.1:{free_port()}", "x-{bucket}")
    away.store(A)
    with pytest.raises(Unavailable):
        await away.check()
    with pytest.raises(Unavailable):
        await away.has(A)
    await stores.aclose()
    await away.aclose()
