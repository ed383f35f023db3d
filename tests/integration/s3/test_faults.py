"""Requests that fail are repeated where that is safe, and told apart truthfully where it is not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from hashlib import md5, sha256
from pathlib import Path
from random import Random

import pytest

from controlplane.adapters.s3 import S3ObjectStore
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    Missing,
    NotFound,
    Rejected,
    StorageFull,
    Unavailable,
)
from controlplane.ports.object_store import ByteRange, LocalFile
from tests.integration.s3.faulty_server import Fault, FaultyS3, error, faulty_s3
from tests.integration.s3.faulty_store import ImpatientClock, options_for

K = Key("k")
HTML = b"<html><body>gone fishing</body></html>"


def content_of(data: bytes) -> Content:
    return Content(Md5(md5(data).hexdigest()), Sha256(sha256(data).hexdigest()), len(data))


async def stream(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(store: S3ObjectStore, key: Key = K) -> bytes:
    reader = await store.get(key)
    try:
        return b"".join([chunk async for chunk in reader])
    finally:
        await reader.aclose()


PASSING = {
    "500": Fault(status=500, body=error("InternalError")),
    "503 without a document": Fault(status=503, body=HTML),
    "429": Fault(status=429, body=error("TooManyRequests")),
    "SlowDown": Fault(status=503, body=error("SlowDown")),
    "400 RequestTimeout": Fault(status=400, body=error("RequestTimeout")),
    "reset on the head": Fault(reset="on head"),
    "reset before": Fault(reset="before"),
    "reset after": Fault(reset="after"),
    "garbage": Fault(raw=b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half a head": Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Le"),
    "an endless head": Fault(raw=b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000),
    "two lengths": Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "nothing": Fault(stall="head"),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
@pytest.mark.parametrize("call", ["put", "put file", "get", "head", "delete", "check", "list"])
async def test_what_may_be_repeated_outlasts_a_fault(
    server: FaultyS3, store: S3ObjectStore, tmp_path: Path, fault: Fault, call: str
) -> None:
    await store.put(K, b"data", content=content_of(b"data"))
    server.faults = [Fault(**vars(fault))]
    if call == "put":
        assert (await store.put(K, b"new")).etag == md5(b"new").hexdigest()
        assert server.objects["k"][0] == b"new"
    elif call == "put file":
        (tmp_path / "f").write_bytes(b"new")
        await store.put(K, LocalFile(tmp_path / "f", 3))
        assert server.objects["k"][0] == b"new"
    elif call == "get":
        assert await read(store) == b"data"
    elif call == "head":
        assert (await store.head(K)).content == content_of(b"data")
    elif call == "delete":
        await store.delete(K)
        assert "k" not in server.objects
    elif call == "check":
        await store.check()
    else:
        assert (await store.list()).objects == ()
    assert server.faults == []


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
async def test_a_lasting_fault_is_an_outage_and_never_an_answer(
    server: FaultyS3, store: S3ObjectStore, clock: ImpatientClock, fault: Fault
) -> None:
    for call in (store.head(K), store.get(K), store.list(), store.check(), store.delete(K), store.put(K, b"x")):
        server.faults = [Fault(**vars(fault)) for _ in range(20)]
        clock.slept.clear()
        with pytest.raises(Unavailable) as raised:
            await call
        assert "http://127.0.0.1" in str(raised.value)
        assert len(clock.slept) == 3


async def test_backing_off_grows_and_is_drawn_from_the_whole_span(server: FaultyS3, clock: ImpatientClock) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, attempts=8), clock, Random(3))
    server.faults = [Fault(status=500) for _ in range(20)]
    with pytest.raises(Unavailable):
        await store.head(K)
    assert len(clock.slept) == 7
    assert all(0 <= slept <= min(0.1 * 2**turn, 5) for turn, slept in enumerate(clock.slept))
    assert len(set(clock.slept)) == 7
    await store.aclose()


async def test_retry_after_is_honoured_up_to_a_bound(
    server: FaultyS3, store: S3ObjectStore, clock: ImpatientClock
) -> None:
    await store.put(K, b"data")
    server.faults = [Fault(status=503, headers={"Retry-After": "7"})]
    await store.head(K)
    assert clock.slept == [7.0]
    server.faults = [Fault(status=503, headers={"Retry-After": "120"}, body=error("SlowDown"))]
    with pytest.raises(Unavailable) as raised:
        await store.get(K)
    assert raised.value.retry_after == 120
    assert clock.slept == [7.0]


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(reset="before"), Fault(reset="after"), Fault(stall="head")])
async def test_a_stream_is_sent_once_and_never_again(server: FaultyS3, store: S3ObjectStore, fault: Fault) -> None:
    server.faults = [Fault(**vars(fault))]
    data = os.urandom(1_100_000)
    large = S3ObjectStore(StoreName("s3"), options_for(server.url, part_bytes=4_000_000), ImpatientClock(), Random(1))
    with pytest.raises(Unavailable):
        await large.put(K, stream(data), size=len(data), content=content_of(data))
    assert [seen.method for seen in server.seen] == ["PUT"]
    await large.aclose()


async def test_a_small_stream_is_held_in_memory_and_may_be_sent_again(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(status=503)]
    await store.put(K, stream(b"x" * 1000), size=1000)
    assert server.objects["k"][0] == b"x" * 1000


async def test_an_idle_connection_that_the_server_closed_costs_nothing(server: FaultyS3, clock: ImpatientClock) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, attempts=2), clock, Random(1))
    await store.put(K, b"data")
    server.close_idle_connections()
    await asyncio.sleep(0.05)
    assert await read(store) == b"data"
    server.faults = [Fault(reset="on head")]
    assert await read(store) == b"data"
    assert clock.slept == []
    await store.aclose()


@pytest.mark.parametrize("cut_at", [0, 1, 50_000, 99_999])
async def test_a_body_that_ends_short_never_looks_whole(server: FaultyS3, store: S3ObjectStore, cut_at: int) -> None:
    await store.put(K, os.urandom(100_000))
    server.faults = [Fault(method="GET", cut_at=cut_at)]
    with pytest.raises(Unavailable):
        await read(store)
    server.faults = [Fault(method="GET", cut_at=cut_at)]
    reader = await store.get(K, byte_range=ByteRange(0, 99_999))
    with pytest.raises(Unavailable):
        async for _ in reader:
            pass
    await reader.aclose()
    assert len(await read(store)) == 100_000


async def test_a_body_that_stops_coming_times_out(server: FaultyS3, store: S3ObjectStore) -> None:
    await store.put(K, os.urandom(100_000))
    server.faults = [Fault(method="GET", stall="body")]
    with pytest.raises(Unavailable, match=r"0\.4 s"):
        await read(store)


async def test_a_slow_reader_does_not_time_out_and_slows_the_server(server: FaultyS3, store: S3ObjectStore) -> None:
    data = os.urandom(20_000_000)
    server.objects["k"] = (data, {})
    reader = await store.get(K)
    taken = [await anext(aiter(reader))]
    await asyncio.sleep(0.8)
    taken += [chunk async for chunk in reader]
    await reader.aclose()
    assert b"".join(taken) == data


async def test_closing_a_reader_early_costs_its_connection_only(server: FaultyS3, store: S3ObjectStore) -> None:
    server.objects["k"] = (os.urandom(5_000_000), {})
    for _ in range(20):
        reader = await store.get(K)
        await anext(aiter(reader))
        await reader.aclose()
    assert len(await read(store)) == 5_000_000
    assert server.most_open <= 8


async def test_connections_are_used_again(server: FaultyS3, store: S3ObjectStore) -> None:
    for turn in range(20):
        await store.put(Key(f"k{turn}"), b"data")
        await store.head(Key(f"k{turn}"))
        assert await read(store, Key(f"k{turn}")) == b"data"
        with pytest.raises(NotFound):
            await store.head(Key("absent"))
    assert server.connections == 1


async def test_the_pool_is_bounded_and_everybody_gets_their_turn(server: FaultyS3, clock: ImpatientClock) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, connections=3, read_timeout_s=5.0), clock, Random(1))
    await asyncio.gather(*(store.put(Key(f"k{turn}"), b"x" * 3000) for turn in range(100)))
    assert len(server.objects) == 100
    assert server.most_open <= 3
    await store.aclose()


async def test_waiting_for_a_connection_has_an_end_and_cancelling_it_loses_none(
    server: FaultyS3, clock: ImpatientClock
) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, connections=1), clock, Random(1))
    server.objects["k"] = (os.urandom(5_000_000), {})
    reader = await store.get(K)
    with pytest.raises(Unavailable, match="busy"):
        await store.head(K)
    waiting = [asyncio.create_task(store.head(K)) for _ in range(4)]
    await asyncio.sleep(0.02)
    waiting[0].cancel()
    await reader.aclose()
    waiting[2].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [True, False, True, False]
    assert not any(isinstance(outcome, Unavailable) for outcome in outcomes)
    await store.head(K)
    await store.aclose()


async def test_an_endpoint_that_is_away_is_left_out(server: FaultyS3, clock: ImpatientClock) -> None:
    async with faulty_s3() as other:
        store = S3ObjectStore(StoreName("s3"), options_for(other.url, server.url), clock, Random(5))
        for turn in range(20):
            await store.put(Key(f"k{turn}"), b"x")
        assert other.objects
        assert server.objects
        await other.stop()
        slept = len(clock.slept)
        for turn in range(20):
            await store.put(Key(f"n{turn}"), b"x")
        assert {f"n{turn}" for turn in range(20)} <= set(server.objects)
        assert len(clock.slept) - slept <= 2
        await store.aclose()


async def test_nobody_listens(clock: ImpatientClock) -> None:
    async with faulty_s3() as gone:
        url = gone.url
    store = S3ObjectStore(StoreName("s3"), options_for(url), clock, Random(1))
    with pytest.raises(Unavailable, match="cannot connect"):
        await store.check()
    await store.aclose()


async def test_a_user_that_riak_cs_cannot_read_for_a_moment_is_tried_again_and_a_wrong_key_stays_one(
    server: FaultyS3, store: S3ObjectStore, clock: ImpatientClock
) -> None:
    """As recorded right after a Riak node had gone down (cli/node-down.txt)."""
    unknown = Fault(status=403, body=error("InvalidAccessKeyId"))
    server.faults = [Fault(**vars(unknown)) for _ in range(2)]
    await store.put(K, b"data", content=content_of(b"data"))
    server.faults = [Fault(**vars(unknown)) for _ in range(2)]
    assert (await store.head(K)).content == content_of(b"data")
    for call in (store.get(K), store.check(), store.put(K, b"x")):
        server.faults = [Fault(**vars(unknown)) for _ in range(20)]
        clock.slept.clear()
        with pytest.raises(Forbidden, match="check access_key"):
            await call
        assert len(clock.slept) == 3


ANSWERS = [
    (404, error("NoSuchKey"), NotFound),
    (404, error("NoSuchBucket"), Missing),
    (404, HTML, Unavailable),
    (404, b"", Unavailable),
    (403, error("AccessDenied"), Forbidden),
    (403, error("SignatureDoesNotMatch"), Forbidden),
    (403, HTML, Unavailable),
    (301, error("PermanentRedirect"), Rejected),
    (400, error("InvalidArgument"), Rejected),
    (501, error("NotImplemented"), Rejected),
    (507, HTML, StorageFull),
    (507, error("InsufficientStorage"), StorageFull),
    (403, error("QuotaExceeded"), StorageFull),
    (405, HTML, Unavailable),
]


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS)
@pytest.mark.parametrize("call", ["get", "head"])
async def test_answers_are_what_they_say(
    server: FaultyS3, store: S3ObjectStore, status: int, body: bytes, expected: type[Exception], call: str
) -> None:
    server.objects["k"] = (b"data", {})
    server.faults = [Fault(status=status, body=body), Fault(status=status, body=body)]
    with pytest.raises(expected) as raised:
        await (store.get(K) if call == "get" else store.head(K))
    assert type(raised.value) is expected
    server.faults = []
    assert await read(store) == b"data"


@pytest.mark.parametrize("code", ["BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"])
async def test_a_body_that_the_server_finds_damaged_is_corrupt(
    server: FaultyS3, store: S3ObjectStore, code: str
) -> None:
    server.faults = [Fault(status=400, body=error(code))]
    with pytest.raises(Corrupt):
        await store.put(K, b"data")


async def test_check_tells_what_to_do(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(status=404, body=error("NoSuchBucket"))]
    with pytest.raises(NotFound, match=r"bucket b does not exist at http://.*: create it or set create_bucket"):
        await store.check()
    server.faults = [Fault(status=403, body=error("SignatureDoesNotMatch"))]
    with pytest.raises(Rejected, match="check secret_key, region and signature"):
        await store.check()
    server.faults = [Fault(body=HTML)]
    with pytest.raises(Unavailable, match="no S3 server"):
        await store.check()


async def test_deleting_what_is_gone_succeeds_but_a_proxys_404_does_not(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(status=404, body=error("NoSuchKey"))]
    await store.delete(K)
    for body in (HTML, error("NoSuchBucket")):
        server.faults = [Fault(status=404, body=body)]
        with pytest.raises((Unavailable, Rejected)):
            await store.delete(K)


@pytest.mark.parametrize(
    "headers", [{"ETag": ""}, {"Last-Modified": "yesterday"}, {"Content-Length": "", "Connection": "close"}]
)
async def test_an_answer_without_an_objects_headers_is_no_object(
    server: FaultyS3, store: S3ObjectStore, headers: dict[str, str]
) -> None:
    server.objects["k"] = (b"data", {})
    server.faults = [Fault(headers=headers)]
    with pytest.raises(Unavailable):
        await store.get(K)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(headers={"Content-Range": "bytes 1-2/4"}),
        Fault(headers={"Content-Range": ""}),
        Fault(headers={"Content-Range": "bytes 0-1/*"}),
    ],
)
async def test_a_range_that_is_another_is_not_taken(server: FaultyS3, store: S3ObjectStore, fault: Fault) -> None:
    server.objects["k"] = (b"data", {})
    server.faults = [fault]
    with pytest.raises(Unavailable):
        await store.get(K, byte_range=ByteRange(0, 1))


async def test_a_refused_put_is_answered_before_its_body_is_sent(server: FaultyS3, clock: ImpatientClock) -> None:
    """Riak CS answers a refused PUT at once and resets the connection while the body is on its way."""
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, part_bytes=100_000_000), clock, Random(1))
    server.faults = [Fault(status=403, body=error("AccessDenied"), early=True)]
    with pytest.raises((Rejected, Unavailable)):
        await store.put(K, b"x" * 30_000_000)
    assert "k" not in server.objects
    await store.put(K, b"x")
    await store.aclose()


async def test_a_closed_store_refuses(server: FaultyS3, store: S3ObjectStore) -> None:
    await store.put(K, b"x")
    await store.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await store.head(K)


async def test_what_cannot_be_a_header_or_a_key_is_rejected(server: FaultyS3, store: S3ObjectStore) -> None:
    for changes in (
        {"metadata": {"x": "a\r\nevil: 1"}},
        {"metadata": {"bad name": "a"}},
        {"metadata": {"millrace-md5": "a"}},
        {"content_type": "text/plain\r\nevil: 1"},
        {"content_type": ""},
    ):
        with pytest.raises(Rejected):
            await store.put(K, b"x", **changes)  # type: ignore[arg-type]
    for key in ("", "\ud800"):
        for call in (store.put(Key(key), b"x"), store.delete(Key(key)), store.get(Key(key)), store.head(Key(key))):
            with pytest.raises(Rejected):
                await call
    assert server.seen == []


async def test_if_absent_after_a_lost_answer_is_no_conflict_with_itself(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(method="PUT", reset="after")]
    info = await store.put(K, b"mine", content=content_of(b"mine"), if_absent=True)
    assert info.etag == md5(b"mine").hexdigest()
    server.faults = [Fault(method="PUT", reset="before")]
    server.objects["k"] = (b"theirs", {})
    with pytest.raises(Conflict):
        await store.put(K, b"mine", content=content_of(b"mine"), if_absent=True)


async def test_closing_the_store_ends_the_waiting_line(server: FaultyS3, clock: ImpatientClock) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, connections=1, read_timeout_s=9.0), clock, Random(1))
    server.objects["k"] = (os.urandom(5_000_000), {})
    reader = await store.get(K)
    waiting = asyncio.create_task(store.head(K))
    await asyncio.sleep(0.02)
    await store.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    await reader.aclose()


@pytest.mark.parametrize("kind", ["bytes", "parts"])
async def test_a_server_without_conditions_is_sent_none_for_a_while(
    server: FaultyS3, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """One that says so, by 501; most ignore what they do not know."""
    store = S3ObjectStore(StoreName("s3"), options_for(server.url), ImpatientClock(), Random(1))
    data = b"1" * (3 << 20 if kind == "parts" else 10)
    (tmp_path / "body").write_bytes(data)
    body = data if kind == "bytes" else LocalFile(tmp_path / "body", len(data))
    await store.put(K, b"what is there")
    method = "PUT" if kind == "bytes" else "POST"
    query = "" if kind == "bytes" else "uploadId"
    server.faults.append(Fault(method=method, query=query, status=501, body=error("NotImplemented")))
    await store.put(K, body, if_match="0" * 32)
    assert await read(store) == data
    server.faults.append(Fault(method="DELETE", status=501, body=error("NotImplemented")))
    with pytest.raises(Rejected):
        await store.delete(K, if_match="0" * 32)  # without a condition it is an error like any other
    seen = [("if-match" in each.headers, each.method) for each in server.seen if each.method in (method, "DELETE")]
    assert seen.count((True, method)) == 1
    assert (True, "DELETE") not in seen
    assert "does not take conditions" in caplog.text
    # What must be new is looked for instead.
    with pytest.raises(Conflict):
        await store.put(K, b"another", if_absent=True)
    assert await read(store) == data
    await store.aclose()


async def test_what_amazon_says_of_nothing_to_match_is_a_conflict(server: FaultyS3) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url), ImpatientClock(), Random(1))
    server.faults.append(Fault(method="PUT", status=404, body=error("NoSuchKey")))
    with pytest.raises(Conflict):
        await store.put(K, b"1", if_match="0" * 32)
    server.faults.append(Fault(method="PUT", status=409, body=error("ConditionalRequestConflict")))
    with pytest.raises(Conflict):
        await store.put(K, b"1", if_match="0" * 32)
    await store.aclose()


async def test_the_echo_of_ones_own_lost_put_is_no_conflict(server: FaultyS3) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url), ImpatientClock(), Random(1))
    first = await store.put(K, b"1")
    server.faults.append(Fault(method="PUT", reset="after"))
    server.faults.append(Fault(method="PUT", status=412, body=error("PreconditionFailed")))
    put = await store.put(K, b"2", content=content_of(b"2"), if_match=first.etag)
    assert put.etag == content_of(b"2").md5
    assert await read(store) == b"2"
    await store.aclose()
