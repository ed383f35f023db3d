"""The S3 store keeps the ObjectStore contract at moto (SigV4 and list V2; SigV2 and list V1) and at SeaweedFS."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from random import Random

import pytest

from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.s3_admin import S3BucketAdmin
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import StoreName
from tests.contract.object_store_suite import ObjectStoreContract
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
    await S3BucketAdmin(options).ensure_bucket()
    return S3ObjectStore(StoreName("s3"), options, SystemClock(), Random(1))


PLAIN = S3Options(
    endpoints=("http://127.0.0.1:1",),
    bucket="unset",
    access_key=ACCESS_KEY,
    secret_key=SECRET_KEY,
    part_bytes=5 * 1024 * 1024,
)


class TestMotoV4(ObjectStoreContract):
    @pytest.fixture
    async def store(self, moto: S3Server) -> AsyncIterator[S3ObjectStore]:
        store = await fresh_store(moto, PLAIN)
        yield store
        await store.aclose()


class TestMotoV2UnderAPrefix(ObjectStoreContract):
    """As a store over Riak CS is set: SigV2, list V1, no conditional writes; and with a prefix."""

    atomic_if_absent = False
    longest_key_bytes = 1024 - len("mill race/+/")

    @pytest.fixture
    async def store(self, moto: S3Server) -> AsyncIterator[S3ObjectStore]:
        options = replace(PLAIN, signature="v2", list_version=1, conditional_put=False, prefix="mill race/+/")
        store = await fresh_store(moto, options)
        yield store
        await store.aclose()


class TestSeaweedfs(ObjectStoreContract):
    @pytest.fixture
    async def store(self, seaweedfs: S3Server) -> AsyncIterator[S3ObjectStore]:
        store = await fresh_store(seaweedfs, PLAIN)
        yield store
        await store.aclose()
