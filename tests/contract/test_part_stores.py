"""Uploads in parts outlive the process that began them, at servers of all kinds, and at the fake of the unit tests."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from random import Random

import pytest

from controlplane.adapters.azure import AzureBlobStore, AzureOptions
from controlplane.adapters.gcs import GcsOptions, GcsStore
from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.content import Md5
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Conflict, Corrupt, NotFound, Unavailable
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.part_store import PartStore
from controlplane.s3.etag import is_md5, multipart_etag
from tests.contract.object_store_suite import read_all
from tests.support.cloud_servers import ACCOUNT, ACCOUNT_KEY, CloudServer
from tests.support.fakes import FakeStore, content_of
from tests.support.part_store import FakeParts
from tests.support.riak_cs import upstream
from tests.support.s3_buckets import make_bucket
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, S3Server, moto_server, seaweedfs_server

_numbers = itertools.count(1)
PART = 5 << 20
DATA = Random(3).randbytes(PART * 2 + 1000)
PARTS = [DATA[at : at + PART] for at in range(0, len(DATA), PART)]
MD5S = [Md5(hashlib.md5(part, usedforsecurity=False).hexdigest()) for part in PARTS]
K = Key("a/large one")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, S3Server]]:
    with (
        moto_server(tmp_path_factory.mktemp("moto")) as moto,
        seaweedfs_server(tmp_path_factory.mktemp("seaweedfs")) as seaweedfs,
    ):
        yield {"moto": moto, "seaweedfs": seaweedfs}


@pytest.fixture(scope="module")
def riak_cs() -> Iterator[S3Options]:
    """The stand-in, or the real one: times of parts in milliseconds, parts twice where they were sent twice, any number
    of them on a page (mp-list-parts, mp4-list-parts, mp-list-parts-max), no conditions."""
    with upstream() as server:
        user = server.create_user("parts")
        yield S3Options(
            (server.url,), "unset", access_key=user.key, secret_key=user.secret, list_version=1, conditional_put=False,
            part_bytes=PART,
        )  # fmt: skip


def options_for(server: S3Server) -> S3Options:
    return S3Options(
        (server.url,), f"parts-{next(_numbers)}", "pre/", access_key=ACCESS_KEY, secret_key=SECRET_KEY, part_bytes=PART
    )


def gcs_store(server: CloudServer) -> GcsStore:
    options = GcsOptions(server.url, f"parts-{next(_numbers)}", "pre/", project="test", part_bytes=PART)
    return GcsStore(StoreName("gcs"), options)


@pytest.fixture(params=["fake", "moto", "seaweedfs", "azurite", "gcs", "riak-cs"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[tuple[ObjectStore, PartStore]]:
    if request.param == "fake":
        fake = FakeStore(StoreName("fake"), clock=SystemClock())
        yield fake, FakeParts(fake)
        return
    if request.param == "azurite":
        azurite: CloudServer = request.getfixturevalue("azurite")
        azure = AzureBlobStore(
            StoreName("azure"),
            AzureOptions(azurite.url, f"parts-{next(_numbers)}", "pre/", ACCOUNT, ACCOUNT_KEY, part_bytes=PART),
        )
        await azure.create_bucket()
        yield azure, azure.parts
        await azure.aclose()
        return
    if request.param == "gcs":
        google = gcs_store(request.getfixturevalue("gcs"))
        await google.create_bucket()
        yield google, google.parts
        await google.aclose()
        return
    if request.param == "riak-cs":
        riak_cs: S3Options = request.getfixturevalue("riak_cs")
        options = replace(riak_cs, bucket=f"parts-{secrets.token_hex(6)}", prefix="a+b/\x01/")
    else:
        servers: dict[str, S3Server] = request.getfixturevalue("servers")
        options = options_for(servers[request.param])
    await make_bucket(options)
    store = S3ObjectStore(StoreName("s3"), options, SystemClock(), Random(1))
    yield store, store.parts
    await store.aclose()


async def test_parts_in_any_order_become_the_object(stores: tuple[ObjectStore, PartStore]) -> None:
    store, parts = stores
    upload_id = await parts.begin(K, content_of(DATA), "text/plain", {"millrace-source-etag": "e-3"})
    assert await parts.parts(K, upload_id) == {}
    assert await parts.uploads(K) == [upload_id]
    assert await parts.uploads(Key("a/large")) == []
    for number in (3, 1, 2, 1):
        put = await parts.put_part(K, upload_id, number, bytearray(PARTS[number - 1]), MD5S[number - 1])
        assert (put.etag, put.size) == (MD5S[number - 1], len(PARTS[number - 1]))
    held = await parts.parts(K, upload_id)
    assert {number: (part.etag, part.size) for number, part in held.items()} == {
        number: (MD5S[number - 1], len(PARTS[number - 1])) for number in (1, 2, 3)
    }
    with pytest.raises(NotFound):
        await store.head(K)
    info = await parts.complete(K, upload_id, MD5S, content_of(DATA))
    # Azure has the MD5 of the whole, Google a tag of its own for what it composed.
    assert info.etag in (multipart_etag([bytes.fromhex(md5) for md5 in MD5S]), content_of(DATA).md5) or not is_md5(
        info.etag
    )
    found = await store.head(K)
    assert (found.etag, found.size, found.content, found.content_type) == (
        info.etag,
        len(DATA),
        content_of(DATA),
        "text/plain",
    )
    assert found.metadata == {"millrace-source-etag": "e-3"}
    assert await read_all(store, K) == DATA
    assert await parts.uploads(K) == []
    with pytest.raises(NotFound):
        await parts.parts(K, upload_id)
    with pytest.raises((NotFound, Unavailable)):  # moto breaks down
        await parts.put_part(K, upload_id, 1, PARTS[0], MD5S[0])
    await parts.abort(K, upload_id)
    assert await read_all(store, K) == DATA


async def test_an_upload_that_is_completed_too_late_replaces_nothing_and_can_go_on(
    stores: tuple[ObjectStore, PartStore], request: pytest.FixtureRequest
) -> None:
    store, parts = stores
    old = await store.put(K, b"what was there")
    new = await store.put(K, b"what came meanwhile")
    upload_id = await parts.begin(K, content_of(DATA), "text/plain", {})
    for number, (part, md5) in enumerate(zip(PARTS, MD5S, strict=True), 1):
        await parts.put_part(K, upload_id, number, part, md5)
    if request.node.callspec.params["stores"] in ("moto", "riak-cs"):
        # It looks at no condition of a completion: a store that only ignores what is asked of it goes on as before.
        await parts.complete(K, upload_id, MD5S, content_of(DATA), if_match=old.etag)
        assert await read_all(store, K) == DATA
        return
    with pytest.raises(Conflict):
        await parts.complete(K, upload_id, MD5S, content_of(DATA), if_match=old.etag)
    with pytest.raises(Conflict):
        await parts.complete(K, upload_id, MD5S, content_of(DATA), if_absent=True)
    assert await read_all(store, K) == b"what came meanwhile"
    await parts.complete(K, upload_id, MD5S, content_of(DATA), if_match=new.etag)
    assert await read_all(store, K) == DATA


async def test_what_is_aborted_is_gone(stores: tuple[ObjectStore, PartStore]) -> None:
    store, parts = stores
    ids = [await parts.begin(K, content_of(DATA), "text/plain", {}) for _ in range(2)]
    await parts.put_part(K, ids[0], 1, PARTS[0], MD5S[0])
    assert sorted(await parts.uploads(K)) == sorted(ids)
    for upload_id in ids:
        await parts.abort(K, upload_id)
        await parts.abort(K, upload_id)
    assert await parts.uploads(K) == []
    with pytest.raises(NotFound):
        await parts.parts(K, ids[0])
    with pytest.raises(NotFound):
        await store.head(K)


@pytest.mark.parametrize("name", ["seaweedfs"])
async def test_bytes_that_are_not_what_was_promised_are_refused(servers: dict[str, S3Server], name: str) -> None:
    options = options_for(servers[name])
    await make_bucket(options)
    store = S3ObjectStore(StoreName("s3"), replace(options, attempts=1), SystemClock(), Random(1))
    upload_id = await store.parts.begin(K, content_of(DATA), "text/plain", {})
    with pytest.raises(Corrupt):
        await store.parts.put_part(K, upload_id, 1, PARTS[1], MD5S[0])
    await store.parts.abort(K, upload_id)
    await store.aclose()


async def test_more_parts_than_google_composes_at_once(gcs: CloudServer) -> None:
    store = gcs_store(gcs)
    await store.create_bucket()
    pieces = [b"%05d" % number for number in range(70)]
    whole = b"".join(pieces)
    upload_id = await store.parts.begin(K, content_of(whole), "text/plain", {})
    for number, piece in enumerate(pieces, 1):
        await store.parts.put_part(K, upload_id, number, piece, content_of(piece).md5)
    info = await store.parts.complete(K, upload_id, [content_of(piece).md5 for piece in pieces], content_of(whole))
    assert await read_all(store, K) == whole
    assert (await store.head(K)).etag == info.etag == (await store.list()).objects[0].etag
    assert [found.key for found in (await store.list()).objects] == [K]
    assert await store.parts.uploads(K) == []
    await store.aclose()


async def test_an_upload_of_which_azure_dropped_blocks_is_no_more(azurite: CloudServer) -> None:
    store = AzureBlobStore(
        StoreName("azure"), AzureOptions(azurite.url, f"parts-{next(_numbers)}", "", ACCOUNT, ACCOUNT_KEY)
    )
    await store.create_bucket()
    await store.put(K, b"what was there")
    upload_id = await store.parts.begin(K, content_of(DATA), "text/plain", {})
    await store.parts.put_part(K, upload_id, 1, PARTS[0], MD5S[0])
    await store.parts.put_part(K, upload_id, 3, PARTS[2], MD5S[2])
    with pytest.raises(NotFound):
        await store.parts.complete(K, upload_id, MD5S, content_of(DATA))
    assert await read_all(store, K) == b"what was there"
    assert await store.parts.uploads(K) == []
    await store.aclose()
