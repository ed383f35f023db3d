"""The Azure store keeps ObjectStore's promises, at Azurite."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from controlplane.adapters.azure import AzureBlobStore, AzureOptions
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import NotFound, Rejected
from controlplane.ports.object_store import ObjectStore
from tests.contract.object_store_suite import ObjectStoreContract, in_order, list_all, read_all
from tests.support.cloud_servers import ACCOUNT, ACCOUNT_KEY, CloudServer, azurite_server

_containers = itertools.count(1)
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudServer]:
    with azurite_server(tmp_path_factory.mktemp("azurite")) as server:
        yield server


async def fresh_store(server: CloudServer, prefix: str = "") -> AzureBlobStore:
    """A store over a container that nobody has used."""
    options = AzureOptions(
        server.url, f"contract-{next(_containers)}", prefix, ACCOUNT, ACCOUNT_KEY, part_bytes=5 * MIB
    )
    store = AzureBlobStore(StoreName("azure"), options)
    await store.create_bucket()
    return store


class TestAzurite(ObjectStoreContract):
    """Azure takes a backslash for a slash and drops dots at the end of a segment: such keys are refused, and among
    path_like_keys are those that are left. A name has at most 254 segments."""

    path_like_keys = ("d//e", "d/", "d/.e", "d/...e", ".hidden")

    @pytest.fixture
    async def store(self, azurite: CloudServer) -> AsyncIterator[ObjectStore]:
        store = await fresh_store(azurite)
        yield store
        await store.aclose()

    async def test_the_longest_key_is_a_key(self, store: ObjectStore) -> None:
        flat = Key("k" * self.longest_key_bytes)
        deep = Key("p/" * 253 + "q" * (self.longest_key_bytes - 2 * 253))
        wide = Key("é" * (self.longest_key_bytes // 2))
        for key in (flat, deep, wide):
            await store.put(key, b"x")
            assert await read_all(store, key) == b"x"
        assert [info.key for info in await list_all(store)] == in_order([flat, deep, wide])

    @pytest.mark.parametrize(
        "key", ["a\\b", "d/../e", "d/./e", "..", "a.", "a./b", "a\x01b", "p/" * 254 + "q", "k" * 1025]
    )
    async def test_a_key_that_azure_would_take_for_another_is_refused(self, store: ObjectStore, key: str) -> None:
        for verb in (store.put(Key(key), b"x"), store.get(Key(key)), store.head(Key(key)), store.delete(Key(key))):
            with pytest.raises(Rejected):
                await verb
        assert await list_all(store) == []


class TestAzuriteUnderAPrefix(TestAzurite):
    longest_key_bytes = 1024 - len("mill race/+/")

    @pytest.fixture
    async def store(self, azurite: CloudServer) -> AsyncIterator[ObjectStore]:
        store = await fresh_store(azurite, "mill race/+/")
        yield store
        await store.aclose()

    async def test_the_longest_key_is_a_key(self, store: ObjectStore) -> None:
        key = Key("k" * self.longest_key_bytes)
        await store.put(key, b"x")
        assert await read_all(store, key) == b"x"


async def test_a_missing_container_says_nothing_about_a_blob(azurite: CloudServer) -> None:
    options = AzureOptions(azurite.url, "never-made", "", ACCOUNT, ACCOUNT_KEY)
    store = AzureBlobStore(StoreName("azure"), options)
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
    wrong = AzureBlobStore(StoreName("azure"), replace(options, account_key=ACCOUNT_KEY[:-4] + "AA=="))
    with pytest.raises(Rejected, match="check account"):
        await wrong.head(Key("k"))
    await wrong.aclose()
