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
from controlplane.settings.cloud_stores import AzureStore, GcsStore
from controlplane.settings.secret import Secret
from controlplane.wiring.cloud_stores import build_cloud_buckets
from tests.contract.object_store_suite import ObjectStoreContract, list_all, read_all
from tests.support.cloud_servers import ACCOUNT, ACCOUNT_KEY, CloudServer
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
    return S3Buckets(StoreName("target"), options, SystemClock(), Random(1), create=True)


def cloud_buckets(kind: str, url: str, bucket: str, prefix: str = "", *, create: bool = True) -> BucketStores:
    """As a rule's target has them."""
    if kind == "azure":
        azure = AzureStore(
            endpoint=url,
            bucket=bucket,
            prefix=prefix,
            account=ACCOUNT,
            secret_key=Secret(ACCOUNT_KEY),
            create_bucket=create,
            attempts=1,
        )
        return build_cloud_buckets(StoreName("target"), azure)
    google = GcsStore(endpoint=url, bucket=bucket, prefix=prefix, project="test", create_bucket=create, attempts=1)
    return build_cloud_buckets(StoreName("target"), google)


@pytest.fixture(
    params=["memory", "a bucket each", "one bucket", "azure, one container", "gcs, a bucket each", "gcs, one bucket"]
)
async def stores(
    request: pytest.FixtureRequest, moto: S3Server, azurite: CloudServer, gcs: CloudServer
) -> AsyncIterator[BucketStores]:
    number = next(_numbers)
    made: BucketStores
    if request.param == "memory":
        made = PrefixedStores(MemoryObjectStore(StoreName("memory"), clock=SystemClock()))
    elif request.param == "a bucket each":
        made = s3_buckets(moto.url, f"m{number}-{{bucket}}")
    elif request.param == "azure, one container":
        made = cloud_buckets("azure", azurite.url, f"mirror-{number}", "copies/{bucket}/")
    elif request.param == "gcs, a bucket each":
        made = cloud_buckets("gcs", gcs.url, f"m{number}-{{bucket}}")
    elif request.param == "gcs, one bucket":
        made = cloud_buckets("gcs", gcs.url, f"mirror-{number}", "copies/{bucket}/")
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


@pytest.fixture(params=["azure", "gcs"])
def cloud(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Its kind, and its server's URL."""
    server: CloudServer = request.getfixturevalue("azurite" if request.param == "azure" else "gcs")
    return request.param, server.url


async def test_clouds_a_bucket_each_is_made_once_asked_for_and_only_then(cloud: tuple[str, str]) -> None:
    kind, url = cloud
    number = next(_numbers)
    stores = cloud_buckets(kind, url, f"each{number}-{{bucket}}")
    other = Bucket("bucket-b")
    assert not await stores.has(A)
    await stores.check()  # that one bucket of many is not there says nothing about the service
    await stores.prepare(A)
    await stores.store(A).put(Key("k"), b"of a")
    assert (await stores.has(A), await stores.has(other)) == (True, False)
    with pytest.raises(Rejected):  # a missing bucket says nothing about its objects
        await stores.store(other).head(Key("k"))
    parts = stores.parts(A)
    assert parts is not None
    await stores.aclose()
    again = cloud_buckets(kind, url, f"each{number}-{{bucket}}", create=False)
    assert await read_all(again.store(A), "k") == b"of a"
    await again.prepare(other)
    assert not await again.has(other)
    await again.aclose()


async def test_clouds_without_a_template_each_bucket_is_a_folder(cloud: tuple[str, str]) -> None:
    kind, url = cloud
    number = next(_numbers)
    stores = cloud_buckets(kind, url, f"folders-{number}", "below/")
    await stores.prepare(A)
    await stores.store(A).put(Key("k"), b"of a")
    whole = cloud_buckets(kind, url, f"folders-{number}", "{bucket}")
    assert await read_all(whole.store(Bucket(f"below/{A}/")), "k") == b"of a"
    await whole.aclose()
    await stores.aclose()
    gone = cloud_buckets(kind, url, f"never-{number}", create=False)
    gone.store(A)
    with pytest.raises(NotFound):  # the only bucket there is
        await gone.check()
    await gone.aclose()


@pytest.mark.parametrize(("kind", "bucket"), [("azure", "bucket-a.b"), ("azure", "b" * 60), ("gcs", "b" * 220)])
async def test_clouds_a_name_that_is_none_there_is_said(kind: str, bucket: str) -> None:
    stores = cloud_buckets(kind, f"http://127.0.0.1:{free_port()}", "copy-{bucket}")
    with pytest.raises(Rejected, match="prefix"):
        stores.store(Bucket(bucket))
    await stores.aclose()


async def test_clouds_an_outage_is_no_missing_bucket(cloud: tuple[str, str]) -> None:
    kind, url = cloud[0], f"http://127.0.0.1:{free_port()}"
    stores = cloud_buckets(kind, f"{url}/{ACCOUNT}" if kind == "azure" else url, "x-{bucket}")
    stores.store(A)
    for asked in (stores.check, lambda: stores.has(A), lambda: stores.prepare(A)):
        with pytest.raises(Unavailable):
            await asked()
    await stores.aclose()
