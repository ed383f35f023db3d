"""The protocol buffers client where it is not the contract suites' business: failures, conditions, siblings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from controlplane.adapters.riak_kv import RiakKvOptions
from controlplane.adapters.riak_pb import RiakPb
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.errors import Conflict, Rejected, Unavailable
from tests.support.ports import free_port
from tests.support.riak_kv import RiakNode, given_or_standin


@pytest.fixture(scope="module")
def riak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    with given_or_standin(tmp_path_factory.mktemp("riak"), pb=True) as node:
        yield node


def client(*places: str, kind: str = "default", **options: float) -> RiakPb:
    return RiakPb(RiakKvOptions(places, kind, **options), SystemClock())  # type: ignore[arg-type]


async def test_siblings_conditions_and_tombstones(riak: RiakNode) -> None:
    kv = client(f"127.0.0.1:{free_port()}", riak.pb, kind=riak.bucket_type)  # the first is away
    bucket = riak.cluster()
    await kv.ping()
    await kv.store(bucket, "ü/k", b"one\x00", indexes=[("x_bin", "1")])
    with pytest.raises(Conflict):
        await kv.store(bucket, "ü/k", b"two", if_absent=True)
    await kv.store(bucket, "ü/k", b"two")
    found = await kv.fetch(bucket, "ü/k")
    assert sorted(found.values) == [b"one\x00", b"two"]
    await kv.store(bucket, "ü/k", b"late")  # a third that the next line does not know of: a tombstone is its sibling
    await kv.delete(bucket, "ü/k", found.clock)
    left = await kv.fetch(bucket, "ü/k")
    assert left.values == (b"late",)
    await kv.delete(bucket, "ü/k", left.clock)
    gone = await kv.fetch(bucket, "ü/k")
    assert gone.values == ()
    await kv.store(bucket, "ü/k", b"three", clock=gone.clock, if_absent=True)
    assert (await kv.fetch(bucket, "ü/k")).values == (b"three",)
    await kv.delete(bucket, "never-was", b"")
    with pytest.raises(Unavailable):
        await client(f"127.0.0.1:{free_port()}").fetch(bucket, "ü/k")
    await kv.aclose()
    with pytest.raises(Unavailable):
        await kv.ping()


async def test_an_unknown_bucket_type_is_refused_with_what_to_do(riak: RiakNode) -> None:
    kv = client(riak.pb, kind="nonsense")
    with pytest.raises(Rejected, match="bucket-type create"):
        await kv.fetch("b", "k")
    await kv.aclose()


@pytest.mark.parametrize("answer", [b"", b"\x00\x00\x00\x09\x0acut", b"\xff" * 8, b"\x00\x00\x00\x03\x0a\xff\xff"])
async def test_nonsense_is_unavailable(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    kv = client(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(Unavailable):
        await kv.fetch("b", "k")
    await kv.aclose()
    server.close()
    await server.wait_closed()
