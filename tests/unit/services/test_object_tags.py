"""Tags of mirrored objects: a copy has those that the object has at last, and they come back with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from controlplane.model.copy_record import CopyRecord, Tags, decode_copy_record
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.ports.errors import Full, MillraceError, Unavailable
from controlplane.services.source_tags import SourceTags
from tests.support.fakes import failing
from tests.support.object_node import OWNER, PRIVATE, B, ObjectNode, object_nodes
from tests.support.virtual_time import VirtualClock

RULE = MirrorRule("photos", "", "t", read_through=True)
TAGS = (("kind", "a b/ü"), ("empty", ""))
NEWER = (("kind", "newer"),)
HUGE = tuple((f"{number}" + "ü" * 100, "ß" * 200) for number in range(10))
SOME = [b"small", bytes(1_500_000), bytes(3_000_000)]
"""In memory, through the spool, by parts."""
NewNode = Callable[..., ObjectNode]


@pytest.fixture
def new_node(clock: VirtualClock, tmp_path: Path) -> Iterator[NewNode]:
    with object_nodes(clock, tmp_path, RULE, large_bytes=2 << 20, takes_parts=True) as new:
        yield new


async def copied(node: ObjectNode, key: str = "a") -> CopyRecord:
    record = decode_copy_record((await node.targets["t"].store(B).head(Key(key))).metadata)
    assert record is not None
    return record


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("body", SOME, ids=["memory", "spool", "parts"])
async def test_i9_a_copy_follows_its_objects_tags(new_node: NewNode, body: bytes, bulk: bool) -> None:
    node = new_node(bulk=bulk)
    for key in "abc":
        await node.put(key, body)
    await node.drain()
    assert (await copied(node)).tags == ()
    for tags in (TAGS, NEWER, HUGE, TAGS, ()):
        await node.tag("a", tags)
        await node.drain(node.new_mirror())
        said = await copied(node)
        assert said.tags == (() if tags == HUGE else tags)
        assert bool(said.tags_left) == (tags == HUGE)
        assert (await copied(node, "b")).tags == ()
    assert node.copies()["a"] == body


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("step", range(12))
async def test_tags_that_change_while_their_object_is_copied(new_node: NewNode, step: int, bulk: bool) -> None:
    node = new_node(bulk=bulk)
    other = new_node(like=node, bulk=bulk)
    await node.put("b", b"before")
    await node.drain()  # it has just seen that the bucket has no tags
    await node.put("a", b"abc")
    stores = (node.source.store(B), node.targets["t"].store(B), node.source.store(PRIVATE))
    for store in stores:
        store.latency = 1.0
    copying = asyncio.ensure_future(node.drain(node.new_mirror()))
    await node.clock.sleep(step + 0.5)
    for store in stores:
        store.latency = 0.0
    await other.tag("a", TAGS)
    await other.drain()
    for store in stores:
        store.latency = 0.3
    await copying
    assert (await copied(node)).tags == TAGS


async def test_tags_of_a_former_object_are_not_those_of_the_next(new_node: NewNode) -> None:
    node = new_node()
    await node.put("a", b"abc")
    await node.tag("a", TAGS)
    await node.clock.sleep(2.0)
    await node.put("a", b"other")
    await node.drain()
    assert (await copied(node)).tags == ()


async def test_without_tags_a_batch_costs_a_look_or_two_not_one_for_each_object(new_node: NewNode) -> None:
    node = new_node(bulk=True)
    for number in range(200):
        await node.put(f"k{number:03}", b"x")
    await node.drain()
    assert len(node.copies()) == 200
    batches = sum(op == "put" for op, _ in node.targets["t"].bulks[B].batches)
    assert 1 <= batches <= 50
    assert node.source.store(PRIVATE).calls["get"] <= 2 * batches


async def test_who_asks_while_a_look_is_under_way_shares_the_next_one(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a look that began before does not see, a question that came later must be told."""
    node = new_node()
    await node.put("a", b"abc")
    private = node.source.store(PRIVATE)
    real, asked = private.get, [0]

    async def slow(*args: Any, **more: Any) -> Any:
        asked[0] += 1
        try:
            answer: Any = await real(*args, **more)
        except MillraceError as error:
            answer = error
        await node.clock.sleep(1.0)  # on its way
        if isinstance(answer, Exception):
            raise answer
        return answer

    tags = SourceTags(node.source, PRIVATE, node.clock)
    with monkeypatch.context() as patched:
        patched.setattr(private, "get", slow)
        first = asyncio.ensure_future(tags.any_in(B, now=True))
        await node.clock.sleep(0.5)
    await node.tag("a", TAGS)
    with monkeypatch.context() as patched:
        patched.setattr(private, "get", slow)
        later = [asyncio.ensure_future(tags.any_in(B, now=True)) for _ in range(20)]
        await node.clock.sleep(0.1)
        later[3].cancel()
        assert not await first
        assert await asyncio.gather(*later, return_exceptions=True) == [
            True if number != 3 else mock.ANY for number in range(20)
        ]
        assert later[3].cancelled()
        assert asked == [2]
    private.fault = failing()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await tags.any_in(B, now=True)
    private.fault = None
    assert await tags.any_in(B, now=True)


async def lost(node: ObjectNode, tags: Tags = TAGS) -> None:
    await node.put("a", b"abcdef")
    await node.tag("a", tags)
    await node.drain()
    node.lose("a")
    await node.clock.sleep(3600.0)


@pytest.mark.parametrize("front_too", [False, True])
async def test_what_comes_back_has_its_tags(new_node: NewNode, front_too: bool) -> None:
    node = new_node()
    await lost(node)
    if front_too:  # all that was kept of the bucket's objects went with it
        await node.subresources.forget_bucket(B)
    assert await node.through.bring_back(B, Key("a"), OWNER)
    assert await node.tags("a") == TAGS


async def test_what_is_filled_by_a_read_has_its_tags(new_node: NewNode) -> None:
    node = new_node()
    await lost(node)
    assert await node.read("a") == b"abcdef"
    await node.through.aclose()
    assert await node.tags("a") == TAGS


async def test_a_fill_whose_tags_cannot_be_kept_is_taken_back(
    new_node: NewNode, caplog: pytest.LogCaptureFixture
) -> None:
    node = new_node()
    await lost(node)
    node.source.store(PRIVATE).fault = failing("put")
    assert await node.read("a") == b"abcdef"
    await node.through.aclose()
    assert not node.source.store(B).has("a")
    assert "tags could not be kept" in caplog.text
    node.source.store(PRIVATE).fault = None
    assert await node.read("a") == b"abcdef"
    await node.through.aclose()
    assert await node.tags("a") == TAGS


async def test_what_comes_back_without_its_tags_is_said(new_node: NewNode, caplog: pytest.LogCaptureFixture) -> None:
    node = new_node()
    await lost(node, HUGE)
    await node.subresources.forget_bucket(B)
    assert await node.through.bring_back(B, Key("a"), OWNER)
    assert await node.tags("a") == ()
    assert "without its tags" in caplog.text


async def test_a_full_journal_refuses_tags_before_they_are_changed(new_node: NewNode) -> None:
    node = new_node(journal_limit=1)
    await node.put("a", b"abc")
    await node.clock.sleep(1.0)
    with pytest.raises(Full):
        await node.tag("a", TAGS)
    assert await node.tags("a") == ()
