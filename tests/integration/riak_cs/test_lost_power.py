"""Nodes whose host lost its power, or whose process stands still: nothing is reset, nothing is answered.

The bounds are promises to S3 clients, not measurements: a host is found dead `silence_s` after it was asked, a node
that stands still after `first_answer_s`, each with a second of looking, and the next request goes elsewhere at once.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Self

import pytest

from controlplane.adapters.riak_cs import RiakCsClient, RiakCsOptions
from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.s3.client import Request, S3Client
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, KeyPair
from tests.support.power import cut_power, give_power
from tests.support.stalls import seconds, stopwatch

PAIR = KeyPair("KEY", "secret")
BODY = bytes(range(256)) * 4096
SILENCE_S = 2.0
FIRST_S = 1.5
SLACK_S = 2.0
"""A second of looking, and one of a busy machine, beside what the stopwatch does not count."""


class Host:
    """A Riak CS that answers BODY, or keeps what it is given; until its power is cut or it stands still."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.stands_still = False
        self.answers_until: int | None = None
        """Bytes of BODY after which its power is cut."""
        self.takes_body_after_s = 0.0
        self.received = 0
        self._open: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 * 1024)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def fail(self) -> None:
        """When all is acknowledged: its kernel would send again what is not, as no dead one does."""
        await asyncio.sleep(0.25)
        self.cut_power()

    def cut_power(self) -> None:
        cut_power(self.server.sockets[0])
        for writer in self._open:
            if not writer.is_closing():
                cut_power(writer.get_extra_info("socket"))

    def come_back(self) -> None:
        """As a machine that starts: the connections of before are unknown to it."""
        for writer in self._open:
            writer.transport.abort()
        give_power(self.server.sockets[0])

    @property
    def asked(self) -> int:
        """Requests of clients: not whether it is back."""
        return sum(not head.startswith(b"GET / ") for head in self.requests)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head)
                while self.stands_still:
                    await asyncio.sleep(0.05)
                if head.startswith(b"PUT"):
                    await self._take(reader, head)
                    writer.write(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n')
                else:
                    await self._give(writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _take(self, reader: asyncio.StreamReader, head: bytes) -> None:
        left = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        await asyncio.sleep(self.takes_body_after_s)
        while left:
            piece = await reader.read(min(left, 64 * 1024))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            self.received += len(piece)

    async def _give(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        first = int(head.split(b"range: bytes=")[1].split(b"-")[0]) if b"range: bytes=" in head else 0
        status = b"206 Partial Content" if first else b"200 OK"
        content = b"Content-Range: bytes %d-%d/%d\r\n" % (first, len(BODY) - 1, len(BODY)) if first else b""
        writer.write(b'HTTP/1.1 %b\r\nETag: "e"\r\n%bContent-Length: %d\r\n\r\n' % (status, content, len(BODY) - first))
        if self.answers_until is None:
            writer.write(BODY[first:])
            return
        writer.write(BODY[first : self.answers_until])
        await writer.drain()
        await self.fail()
        await asyncio.sleep(60)


def client(*hosts: Host, first_answer_s: float = 30.0, read_timeout_s: float = 60.0) -> RiakCsClient:
    options = RiakCsOptions(
        tuple(host.url for host in hosts),
        connect_timeout_s=1.0,
        read_timeout_s=read_timeout_s,
        silence_s=SILENCE_S,
        first_answer_s=first_answer_s,
    )
    return RiakCsClient(options, SystemClock(), Random(7))


def get() -> Ask:
    return Ask("GET", PAIR, "bucket", "key")


def put(length: int = 5) -> Ask:
    return Ask("PUT", PAIR, "bucket", "key", body=b"x" * length, length=length)


async def read(riak_cs: RiakCsClient, ask: Ask) -> bytes:
    reply = await riak_cs.send(ask)
    try:
        got = b""
        while chunk := await reply.read():
            got += chunk
        assert reply.status == 200
        return got
    finally:
        reply.close()


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("ask", [get, put])
async def test_a_dead_host_delays_one_request_and_fails_none(ask: Callable[[], Ask]) -> None:
    """Both have idle connections that seem to be open."""
    async with Host() as one, Host() as other:
        riak_cs = client(one, other)
        for _ in range(8):
            await asyncio.gather(read(riak_cs, ask()), read(riak_cs, ask()))
        assert one.asked
        assert other.asked
        await one.fail()
        took = [await seconds(read(riak_cs, ask())) for _ in range(12)]
        assert max(took) < SILENCE_S + SLACK_S
        assert sorted(took)[-2] < 0.5, "more than one request waited for the dead host"
        await riak_cs.aclose()


async def test_a_host_that_dies_before_it_answers_is_found_dead_though_nothing_is_sent_to_it() -> None:
    async with Host() as dying, Host() as alive:
        dying.stands_still = alive.stands_still = True
        riak_cs = client(dying, alive)
        reading = asyncio.create_task(seconds(read(riak_cs, get())))
        await until(lambda: bool(dying.asked + alive.asked))
        dead, other = (dying, alive) if dying.asked else (alive, dying)
        other.stands_still = False
        await dead.fail()
        assert await reading < SILENCE_S + SLACK_S + 1
        assert other.asked == 1
        await riak_cs.aclose()


async def test_an_object_is_read_to_its_end_though_the_host_dies_in_its_middle() -> None:
    async with Host() as dying, Host() as alive:
        dying.answers_until = 300_000
        riak_cs = client(dying, alive)
        for _ in range(8):
            with stopwatch() as watch:
                assert await read(riak_cs, get()) == BODY
                assert watch.seconds < SILENCE_S + SLACK_S
        assert dying.asked == 1
        await riak_cs.aclose()


async def test_an_upload_to_a_host_that_dies_ends_soon_and_the_next_one_goes_elsewhere() -> None:
    """A body that was streamed is gone: its client is told, and sends it again."""
    async with Host() as dying, Host() as alive:
        riak_cs = client(dying, alive)

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536
                if dying.received > 1_000_000:
                    dying.cut_power()
                if alive.received > 1_000_000:
                    alive.cut_power()
                await asyncio.sleep(0.001)

        with pytest.raises(Unavailable, match="acknowledged nothing"), stopwatch() as watch:
            await riak_cs.send(Ask("PUT", PAIR, "bucket", "key", body=endless(), length=1 << 40))
        assert watch.seconds < SILENCE_S + SLACK_S + 2
        assert await seconds(read(riak_cs, put())) < 0.5
        await riak_cs.aclose()


async def test_a_living_host_that_takes_no_more_of_a_body_for_a_while_is_not_dead() -> None:
    async with Host() as slow:
        slow.takes_body_after_s = 2 * SILENCE_S + 1
        riak_cs = client(slow)
        length = 16 * 1024 * 1024
        assert await read(riak_cs, put(length)) == b""
        assert slow.received == length
        await riak_cs.aclose()


async def test_a_node_that_stands_still_delays_one_look_up_and_is_left_alone_until_it_answers() -> None:
    async with Host() as still, Host() as alive:
        still.stands_still = True
        riak_cs = client(still, alive, first_answer_s=FIRST_S)
        took = [await seconds(read(riak_cs, get())) for _ in range(12)]
        assert max(took) < FIRST_S + SLACK_S
        assert still.asked == 1, "it was asked again though it had not answered"
        still.stands_still = False
        asked = still.asked

        async def used() -> None:
            while still.asked == asked:
                await read(riak_cs, get())
                await asyncio.sleep(0.02)

        async with asyncio.timeout(60):
            await used()
        await riak_cs.aclose()


async def test_what_changes_something_is_not_sent_elsewhere_while_a_node_may_still_do_it() -> None:
    async with Host() as one, Host() as other:
        one.stands_still = other.stands_still = True
        riak_cs = client(one, other, first_answer_s=0.5)
        writing = asyncio.create_task(read(riak_cs, put()))
        await asyncio.sleep(3)
        assert one.asked + other.asked == 1
        one.stands_still = other.stands_still = False
        assert await writing == b""
        await riak_cs.aclose()


async def test_without_another_node_a_slow_answer_is_waited_for() -> None:
    async with Host() as slow:
        slow.stands_still = True
        riak_cs = client(slow, first_answer_s=0.5)
        reading = asyncio.create_task(read(riak_cs, get()))
        await asyncio.sleep(2)
        slow.stands_still = False
        assert await reading == BODY
        await riak_cs.aclose()


async def test_no_request_waits_for_whether_a_dead_host_is_back_and_it_is_used_when_it_is() -> None:
    async with Host() as dead, Host() as alive:
        dead.cut_power()
        riak_cs = client(dead, alive)
        took = []
        ends = time.monotonic() + 6
        while time.monotonic() < ends:
            took.append(await seconds(read(riak_cs, get())))
            await asyncio.sleep(0.01)
        assert sum(span > 0.7 for span in took) <= 1, sorted(took)[-5:]
        dead.come_back()

        async def used() -> None:
            while not dead.asked:
                await read(riak_cs, get())
                await asyncio.sleep(0.02)

        async with asyncio.timeout(60):
            await used()
        await riak_cs.aclose()


async def test_a_store_finds_a_dead_host_too() -> None:
    async with Host() as one, Host() as other:
        options = S3Options((one.url, other.url), "bucket", connect_timeout_s=1.0, silence_s=SILENCE_S)
        store = S3ObjectStore(StoreName("blobs"), options, SystemClock(), Random(7))
        for _ in range(8):
            await asyncio.gather(store.delete(Key("key")), store.delete(Key("key")))
        assert one.asked
        assert other.asked
        await one.fail()
        took = [await seconds(store.delete(Key("key"))) for _ in range(6)]
        assert max(took) < SILENCE_S + SLACK_S
        await store.aclose()


async def test_pipelined_requests_do_not_go_to_a_dead_host_again() -> None:
    async with Host() as one, Host() as other:
        options = S3Options((one.url, other.url), "bucket", connect_timeout_s=1.0, silence_s=SILENCE_S)
        s3 = S3Client(options, SystemClock(), Random(7))

        async def ask() -> int:
            replies = await s3.pipelined([Request("DELETE", "key"), Request("DELETE", "key")], 2 * len(BODY))
            return sum(reply is not None for reply in replies)

        for _ in range(8):
            assert await asyncio.gather(ask(), ask()) == [2, 2]
        assert one.asked
        await one.fail()
        with stopwatch() as watch:
            got = [await ask() for _ in range(8)]
            assert watch.seconds < SILENCE_S + SLACK_S
        assert sorted(got)[1:] == [2] * 7, "more than one went to the dead host"
        await s3.aclose()


def test_a_socket_without_power_gets_nothing() -> None:
    """The tests' own tool: else they would prove nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        with far:
            far.settimeout(0.3)
            near.sendall(b"1")
            assert far.recv(1) == b"1"
            cut_power(far)
            near.sendall(b"2")
            with pytest.raises(TimeoutError):
                far.recv(1)
