"""The Google Cloud Storage store keeps ObjectStore's promises, at fake-gcs-server."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from controlplane.adapters.gcs import GcsOptions, GcsStore
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import NotFound, Rejected
from controlplane.ports.object_store import ObjectStore
from tests.contract.object_store_suite import ObjectStoreContract, list_all
from tests.support.cloud_servers import CloudServer

_buckets = itertools.count(1)
MIB = 1024 * 1024


async def fresh_store(server: CloudServer, prefix: str = "") -> GcsStore:
    """A store over a bucket that nobody has used."""
    options = GcsOptions(server.url, f"contract-{next(_buckets)}", prefix, project="test", part_bytes=5 * MIB)
    store = GcsStore(StoreName("gcs"), options)
    await store.create_bucket()
    return store


class TestFakeGcsServer(ObjectStoreContract):
    """Google refuses the names "." and "..": among path_like_keys are those that are left."""

    path_like_keys = tuple(key for key in ObjectStoreContract.path_like_keys if key != "..")

    @pytest.fixture
    async def store(self, gcs: CloudServer) -> AsyncIterator[ObjectStore]:
        store = await fresh_store(gcs)
        yield store
        await store.aclose()

    @pytest.mark.parametrize("key", [".", "..", "a\nb", "k" * 1025, ".well-known/acme-challenge/x"])
    async def test_a_key_that_google_refuses_is_refused(self, store: ObjectStore, key: str) -> None:
        for verb in (store.put(Key(key), b"x"), store.get(Key(key)), store.head(Key(key)), store.delete(Key(key))):
            with pytest.raises(Rejected):
                await verb
        assert await list_all(store) == []


class TestFakeGcsServerUnderAPrefix(ObjectStoreContract):
    longest_key_bytes = 1024 - len("mill race/+/")

    @pytest.fixture
    async def store(self, gcs: CloudServer) -> AsyncIterator[ObjectStore]:
        store = await fresh_store(gcs, "mill race/+/")
        yield store
        await store.aclose()


async def test_a_missing_bucket_says_nothing_about_an_object(gcs: CloudServer) -> None:
    store = GcsStore(StoreName("gcs"), GcsOptions(gcs.url, "never-made"))
    for verb in (
        store.head(Key("k")),
        store.get(Key("k")),
        store.put(Key("k"), b"x"),
        store.list(),
        store.delete(Key("k")),
    ):
        with pytest.raises(Rejected):
            await verb
    with pytest.raises(NotFound, match="create_bucket"):
        await store.check()
    await store.aclose()
