"""Where one service has both ends it copies by itself; what it would not do, or did not prove, is sent."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.model.copy_record import decode_copy_record
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule
from tests.support.fakes import Node, content_of
from tests.support.object_node import B, ObjectNode
from tests.support.server_copy import FakeServerCopies, FakeServerCopy, as_multipart
from tests.support.virtual_time import VirtualClock

RULE = MirrorRule("*", "", "t", name="near")
DATA = bytes(range(256)) * 4096 * 2  # 2 MiB
LARGE = bytes(range(256)) * 4096 * 5 + b"and a bit"
SHA256 = {"millrace-s3-checksum-sha256": base64.b64encode(hashlib.sha256(DATA).digest()).decode()}


@pytest.fixture
def node(clock: VirtualClock, tmp_path: Path) -> Iterator[ObjectNode]:
    node = ObjectNode(clock, tmp_path / "spool", RULE, large_bytes=4 << 20)
    node.targets["t"].takes_parts = True
    yield node
    node.spool.close()
    assert list(node.spool_path.iterdir()) == []


@pytest.fixture
def way(node: ObjectNode) -> FakeServerCopy:
    way = FakeServerCopy(node.source.store(B), node.targets["t"].store(B), node.targets["t"].parts(B))
    node.at_service["near"] = FakeServerCopies(way)
    node.mirror = node.new_mirror()
    return way


async def copied(node: ObjectNode, key: str, data: bytes) -> None:
    """And the copy says all that a streamed one says."""
    held = await node.targets["t"].store(B).head(Key(key))
    source = await node.source.store(B).head(Key(key))
    said = decode_copy_record(held.metadata)
    assert node.copies()[key] == data
    assert held.content == content_of(data)
    assert said is not None
    assert (said.etag, said.metadata) == (source.etag, source.metadata)
    assert node.journal.open_tasks == []


@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("metadata", [{}, {"colour": "red"}, SHA256], ids=["none", "own", "checksum"])
async def test_the_service_copies_and_the_copy_is_like_one_that_was_sent(
    node: ObjectNode, way: FakeServerCopy, metadata: dict[str, str], multipart: bool
) -> None:
    await node.put("a", DATA, metadata=metadata)
    if multipart:
        as_multipart(node.source.store(B), "a")
    await node.drain()
    assert way.copied == ["a"]
    await copied(node, "a", DATA)
    knows_its_digests = metadata == SHA256 and not multipart
    assert node.source.store(B).calls.get("get", 0) == (0 if knows_its_digests else 1)


async def test_written_again_between_the_look_and_the_reading_it_ends_with_the_newest(
    node: ObjectNode, way: FakeServerCopy
) -> None:
    await node.put("a", DATA)
    store = node.source.store(B)

    def again(op: str, key: Key) -> None:
        if op == "get":
            store.fault = None
            store.replace_bytes("a", DATA[::-1], honest_etag=True)

    store.fault = again
    await node.drain()
    assert store.fault is None
    await copied(node, "a", DATA[::-1])


async def test_what_is_small_or_has_a_key_that_it_cannot_read_is_sent(node: ObjectNode, way: FakeServerCopy) -> None:
    await node.put("small", b"x")
    await node.put("with/slash", DATA)
    await node.put("large/slash", LARGE)
    await node.drain()
    assert (way.copied, way.copied_parts) == ([], [])
    for key, data in (("small", b"x"), ("with/slash", DATA), ("large/slash", LARGE)):
        await copied(node, key, data)


@pytest.mark.parametrize("lie", ["refuse", "mute", "damage"])
@pytest.mark.parametrize("data", [DATA, LARGE], ids=["one", "parts"])
async def test_i1_what_it_does_not_prove_is_sent(node: ObjectNode, way: FakeServerCopy, lie: str, data: bytes) -> None:
    way.lie = lie
    await node.put("a", data)
    await node.drain()
    await copied(node, "a", data)
    assert node.tally.retried == 0


async def test_a_checksum_that_does_not_belong_to_the_bytes_is_found_by_reading(
    clock: VirtualClock, tmp_path: Path
) -> None:
    """Of the SHA-256 nobody but a reader can tell: `verify = "read"` is for who trusts nobody."""
    node = ObjectNode(clock, tmp_path / "spool", RULE, read_back=True)
    way = FakeServerCopy(node.source.store(B), node.targets["t"].store(B))
    way.lie = "mute"
    node.at_service["near"] = FakeServerCopies(way)
    await node.put("a", DATA)
    await node.drain(node.new_mirror())
    await copied(node, "a", DATA)
    node.spool.close()


async def test_what_is_larger_goes_by_parts_of_which_none_comes_here_twice(
    node: ObjectNode, way: FakeServerCopy
) -> None:
    await node.put("a", LARGE)
    await node.drain()
    assert (way.copied, sorted(way.copied_parts)) == ([], [1, 2, 3, 4, 5, 6])
    await copied(node, "a", LARGE)
    parts = node.targets["t"].parts(B)
    assert parts is not None
    assert parts.sent == []


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["one", "parts"])
async def test_written_again_while_it_copies_it_ends_with_the_newest(
    node: ObjectNode, way: FakeServerCopy, data: bytes
) -> None:
    await node.put("a", data)
    store = node.source.store(B)

    def again() -> None:
        way.before = lambda: None
        store.replace_bytes("a", data[::-1], honest_etag=True)

    way.before = again
    await node.drain()
    await copied(node, "a", data[::-1])


async def test_deleted_while_it_copies_it_is_gone(node: ObjectNode, way: FakeServerCopy) -> None:
    await node.put("a", DATA)

    def lose() -> None:
        way.before = lambda: None
        node.lose("a")

    way.before = lose
    await node.drain()
    assert node.copies() == {}
    assert node.journal.open_tasks == []


@pytest.mark.parametrize("lie", ["", "refuse", "mute", "damage"])
async def test_i1_blobs_too(clock: VirtualClock, tmp_path: Path, lie: str) -> None:
    node = Node(clock, tmp_path / "spool")
    way = FakeServerCopy(node.primary, node.persistent)
    way.lie = lie
    way.takes = lambda source: True  # type: ignore[method-assign]
    node.at_service = way
    node.mirror = node.new_mirror()
    await node.store(DATA)
    await node.drain()
    key = node.persistent.names[0]
    assert node.persistent.data(key) == DATA
    assert (await node.persistent.head(Key(key))).content == content_of(DATA)
    assert way.copied == ([] if lie == "refuse" else [key])
    assert node.mirror_tally.retried == 0
    node.spool.close()
