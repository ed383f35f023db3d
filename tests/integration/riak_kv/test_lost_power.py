"""A Riak KV node whose host loses its power: a request on a connection that was idle waits for it some seconds, not
timeout_s, and goes on at another node."""

from __future__ import annotations

import asyncio

from controlplane.adapters.riak_kv.http_client import RiakHttp
from controlplane.adapters.riak_kv.options import RiakKvOptions
from controlplane.adapters.system_clock import SystemClock
from tests.support.power import cut_power
from tests.support.stalls import stopwatch

ABSENT = b"HTTP/1.1 404 Object Not Found\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nnot found\n"
SILENCE_S = 2.0
CONNECT_S = 1.0
"""aiohttp tries a connection that was idle, and broke, once more at the same node."""
SLACK_S = 2.0


class Node:
    def __init__(self) -> None:
        self.requests = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(ABSENT)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    async def fail(self) -> None:
        """When all is acknowledged: its kernel would send again what is not, as no dead one does."""
        await asyncio.sleep(0.25)
        for end in (*self.server.sockets, *(writer.get_extra_info("socket") for writer in self.writers)):
            cut_power(end)

    async def stop(self) -> None:
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def test_a_dead_host_is_waited_for_some_seconds_and_not_the_whole_time_of_a_request() -> None:
    one, other = Node(), Node()
    options = RiakKvOptions(
        (await one.start(), await other.start()),
        "default",
        connect_timeout_s=CONNECT_S,
        timeout_s=30.0,
        silence_s=SILENCE_S,
    )
    kv = RiakHttp(options, SystemClock())
    for _ in range(6):
        await kv.fetch("bucket", "key")
    assert one.requests == other.requests == 3
    await one.fail()
    took = []
    for _ in range(6):
        with stopwatch() as watch:
            assert not (await kv.fetch("bucket", "key")).values
            took.append(watch.seconds)
    assert max(took) < SILENCE_S + CONNECT_S + SLACK_S
    assert one.requests == 3
    await kv.aclose()
    await one.stop()
    await other.stop()
