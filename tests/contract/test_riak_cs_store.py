"""The S3 store keeps the ObjectStore contract at Riak CS with all its surprises: the stand-in, or the real one."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import ClassVar, Literal

import pytest

from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.s3.client import Request
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import NotFound, Rejected, Unavailable
from controlplane.ports.object_store import ObjectStore
from tests.contract.object_store_suite import ObjectStoreContract, body_of, content_of, in_order, list_all, read_all
from tests.support.riak_cs import RiakCs, User, upstream
from tests.support.s3_buckets import make_bucket

_numbers = itertools.count(1)
_NAME = secrets.token_hex(4)
"""A real Riak CS keeps the buckets of earlier runs."""


@pytest.fixture(scope="module")
def riak_cs() -> Iterator[RiakCs]:
    with upstream() as started:
        yield started


@pytest.fixture(scope="class")
def user(riak_cs: RiakCs) -> User:
    """Riak CS gives a user no more than a hundred buckets."""
    return riak_cs.create_user("contract")


def options_for(riak_cs: RiakCs, user: User, signature: Literal["v2", "v4"], prefix: str = "") -> S3Options:
    return S3Options(
        (riak_cs.url,), f"c{_NAME}-{next(_numbers)}", prefix, access_key=user.key, secret_key=user.secret,
        signature=signature, list_version=1, conditional_put=False, part_bytes=5 << 20,
    )  # fmt: skip


class RiakCsStore(ObjectStoreContract):
    """As the kit sets a store over Riak CS: list V1, no conditional writes."""

    atomic_if_absent = False
    compares = compares_large = compares_deletes = atomic_if_match = False
    signature: ClassVar[Literal["v2", "v4"]]
    prefix: ClassVar[str] = ""

    @pytest.fixture
    async def store(self, riak_cs: RiakCs, user: User) -> AsyncIterator[S3ObjectStore]:
        options = options_for(riak_cs, user, self.signature, self.prefix)
        await make_bucket(options)
        store = S3ObjectStore(StoreName("s3"), options, SystemClock(), Random(1))
        yield store
        for info in await list_all(store):
            await store.delete(info.key)
        await store.aclose()

    async def test_17_a_plus_is_a_plus_wherever_a_listing_begins(self, store: ObjectStore) -> None:
        """key-list-prefix-plus: a prefix with a plus is 403 by SigV4."""
        keys = in_order(["a+", "a+b/1", "a+b/2", "a+b/2+", "a b/1", "b"])
        for key in keys:
            await store.put(Key(key), key.encode())
        for limit in (1, 2, 1000):
            assert [info.key for info in await list_all(store, limit=limit)] == keys
            assert [info.key for info in await list_all(store, prefix="a+b/", limit=limit)] == keys[-4:-1]

    async def test_16_control_characters_in_keys_are_listed(self, store: ObjectStore) -> None:
        """key-list-encoding-url: they come raw, which is no XML, and a carriage return would become a line feed."""
        keys = in_order(["a\tb", "a\nb", "a\rb", "a\r\nb", "a\x01b", "a\x1fb", "a\ufffeb", "a\x7fb"])
        for key in keys:
            await store.put(Key(key), key.encode())
        for limit in (1, 3, 1000):
            assert [info.key for info in await list_all(store, limit=limit)] == keys
        for key in keys:
            assert await read_all(store, Key(key)) == key.encode()
        with pytest.raises(NotFound):
            await store.head(Key("b\x01"))

    async def test_13_two_blanks_in_metadata_are_two(self, store: ObjectStore) -> None:
        """auth-v4-double-space: signed as SigV4 wants it, they are 403."""
        await store.put(Key("it"), b"x", metadata={"note": "a  b   c", "plain": "a b"})
        assert (await store.head(Key("it"))).metadata == {"note": "a  b   c", "plain": "a b"}

    async def test_18_times_are_read(self, store: ObjectStore) -> None:
        """list-v1-max-keys-2: 20261122T215149Z in lists, as everywhere else in headers."""
        put = await store.put(Key("it"), b"x")
        (listed,) = await list_all(store)
        headed = await store.head(Key("it"))
        assert listed.modified_at == headed.modified_at
        assert abs(listed.modified_at - SystemClock().now()) < 120
        assert listed.etag == headed.etag == put.etag


class TestV4(RiakCsStore):
    signature = "v4"

    async def test_17_a_slash_in_front_would_mean_another_object(self, store: ObjectStore) -> None:
        """key-put-leading-slash: it is dropped."""
        await store.put(Key("it"), b"mine")
        for call in (
            lambda: store.put(Key("/it"), b"other"),
            lambda: store.head(Key("/it")),
            lambda: store.get(Key("/it")),
            lambda: store.delete(Key("/it")),
        ):
            with pytest.raises(Rejected, match="slash"):
                await call()
        assert await read_all(store, Key("it")) == b"mine"


class TestV2UnderAPrefix(RiakCsStore):
    signature = "v2"
    prefix = "mill race/+/"
    longest_key_bytes = 1024 - len(prefix)
    path_like_keys = (*ObjectStoreContract.path_like_keys, "/e", "//")


async def test_3_a_bucket_that_is_there_is_not_created_again(riak_cs: RiakCs) -> None:
    """sub-acl-after-create-again: a second CreateBucket makes the ACL private again."""
    options = options_for(riak_cs, riak_cs.create_user("acl"), "v4")
    store = S3ObjectStore(StoreName("s3"), options, SystemClock(), Random(1))
    acl = (("acl", ""),)

    async def grants() -> int:
        answer = await store._client.send(Request("GET", None, acl))
        return (await answer.read_all(1 << 20)).count(b"<Grant>")

    assert await store.create_bucket()
    (await store._client.send(Request("PUT", None, acl, {"x-amz-acl": "public-read"}))).close()
    assert await grants() == 2
    assert not await store.create_bucket()
    assert not await make_bucket(options)
    assert await grants() == 2
    await store.aclose()


async def test_15_version_2_of_a_listing_is_found_out(riak_cs: RiakCs) -> None:
    """list-v2-all: the answer is one of version 1, which begins at the beginning each time."""
    user = riak_cs.create_user("list")
    options = options_for(riak_cs, user, "v4")
    await make_bucket(options)
    store = S3ObjectStore(StoreName("s3"), replace(options, list_version=2), SystemClock(), Random(1))
    for key in "abc":
        await store.put(Key(key), b"x")
    with pytest.raises(Unavailable, match="list_version = 1"):
        await store.list(limit=2)
    with pytest.raises(Unavailable, match="list_version = 1"):
        await store.list(after=Key("a"))
    for key in "abc":
        await store.delete(Key(key))
    await store.aclose()


@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
@pytest.mark.parametrize("size", [100_000, 4_000_000, 12_000_000])
async def test_20_a_refused_body_is_told_as_refused(riak_cs: RiakCs, tmp_path: Path, kind: str, size: int) -> None:
    """conn-refused-put-with-body: it is answered while the body is on its way, and then the connection is reset."""
    owner, other = riak_cs.create_user("owner"), riak_cs.create_user("other")
    options = options_for(riak_cs, owner, "v4")
    await make_bucket(options)
    foreign = replace(options, access_key=other.key, secret_key=other.secret, attempts=2)
    store = S3ObjectStore(StoreName("s3"), foreign, SystemClock(), Random(1))
    data = Random(2).randbytes(size)
    for key in ("a", "b"):  # the second one on a connection that may be an old one
        with pytest.raises(Rejected):
            await store.put(Key(key), body_of(kind, data, tmp_path), size=size, content=content_of(data))
    await store.aclose()


async def test_19_a_bucket_of_somebody_else_takes_nothing(riak_cs: RiakCs) -> None:
    """bucket-head-other-owner is 404, but it can be listed (anon-list-as-bob): it looks as if it were there."""
    options = options_for(riak_cs, riak_cs.create_user("owner"), "v4")
    assert await make_bucket(options)
    other = riak_cs.create_user("other")
    foreign = replace(options, access_key=other.key, secret_key=other.secret)
    assert not await make_bucket(foreign)
    store = S3ObjectStore(StoreName("s3"), foreign, SystemClock(), Random(1))
    with pytest.raises(Rejected, match="may use this bucket"):
        await store.put(Key("k"), b"x")
    await store.aclose()
