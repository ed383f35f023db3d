"""What reaches a handler, and what never does."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.http import BodyMalformed, BodyTooLarge, ClientFault, ClientGone, Limits, Request, Response
from tests.unit.http.malformed import BODIES, HEADS

SMALL = Limits(max_body_bytes=1_000_000)


def ok(request: Request) -> Response:
    return Response(200, [], request.path.encode())


async def echo(request: Request) -> Response:
    return Response(200, [], b"".join([chunk async for chunk in request.body]))


@pytest.mark.parametrize(("what", "data"), HEADS, ids=[what for what, _ in HEADS])
async def test_a_malformed_head_never_reaches_the_handler(client: Any, what: str, data: bytes) -> None:
    c = client(ok, SMALL)
    c.send(data)
    assert c.calls == []
    assert len(c.statuses) == 1
    assert 400 <= c.statuses[0] <= 505
    assert b"\r\nConnection: close\r\n" in c.transport.out
    c.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert c.calls == []
    assert c.transport.eof_written


@pytest.mark.parametrize(("what", "data"), HEADS, ids=[what for what, _ in HEADS])
async def test_a_malformed_head_is_refused_byte_by_byte_too(client: Any, what: str, data: bytes) -> None:
    c = client(ok, SMALL)
    for at in range(len(data)):
        c.send(data[at : at + 1])
    assert c.calls == []
    assert len(c.statuses) == 1


@pytest.mark.parametrize(("what", "data"), BODIES, ids=[what for what, _ in BODIES])
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
async def test_broken_chunked_framing_fails_the_body_and_ends_the_connection(
    client: Any, what: str, data: bytes, step: int
) -> None:
    faults: list[ClientFault] = []

    async def handler(request: Request) -> Response:
        try:
            return await echo(request)
        except ClientFault as fault:
            faults.append(fault)
            raise

    c = client(handler, SMALL)
    for at in range(0, len(data), step):
        c.send(data[at : at + step])
    await c.settle()
    assert [r.path for r in c.calls] == ["/p"]
    assert [type(f) for f in faults] in ([BodyMalformed], [BodyTooLarge])
    assert c.statuses in ([400], [413])
    assert c.transport.eof_written


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue;x\r\n\r\n", 417),
        (b"GET /" + b"x" * 40_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n", 413),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ],
)
async def test_refusals_have_their_own_status(client: Any, data: bytes, status: int) -> None:
    c = client(ok, SMALL)
    c.send(data)
    assert c.statuses == [status]


async def test_a_request_is_given_as_it_was_sent(client: Any) -> None:
    c = client(ok)
    c.send(b"GET /a%20b?x=%2F&y HTTP/1.1\r\nHoSt: h:80\r\nX-A:  one \t\r\nx-a: two\r\nEmpty:\r\n\r\n")
    (request,) = c.calls
    assert (request.method, request.target) == ("GET", b"/a%20b?x=%2F&y")
    assert (request.path, request.query, request.peer) == ("/a%20b", "x=%2F&y", "192.0.2.1:5000")
    assert request.headers == [(b"host", b"h:80"), (b"x-a", b"one"), (b"x-a", b"two"), (b"empty", b"")]
    assert request.header(b"x-a") == b"one"
    assert request.header(b"none") is None
    assert (request.content_length, request.has_body) == (None, False)
    assert [chunk async for chunk in request.body] == []


async def test_repeated_field_blocks_are_not_mixed_up(client: Any) -> None:
    c = client(ok)
    for name in (b"a", b"a", b"b", b"a"):
        c.send(b"GET / HTTP/1.1\r\nHost: " + name + b"\r\n\r\n")
    assert [r.header(b"host") for r in c.calls] == [b"a", b"a", b"b", b"a"]
    c.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert b"Connection: close" in c.transport.out  # the remembered block says nothing about the version


async def test_pipelined_answers_keep_their_order(client: Any) -> None:
    gate = asyncio.Event()

    def handler(request: Request) -> Any:
        if request.path == "/1":
            return slow(request)
        return ok(request)

    async def slow(request: Request) -> Response:
        await gate.wait()
        return ok(request)

    c = client(handler)
    c.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(4)))
    await c.settle()
    assert [r.path for r in c.calls] == ["/0", "/1"]
    gate.set()
    await c.settle()
    assert [r.path for r in c.calls] == ["/0", "/1", "/2", "/3"]
    bodies = [part.split(b"\r\n\r\n")[1] for part in c.take().split(b"HTTP/1.1 200")[1:]]
    assert bodies == [b"/0", b"/1", b"/2", b"/3"]


async def test_a_flood_of_pipelined_requests_is_held_back(client: Any) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        await gate.wait()
        return ok(request)

    one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    c = client(handler)
    sent = 0
    while c.transport.reading:
        c.send(one * 500)
        sent += 500
        assert sent * len(one) < 300_000
    gate.set()
    for _ in range(sent):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await c.settle()
    assert c.transport.reading
    assert len(c.calls) == sent


async def test_a_client_that_does_not_read_gets_no_further_answers(client: Any) -> None:
    c = client(lambda request: Response(200, [], b"x" * 50_000))
    c.transport.stalled = True
    c.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    await c.settle()
    assert len(c.calls) == 2  # the second passed the high-water mark
    c.transport.stalled = False
    c.transport.flush()
    for _ in range(100):
        await c.settle()
    assert len(c.calls) == 100


async def test_http_1_0(client: Any) -> None:
    c = client(ok)
    c.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"Connection: keep-alive" in c.take()
    c.send(b"GET /b HTTP/1.0\r\n\r\n")
    assert b"Connection: close" in c.take()
    assert c.transport.closed
    assert [r.path for r in c.calls] == ["/a", "/b"]


STREAM = (
    b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world"
    b"\r\nPUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"5;ext=1\r\nhello\r\n1\r\n,\r\n0a\r\n0123456789\r\n0\r\nX-Trailer: x\r\n\r\n"
    b"POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    b"GET /5?q HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
)


@settings(max_examples=150, deadline=None)
@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_any_segmentation_gives_the_same_requests(cuts: list[int]) -> None:
    from tests.unit.http.conftest import Client

    async def run() -> None:
        seen: list[tuple[str, str, bytes]] = []

        async def handler(request: Request) -> Response:
            body = await request.body.read(1000)
            seen.append((request.method, request.path, body))
            return Response(200, [], b"")

        c = Client(handler)
        edges = [0, *sorted(cuts), len(STREAM)]
        for start, end in pairwise(edges):
            if end > start:
                c.send(STREAM[start:end])
                await asyncio.sleep(0)
        for _ in range(10):
            await c.settle()
        assert seen == [
            ("GET", "/1", b""),
            ("POST", "/2", b"hello world"),
            ("PUT", "/3", b"hello,0123456789"),
            ("POST", "/4", b""),
            ("GET", "/5", b""),
        ]
        assert c.statuses == [200] * 5

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=400), good=st.booleans())
def test_no_bytes_raise_out_of_the_connection(data: bytes, good: bool) -> None:
    from tests.unit.http.conftest import Client

    async def run() -> None:
        c = Client(echo, SMALL)
        c.send((b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" if good else b"") + data)
        await c.settle()
        c.transport.lose()
        await c.settle()
        assert not c.engine.connections
        assert not c.faults

    asyncio.run(run())


async def test_the_body_waits_for_its_reader(client: Any) -> None:
    gate = asyncio.Event()
    total = 0

    async def handler(request: Request) -> Response:
        nonlocal total
        await gate.wait()
        async for chunk in request.body:
            total += len(chunk)
        return Response(200, [], b"")

    c = client(handler)
    size = 8 * 1024 * 1024
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    sent = 0
    while c.transport.reading:
        c.send(b"x" * 65536)
        sent += 65536
        assert sent <= 2 * 1024 * 1024
    gate.set()
    while sent < size:
        await c.settle()
        assert c.transport.reading
        c.send(b"x" * 65536)
        sent += 65536
    await c.settle()
    assert total == size
    assert c.statuses == [200]


async def test_a_disconnect_within_the_body_is_seen_by_the_reader(client: Any) -> None:
    seen: list[BaseException] = []

    async def handler(request: Request) -> Response:
        try:
            return await echo(request)
        except ClientGone as gone:
            seen.append(gone)
            raise

    for framing in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
        c = client(handler)
        c.send(b"PUT / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n5\r\nhello")
        await c.settle()
        c.transport.lose()
        await c.settle()
        assert len(seen) == 1
        seen.clear()
        assert not c.transport.out
        assert c.observed == [("/", 499, 0)]
        assert not c.engine.connections
        assert not c.faults


async def test_100_continue_is_sent_when_the_body_is_first_read(client: Any) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        await gate.wait()
        return await echo(request)

    c = client(handler)
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n")
    await c.settle()
    assert not c.transport.out
    gate.set()
    await c.settle()
    assert c.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    c.send(b"ab")
    await c.settle()
    assert c.take().endswith(b"\r\n\r\nab")
    assert not c.transport.closed


@pytest.mark.parametrize("value", [b"", b"200", b"200-ok", b"x"])
async def test_other_expectations_are_ignored(client: Any, value: bytes) -> None:
    c = client(echo)
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: " + value + b"\r\n\r\nab")
    await c.settle()
    assert c.statuses == [200]
    assert c.take().endswith(b"\r\n\r\nab")


async def test_no_100_continue_for_an_answer_without_reading(client: Any) -> None:
    c = client(lambda request: Response(403, [], b"no"))
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert c.statuses == [403]
    assert b"Connection: close" in c.transport.out  # the client may or may not send the two bytes now
    c.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(c.calls) == 1


async def test_a_small_unread_body_is_dropped_and_the_connection_goes_on(client: Any) -> None:
    c = client(ok)
    c.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nfirst")
    c.send(b"x" * 59_995 + b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [r.path for r in c.calls] == ["/a", "/b"]
    assert c.statuses == [200, 200]
    with pytest.raises(ClientGone):
        await c.calls[0].body.__anext__()


async def test_a_large_unread_body_ends_the_connection_after_the_answer(client: Any) -> None:
    c = client(ok)
    c.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nfirst")
    assert b"Connection: close" in c.transport.out
    assert c.transport.eof_written
    assert not c.transport.closed  # the client shall have time to read
    c.send(b"x" * 99_995 + b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(c.calls) == 1
    assert c.connection.eof_received() is False


async def test_a_chunked_body_beyond_the_limit_is_413(client: Any) -> None:
    c = client(echo, Limits(max_body_bytes=10))
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n")
    await c.settle()
    assert c.statuses == [413]
