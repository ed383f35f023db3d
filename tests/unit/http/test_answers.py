"""What a client is sent; every body given back exactly once; no part ever looks like a whole."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.http import FileBody, Request, Response, StreamBody

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"


class Chunks:
    """A stream that counts how often it is closed."""

    def __init__(self, *chunks: bytes | Exception, gate: asyncio.Event | None = None) -> None:
        self._chunks = list(chunks)
        self._gate = gate
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._gate is not None:
            await self._gate.wait()
        if not self._chunks:
            raise StopAsyncIteration
        chunk = self._chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def aclose(self) -> None:
        self.closed += 1


async def answered(client: Any, response: Response, request: bytes = GET) -> tuple[bytes, bytes, Any]:
    """(head, body, client) after one request."""
    c = client(lambda _: response)
    c.send(request)
    await c.settle()
    head, _, body = bytes(c.transport.out).partition(b"\r\n\r\n")
    return head, body, c


async def test_the_head_of_an_answer(client: Any) -> None:
    head, body, c = await answered(client, Response(200, [(b"ETag", b'"x"'), (b"Vary", b"Range")], b"hello"))
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert re.fullmatch(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", lines[1])
    assert lines[2:] == [b'ETag: "x"', b"Vary: Range", b"Content-Length: 5"]
    assert body == b"hello"
    assert c.observed == [("/", 200, 5)]


@pytest.mark.parametrize(
    ("response", "length"),
    [
        (Response(200, [], b"hello"), b"5"),
        (Response(200, [], None, head_length=7), b"7"),
        (Response(200, [], StreamBody(Chunks(b"hello"), 5)), b"5"),
        (Response(200, [], StreamBody(Chunks(b"hello"))), None),
        (Response(404, [], None), None),
        (Response(304, [], None, head_length=3), b"3"),
    ],
)
async def test_head_has_the_length_but_no_body(client: Any, response: Response, length: bytes | None) -> None:
    stream = response.body
    head, body, c = await answered(client, response, HEAD)
    assert body == b""
    found = re.search(rb"Content-Length: (\d+)", head)
    assert (found and found[1]) == length
    assert b"chunked" not in head
    if isinstance(stream, StreamBody):
        assert stream.chunks.closed == 1
    c.send(GET)
    assert not c.transport.closed


@pytest.mark.parametrize("status", [204, 304])
async def test_204_and_304_have_no_body(client: Any, status: int) -> None:
    head, body, _ = await answered(client, Response(status, [], b"never"))
    assert body == b""
    assert (b"Content-Length: 5" in head) == (status == 304)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"X", b"a\r\nSet-Cookie: b")],
        [(b"X", b"a\nb")],
        [(b"X", b"a\rb")],
        [(b"X", b"a\0b")],
        [(b"X y", b"a")],
        [(b"", b"a")],
        [(b"Content-Length", b"3")],
        [(b"transfer-encoding", b"chunked")],
        [(b"DATE", b"now")],
        [("X", "text")],
    ],
)
async def test_a_header_that_would_break_the_framing_is_a_fault(client: Any, headers: Any) -> None:
    stream = Chunks(b"x")
    head, body, c = await answered(client, Response(200, headers, StreamBody(stream)))
    assert head.startswith(b"HTTP/1.1 500 ")
    assert (body, stream.closed, len(c.faults)) == (b"fault", 1, 1)


async def test_a_status_that_is_none_is_a_fault(client: Any) -> None:
    head, _, _ = await answered(client, Response(101, [], None))
    assert head.startswith(b"HTTP/1.1 500 ")


async def test_a_failing_handler_is_answered_by_on_fault(client: Any) -> None:
    def handler(request: Request) -> Any:
        if request.path == "/sync":
            raise LookupError("secret")
        return later(request)

    async def later(request: Request) -> Any:
        if request.path == "/none":
            return None
        raise LookupError("secret")

    c = client(handler)
    for path in (b"/sync", b"/async", b"/none"):
        c.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        await c.settle()
    assert c.statuses == [500, 500, 500]
    assert b"secret" not in c.transport.out
    assert [type(f) for f in c.faults] == [LookupError, LookupError, TypeError]


async def test_a_stream_without_length_is_chunked(client: Any) -> None:
    chunks = Chunks(b"hello", b"", b" world")
    head, body, c = await answered(client, Response(200, [], StreamBody(chunks)))
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    assert body == b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    assert chunks.closed == 1
    assert c.observed == [("/", 200, 11)]


async def test_a_stream_for_http_1_0_ends_with_the_connection(client: Any) -> None:
    chunks = Chunks(b"hello")
    head, body, c = await answered(
        client, Response(200, [], StreamBody(chunks)), b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    )
    assert b"Connection: close" in head
    assert b"chunked" not in head
    assert body == b"hello"
    assert c.transport.closed
    assert not c.transport.aborted


@pytest.mark.parametrize(
    ("chunks", "length"),
    [
        ([b"hello", OSError("disk")], None),
        ([OSError("disk")], 5),
        ([b"hell"], 5),
        ([b"hello", b"!"], 5),
        ([b"hello!"], 5),
        ([], 5),
    ],
)
async def test_a_stream_that_breaks_its_promise_breaks_the_connection(
    client: Any, chunks: Any, length: int | None
) -> None:
    stream = Chunks(*chunks)
    _, body, c = await answered(client, Response(200, [], StreamBody(stream, length)))
    assert c.transport.aborted
    assert not body.endswith(b"0\r\n\r\n")
    assert b"!" not in body
    assert stream.closed == 1
    assert not c.engine.connections


async def test_a_stream_waits_for_its_reader(client: Any) -> None:
    chunks = Chunks(*[b"x" * 50_000] * 20)
    c = client(lambda _: Response(200, [], StreamBody(chunks, 1_000_000)))
    c.transport.stalled = True
    c.send(GET)
    await c.settle()
    assert len(c.transport.out) < 101_000
    while not chunks.closed:
        c.transport.flush()
        await c.settle()
    assert len(c.transport.out) > 1_000_000


@pytest.mark.parametrize("when", ["before it starts", "while it waits for its source", "while it waits for its reader"])
async def test_a_stream_is_closed_once_when_the_client_goes(client: Any, when: str) -> None:
    gate = asyncio.Event()
    chunks = Chunks(*[b"x" * 100_000] * 3, gate=gate)
    c = client(lambda _: Response(200, [], StreamBody(chunks)))
    c.send(GET)
    if when != "before it starts":
        await c.settle()
    if when == "while it waits for its reader":
        c.transport.stalled = True
        gate.set()
        await c.settle()
    c.transport.lose()
    await c.settle()
    assert chunks.closed == 1
    assert not c.engine.connections
    assert len(c.observed) == 1


async def test_an_answer_that_comes_after_the_client_has_gone_is_given_back(client: Any) -> None:
    gate = asyncio.Event()
    released: list[int] = []
    chunks = Chunks(b"x")

    async def handler(request: Request) -> Response:
        await gate.wait()
        if request.path == "/file":
            return Response(200, [], FileBody(-1, 0, 5, lambda: released.append(1)))
        return Response(200, [], StreamBody(chunks))

    for path in (b"/file", b"/stream"):
        gate.clear()
        c = client(handler)
        c.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        await c.settle()
        c.transport.lose()
        await c.settle()
        assert c.engine.connections  # it counts until its handler is done
        gate.set()
        await c.settle()
        assert not c.engine.connections
        assert c.observed[0][1] == 499
    assert released == [1]
    assert chunks.closed == 1


async def test_a_small_file_is_read_at_once_and_released(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    released: list[int] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        _, body, c = await answered(client, Response(200, [], FileBody(fd, 2, 5, lambda: released.append(1))))
        assert body == b"23456"
        head, body, _ = await answered(client, Response(200, [], FileBody(fd, 0, 10, lambda: released.append(2))), HEAD)
        assert b"Content-Length: 10" in head
        assert body == b""
    finally:
        os.close(fd)
    assert released == [1, 2]
    assert c.observed == [("/", 200, 5)]


async def test_a_release_that_fails_does_not_stop_the_connection(client: Any, tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")

    def release() -> None:
        raise LookupError("release")

    fd = os.open(path, os.O_RDONLY)
    try:
        _, body, c = await answered(client, Response(200, [], FileBody(fd, 0, 10, release)))
    finally:
        os.close(fd)
    assert body == b"0123456789"
    assert not c.transport.closed
    assert "releasing a file body failed" in caplog.text


async def test_a_stopping_server_says_close(client: Any) -> None:
    c = client(lambda _: Response(200, [], b""))
    c.engine.stopping = True
    c.send(GET + GET)
    await c.settle()
    assert c.statuses == [200]
    assert b"Connection: close" in c.transport.out
    assert c.transport.closed


async def test_a_half_closed_client_gets_all_its_answers(client: Any) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        await gate.wait()
        return Response(200, [], b"x")

    c = client(handler)
    c.send(GET + GET)
    await c.settle()
    assert c.connection.eof_received() is True
    gate.set()
    for _ in range(5):
        await c.settle()
    assert c.statuses == [200, 200]
    assert c.transport.closed
