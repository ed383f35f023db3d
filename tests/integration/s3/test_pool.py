"""The line for a connection: who waits is given a place where he could begin now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from controlplane.adapters.s3 import S3Options
from controlplane.adapters.s3.options import Endpoint
from controlplane.adapters.s3.pool import EJECT_FIRST_S, ConnectionPool, Lease
from controlplane.adapters.system_clock import SystemClock


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Answers every head with 403 and nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


@asynccontextmanager
async def pool_of(*urls: str, proved: bool = False) -> AsyncIterator[ConnectionPool]:
    """One connection to each."""

    def proof(endpoint: Endpoint) -> bytes:
        return b"GET / HTTP/1.1\r\nhost: " + endpoint.host_header.encode() + b"\r\n\r\n"

    options = S3Options(endpoints=urls, bucket="b", connections=1, read_timeout_s=20.0)
    pool = ConnectionPool(options, SystemClock(), Random(1), proof if proved else None)
    try:
        yield pool
    finally:
        await pool.aclose()


async def both_busy(pool: ConnectionPool) -> tuple[Lease, Lease]:
    return await pool.acquire(), await pool.acquire()


def goes_away(pool: ConnectionPool, lease: Lease) -> None:
    """Whoever uses it finds that its endpoint says nothing any more."""
    pool.failed(lease.site, at_once=True)
    lease.connection.abort()
    pool.release(lease)


async def test_nobody_in_line_is_sent_to_an_endpoint_that_is_away_while_another_answers() -> None:
    async with server() as one, server() as other, pool_of(one, other) as pool:
        dying, living = await both_busy(pool)
        waiting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        goes_away(pool, dying)
        await asyncio.sleep(0.05)
        assert not waiting.done()
        pool.release(living)
        assert (await waiting).site is living.site


async def test_who_waits_goes_to_an_endpoint_that_is_back_though_the_others_stay_busy() -> None:
    async with server() as one, server() as other, pool_of(one, other, proved=True) as pool:
        back, busy = await both_busy(pool)
        goes_away(pool, back)
        waiting = asyncio.ensure_future(pool.acquire())
        async with asyncio.timeout(10.0):
            lease = await waiting
        assert lease.site is back.site
        pool.release(lease)
        pool.release(busy)
        assert pool.open_connections == 2


async def test_a_newcomer_does_not_keep_those_in_line_from_an_endpoint_whose_time_is_over() -> None:
    async with server() as one, server() as other, pool_of(one, other) as pool:
        back, busy = await both_busy(pool)
        goes_away(pool, back)
        first = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(EJECT_FIRST_S + 0.1)
        second = asyncio.ensure_future(pool.acquire())
        async with asyncio.timeout(5.0):
            lease = await first
        assert lease.site is back.site
        assert not second.done()
        pool.release(lease)
        async with asyncio.timeout(5.0):
            assert (await second).site is back.site
        pool.release(busy)
