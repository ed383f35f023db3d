"""Services that copy by themselves: moto, SeaweedFS, and Riak CS with its defects (the stand-in, or the real one)."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

import pytest

from controlplane.adapters.s3 import S3ObjectStore, S3Options, is_one_service
from controlplane.adapters.s3.server_copy import S3ServerCopy
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.content import Md5
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Conflict, NotFound, Unavailable
from controlplane.ports.object_store import ByteRange
from tests.contract.object_store_suite import read_all
from tests.support.fakes import content_of
from tests.support.riak_cs import upstream
from tests.support.s3_buckets import make_bucket
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, moto_server, seaweedfs_server

_numbers = itertools.count(1)
_NAME = secrets.token_hex(4)
"""A real Riak CS keeps the buckets of earlier runs."""
PART = 5 << 20
DATA = Random(4).randbytes(PART + 1000)


@dataclass
class Ends:
    source: S3ObjectStore
    target: S3ObjectStore
    way: S3ServerCopy
    kind: str
    key: Key


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, S3Options]]:
    with (
        moto_server(tmp_path_factory.mktemp("moto")) as moto,
        seaweedfs_server(tmp_path_factory.mktemp("seaweedfs")) as seaweedfs,
        upstream() as riak_cs,
    ):
        user = riak_cs.create_user("copies")
        yield {
            "moto": S3Options((moto.url,), "x", access_key=ACCESS_KEY, secret_key=SECRET_KEY),
            "seaweedfs": S3Options((seaweedfs.url,), "x", access_key=ACCESS_KEY, secret_key=SECRET_KEY),
            "riak-cs": S3Options(
                (riak_cs.url,),
                "x",
                access_key=user.key,
                secret_key=user.secret,
                list_version=1,
                conditional_put=False,
            ),
        }


@pytest.fixture(params=["moto", "seaweedfs", "riak-cs"])
async def ends(request: pytest.FixtureRequest, services: dict[str, S3Options]) -> AsyncIterator[Ends]:
    base = services[request.param]
    # One pair of buckets for all: SeaweedFS has room for few.
    here = replace(base, bucket=f"copy-source-{_NAME}")
    there = replace(here, bucket=f"copy-target-{_NAME}", prefix="below/", part_bytes=PART)
    for options in (here, there):
        await make_bucket(options)
    source, target = (
        S3ObjectStore(StoreName(name), options, SystemClock(), Random(1))
        for name, options in (("source", here), ("target", there))
    )
    assert is_one_service(here, there)
    yield Ends(source, target, target.server_copy(here), request.param, Key(f"plain key+ü% {next(_numbers)}"))
    await source.aclose()
    await target.aclose()


async def test_a_copy_has_the_bytes_of_the_source_and_the_metadata_that_was_given(ends: Ends) -> None:
    await ends.source.put(ends.key, DATA[:2000], content_type="text/x", metadata={"own": "of the source"})
    seen = await ends.source.head(ends.key)
    assert ends.way.takes(seen)
    put = await ends.way.copy(seen, content_of(DATA[:2000]), {"millrace-source-etag": seen.etag})
    assert put is not None
    held = await ends.target.head(ends.key)
    assert (held.etag, held.size, held.content, held.content_type, held.metadata) == (
        put.etag,
        2000,
        content_of(DATA[:2000]),
        "text/x",
        {"millrace-source-etag": seen.etag},
    )
    assert await read_all(ends.target, ends.key) == DATA[:2000]


async def test_a_copy_replaces_what_was_there_unless_it_must_not(ends: Ends) -> None:
    await ends.source.put(ends.key, b"new")
    await ends.target.put(ends.key, b"old")
    seen = await ends.source.head(ends.key)
    with pytest.raises(Conflict):
        await ends.way.copy(seen, content_of(b"new"), {}, if_absent=True)
    assert await read_all(ends.target, ends.key) == b"old"
    assert await ends.way.copy(seen, content_of(b"new"), {}) is not None
    assert await read_all(ends.target, ends.key) == b"new"


async def test_another_version_than_the_one_that_was_seen_is_not_copied(ends: Ends) -> None:
    await ends.source.put(ends.key, b"seen")
    seen = await ends.source.head(ends.key)
    await ends.source.put(ends.key, b"other")
    try:
        assert await ends.way.copy(seen, content_of(b"seen"), {}) is None
    except Unavailable:
        pass
    else:
        assert ends.kind != "riak-cs", "others may not look at the condition; then the ETag tells"
    await ends.source.delete(ends.key)
    try:
        assert await ends.way.copy(seen, content_of(b"seen"), {}) is None
    except Unavailable:
        pass


async def test_parts_are_copied_by_the_service(ends: Ends) -> None:
    await ends.source.put(ends.key, DATA)
    seen = await ends.source.head(ends.key)
    pieces = [DATA[:PART], DATA[PART:]]
    md5s = [Md5(content_of(piece).md5) for piece in pieces]
    upload_id = await ends.target.parts.begin(ends.key, content_of(DATA), "text/plain", {})
    for number, first in ((2, PART), (1, 0)):
        last = min(first + PART, len(DATA)) - 1
        part = await ends.way.copy_part(seen, upload_id, number, ByteRange(first, last), md5s[number - 1])
        if ends.kind == "seaweedfs":
            # What it calls the MD5 of a part is not that of its bytes: it proves nothing, and the part is sent.
            assert part is None
            assert ends.way.takes(seen)
            continue
        assert part is not None
        assert (part.etag, part.size) == (md5s[number - 1], last - first + 1)
    if ends.kind == "seaweedfs":
        return
    await ends.target.parts.complete(ends.key, upload_id, md5s, content_of(DATA))
    assert await read_all(ends.target, ends.key) == DATA
    if ends.kind != "moto":  # it breaks down
        with pytest.raises((NotFound, Unavailable)):
            await ends.way.copy_part(seen, upload_id, 1, ByteRange(0, PART - 1), md5s[0])


@pytest.mark.parametrize("key", ["d/k", "d/e/k", "what?"])
async def test_keys_that_riak_cs_reads_wrongly_are_not_given_to_it(ends: Ends, key: str) -> None:
    await ends.source.put(Key(key), b"abc")
    seen = await ends.source.head(Key(key))
    if ends.kind == "riak-cs":
        assert not ends.way.takes(seen)
        if "/" in key:
            # Were they given: it is no copy, and the service is left alone from then on.
            assert await ends.way.copy(seen, content_of(b"abc"), {}) is None
            await ends.source.put(ends.key, b"abc")
            assert not ends.way.takes(await ends.source.head(ends.key))
    else:
        assert ends.way.takes(seen)
        assert await ends.way.copy(seen, content_of(b"abc"), {}) is not None
        assert await read_all(ends.target, Key(key)) == b"abc"


@pytest.mark.parametrize(
    "change",
    [
        lambda options: replace(options, endpoints=("http://127.0.0.1:1",)),
        lambda options: replace(options, access_key="another"),
        lambda options: replace(options, access_key="", secret_key=""),
    ],
    ids=["another place", "another account", "nobody"],
)
def test_what_is_no_one_service(change: Callable[[S3Options], S3Options]) -> None:
    options = S3Options(("http://h:1",), "bucket", access_key="a", secret_key="b")
    assert is_one_service(options, replace(options, bucket="another", prefix="x/"))
    assert not is_one_service(change(options), change(options) if not change(options).access_key else options)
