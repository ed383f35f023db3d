"""Read-through: what Riak CS lost is served from the target as it was, fetched once, proved, put back; never what was
deleted, and an outage is never "not found"."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.ports.errors import Corrupt, Unavailable
from controlplane.ports.upstream import Ask
from controlplane.s3.sigv2 import http_date
from tests.support.fakes import damage, failing
from tests.support.object_node import OWNER, B, ObjectNode, object_nodes
from tests.support.virtual_time import VirtualClock

THROUGH = MirrorRule("*", "", "t", read_through=True)
LARGE = bytes(range(256)) * 8192
NewNode = Callable[..., ObjectNode]


@pytest.fixture
def new_node(clock: VirtualClock, tmp_path: Path) -> Iterator[NewNode]:
    with object_nodes(clock, tmp_path, THROUGH) as make:
        yield make


async def lost(node: ObjectNode, data: bytes = b"abcdef") -> None:
    """An object `a` that only the target has."""
    await node.put("a", data, metadata={"name": "value", "odd": "Grüße"})
    await node.drain()
    node.lose("a")


def ask(method: str = "GET", **headers: str) -> Ask:
    return Ask(method, OWNER, B, "a", headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("data", [b"", b"abcdef", LARGE], ids=["empty", "small", "large"])
async def test_it_is_served_as_it_was(new_node: NewNode, data: bytes) -> None:
    node = new_node(memory_bytes=1 << 16)
    await node.put("a", data, metadata={"name": "value", "odd": "Grüße"})
    was = await node.source.store(B).head(Key("a"))
    await node.drain()
    node.lose("a")
    for method in ("HEAD", "GET"):
        reply = await node.through.send(ask(method), None)
        assert reply is not None
        headers = dict(reply.headers)
        assert reply.status == 200
        assert headers["etag"] == f'"{was.etag}"'
        assert headers["last-modified"] == http_date(int(was.modified_at))
        assert headers["content-length"] == str(len(data))
        assert headers["content-type"] == "text/plain"
        assert {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")} == {
            "x-amz-meta-name": "value",
            "x-amz-meta-odd": "Grüße",
        }
        assert await reply.read_all(1 << 30) == (data if method == "GET" else b"")
        reply.close()
    await node.through.aclose()
    assert not node.source.store(B).has("a")  # nobody named an owner: it is not put back


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=0-0", 206, b"a", "bytes 0-0/6"),
        ("bytes=2-", 206, b"cdef", "bytes 2-5/6"),
        ("bytes=-2", 206, b"ef", "bytes 4-5/6"),
        ("bytes=-20", 206, b"abcdef", "bytes 0-5/6"),
        ("bytes=4-100", 206, b"ef", "bytes 4-5/6"),
        ("bytes=6-", 416, b"", "bytes */6"),
        ("bytes=3-2", 200, b"abcdef", None),
    ],
)
async def test_ranges(new_node: NewNode, asked: str, status: int, body: bytes, told: str | None) -> None:
    node = new_node()
    await lost(node)
    reply = await node.through.send(ask(range=asked), OWNER)
    assert reply is not None
    assert (reply.status, await reply.read_all(100), reply.headers.get("content-range")) == (status, body, told)
    reply.close()
    await node.through.aclose()


async def test_a_condition_on_the_etag(new_node: NewNode) -> None:
    node = new_node()
    await lost(node)
    etag = (await _headers(node))["etag"]
    for wanted, status in ((etag, 200), ("*", 200), ('"another"', 412)):
        reply = await node.through.send(ask("HEAD", if_match=wanted), OWNER)
        assert reply is not None
        assert reply.status == status


async def _headers(node: ObjectNode) -> dict[str, str]:
    reply = await node.through.send(ask("HEAD"), None)
    assert reply is not None
    return dict(reply.headers)


async def test_who_comes_when_it_is_back_reads_it_there(new_node: NewNode) -> None:
    """Riak CS did not have it when it was asked, and the fetch of another has ended since."""
    node = new_node()
    await lost(node)
    target = node.targets["t"].store(B)
    before = target.calls.get("get", 0)
    for _ in range(2):
        reply = await node.through.send(ask(), OWNER)
        assert reply is not None
        assert await reply.read_all(100) == b"abcdef"
        reply.close()
        await node.through.aclose()
    assert node.source.store(B).has("a")
    assert target.calls["get"] - before == 1


@pytest.mark.parametrize("data", [b"abcdef", LARGE], ids=["small", "large"])
async def test_many_askers_are_one_fetch_and_one_fill(new_node: NewNode, data: bytes) -> None:
    node = new_node(memory_bytes=1 << 16)
    await lost(node, data)
    target = node.targets["t"].store(B)
    target.latency = 1.0
    before = target.calls.get("get", 0)
    assert await asyncio.gather(*(node.read("a") for _ in range(50))) == [data] * 50
    await node.through.aclose()
    assert target.calls["get"] - before == 1
    assert node.source.store(B).data("a") == data
    puts = [asked for asked in node.upstream.asked if asked.method == "PUT"]
    assert len(puts) == 1
    assert puts[0].signer == OWNER
    assert puts[0].headers["x-amz-meta-odd"] == "Grüße"
    assert await node.read("a") == data


async def test_i4_what_was_deleted_is_not_served_while_its_delete_is_on_its_way(new_node: NewNode) -> None:
    node = new_node()
    await node.put("a", b"1")
    await node.drain()
    await node.delete("a")
    assert node.copies() == {"a": b"1"}
    assert await node.read("a") is None
    other = new_node(like=node)
    assert await other.read("a") is None


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("step", range(12))
async def test_i4_deleted_while_it_is_put_back(new_node: NewNode, step: int, whole: bool) -> None:
    node = new_node()
    other = new_node(like=node)
    await lost(node)
    stores = (node.source.store(B), node.targets["t"].store(B), node.primary)
    for store in stores:
        store.latency = 1.0
    reading = asyncio.ensure_future(node.read("a"))
    await node.clock.sleep(step + 0.5)
    for store in stores:
        store.latency = 0.0
    await other.delete("a")
    if whole:
        await other.drain()
    for store in stores:
        store.latency = 0.3
    await reading
    await node.through.aclose()
    await other.drain()
    for store in stores:
        store.latency = 0.0
    assert await node.read("a") is None
    assert not node.source.store(B).has("a")
    assert node.copies() == {}


@pytest.mark.parametrize("cluster", [False, True], ids=["one gateway", "two gateways"])
@pytest.mark.parametrize("step", range(16))
async def test_a_fill_never_overwrites_a_write(
    new_node: NewNode, clock: VirtualClock, step: int, cluster: bool
) -> None:
    directory = InProcessDirectory(clock) if cluster else None
    node = new_node(directory=directory)
    writer = new_node(like=node, directory=directory) if cluster else node
    await lost(node)
    stores = (node.source.store(B), node.targets["t"].store(B), node.primary)
    for store in stores:
        store.latency = 1.0
    reading = asyncio.ensure_future(node.read("a"))
    await clock.sleep(step * 0.5 + 0.25)
    acknowledged = False
    for _ in range(3):
        try:
            await writer.put("a", b"newer")
            acknowledged = True
            break
        except Unavailable:
            continue  # the client tries again
    assert acknowledged
    await reading
    await node.through.aclose()
    for store in stores:
        store.latency = 0.0
    assert node.source.store(B).data("a") == b"newer"
    await node.drain()
    await writer.drain()
    assert node.copies() == {"a": b"newer"}


@pytest.mark.parametrize("part", ["target", "tombstones"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_i5_an_outage_is_never_not_found(new_node: NewNode, part: str, method: str) -> None:
    node = new_node()
    await lost(node)
    store = node.primary if part == "tombstones" else node.targets["t"].store(B)
    store.fault = failing()
    with pytest.raises(Unavailable):
        await node.through.send(ask(method), OWNER)


async def test_i5_of_several_targets_one_that_is_away_hides_what_it_may_have(new_node: NewNode) -> None:
    node = new_node(THROUGH, MirrorRule("*", "", "u", read_through=True))
    await lost(node)
    node.targets["t"].store(B).fault = failing()
    assert await node.read("a") == b"abcdef"  # the other has it
    await node.targets["u"].store(B).delete(Key("a"))
    node.lose("a") if node.source.store(B).has("a") else None
    with pytest.raises(Unavailable):
        await node.read("a")
    await node.through.aclose()


async def test_i2_a_damaged_copy_is_not_served_whole_and_not_put_back(new_node: NewNode) -> None:
    node = new_node()
    await lost(node)
    damage(node.targets["t"].store(B), "a", honest_etag=False)
    with pytest.raises(Corrupt):
        await node.read("a")
    await node.through.aclose()
    assert not node.source.store(B).has("a")


async def test_a_fill_that_riak_cs_got_wrong_is_taken_back(new_node: NewNode, caplog: pytest.LogCaptureFixture) -> None:
    node = new_node()
    await lost(node)
    node.upstream.lies = "0" * 32
    assert await node.read("a") == b"abcdef"
    await node.through.aclose()
    assert not node.source.store(B).has("a")
    assert "not put back" in caplog.text


async def test_nobody_has_it(new_node: NewNode) -> None:
    node = new_node(MirrorRule("photos", "in/", "t", read_through=True), MirrorRule("*", "", "u"))
    assert node.through.covers("photos", "in/x")
    assert not node.through.covers("photos", "x")
    assert not node.through.covers("other", "in/x")
    assert await node.read("in/x") is None
    assert await node.read("x") is None


async def test_a_reader_that_goes_away_leaves_nothing_behind(new_node: NewNode) -> None:
    node = new_node(memory_bytes=1 << 16)
    await lost(node, LARGE)
    reply = await node.through.send(ask(), None)
    assert reply is not None
    assert await reply.read()
    reply.close()
    assert await reply.read() == b""
    ranged = await node.through.send(ask(range="bytes=0-99999"), None)
    assert ranged is not None
    ranged.close()
    await node.through.aclose()
