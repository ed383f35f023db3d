"""What a client of Riak KV says when no node answers: each node, and why not, in words."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.adapters.riak_kv import RiakKvOptions
from controlplane.adapters.riak_kv.http_client import RiakHttp
from controlplane.adapters.riak_pb import RiakPb
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.errors import Unavailable


@pytest.mark.parametrize("by", ["http", "pb"])
async def test_a_node_that_says_nothing_is_named_with_a_reason(by: str) -> None:
    over = asyncio.Event()

    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    kv: RiakHttp | RiakPb
    if by == "http":
        kv = RiakHttp(RiakKvOptions((f"http://{place}",), "default", timeout_s=0.2), SystemClock())
    else:
        kv = RiakPb(RiakKvOptions((place,), "default", timeout_s=0.2), SystemClock())
    try:
        with pytest.raises(Unavailable, match=rf"{place}: \w"):
            await kv.fetch("b", "k")
    finally:
        await kv.aclose()
        over.set()
        server.close()
        await server.wait_closed()
