"""Slow clients cost a bounded time."""

from __future__ import annotations

import asyncio
from typing import Any

from controlplane.http import ClientTooSlow, Limits, Request, Response, StreamBody

LIMITS = Limits(header_timeout_s=10, body_timeout_s=30, idle_timeout_s=75, min_body_rate=1000)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def ok(request: Request) -> Response:
    return Response(200, [], b"")


async def length(request: Request) -> Response:
    return Response(200, [], b"%d" % sum([len(chunk) async for chunk in request.body]))


async def test_an_idle_connection_is_closed(client: Any) -> None:
    c = client(ok, LIMITS)
    c.wait(74)
    c.send(GET)
    c.wait(74)
    assert not c.transport.closed
    c.wait(2)
    assert c.transport.closed
    assert c.statuses == [200]


async def test_a_head_must_be_whole_in_time_however_it_trickles(client: Any) -> None:
    c = client(ok, LIMITS)
    for byte in b"GET / HTTP":
        c.send(bytes([byte]))
        c.wait(0.9)
    assert not c.transport.out
    c.send(b"/")
    c.wait(1.1)
    assert c.statuses == [408]
    c.wait(6)
    assert c.transport.aborted  # the time to read the answer is bounded too


async def test_a_pause_within_the_body_is_408(client: Any) -> None:
    c = client(length, LIMITS)
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
    await c.settle()
    c.wait(29)
    c.send(b"x")
    c.wait(29)
    await c.settle()
    assert not c.transport.out
    c.wait(2)
    await c.settle()
    assert c.statuses == [408]
    assert c.transport.eof_written
    assert c.observed == [("/", 408, len("the client paused within the body"))]


async def test_a_body_below_the_least_rate_is_408_after_the_grace(client: Any) -> None:
    seen: list[BaseException] = []

    async def handler(request: Request) -> Response:
        try:
            return await length(request)
        except ClientTooSlow as slow:
            seen.append(slow)
            raise

    c = client(handler, LIMITS)
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(4):
        c.wait(9)
        c.send(b"x" * 100)
        await c.settle()
    assert c.statuses == [408]
    assert len(seen) == 1


async def test_a_slow_handler_is_not_the_clients_fault(client: Any) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        await gate.wait()
        return await length(request)

    c = client(handler, LIMITS)
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_100_000)
    assert not c.transport.reading
    c.wait(3600)
    gate.set()
    await c.settle()
    c.wait(29)
    c.send(b"x" * 900_000)
    await c.settle()
    assert c.statuses == [200]


async def test_the_time_before_100_continue_is_not_the_clients(client: Any) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        await gate.wait()
        return await length(request)

    c = client(handler, LIMITS)
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    c.wait(3600)
    gate.set()
    await c.settle()
    c.send(b"ab")
    await c.settle()
    assert c.statuses == [100, 200]


async def test_a_client_that_reads_nothing_is_cut_off(client: Any) -> None:
    closed: list[int] = []

    async def chunks() -> Any:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.append(1)

    c = client(lambda _: Response(200, [], StreamBody(chunks())), LIMITS)
    c.transport.stalled = True
    c.send(GET)
    await c.settle()
    c.wait(29)
    assert not c.transport.aborted
    c.transport.flush()
    await c.settle()
    c.wait(29)
    assert not c.transport.aborted
    c.wait(2)
    assert c.transport.aborted
    await c.settle()
    assert closed == [1]
    assert not c.engine.connections


async def test_a_client_that_reads_slowly_is_not(client: Any) -> None:
    c = client(lambda _: Response(200, [], b"x" * 1_000_000), LIMITS)
    c.transport.stalled = True
    c.send(GET)
    for _ in range(20):
        c.transport.buffered -= 1000
        c.wait(29)
    assert not c.transport.closed
    c.wait(200)
    c.wait(200)
    assert c.transport.aborted


async def test_an_unread_small_body_that_never_comes_ends_the_connection(client: Any) -> None:
    c = client(ok, LIMITS)
    c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
    assert c.statuses == [200]
    c.wait(31)
    assert c.transport.aborted


async def test_a_handler_may_take_its_time(client: Any) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        await gate.wait()
        return ok(request)

    c = client(handler, LIMITS)
    c.send(GET)
    c.wait(86_400)
    gate.set()
    await c.settle()
    assert c.statuses == [200]
