"""The S3 store keeps the ObjectStore contract at moto (SigV4 and list V2; SigV2 and list V1) and at SeaweedFS."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from random import Random

import pytest

from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Key, StoreName
from controlplane.ports.bulk_store import SmallPut
from controlplane.ports.object_store import ObjectStore
from tests.contract.object_store_suite import ObjectStoreContract, in_order, list_all
from tests.support.fakes import content_of
from tests.support.s3_buckets import make_bucket
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, S3Server, moto_server, seaweedfs_server

_buckets = itertools.count(1)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with seaweedfs_server(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


async def fresh_store(server: S3Server, options: S3Options) -> S3ObjectStore:
    """A store over a bucket that nobody has used."""
    options = replace(options, endpoints=(server.url,), bucket=f"contract-{next(_buckets)}")
    await make_bucket(options)
    return S3ObjectStore(StoreName("s3"), options, SystemClock(), Random(1))


PLAIN = S3Options(
    endpoints=("http://127.0.0.1:1",),
    bucket="unset",
    access_key=ACCESS_KEY,
    secret_key=SECRET_KEY,
    part_bytes=5 * 1024 * 1024,
)


async def require_bulk_as_single(store: S3ObjectStore, *, pipelines: bool) -> None:
    """What goes in and comes out in one go is what single requests make of it; `pipelines`: the server can."""
    bodies = {Key(f"bulk/{number}"): b"%d" % number * 500 for number in range(70)}
    puts = [SmallPut(key, body, content_of(body), "text/plain", if_absent=True) for key, body in bodies.items()]
    infos = await store.bulk.put_small(puts)
    for put, info in zip(puts, infos, strict=True):
        if info is None:
            await store.put(put.key, put.body, content=put.content, content_type=put.content_type)
    heads = await store.bulk.head_many(list(bodies))
    small = await store.bulk.get_small(list(bodies))
    assert (None in [*infos, *heads, *small]) is not pipelines
    for (key, body), head, got in zip(bodies.items(), heads, small, strict=True):
        assert head is None or head == await store.head(key)
        assert got is None or (got.body, got.info) == (body, await store.head(key))
    assert await store.bulk.put_small(puts) == [None] * len(puts)


class TestMotoV4(ObjectStoreContract):
    compares_large = False  # it looks at no condition of CompleteMultipartUpload
    atomic_if_match = False

    @pytest.fixture
    async def store(self, moto: S3Server) -> AsyncIterator[S3ObjectStore]:
        store = await fresh_store(moto, PLAIN)
        yield store
        await store.aclose()

    async def test_bulk(self, store: S3ObjectStore) -> None:
        """Its server closes the connection after each answer: nothing is answered in bulk but the first."""
        await require_bulk_as_single(store, pipelines=False)


class TestMotoV2UnderAPrefix(ObjectStoreContract):
    """As a store over Riak CS is set: SigV2, list V1, no conditional writes; and with a prefix."""

    atomic_if_absent = False
    compares = compares_large = compares_deletes = atomic_if_match = False
    longest_key_bytes = 1024 - len("mill race/+/")

    @pytest.fixture
    async def store(self, moto: S3Server) -> AsyncIterator[S3ObjectStore]:
        options = replace(PLAIN, signature="v2", list_version=1, conditional_put=False, prefix="mill race/+/")
        store = await fresh_store(moto, options)
        yield store
        await store.aclose()


class TestSeaweedfs(ObjectStoreContract):
    """SeaweedFS keeps keys as paths in folders: names are at most 255 bytes, "." and ".." are refused, a folder
    answers as an object `folder/`, and a listing after a key leaves out what lies in the folder of the same name. What
    it cannot carry is replaced here by what it can; blobs/<guid> is among that.
    """

    odd_keys = (*(key for key in ObjectStoreContract.odd_keys if not key.startswith("a/")), "slash/ed", "slash/es")
    path_like_keys = (".hidden", "d/.e", "d/...", "d.")
    longest_key_bytes = 250
    absent = ("absent", "there", "there/too/deep", "there/tooth")

    @pytest.fixture
    async def store(self, seaweedfs: S3Server) -> AsyncIterator[S3ObjectStore]:
        # One bucket for all: SeaweedFS gives every bucket volumes of its own and soon has none left.
        options = replace(PLAIN, endpoints=(seaweedfs.url,), bucket="contract", prefix=f"{next(_buckets)}/")
        await make_bucket(options)
        store = S3ObjectStore(StoreName("s3"), options, SystemClock(), Random(1))
        yield store
        await store.aclose()

    async def test_bulk(self, store: S3ObjectStore) -> None:
        await require_bulk_as_single(store, pipelines=True)

    async def test_pages_follow_each_other_without_gap_or_repeat(self, store: ObjectStore) -> None:
        keys = ["a/1", "a/2", "a/20", "a0", "b/1", "b/2", "c"]
        for key in keys:
            await store.put(Key(key), key.encode())
        for limit in (1, 2, 3, len(keys), len(keys) + 1):
            assert [info.key for info in await list_all(store, limit=limit)] == in_order(keys)

    async def test_a_listing_resumes_after_any_key_there_or_not(self, store: ObjectStore) -> None:
        keys = in_order(["a/1", "a/2", "a0", "b/1", "c"])
        for key in keys:
            await store.put(Key(key), b"x")
        for after in ("A", "a/", "a/1", "a/15", "a/9", "a0", "aa", "b/1", "b0", "c", "d"):
            expected = [key for key in keys if key > after]
            for limit in (2, 1000):
                assert [info.key for info in await list_all(store, after=after, limit=limit)] == expected, after

    async def test_a_prefix_keeps_to_keys_that_begin_with_it(self, store: ObjectStore) -> None:
        keys = in_order(["a/1", "a/12", "ab/1", "b0", "b%/1"])
        for key in keys:
            await store.put(Key(key), b"x")
        for prefix in ("", "a", "a/", "a/1", "ab", "b", "b%", "z"):
            expected = [key for key in keys if key.startswith(prefix)]
            for limit in (1, 1000):
                assert [info.key for info in await list_all(store, prefix=prefix, limit=limit)] == expected, prefix
