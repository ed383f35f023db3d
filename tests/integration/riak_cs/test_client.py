"""The client of Riak CS against nodes that die, hang up, refuse and stall: a dead node costs no failed request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf
from random import Random
from typing import Final, Literal, Self

import pytest

from controlplane.adapters.riak_cs import RiakCsClient, RiakCsOptions
from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, KeyPair, RenewableKeyPair
from tests.support.ports import free_port

PAIR = KeyPair("KEY", "secret")
OK = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 2\r\n\r\nok'
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: 0\r\n\r\n"
CRASHED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\noops"
DENIED = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: 0\r\n\r\n"

Script = Callable[["Node", asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[bool]]
"""Answers a head; whether the connection stays."""


class Node:
    """A Riak CS as a test wants it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests = 0
        self.connections = 0
        self.bodies: list[bytes] = []

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                if not await self.script(self, reader, writer, head):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def length_of(head: bytes) -> int:
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return int(lines[0].split(b":")[1]) if lines else 0


def answering(*answers: bytes) -> Script:
    """The answers in turn, the last one for ever; bodies are read first."""
    left = list(answers)

    async def script(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
        node.bodies.append(await reader.readexactly(length_of(head)))
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        return True

    return script


async def hangs_up(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
    return False


async def refuses_at_once(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
    writer.write(DENIED)
    await asyncio.sleep(0.2)
    return False


def client(*urls: str, **more: float) -> RiakCsClient:
    options = RiakCsOptions(urls, connect_timeout_s=1.0, read_timeout_s=more.get("read_timeout_s", 5.0))
    return RiakCsClient(options, SystemClock(), Random(7))


async def status_of(riak_cs: RiakCsClient, ask: Ask) -> int:
    reply = await riak_cs.send(ask)
    await reply.read_all(1000)
    reply.close()
    return reply.status


def get() -> Ask:
    return Ask("GET", PAIR, "bucket", "key")


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await asyncio.sleep(0.01)


async def test_a_dead_node_costs_no_failed_request_and_is_left_alone() -> None:
    async with Node(answering(OK)) as alive:
        riak_cs = client(f"http://127.0.0.1:{free_port()}", alive.url)
        assert [await status_of(riak_cs, get()) for _ in range(40)] == [200] * 40
        assert alive.requests == 40
        await riak_cs.aclose()


async def test_a_node_that_dies_with_the_request_is_replaced_by_another() -> None:
    async with Node(hangs_up) as dying, Node(answering(OK)) as alive:
        riak_cs = client(dying.url, alive.url)
        assert [await status_of(riak_cs, get()) for _ in range(20)] == [200] * 20
        await riak_cs.aclose()


async def test_an_idle_connection_that_the_node_closed_costs_no_failed_request() -> None:
    async def once(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
        writer.write(OK)
        return False

    async with Node(once) as node:
        riak_cs = client(node.url)
        assert [await status_of(riak_cs, get()) for _ in range(10)] == [200] * 10
        assert node.connections == 10
        await riak_cs.aclose()


async def test_connections_are_kept() -> None:
    async with Node(answering(OK)) as node:
        riak_cs = client(node.url)
        for _ in range(10):
            await status_of(riak_cs, get())
        assert (node.requests, node.connections) == (10, 1)
        await riak_cs.aclose()


async def test_503_is_tried_again_when_it_does_no_harm() -> None:
    async with Node(answering(BUSY, OK)) as node:
        riak_cs = client(node.url)
        assert await status_of(riak_cs, get()) == 200
        await riak_cs.aclose()
    async with Node(answering(BUSY, OK)) as node:
        riak_cs = client(node.url)
        assert await status_of(riak_cs, Ask("POST", PAIR, "bucket", "key", (("uploads", ""),), repeatable=False)) == 503
        assert node.requests == 1
        await riak_cs.aclose()


async def test_a_request_that_crashes_riak_cs_is_not_sent_again() -> None:
    async with Node(answering(CRASHED, OK)) as node:
        riak_cs = client(node.url)
        assert await status_of(riak_cs, get()) == 500
        assert node.requests == 1
        await riak_cs.aclose()


async def test_a_small_body_is_sent_again_and_a_stream_too_large_to_be_kept_is_not() -> None:
    async with Node(hangs_up) as dying, Node(answering(OK)) as alive:
        riak_cs = client(dying.url, alive.url)
        for _ in range(5):
            assert await status_of(riak_cs, Ask("PUT", PAIR, "bucket", "key", body=b"small", length=5)) == 200
        assert alive.bodies == [b"small"] * 5
        await riak_cs.aclose()
    async with Node(hangs_up) as dying:
        options = RiakCsOptions((dying.url,), kept_body_bytes=1)
        riak_cs = RiakCsClient(options, SystemClock(), Random(7))
        with pytest.raises(Unavailable):
            await riak_cs.send(Ask("PUT", PAIR, "bucket", "key", body=pieces(b"a", b"b"), length=2))
        assert dying.requests == 1
        await riak_cs.aclose()


STREAM: Final = [bytes([number]) * 150_000 for number in range(8)]


async def closes_mid_body(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
    await reader.readexactly(length_of(head) // 3)
    return False


async def resets_mid_body(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
    await reader.readexactly(length_of(head) // 3)
    writer.transport.abort()
    return False


async def closes_after_the_body(
    node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> bool:
    node.bodies.append(await reader.readexactly(length_of(head)))
    return False


async def breaks_off_its_answer(
    node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> bool:
    node.bodies.append(await reader.readexactly(length_of(head)))
    writer.write(OK[:20])
    return False


async def hangs_mid_body(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
    await reader.readexactly(length_of(head) // 3)
    await asyncio.sleep(60)
    return False


async def hangs_after_the_body(
    node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> bool:
    node.bodies.append(await reader.readexactly(length_of(head)))
    await asyncio.sleep(60)
    return False


async def gives_up_mid_body(
    node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> bool:
    await reader.readexactly(length_of(head) // 3)
    writer.write(BUSY)
    await writer.drain()
    await reader.read()
    return False


DEATHS: Final = [
    hangs_up,
    closes_mid_body,
    resets_mid_body,
    closes_after_the_body,
    breaks_off_its_answer,
    hangs_mid_body,
    hangs_after_the_body,
    gives_up_mid_body,
    answering(BUSY),
]


@pytest.mark.parametrize("dies", DEATHS)
@pytest.mark.parametrize("query", [(), (("partNumber", "3"), ("uploadId", "abc"))])
async def test_a_stream_whose_node_dies_is_sent_to_another_from_its_first_byte(
    dies: Script, query: tuple[tuple[str, str], ...]
) -> None:
    async with Node(dies) as dying, Node(answering(OK)) as alive:
        riak_cs = client(dying.url, alive.url, read_timeout_s=1.0)
        for _ in range(2):
            body = pieces(*STREAM)
            ask = Ask("PUT", PAIR, "bucket", "key", query, body=body, length=sum(map(len, STREAM)))
            assert await status_of(riak_cs, ask) == 200
        assert alive.bodies == [b"".join(STREAM)] * 2
        assert dying.requests, "two sites that are equally idle: seed 7 meets it"
        await riak_cs.aclose()


async def test_what_fails_in_the_body_itself_is_not_sent_again() -> None:
    class Wrong(Exception):
        pass

    async def failing() -> AsyncIterator[bytes]:
        yield b"a" * 1000
        raise Wrong

    async with Node(answering(OK)) as one, Node(answering(OK)) as other:
        riak_cs = client(one.url, other.url)
        with pytest.raises(Wrong):
            await riak_cs.send(Ask("PUT", PAIR, "bucket", "key", body=failing(), length=2000))
        await asyncio.sleep(0.05)
        assert one.requests + other.requests == 1
        assert one.bodies + other.bodies == []
        await riak_cs.aclose()


async def test_a_stream_goes_to_another_node_while_nothing_of_it_was_sent() -> None:
    async with Node(answering(OK)) as alive:
        riak_cs = client(f"http://127.0.0.1:{free_port()}", alive.url)
        for _ in range(5):
            assert await status_of(riak_cs, Ask("PUT", PAIR, "bucket", "key", body=pieces(b"a", b"b"), length=2)) == 200
        assert alive.bodies == [b"ab"] * 5
        await riak_cs.aclose()


async def test_a_body_that_fails_is_broken_off_and_never_whole_at_the_node() -> None:
    class Wrong(Exception):
        pass

    async def failing() -> AsyncIterator[bytes]:
        yield b"a" * 1000
        raise Wrong

    async with Node(answering(OK)) as node:
        riak_cs = client(node.url)
        with pytest.raises(Wrong):
            await riak_cs.send(Ask("PUT", PAIR, "bucket", "key", body=failing(), length=2000))
        await asyncio.sleep(0.05)
        assert node.bodies == []
        assert await status_of(riak_cs, get()) == 200
        assert node.connections == 2
        await riak_cs.aclose()


async def test_a_refusal_before_the_body_is_whole_is_the_answer() -> None:
    async with Node(refuses_at_once) as node:
        riak_cs = client(node.url)
        body = pieces(*[b"x" * 1000] * 50)
        assert await status_of(riak_cs, Ask("PUT", PAIR, "bucket", "key", body=body, length=50_000)) == 403
        await riak_cs.aclose()


async def test_i5_without_any_node_it_is_unavailable_and_names_the_place() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    riak_cs = client(url)
    with pytest.raises(Unavailable, match=url):
        await riak_cs.send(get())
    with pytest.raises(Unavailable):
        await riak_cs.check()
    await riak_cs.aclose()


BODY = bytes(range(256)) * 40


def serving(*, breaks_at: int | None = None, etag: str = "e", stalls: bool = False) -> Script:
    """BODY, whole or its range; the connection ends, or nothing more comes, after so many bytes of an answer."""

    async def script(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
        matched = re.search(rb"\r\nrange: bytes=(\d+)-(\d+)\r\n", head)
        first, last = (int(matched[1]), int(matched[2])) if matched else (0, len(BODY) - 1)
        wanted = re.search(rb'\r\nif-match: "(.*)"\r\n', head)
        if wanted is not None and wanted[1].decode() != etag:
            writer.write(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")
            return True
        lines = [f'ETag: "{etag}"', f"Content-Length: {last - first + 1}"]
        if matched:
            lines.append(f"Content-Range: bytes {first}-{last}/{len(BODY)}")
        status = "206 Partial Content" if matched else "200 OK"
        sent = BODY[first : last + 1]
        writer.write("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + sent[:breaks_at])
        if breaks_at is None or breaks_at >= len(sent):
            return True
        await asyncio.sleep(30 if stalls else 0.01)
        return False

    return script


async def read(riak_cs: RiakCsClient, ask: Ask) -> bytes:
    reply = await riak_cs.send(ask)
    got = b""
    while chunk := await reply.read():
        got += chunk
    return got


@pytest.mark.parametrize("breaks_at", [0, 1, 5000, len(BODY) - 1])
@pytest.mark.parametrize("given", [{}, {"range": "bytes=7-9999"}])
@pytest.mark.parametrize("stalls", [False, True])
async def test_an_object_whose_node_goes_away_while_it_is_read_comes_to_its_end(
    breaks_at: int, given: dict[str, str], stalls: bool
) -> None:
    async with Node(serving(breaks_at=breaks_at, stalls=stalls)) as dying, Node(serving()) as alive:
        riak_cs = client(dying.url, alive.url, read_timeout_s=0.3)
        for _ in range(3):
            ask = Ask("GET", PAIR, "bucket", "key", headers=given)
            assert await read(riak_cs, ask) == (BODY[7:10_000] if given else BODY)
        assert dying.requests
        await riak_cs.aclose()


async def test_all_of_a_small_object_is_read_at_once_from_two_nodes() -> None:
    async with Node(serving(breaks_at=100)) as dying, Node(serving()) as alive:
        riak_cs = client(dying.url, alive.url)
        for _ in range(3):
            assert await (await riak_cs.send(get())).read_all(1 << 20) == BODY
        await riak_cs.aclose()


async def test_the_rest_of_another_object_is_never_joined() -> None:
    async with Node(serving(breaks_at=100)) as dying, Node(serving(etag="another")) as alive:
        riak_cs = client(dying.url, alive.url)
        outcomes = await asyncio.gather(*(read(riak_cs, get()) for _ in range(4)), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Unavailable):
                assert "changed while it was read" in str(outcome)
            else:
                assert outcome == BODY
        assert any(isinstance(outcome, Unavailable) for outcome in outcomes)
        await riak_cs.aclose()


async def test_an_object_that_breaks_off_everywhere_is_given_up() -> None:
    async with Node(serving(breaks_at=10)) as one, Node(serving(breaks_at=10)) as other:
        riak_cs = client(one.url, other.url)
        with pytest.raises(Unavailable):
            await read(riak_cs, get())
        assert one.requests + other.requests <= 9
        await riak_cs.aclose()


async def test_a_listing_that_breaks_off_is_asked_for_again() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 4\r\n\r\n<a/>"

    async def breaks(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
        writer.write(whole[:-2])
        return False

    async with Node(breaks) as dying, Node(answering(whole)) as alive:
        riak_cs = client(dying.url, alive.url)
        for _ in range(4):
            assert await (await riak_cs.send(Ask("GET", PAIR, "bucket"))).read_all(100) == b"<a/>"
        assert dying.requests
        await riak_cs.aclose()


async def test_a_node_that_stalls_is_given_up_after_the_deadline() -> None:
    async def stalls(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
        await asyncio.sleep(60)
        return False

    async with Node(stalls) as stalling, Node(answering(OK)) as alive:
        riak_cs = client(stalling.url, alive.url, read_timeout_s=0.3)
        assert [await status_of(riak_cs, get()) for _ in range(6)] == [200] * 6
        await riak_cs.aclose()


class Rotated:
    """A secret that was replaced where it comes from: `news` is what is there."""

    def __init__(self, news: KeyPair = PAIR) -> None:
        self.current = PAIR
        self.news = news
        self.looks = 0

    def renewed(self, refused: KeyPair) -> bool:
        if self.current == refused:
            self.looks += 1
            self.current = self.news
        return self.current != refused


NEW_PAIR = KeyPair("KEY", "new secret")


def refusing(first: float) -> tuple[Script, list[bytes]]:
    """So many requests, then it takes them; and their signatures, which it does not verify."""
    signatures: list[bytes] = []

    async def script(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
        node.bodies.append(await reader.readexactly(length_of(head)))
        signatures.append(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"authorization:")))
        writer.write(DENIED if node.requests <= first else OK)
        return True

    return script, signatures


async def test_a_refused_request_of_ours_is_sent_once_more_with_the_new_secret() -> None:
    script, signatures = refusing(1)
    async with Node(script) as node:
        riak_cs, rotated = client(node.url), Rotated(NEW_PAIR)
        ask = Ask("POST", RenewableKeyPair("KEY", "secret", rotated), "riak-cs", "user", (), {}, b"{}", 2, False)
        assert await status_of(riak_cs, ask) == 200
        assert node.bodies == [b"{}", b"{}"]
        assert signatures[0] != signatures[1]
        assert await status_of(riak_cs, ask) == 200
        assert (node.requests, rotated.looks) == (3, 1), "what follows is signed with it from the start"
        await riak_cs.aclose()


async def test_a_refusal_stays_one_when_there_is_no_other_secret_or_the_other_is_refused_too() -> None:
    script, _ = refusing(inf)
    async with Node(script) as node:
        riak_cs = client(node.url)
        assert (
            await status_of(riak_cs, Ask("GET", RenewableKeyPair("KEY", "secret", Rotated()), "bucket", "key")) == 403
        )
        assert node.requests == 1
        rotated = Rotated(NEW_PAIR)
        assert await status_of(riak_cs, Ask("GET", RenewableKeyPair("KEY", "secret", rotated), "bucket", "key")) == 403
        assert node.requests == 3, "once more, and not again"
        await riak_cs.aclose()


async def test_a_callers_former_secret_is_never_replaced_by_the_new_one() -> None:
    """Also the admin's, when it is the caller: the former secret may be rotated because somebody knows it."""
    script, _ = refusing(inf)
    async with Node(script) as node:
        riak_cs, rotated = client(node.url), Rotated(NEW_PAIR)
        assert rotated.renewed(PAIR)
        assert await status_of(riak_cs, Ask("GET", PAIR, "bucket", "key")) == 403
        assert node.requests == 1
        await riak_cs.aclose()


@pytest.mark.parametrize("signature", ["v2", "v4"])
async def test_a_store_that_is_ours_takes_up_the_new_secret(signature: Literal["v2", "v4"]) -> None:
    script, signatures = refusing(1)
    async with Node(script) as node:
        rotated = Rotated(NEW_PAIR)
        options = S3Options((node.url,), "bucket", "KEY", "secret", signature=signature, renewal=rotated)
        store = S3ObjectStore(StoreName("ours"), options, SystemClock(), Random(7))
        await store.delete(Key("key"))
        assert len(set(signatures)) == 2
        await store.delete(Key("key"))
        assert (node.requests, rotated.looks) == (3, 1)
        await store.aclose()


async def test_a_store_that_is_ours_and_stays_refused_says_so() -> None:
    script, _ = refusing(inf)
    async with Node(script) as node:
        options = S3Options((node.url,), "bucket", "KEY", "secret", renewal=Rotated())
        store = S3ObjectStore(StoreName("ours"), options, SystemClock(), Random(7))
        with pytest.raises(Unavailable):
            await store.delete(Key("key"))
        assert node.requests == 1
        await store.aclose()
