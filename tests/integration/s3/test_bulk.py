"""Small objects in one go: right answers or none, whatever the server does to a pipeline; never a wrong one."""

from __future__ import annotations

import asyncio
import logging
from copy import copy
from random import Random

import pytest

from controlplane.adapters.s3 import S3ObjectStore
from controlplane.adapters.s3.bulk import Bulk
from controlplane.model.keys import Key, StoreName
from controlplane.ports.bulk_store import MOST_BYTES, SmallPut
from tests.integration.s3.faulty_server import Fault, FaultyS3
from tests.integration.s3.faulty_store import ImpatientClock, options_for
from tests.integration.s3.test_faults import HTML, PASSING, content_of, read

BODIES = [b"%d" % number * 1000 for number in range(9)]
KEYS = [Key(f"blobs/{number} +ä") for number in range(9)]

FAULTS = {
    **PASSING,
    "the end": Fault(headers={"Connection": "close"}),
    "403": Fault(status=403, body=HTML),
    "cut": Fault(cut_at=10),
    "stalled": Fault(stall="body"),
    "chunked": Fault(headers={"Transfer-Encoding": "chunked", "Content-Length": ""}),
}


def puts(*, if_absent: bool = True) -> list[SmallPut]:
    return [
        SmallPut(key, body, content_of(body), "text/plain", {"name": "value"}, if_absent=if_absent)
        for key, body in zip(KEYS, BODIES, strict=True)
    ]


async def deep(bulk: Bulk) -> None:
    """Let it learn that the server takes pipelines."""
    while bulk._depth < 32:
        assert None not in await bulk.head_many(KEYS[:1] * bulk._depth)


@pytest.fixture
async def filled(store: S3ObjectStore) -> S3ObjectStore:
    assert None not in await store.bulk.put_small(puts())
    await deep(store.bulk)
    return store


async def test_they_are_what_single_requests_are(filled: S3ObjectStore, server: FaultyS3) -> None:
    small = await filled.bulk.get_small(KEYS)
    heads = await filled.bulk.head_many(KEYS)
    for key, body, object_, head in zip(KEYS, BODIES, small, heads, strict=True):
        assert object_ is not None
        assert head is not None
        assert object_.body == body == await read(filled, key)
        assert object_.info == head == await filled.head(key)
        assert (head.content, head.content_type, head.metadata) == (content_of(body), "text/plain", {"name": "value"})
    put = next(seen for seen in server.seen if seen.method == "PUT")
    assert put.headers["if-none-match"] == "*"
    assert "content-md5" in put.headers


async def test_a_look_at_what_was_read_shows_what_has_changed_since(filled: S3ObjectStore) -> None:
    small = await filled.bulk.get_small(KEYS)
    await filled.put(KEYS[1], b"changed", content_type="text/plain", metadata={"name": "value"})
    for _ in range(2):
        heads = await filled.bulk.head_many(KEYS)
        alike = [object_ is not None and object_.info == head for object_, head in zip(small, heads, strict=True)]
        assert alike == [True, False, *[True] * (len(KEYS) - 2)]
        assert heads[1] is not None
        assert (heads[1].size, heads[1].etag) == (7, content_of(b"changed").md5)


async def test_all_go_out_before_the_first_is_answered(filled: S3ObjectStore, server: FaultyS3) -> None:
    connections = {seen.connection for seen in server.seen}
    await filled.bulk.head_many(KEYS)
    assert {seen.connection for seen in server.seen} == connections
    assert len(connections) == 1


async def test_what_is_missing_or_in_the_way_is_no_answer(filled: S3ObjectStore) -> None:
    assert await filled.bulk.head_many([Key("no"), KEYS[0]]) == [None, await filled.head(KEYS[0])]
    assert await filled.bulk.get_small([Key("no")]) == [None]
    assert await filled.bulk.put_small(puts()) == [None] * 9
    assert None not in await filled.bulk.put_small(puts(if_absent=False))


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_in_the_middle_costs_answers_never_their_truth(
    filled: S3ObjectStore, server: FaultyS3, fault: Fault, method: str
) -> None:
    for at in range(4):
        fault_now = copy(fault)
        fault_now.skip = at
        server.faults.append(fault_now)
        if method == "GET":
            for body, small in zip(BODIES, await filled.bulk.get_small(KEYS), strict=True):
                assert small is None or small.body == body
        elif method == "HEAD":
            for body, head in zip(BODIES, await filled.bulk.head_many(KEYS), strict=True):
                assert head is None or head.content == content_of(body)
        else:
            for body, put in zip(BODIES, await filled.bulk.put_small(puts(if_absent=False)), strict=True):
                assert put is None or put.content == content_of(body)
        server.faults.clear()
        for key, body in zip(KEYS, BODIES, strict=True):
            assert await read(filled, key) == body
        assert await filled.bulk.head_many(KEYS[:2]) == [await filled.head(key) for key in KEYS[:2]]


async def test_a_server_that_never_finishes_a_pipeline_is_left_in_peace(
    filled: S3ObjectStore, server: FaultyS3, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server.faults = [Fault(headers={"Connection": "close"}) for _ in range(100)]
    for _ in range(3):
        assert (await filled.bulk.head_many(KEYS))[1:] == [None] * 8
    asked = len(server.seen)
    assert await filled.bulk.head_many(KEYS) == [None] * 9
    assert len(server.seen) == asked
    assert "does not finish pipelined requests" in caplog.text
    server.faults.clear()
    assert (await filled.head(KEYS[0])).content == content_of(BODIES[0])


async def test_a_server_that_is_away_is_no_answer(clock: ImpatientClock) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for("http://127.0.0.1:1"), clock, Random(1))
    assert await store.bulk.head_many(KEYS) == [None] * 9
    assert await store.bulk.put_small(puts()) == [None] * 9
    await store.aclose()


async def test_where_conditions_are_not_kept_nothing_is_put_in_bulk(server: FaultyS3, clock: ImpatientClock) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, conditional_put=False), clock, Random(1))
    assert await store.bulk.put_small(puts()) == [None] * 9
    assert server.seen == []
    await store.aclose()


async def test_a_depth_of_one_sends_nothing(server: FaultyS3, clock: ImpatientClock) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, pipeline=1), clock, Random(1))
    assert await store.bulk.head_many(KEYS) == [None] * 9
    assert server.seen == []
    await store.aclose()


async def test_large_objects_and_keys_that_cannot_be_are_no_answer(filled: S3ObjectStore) -> None:
    await filled.put(Key("large"), bytes(MOST_BYTES + 1))
    got = await filled.bulk.get_small([KEYS[0], Key("large"), KEYS[1], Key("")])
    assert got[0] is not None
    assert got[1:] == [None] * 3


async def test_cancelled_in_the_middle_the_connection_is_not_used_again(
    filled: S3ObjectStore, server: FaultyS3
) -> None:
    server.faults = [Fault(stall="head", skip=3)]
    asking = asyncio.ensure_future(filled.bulk.head_many(KEYS))
    await asyncio.sleep(0.1)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert await filled.bulk.head_many(KEYS[:2]) == [await filled.head(key) for key in KEYS[:2]]
