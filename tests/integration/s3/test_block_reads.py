"""Large objects read into memory that is used again: the same bytes, the same faults, the same connection after it."""

from __future__ import annotations

import asyncio
import os

import pytest

from controlplane.adapters.s3 import S3ObjectStore
from controlplane.model.keys import Key
from controlplane.ports.errors import Unavailable
from controlplane.ports.object_store import ByteRange, pieces_of
from tests.integration.s3.faulty_server import Fault, FaultyS3

K = Key("k")
MIB = 1 << 20


async def read(store: S3ObjectStore, byte_range: ByteRange | None = None) -> list[bytes | memoryview]:
    """All pieces, held until the last one has come."""
    reader = await store.get(K, byte_range=byte_range)
    try:
        return [piece async for piece in pieces_of(reader)]
    finally:
        await reader.aclose()


async def test_pieces_that_are_held_stay_as_they_came(server: FaultyS3, store: S3ObjectStore) -> None:
    for size in (9 * MIB + 5, 3 * MIB, 100, 0):
        data = os.urandom(size)
        server.objects["k"] = (data, {})
        pieces = await read(store)
        assert b"".join(pieces) == data
        assert (size < MIB) or any(isinstance(piece, memoryview) for piece in pieces)
    server.objects["k"] = (data := os.urandom(8 * MIB), {})
    assert b"".join(await read(store, ByteRange(MIB, 5 * MIB))) == data[MIB : 5 * MIB + 1]
    assert server.connections == 1


async def test_bodies_beside_one_another_do_not_mix(server: FaultyS3, store: S3ObjectStore) -> None:
    server.objects["k"] = (os.urandom(6 * MIB), {})
    for pieces in await asyncio.gather(*(read(store) for _ in range(6))):
        assert b"".join(pieces) == server.objects["k"][0]


@pytest.mark.parametrize("cut_at", [1, 300_000, 4 * MIB, 8 * MIB - 1])
async def test_a_body_that_ends_short_never_looks_whole(server: FaultyS3, store: S3ObjectStore, cut_at: int) -> None:
    data = os.urandom(8 * MIB)
    server.objects["k"] = (data, {})
    server.faults.append(Fault(method="GET", cut_at=cut_at))
    with pytest.raises(Unavailable):
        await read(store)
    assert b"".join(await read(store)) == data


async def test_a_body_that_stops_coming_times_out(server: FaultyS3, store: S3ObjectStore) -> None:
    server.objects["k"] = (bytes(8 * MIB), {})
    server.faults.append(Fault(method="GET", stall="body"))
    with pytest.raises(Unavailable, match="sent nothing"):
        await read(store)


async def test_a_slow_reader_slows_the_server_and_one_that_leaves_costs_its_connection(
    server: FaultyS3, store: S3ObjectStore
) -> None:
    data = os.urandom(24 * MIB)
    server.objects["k"] = (data, {})
    reader = await store.get(K)
    pieces = pieces_of(reader)
    first = bytes(await anext(pieces))
    await asyncio.sleep(0.2)
    connection = reader._answer._lease
    assert connection is not None
    assert connection.connection._unread < 2 * MIB
    await reader.aclose()
    assert data.startswith(first)
    assert b"".join(await read(store)) == data
    assert server.connections == 2
