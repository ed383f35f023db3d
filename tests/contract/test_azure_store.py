"""The Azure store keeps ObjectStore's promises, at Azurite."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import generate_container_sas

from controlplane.adapters.azure import AzureBlobStore, AzureOptions
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Forbidden, NotFound, Rejected
from controlplane.ports.object_store import ObjectStore
from tests.contract.object_store_suite import ObjectStoreContract, content_of, in_order, list_all, read_all
from tests.support.cloud_servers import ACCOUNT, ACCOUNT_KEY, CloudServer

_containers = itertools.count(1)
MIB = 1024 * 1024


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


def by_signature(server: CloudServer, container: str, permission: str) -> AzureBlobStore:
    token = generate_container_sas(
        ACCOUNT, container, account_key=ACCOUNT_KEY, permission=permission,
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    return AzureBlobStore(StoreName("azure"), AzureOptions(server.url, container, sas_token=token, part_bytes=5 * MIB))


async def test_a_shared_access_signature_does_for_everything(azurite: CloudServer) -> None:
    owner = await fresh_store(azurite)
    store = by_signature(azurite, owner.bucket, "racwdl")
    await store.check()
    first = await store.put(Key("a/k"), b"x" * (6 * MIB), metadata={"m": "1"})
    upload_id = await store.parts.begin(Key("parts"), content_of(b"12"), "text/plain", {})
    for number, part in enumerate((b"1", b"2"), 1):
        await store.parts.put_part(Key("parts"), upload_id, number, part, content_of(part).md5)
    await store.parts.complete(Key("parts"), upload_id, [content_of(b"1").md5, content_of(b"2").md5], content_of(b"12"))
    assert await store.head(Key("a/k")) == await owner.head(Key("a/k"))
    assert [info.key for info in await list_all(store)] == ["a/k", "parts"]
    assert await read_all(store, "parts") == b"12"
    await store.put(Key("a/k"), b"y", if_match=first.etag)
    assert await read_all(owner, "a/k") == b"y"
    await store.delete(Key("a/k"))
    assert [info.key for info in await list_all(owner)] == ["parts"]
    await store.aclose()
    await owner.aclose()


async def test_a_signature_that_does_not_allow_it_is_told(azurite: CloudServer) -> None:
    owner = await fresh_store(azurite)
    await owner.put(Key("k"), b"x")
    reader = by_signature(azurite, owner.bucket, "rl")
    assert await read_all(reader, "k") == b"x"
    for refused in (reader.put(Key("k"), b"y"), reader.delete(Key("k"))):
        with pytest.raises(Forbidden, match=r"SAS token|AuthorizationPermissionMismatch"):
            await refused
    assert await read_all(owner, "k") == b"x"
    await reader.aclose()
    await owner.aclose()


async def test_another_process_goes_on_with_a_listing(azurite: CloudServer) -> None:
    """It has none of the service's markers. Azurite ignores startFrom, so what comes before the key is dropped here."""
    one = await fresh_store(azurite, "p/")
    keys = [Key(f"{number:03d}") for number in range(25)]
    for key in keys:
        await one.put(key, b"x")
    page = await one.list(limit=10)
    other = AzureBlobStore(StoreName("azure"), AzureOptions(azurite.url, one.bucket, "p/", ACCOUNT, ACCOUNT_KEY))
    found = [info.key for info in page.objects]
    while page.next_after is not None:
        page = await other.list(after=page.next_after, limit=10)
        found += [info.key for info in page.objects]
    assert found == keys
    await one.aclose()
    await other.aclose()


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
