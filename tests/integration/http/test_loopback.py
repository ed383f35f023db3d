"""The engine on real sockets: files, TLS, slow and vanishing clients, stopping."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import socket
import struct
from typing import Any

import pytest

from controlplane.http import ClientGone, ClientTooSlow, FileBody, Limits, Request, Response, StreamBody
from tests.unit.http.malformed import BODIES, HEADS

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def talk(port: int, data: bytes, **options: Any) -> bytes:
    """All the server says until it ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """(head, body) of one answer with a Content-Length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, await asyncio.wait_for(reader.readexactly(length), 60)


async def eventually(check: Any) -> None:
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.01)


def vanish(writer: asyncio.StreamWriter) -> None:
    """Disconnect with a reset, as a killed client may."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("size", [0, 1, 4096, 32 * 1024, 32 * 1024 + 1, 3 * MIB, 40 * MIB])
async def test_files_arrive_whole(serve: Any, blob: Any, size: int) -> None:
    file = blob(size)
    file.content = file.content[:size]
    seen: list[tuple[int, int]] = []
    _, port = await serve(
        lambda _: Response(200, [], file.body()), observe=lambda _, status, sent, __: seen.append((status, sent))
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(GET)
        _, body = await answer(reader)
        assert body == file.content
    writer.close()
    await eventually(lambda: len(seen) == 2)
    assert seen == [(200, len(file.content))] * 2
    assert (file.lent, file.released) == (2, 2)


async def test_pipelined_files_and_memory_keep_their_order(serve: Any, blob: Any) -> None:
    large, small = blob(2 * MIB), blob(4096)

    async def later() -> Response:
        await asyncio.sleep(0.01)
        return Response(200, [], large.body(5, MIB))

    def handler(request: Request) -> Any:
        match request.path:
            case "/large":
                return Response(200, [], large.body())
            case "/small":
                return Response(200, [], small.body())
            case "/later":
                return later()
        return Response(200, [], b"m" * 100_000)

    paths = [b"/memory", b"/large", b"/small", b"/large", b"/later", b"/memory", b"/large"] * 3
    _, port = await serve(handler)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths))
    expected = {
        b"/memory": b"m" * 100_000,
        b"/large": large.content,
        b"/small": small.content,
        b"/later": large.content[5 : 5 + MIB],
    }
    for path in paths:
        _, body = await answer(reader)
        assert body == expected[path]
    writer.close()
    assert large.lent == large.released == 12


async def test_files_over_tls(serve: Any, blob: Any, certificate: Any) -> None:
    file = blob(5 * MIB)
    _, port = await serve(lambda _: Response(200, [], file.body(3)), ssl_context=certificate[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=certificate[1])
    for _ in range(2):
        writer.write(GET)
        _, body = await answer(reader)
        assert body == file.content[3:]
    writer.close()
    await writer.wait_closed()
    assert file.released == 2


async def test_a_vanishing_tls_client_gives_its_file_back(serve: Any, blob: Any, certificate: Any) -> None:
    file = blob(40 * MIB)
    server, port = await serve(lambda _: Response(200, [], file.body()), ssl_context=certificate[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=certificate[1], limit=1000)
    writer.write(GET)
    await reader.readexactly(10)
    writer.transport.abort()
    await eventually(lambda: server.connections == 0)
    await eventually(lambda: file.released == 1)


async def test_plain_text_to_a_tls_port_is_closed(serve: Any, certificate: Any) -> None:
    server, port = await serve(lambda _: Response(200, [], b"never"), ssl_context=certificate[0])
    assert b"never" not in await talk(port, GET)
    await eventually(lambda: server.connections == 0)


async def test_a_file_that_became_shorter_breaks_the_connection(serve: Any, blob: Any) -> None:
    file = blob(3 * MIB)
    os.truncate(file.path, 2 * MIB)
    _, port = await serve(lambda _: Response(200, [], file.body()))
    head, _, body = (await talk(port, GET)).partition(b"\r\n\r\n")
    assert b"Content-Length: 3145728" in head
    assert len(body) <= 2 * MIB
    os.truncate(file.path, 0)
    small = await talk(port, GET.replace(b"/ ", b"/small "))
    assert not small.endswith(b"\r\n\r\n\0")
    assert file.lent == file.released == 2


async def test_a_truncated_small_file_breaks_the_connection(serve: Any, blob: Any) -> None:
    file = blob(4096)
    os.truncate(file.path, 100)
    _, port = await serve(lambda _: Response(200, [], file.body()))
    _, _, body = (await talk(port, GET)).partition(b"\r\n\r\n")
    assert len(body) <= 100
    assert file.released == 1


class Phases:
    """A handler that can be left in any phase of a request."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        """A handler that waits has begun."""
        self.streams_closed = self.uploads_gone = 0

    def __call__(self, request: Request) -> Any:
        match request.path:
            case "/body":
                return self._upload(request)
            case "/handler":
                return self._wait()
            case "/file":
                return Response(200, [], self.file.body())
        return Response(200, [], StreamBody(self._stream()))

    async def _stream(self) -> Any:
        try:
            while True:
                yield b"x" * 65536
        finally:
            self.streams_closed += 1

    async def _upload(self, request: Request) -> Response:
        self.reached.set()
        try:
            return Response(200, [], await request.body.read(MIB))
        except ClientGone:
            self.uploads_gone += 1
            raise

    async def _wait(self) -> Response:
        self.reached.set()
        await self.gate.wait()
        return Response(200, [], self.file.body())


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("phase", ["head", "body", "handler", "file", "stream"])
async def test_a_client_may_vanish_in_any_phase(serve: Any, blob: Any, phase: str, reset: bool) -> None:
    file = blob(64 * MIB)
    handler = Phases(file)
    server, port = await serve(handler)
    await talk(port, b"warm up\r\n\r\n")  # uvloop opens a descriptor for itself with the first connection
    await eventually(lambda: server.connections == 0)
    before = len(os.listdir("/proc/self/fd"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
    rest = {"head": b"", "body": b"Content-Length: 1000\r\n\r\nhello"}.get(phase, b"\r\n")
    writer.write(b"PUT /%b HTTP/1.1\r\nHost: a\r\n" % phase.encode() + rest)
    if phase in ("file", "stream"):
        await reader.readexactly(1000)
    elif phase == "head":
        await eventually(lambda: server.connections == 1)
    else:
        await handler.reached.wait()
    if reset:
        vanish(writer)
    else:
        writer.close()
    handler.gate.set()
    await eventually(lambda: server.connections == 0)
    assert file.lent == file.released == (phase in ("handler", "file"))
    assert handler.streams_closed == (phase == "stream")
    assert handler.uploads_gone == (phase == "body")
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


async def test_a_broken_stream_never_looks_whole(serve: Any) -> None:
    async def broken() -> Any:
        yield b"part"
        await asyncio.sleep(0.05)
        raise OSError("the source failed")

    _, port = await serve(lambda _: Response(200, [], StreamBody(broken())))
    assert not (await talk(port, GET)).endswith(b"0\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(ConnectionResetError):  # the end of the connection would mean the end of the body
        await asyncio.wait_for(reader.read(), 60)
    writer.close()


async def test_large_uploads_are_held_back(serve: Any) -> None:
    gate = asyncio.Event()
    total = 0

    async def handler(request: Request) -> Response:
        nonlocal total
        await gate.wait()
        async for chunk in request.body:
            assert len(chunk) <= 256 * 1024
            total += len(chunk)
        return Response(200, [], b"%d" % total)

    _, port = await serve(handler)
    for framing in (b"Content-Length: %d\r\n\r\n" % (32 * MIB), b"Transfer-Encoding: chunked\r\n\r\n"):
        gate.clear()
        total = 0
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\n" + framing)
        sent = 0

        async def push(chunked: bool, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            for _ in range(512):
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n" if chunked else b"x" * 65536)
                await writer.drain()
                sent += 65536
            if chunked:
                writer.write(b"0\r\n\r\n")

        pushing = asyncio.create_task(push(b"chunked" in framing, writer))
        await asyncio.sleep(0.3)
        assert not pushing.done()
        assert sent < 16 * MIB  # the kernel's buffers of both sides, and ours
        gate.set()
        await pushing
        _, body = await answer(reader)
        assert int(body) == 32 * MIB
        writer.close()


async def test_a_body_in_blocks_arrives_whole_and_the_next_request_behind_it(serve: Any) -> None:
    """Whoever holds pieces while more are read has the right ones, and no byte behind the body is taken for its own."""
    kinds: set[type] = set()

    async def handler(request: Request) -> Response:
        held: list[bytes | memoryview] = []
        found = hashlib.sha256()
        async for chunk in request.body.in_blocks():
            kinds.add(type(chunk))
            held.append(chunk)
            await asyncio.sleep(0)
            if len(held) > 5:
                found.update(held.pop(0))
        for chunk in held:
            found.update(chunk)
        return Response(200, [], found.hexdigest().encode())

    _, port = await serve(handler)
    bodies = [os.urandom(size) for size in (9 * MIB + 17, 3, 0, 256 * 1024, 5 * MIB, 12 * MIB)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in bodies:
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    for body in bodies:
        assert (await answer(reader))[1] == hashlib.sha256(body).hexdigest().encode()
    for byte in b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n":
        writer.write(bytes([byte]))
    for at in range(0, 300_000, 1000):
        writer.write(bodies[0][at : at + 1000])
        await writer.drain()
        await asyncio.sleep(0)
    assert (await answer(reader))[1] == hashlib.sha256(bodies[0][:300_000]).hexdigest().encode()
    writer.close()
    assert memoryview in kinds


async def test_a_body_in_blocks_over_tls_and_in_chunks(serve: Any, certificate: Any) -> None:
    async def handler(request: Request) -> Response:
        found = hashlib.sha256()
        async for chunk in request.body.in_blocks():
            found.update(chunk)
        return Response(200, [], found.hexdigest().encode())

    body = os.urandom(3 * MIB)
    _, port = await serve(handler, ssl_context=certificate[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=certificate[1])
    for head, wire in (
        (b"Content-Length: %d\r\n\r\n" % len(body), body),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
    ):
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\n" + head + wire)
        assert (await answer(reader))[1] == hashlib.sha256(body).hexdigest().encode()
    writer.close()


@pytest.mark.parametrize("end", ["reset", "close", "pause", "answer"])
async def test_a_body_in_blocks_that_does_not_become_whole(serve: Any, end: str) -> None:
    faults: list[BaseException] = []
    seen = 0

    async def handler(request: Request) -> Response:
        nonlocal seen
        try:
            async for chunk in request.body.in_blocks():
                seen += len(chunk)
                if end == "answer" and seen > 2 * MIB:
                    return Response(403, [], b"no")
        except (ClientGone, ClientTooSlow) as fault:
            faults.append(fault)
            raise
        return Response(200, [], b"whole")

    server, port = await serve(handler, Limits(body_timeout_s=0.5))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * MIB) + bytes(3 * MIB))
    await eventually(lambda: seen > 2 * MIB)
    if end == "reset":
        vanish(writer)
    elif end == "close":
        writer.write_eof()
    elif end == "pause":
        assert (await answer(reader))[0].startswith(b"HTTP/1.1 408 ")
    else:
        assert (await answer(reader))[0].startswith(b"HTTP/1.1 403 ")
    if end != "answer":
        await eventually(lambda: faults)
        assert isinstance(faults[0], ClientTooSlow if end == "pause" else ClientGone)
    writer.close()
    await eventually(lambda: server.connections == 0)


async def test_large_uploads_in_blocks_are_held_back(serve: Any) -> None:
    gate = asyncio.Event()
    total = 0

    async def handler(request: Request) -> Response:
        nonlocal total
        body = request.body.in_blocks()
        await gate.wait()
        async for chunk in body:
            total += len(chunk)
        return Response(200, [], b"%d" % total)

    _, port = await serve(handler)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
    sent = 0

    async def push() -> None:
        nonlocal sent
        for _ in range(1024):
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    pushing = asyncio.create_task(push())
    await asyncio.sleep(0.3)
    assert not pushing.done()
    assert sent < 16 * MIB  # the kernel's buffers of both sides, and ours
    gate.set()
    await pushing
    assert int((await answer(reader))[1]) == 64 * MIB
    writer.close()


async def test_slow_clients_are_cut_off(serve: Any, blob: Any) -> None:
    file = blob(64 * MIB)
    limits = Limits(header_timeout_s=0.3, body_timeout_s=0.3, idle_timeout_s=0.3)

    async def upload(request: Request) -> Response:
        return Response(200, [], await request.body.read(MIB))

    def handler(request: Request) -> Any:
        return upload(request) if request.has_body else Response(200, [], file.body())

    server, port = await serve(handler, limits)
    assert await talk(port, b"") == b""
    assert (await talk(port, b"GET / HT")).startswith(b"HTTP/1.1 408 ")
    assert (await talk(port, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")).startswith(b"HTTP/1.1 408 ")
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
    writer.write(GET)
    await eventually(lambda: file.lent == 1)
    await eventually(lambda: file.released == 1)
    await eventually(lambda: server.connections == 0)
    writer.transport.abort()
    del reader


async def test_the_answer_to_a_refused_upload_can_be_read(serve: Any) -> None:
    _, port = await serve(lambda _: Response(403, [], b"no"), Limits(max_body_bytes=8 * MIB))
    for size, status in ((4 * MIB, 403), (64 * MIB, 413)):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(b"x" * (4 * MIB))  # a client that only looks afterwards
        await writer.drain()
        head, _ = await answer(reader)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        writer.close()


async def test_connections_beyond_the_bound_wait(serve: Any) -> None:
    server, port = await serve(lambda _: Response(200, [], b"x"), Limits(max_connections=2))
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    for _, writer in pairs:
        writer.write(GET)
    for reader, _ in pairs[:2]:
        await answer(reader)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pairs[2][0].readexactly(1), 0.2)
    assert server.connections == 2
    pairs[0][1].close()
    await answer(pairs[2][0])
    for _, writer in pairs:
        writer.close()


async def test_stop_lets_requests_finish(serve: Any) -> None:
    arrived, gate = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Response:
        arrived.set()
        await gate.wait()
        return Response(200, [], b"done")

    server, port = await serve(handler)
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
    busy_reader, busy_writer = await asyncio.open_connection("127.0.0.1", port)
    busy_writer.write(GET)
    await eventually(lambda: server.connections == 2)
    await arrived.wait()
    stopping = asyncio.create_task(server.stop(60))
    assert await asyncio.wait_for(idle_reader.read(), 60) == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert not stopping.done()
    gate.set()
    head, body = await answer(busy_reader)
    assert b"Connection: close" in head
    assert body == b"done"
    await asyncio.wait_for(stopping, 60)
    for writer in (idle_writer, busy_writer):
        writer.close()


async def test_stop_aborts_after_the_grace(serve: Any, blob: Any) -> None:
    file = blob(64 * MIB)
    begun: list[str] = []
    cancelled: list[str] = []

    async def hang() -> Response:
        begun.append("handler")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("handler")
            raise
        raise AssertionError("unreachable")

    async def stream() -> Any:
        try:
            yield b"x"
            begun.append("stream")
            await asyncio.Event().wait()
        finally:
            cancelled.append("stream")

    def handler(request: Request) -> Any:
        match request.path:
            case "/file":
                return Response(200, [], file.body())
            case "/stream":
                return Response(200, [], StreamBody(stream()))
        return hang()

    server, port = await serve(handler)
    pairs = [await asyncio.open_connection("127.0.0.1", port, limit=1000) for _ in range(3)]
    for path, (_, writer) in zip((b"/file", b"/stream", b"/hang"), pairs, strict=True):
        writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: file.lent == 1 and sorted(begun) == ["handler", "stream"])
    await asyncio.wait_for(server.stop(0.1), 60)
    assert server.connections == 0
    assert sorted(cancelled) == ["handler", "stream"]
    assert file.lent == file.released == 1
    for _, writer in pairs:
        writer.transport.abort()


async def test_a_server_on_a_given_socket(serve: Any) -> None:
    from controlplane.http import HttpServer

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = HttpServer(lambda _: Response(200, [], b"here"))
    host, port = await server.start_on(listener)
    assert host == "127.0.0.1"
    assert (await talk(port, GET_CLOSE)).endswith(b"here")
    await server.stop(1)


async def test_two_servers_share_a_port(serve: Any) -> None:
    from controlplane.http import HttpServer

    first, second = HttpServer(lambda _: Response(200, [], b"1")), HttpServer(lambda _: Response(200, [], b"2"))
    _, port = await first.start("127.0.0.1", 0, reuse_port=True)
    await second.start("127.0.0.1", port, reuse_port=True)
    seen = {(await talk(port, GET_CLOSE))[-1:] for _ in range(60)}
    assert seen == {b"1", b"2"}
    await first.stop(1)
    await second.stop(1)


@pytest.mark.parametrize(("what", "data"), HEADS + BODIES, ids=[what for what, _ in HEADS + BODIES])
async def test_malformed_requests_are_answered_once_and_closed(serve: Any, what: str, data: bytes) -> None:
    paths: list[str] = []

    async def handler(request: Request) -> Response:
        paths.append(request.path)
        return Response(200, [], await request.body.read(MIB))

    _, port = await serve(handler, Limits(max_body_bytes=MIB))
    said = await talk(port, data)
    assert said.count(b"HTTP/1.1 4") + said.count(b"HTTP/1.1 5") <= 1
    assert b"HTTP/1.1 200" not in said
    assert said == b"" or said[9:10] in b"45"
    assert "/smuggled" not in paths


async def test_nothing_is_left_behind(serve: Any, blob: Any) -> None:
    """Connections are not kept alive by cycles once they have ended. Those of other tests are not looked at."""
    from controlplane.http.connection import Connection

    def connections() -> list[Connection]:
        gc.collect()
        return [found for found in gc.get_objects() if isinstance(found, Connection)]

    before = connections()
    file = blob(MIB)
    server, port = await serve(lambda _: Response(200, [], FileBody(file.fd, 0, MIB, lambda: None)))
    for _ in range(5):
        await talk(port, GET_CLOSE)
    await eventually(lambda: server.connections == 0)
    assert not [left for left in connections() if not any(left is other for other in before)]
