"""S3 objects: what was acknowledged is at every target, as it is in Riak CS; what was deleted is gone, and stays so."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model.copy_record import decode_copy_record
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.retry import RetrySchedule
from controlplane.model.task import Op, TaskState
from controlplane.ports.errors import Forbidden, Full, MillraceError, Rejected, Unavailable
from tests.support.fakes import damage, failing
from tests.support.object_node import B, ObjectNode, object_nodes
from tests.support.virtual_time import VirtualClock
from tests.unit.services.conftest import break_off

PLAIN = MirrorRule("*", "", "t")
THROUGH = MirrorRule("*", "", "t", read_through=True)
ARCHIVE = MirrorRule("*", "", "t", deletes=False, read_through=True)
NewNode = Callable[..., ObjectNode]
LARGE = bytes(range(256)) * 8192


@pytest.fixture
def new_node(clock: VirtualClock, tmp_path: Path) -> Iterator[NewNode]:
    with object_nodes(clock, tmp_path, PLAIN) as make:
        yield make


async def test_i1_a_write_is_in_the_journal_before_it_is_acknowledged(new_node: NewNode) -> None:
    node = new_node()
    etag = await node.put("a", b"abc")
    (task,) = node.journal.open_tasks
    draft = task.draft
    assert (draft.op, draft.bucket, draft.key, draft.etag, draft.size) == (Op.PUT_OBJECT, B, "a", etag, 3)
    assert (await node.journal.stats()).pending_bytes == 3


async def test_i1_i9_a_copy_says_all_that_the_source_says(new_node: NewNode) -> None:
    node = new_node()
    metadata = {"plain": "value", "odd": "Grüße", "millrace-s3-checksum-crc32": "AAAAAA==", "millrace-own": "x"}
    await node.put("a/b c", b"abc", metadata=metadata)
    source = await node.source.store(B).head(Key("a/b c"))
    await node.drain()
    assert node.copies() == {"a/b c": b"abc"}
    copy = await node.targets["t"].store(B).head(Key("a/b c"))
    record = decode_copy_record(copy.metadata)
    assert record is not None
    assert (record.etag, record.metadata, record.modified_at) == (
        source.etag,
        metadata,
        pytest.approx(source.modified_at, abs=0.001),
    )
    assert copy.content is not None
    assert copy.content.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert copy.content_type == "text/plain"
    assert all(value.isascii() for value in copy.metadata.values())
    # A target that is an S3 front of Millrace takes these names from nobody.
    assert not any(name.startswith("millrace-s3-") for name in copy.metadata)
    older = {name: value for name, value in copy.metadata.items() if "millrace-s3-" not in name}
    older["millrace-s3-checksum-crc32"] = "AAAAAA=="  # as copies had it before
    assert record == decode_copy_record(older)
    assert node.targets["t"].prepared == [B]
    assert (node.tally.copied, node.tally.copied_bytes) == (1, 3)


async def test_large_objects_are_hashed_before_they_go_out(new_node: NewNode) -> None:
    node = new_node(memory_bytes=1 << 16)
    await node.put("large", LARGE)
    await node.drain()
    assert node.copies() == {"large": LARGE}


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("fresh", [False, True], ids=["the same process", "another one"])
@pytest.mark.parametrize("change", ["metadata", "content type", "headers"])
async def test_a_change_of_metadata_alone_is_mirrored(new_node: NewNode, change: str, fresh: bool, bulk: bool) -> None:
    """As CopyObject of an object onto itself makes it: the same bytes and ETag, and perhaps within the same second."""
    node = new_node(bulk=bulk, concurrency=1)
    for key in ("a", "b"):
        await node.put(key, b"abc", metadata={"colour": "red"})
    await node.drain()
    source = node.source.store(B)
    for key in ("a", "b"):
        kept = source._objects[key.encode()]
        info = kept.info
        match change:
            case "metadata":
                info = replace(info, metadata={"colour": "blue"})
            case "content type":
                info = replace(info, content_type="text/x-new")
            case "headers":
                info = replace(info, headers={"cache-control": "no-store"})
        source._objects[key.encode()] = replace(kept, info=info)
        await node.log.wrote(B, Key(key), info.etag, info.size)
    await node.drain(node.new_mirror() if fresh else None)
    for key in ("a", "b"):
        copy = await node.targets["t"].store(B).head(Key(key))
        record = decode_copy_record(copy.metadata)
        assert record is not None
        now = await source.head(Key(key))
        assert (record.metadata, record.headers, copy.content_type) == (now.metadata, now.headers, now.content_type)


async def test_a_multipart_object_is_copied_whatever_its_etag(new_node: NewNode) -> None:
    node = new_node()
    await node.put("m", b"parts")
    store = node.source.store(B)
    found = store._objects[b"m"]
    store._objects[b"m"] = replace(found, info=replace(found.info, etag="0123456789abcdef0123456789abcdef-2"))
    await node.drain()
    record = decode_copy_record((await node.targets["t"].store(B).head(Key("m"))).metadata)
    assert record is not None
    assert record.etag == "0123456789abcdef0123456789abcdef-2"


async def test_only_what_a_rule_names_is_promised(new_node: NewNode) -> None:
    node = new_node(MirrorRule("photos", "in/", "t"), MirrorRule("log-?", "", "u"))
    await node.put("in/a", b"1")
    await node.put("out/a", b"2")
    await node.put("x", b"3", Bucket("log-1"))
    await node.put("x", b"4", Bucket("log-10"))
    await node.delete("out/a")
    assert len(node.journal.open_tasks) == 2
    await node.drain()
    assert node.copies() == {"in/a": b"1"}
    assert node.copies("u", Bucket("log-1")) == {"x": b"3"}


async def test_several_targets_get_it(new_node: NewNode) -> None:
    node = new_node(PLAIN, MirrorRule("photos", "", "u"), MirrorRule("photos", "never", "u"))
    await node.put("a", b"1")
    await node.drain()
    assert node.copies() == node.copies("u") == {"a": b"1"}


@pytest.mark.parametrize("size", [3, len(LARGE)], ids=["small", "large"])
async def test_each_is_read_once_and_looked_at_once_more(new_node: NewNode, size: int) -> None:
    node = new_node()
    await node.put("a", LARGE[:size])
    await node.drain()
    calls = node.source.store(B).calls
    assert (calls["get"], calls["head"]) == (1, 1)


async def test_what_a_retry_finds_at_the_target_is_not_asked_for_again(new_node: NewNode) -> None:
    node = new_node()
    await node.put("a", LARGE)
    source = node.source.store(B)

    def arrived(op: str, key: Key) -> None:
        if op == "head" and node.copies():
            source.fault = None
            raise Unavailable("told to")

    source.fault = arrived
    await node.drain()
    assert node.copies() == {"a": LARGE}
    assert source.fault is None
    assert (node.tally.retried, source.calls["get"]) == (1, 1)


async def test_overwrites_end_with_the_newest_and_are_copied_once(new_node: NewNode) -> None:
    node = new_node()
    for number in range(10):
        await node.put("a", b"%d" % number)
    await node.drain()
    assert node.copies() == {"a": b"9"}
    assert node.targets["t"].store(B).calls["put"] == 1


@pytest.mark.parametrize("step", range(24))
async def test_overwritten_while_it_is_copied_it_ends_with_the_newest(new_node: NewNode, step: int) -> None:
    node = new_node()
    await node.put("a", b"old")
    node.source.store(B).latency = node.targets["t"].store(B).latency = 1.0
    draining = asyncio.ensure_future(node.drain())
    await node.clock.sleep(step * 0.25)
    node.source.store(B).latency = 0.0
    await node.put("a", b"new")
    await draining
    await node.drain()
    assert node.copies() == {"a": b"new"}
    assert node.journal.open_tasks == []


@pytest.mark.parametrize("step", range(20))
async def test_two_nodes_that_copy_one_key_end_with_the_newest(new_node: NewNode, step: int) -> None:
    one = new_node()
    two = new_node(like=one)
    await one.put("a", b"old")
    target = one.targets["t"].store(B)
    target.latency = 1.0
    first = asyncio.ensure_future(one.drain())
    await one.clock.sleep(step * 0.25)
    await two.put("a", b"new")
    target.latency = 0.3
    await two.drain()
    await first
    assert one.copies() == {"a": b"new"}


@pytest.mark.parametrize("read_back", [False, True])
@pytest.mark.parametrize("lie", ["nothing", "damage", "short"])
async def test_i1_a_target_that_lies_keeps_the_entry_open(new_node: NewNode, lie: str, read_back: bool) -> None:
    node = new_node(read_back=read_back, schedule=RetrySchedule(1.0, 2.0, 60.0, budget=3))
    target = node.targets["t"].store(B)
    target.lie = lie
    await node.put("a", b"abcdef")
    await node.drain()
    (task,) = node.journal.open_tasks
    assert (task.state, task.attempts) == (TaskState.FAILED, 3)
    target.lie = None
    await node.journal.revive(None, node.clock.now())
    await node.drain()
    assert node.copies() == {"a": b"abcdef"}


async def test_i1_an_etag_that_changes_at_every_look_is_not_believed_at_once(new_node: NewNode) -> None:
    """The copy is looked at again, by all else that it says; read in full where the rule asks for that."""
    node = new_node(read_back=True)
    target = node.targets["t"].store(B)
    target.lie = "etag"
    await node.put("a", b"abcdef")
    await node.drain()
    assert node.copies() == {"a": b"abcdef"}
    assert node.tally.retried == 1
    target.lie = None
    damage(target, "a", honest_etag=False)
    target.lie = "etag"
    await node.put("a", b"abcdef")
    await node.drain(node.new_mirror())
    assert node.copies() == {"a": b"abcdef"}


async def test_i1_a_damaged_source_is_not_copied(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(1.0, 2.0, 60.0, budget=2))
    await node.put("a", b"abcdef")
    damage(node.source.store(B), "a", honest_etag=False)
    await node.drain()
    (task,) = node.journal.open_tasks
    assert task.state is TaskState.FAILED
    assert "its bytes have MD5" in task.error
    assert node.copies() == {}


async def test_one_object_that_fails_holds_up_no_other(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(1.0, 2.0, 60.0, budget=2))
    node.targets["t"].store(B).fault = failing("put", error=lambda: Rejected("no"), key="bad")
    for name in ("bad", *map(str, range(50))):
        await node.put(name, b"x")
    await node.drain()
    assert [task.draft.key for task in node.journal.open_tasks] == ["bad"]
    assert len(node.copies()) == 50


async def test_i5_an_outage_of_the_target_burns_no_budget(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(1.0, 2.0, 10.0, budget=2))
    target = node.targets["t"].store(B)
    await node.put("a", b"x")
    target.fault = failing()
    draining = asyncio.ensure_future(node.drain())
    await node.clock.sleep(600)
    target.fault = None
    await draining
    assert node.copies() == {"a": b"x"}
    assert node.tally.buried == 0


async def test_a_full_journal_pushes_back_before_riak_cs_is_asked(new_node: NewNode) -> None:
    node = new_node(journal_limit=2)
    await node.put("a", b"1")
    await node.put("b", b"2")
    await node.clock.sleep(1)
    with pytest.raises(Full):
        await node.put("c", b"3")
    assert not node.source.store(B).has("c")
    await node.drain()
    await node.clock.sleep(1)
    await node.put("c", b"3")


# In bulk


async def test_i1_small_objects_are_copied_and_proved_together(new_node: NewNode) -> None:
    node = new_node(THROUGH, bulk=True, concurrency=1)
    other = Bucket("others")
    for number in range(20):
        await node.put(str(number), b"%d" % number, metadata={"n": str(number), "odd": "ü"})
    await node.put("x", b"x", other)
    await node.put("y", b"y", other)
    await node.put("large", LARGE)
    await node.drain()
    assert node.copies() == {**{str(number): b"%d" % number for number in range(20)}, "large": LARGE}
    assert node.copies(bucket=other) == {"x": b"x", "y": b"y"}
    assert node.targets["t"].bulks[B].batches == [("put", 20), ("head", 20)]
    assert node.source.bulks[B].batches == [("get", 20), ("head", 20)]
    assert node.targets["t"].bulks[other].batches == [("put", 2), ("head", 2)]
    for number in range(20):
        record = decode_copy_record((await node.targets["t"].store(B).head(Key(str(number)))).metadata)
        assert record is not None
        assert record.metadata == {"n": str(number), "odd": "ü"}
    assert node.tally.copied == 23


@pytest.mark.parametrize("lie", ["nothing", "damage", "short"])
async def test_i1_a_target_that_lies_in_bulk(new_node: NewNode, lie: str) -> None:
    node = new_node(THROUGH, bulk=True, concurrency=1, schedule=RetrySchedule(1.0, 2.0, 60.0, budget=2))
    node.targets["t"].store(B).lie = lie
    for number in range(5):
        await node.put(str(number), b"abc%d" % number)
    await node.drain()
    assert [task.state for task in node.journal.open_tasks] == [TaskState.FAILED] * 5


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("op", ["get", "put", "head"])
async def test_i1_what_gets_no_answer_in_bulk_goes_alone(new_node: NewNode, op: str, side: str, after: bool) -> None:
    node = new_node(THROUGH, bulk=True, concurrency=1)
    service = node.source if side == "source" else node.targets["t"]
    bulk = service.bulk(B)
    assert bulk is not None
    bulk.drop = lambda name, key: name == op and int(key) % 2 == 0
    bulk.after = after
    for number in range(10):
        await node.put(str(number), b"%d" % number)
    await node.drain()
    assert node.copies() == {str(number): b"%d" % number for number in range(10)}


@pytest.mark.parametrize("step", range(12))
async def test_i4_deleted_while_a_batch_is_copied(new_node: NewNode, step: int) -> None:
    one = new_node(THROUGH, bulk=True, concurrency=1)
    for number in range(5):
        await one.put(str(number), b"%d" % number)
    two = new_node(THROUGH, like=one, bulk=True, concurrency=1)
    stores = (one.source.store(B), one.targets["t"].store(B))
    for store in stores:
        store.latency = 0.2
    draining = asyncio.ensure_future(one.drain())
    await one.clock.sleep(step * 0.4 + 0.1)
    for store in stores:
        store.latency = 0.0
    await two.delete("3")
    await two.put("1", b"newer")
    await two.drain()
    for store in stores:
        store.latency = 0.2
    await draining
    for store in stores:
        store.latency = 0.0
    assert one.copies() == {"0": b"0", "1": b"newer", "2": b"2", "4": b"4"}
    assert await one.read("3") is None
    assert one.primary.names == []


@pytest.mark.parametrize("gap", range(4))
@pytest.mark.parametrize("step", range(6))
async def test_i1_a_slow_node_that_finds_a_key_gone_does_not_remove_its_next_life(
    new_node: NewNode, step: int, gap: int
) -> None:
    """Deleted, and written again, and both mirrored by other nodes, at every step of a slow agent."""
    slow = new_node(PLAIN, concurrency=1)
    await slow.put("k", b"first")
    stores = (slow.source.store(B), slow.targets["t"].store(B))
    deleting, writing = new_node(PLAIN, like=slow), new_node(PLAIN, like=slow)

    def slowness(seconds: float) -> None:
        for store in stores:
            store.latency = seconds

    slowness(1.0)
    draining = asyncio.ensure_future(slow.drain())
    await slow.clock.sleep(step + 0.1)
    slowness(0.0)
    await deleting.delete("k")
    await deleting.drain()
    slowness(1.0)
    await slow.clock.sleep(gap)
    slowness(0.0)
    await writing.put("k", b"second life")
    await writing.drain()
    slowness(1.0)
    await draining
    slowness(0.0)
    assert slow.copies() == {"k": b"second life"}


# Deletes


@pytest.mark.parametrize("rule", [PLAIN, THROUGH])
async def test_i4_a_delete_reaches_the_target(new_node: NewNode, rule: MirrorRule) -> None:
    node = new_node(rule)
    await node.put("a", b"1")
    await node.put("b", b"2")
    await node.drain()
    await node.delete("a")
    assert await node.read("a") is None
    await node.drain()
    assert node.copies() == {"b": b"2"}
    assert await node.read("a") is None
    assert node.primary.names == []
    assert node.tally.deleted == 1


async def test_i4_deleted_before_it_was_copied(new_node: NewNode) -> None:
    node = new_node(THROUGH)
    await node.put("a", b"1")
    await node.delete("a")
    await node.drain()
    assert (node.copies(), node.primary.names, node.journal.open_tasks) == ({}, [], [])


@pytest.mark.parametrize("latency_s", [0.0, 0.3, 0.9, 1.5, 4.0])
async def test_no_tombstone_outlives_a_delete_of_what_was_never_there(new_node: NewNode, latency_s: float) -> None:
    """The agent is quicker than the gateway: it finds nothing to delete while the tombstone is on its way. One that
    stayed would hide the copy of the key's next life when Riak CS loses that."""
    node = new_node(THROUGH)
    working = asyncio.ensure_future(_for_ever(node))
    node.primary.latency = latency_s
    await node.delete("a")
    node.primary.latency = 0.0
    await node.clock.sleep(10)
    working.cancel()
    await node.mirror.aclose()
    assert node.journal.open_tasks == []
    assert node.primary.names == []


async def test_written_again_after_a_delete(new_node: NewNode) -> None:
    node = new_node(THROUGH)
    await node.put("a", b"1")
    await node.drain()
    await node.delete("a")
    await node.put("a", b"2")
    await node.drain()
    assert node.copies() == {"a": b"2"}
    assert node.primary.names == []
    node.lose("a")
    assert await node.read("a") == b"2"
    await node.through.aclose()


async def test_an_archive_keeps_what_was_deleted_and_does_not_serve_it(new_node: NewNode) -> None:
    node = new_node(ARCHIVE)
    await node.put("a", b"1")
    await node.drain()
    await node.delete("a")
    await node.drain()
    assert node.copies() == {"a": b"1"}
    assert await node.read("a") is None
    await node.put("a", b"2")
    await node.drain()
    node.lose("a")
    assert await node.read("a") == b"2"
    await node.through.aclose()


async def test_a_delete_that_broke_off_is_taken_back(new_node: NewNode) -> None:
    node = new_node(THROUGH)
    await node.put("a", b"1")
    await node.drain()
    await node.log.deleting(B, "a")
    await node.drain()
    assert node.copies() == {"a": b"1"}
    assert node.primary.names == []


@pytest.mark.parametrize("takes_s", [0.5, 1.5, 2.5, 5.0, 100.0])
async def test_i4_a_slow_delete_is_not_taken_for_one_that_broke_off(new_node: NewNode, takes_s: float) -> None:
    node = new_node(THROUGH)
    await node.put("a", b"1")
    await node.drain()
    deleting = asyncio.ensure_future(node.delete("a", takes_s=takes_s))
    await node.clock.sleep(0.01)
    await node.drain()
    await deleting
    assert await node.read("a") is None
    await node.drain()
    assert node.copies() == {}
    assert await node.read("a") is None


@pytest.mark.parametrize("step", range(16))
async def test_i4_another_node_deletes_while_this_one_copies(new_node: NewNode, step: int) -> None:
    one = new_node(THROUGH)
    two = new_node(THROUGH, like=one)
    await one.put("a", b"1")
    target = one.targets["t"].store(B)
    target.latency = one.source.store(B).latency = 1.0
    first = asyncio.ensure_future(one.drain())
    await one.clock.sleep(step * 0.25)
    target.latency = one.source.store(B).latency = 0.0
    await two.delete("a")
    await two.drain()
    await first
    assert one.copies() == {}
    assert one.primary.names == []
    assert await one.read("a") is None


async def test_a_target_that_keeps_what_was_deleted_is_said(new_node: NewNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = new_node()
    await node.put("a", b"1")
    await node.drain()

    async def kept(key: Key, *, if_match: str | None = None) -> None: ...

    monkeypatch.setattr(node.targets["t"].store(B), "delete", kept)
    await node.delete("a")
    await node.drain()
    (task,) = node.journal.open_tasks
    assert "still in" in task.error


async def give_up_a_delete(node: ObjectNode, key: str) -> None:
    """The target lets nobody delete."""
    await node.put(key, b"1")
    await node.drain()
    node.targets["t"].store(B).fault = failing("delete", error=lambda: Forbidden("no DeleteObject for this key"))
    await node.delete(key)
    await node.drain()
    assert [task.state for task in node.journal.open_tasks] == [TaskState.FAILED]


async def test_what_is_written_after_a_delete_that_was_given_up_is_read_through_again(new_node: NewNode) -> None:
    """The tombstone must not hide the object's next life."""
    node = new_node(THROUGH, schedule=RetrySchedule(0.1, 1.0, 1.0, budget=2))
    await give_up_a_delete(node, "a")
    assert await node.read("a") is None
    await node.put("a", b"2")
    await node.drain()
    assert node.journal.open_tasks == []
    node.lose("a")
    assert await node.read("a") == b"2"
    await node.through.aclose()


async def test_what_is_written_after_a_delete_that_was_given_up_is_not_promised_to_be_deleted(
    new_node: NewNode,
) -> None:
    """Under a rule that does not read through there is no tombstone to lift."""
    node = new_node(PLAIN, schedule=RetrySchedule(0.1, 1.0, 1.0, budget=2))
    await give_up_a_delete(node, "a")
    promised = len(node.journal.history)
    await node.put("a", b"2")
    await node.drain()
    assert [task.draft.op for task in node.journal.history[promised:]] == [Op.PUT_OBJECT]
    assert node.journal.open_tasks == []


async def test_a_journal_full_of_entries_of_a_rule_that_was_renamed_is_drained(
    new_node: NewNode, clock: VirtualClock
) -> None:
    """As one without a name is by a change of its target: it was away until the journal was full, and is another now.
    None of the entries finds room for what it is to become, until one of them has made some."""
    old = new_node(replace(PLAIN, name="old"), journal_limit=5)
    for number in range(4):
        await old.put(f"k{number}", b"%d" % number)
    await old.delete("k3")
    with pytest.raises(Full):
        await old.put("one more", b"x")
    new = new_node(
        replace(PLAIN, name="new"),
        MirrorRule("*", "", "u", name="second"),
        schedule=RetrySchedule(1.0, 2.0, 60.0, budget=3),
    )
    new.source, new.journal = old.source, old.journal
    new.mirror = new.new_mirror()
    target = new.targets["t"].store(B)
    target.fault = failing()
    until = clock.monotonic() + 600
    while clock.monotonic() < until:
        if not await new.mirror.once():
            await clock.sleep(0.1)
    assert all(task.state is TaskState.PENDING for task in new.journal.open_tasks)  # an outage makes no dead letters
    target.fault = None
    await new.drain()
    assert new.copies() == new.copies("u") == {"k0": b"0", "k1": b"1", "k2": b"2"}
    assert new.journal.open_tasks == []


async def test_what_the_source_lost_without_a_delete_stays_at_the_target(
    new_node: NewNode, caplog: pytest.LogCaptureFixture
) -> None:
    node = new_node()
    await node.put("a", b"1")
    await node.drain()
    await node.put("a", b"2")
    node.lose("a")
    await node.drain()
    assert node.copies() == {"a": b"1"}
    assert "deleted, or lost" in caplog.text


async def test_the_objects_of_a_bucket_that_is_gone_are_gone(new_node: NewNode) -> None:
    node = new_node()
    await node.put("a", b"1")
    node.source.store(B).fault = failing(error=lambda: Rejected("NoSuchBucket"))
    node.source.gone.add(B)
    await node.drain()
    assert node.journal.open_tasks == []
    node.source.gone.clear()


@pytest.mark.parametrize("step", range(30))
async def test_i1_a_crash_between_any_two_steps(new_node: NewNode, step: int) -> None:
    node = new_node(THROUGH)
    await node.put("a", b"1")
    await node.put("gone", b"2")
    await node.drain()
    await node.put("a", b"3")
    await node.delete("gone")
    await node.put("new", LARGE)
    slow = (node.primary, node.source.store(B), node.targets["t"].store(B), node.journal.faults)
    await break_off(node, slow, after_s=step * 0.5 + 0.25)
    await node.drain(node.new_mirror())
    assert node.copies() == {"a": b"3", "new": LARGE}
    assert node.journal.open_tasks == []
    assert node.primary.names == []


@pytest.mark.parametrize("bulk", [False, True], ids=["one by one", "in bulk"])
@given(seed=st.integers(0, 1 << 32))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
async def test_whatever_is_done_while_stores_fail_ends_equal(new_node: NewNode, seed: int, bulk: bool) -> None:
    """Random courses of writes and deletes through two nodes, faults at random: what was acknowledged is what is."""
    schedule = RetrySchedule(0.5, 2.0, 5.0, budget=1000)
    one = new_node(THROUGH, schedule=schedule, bulk=bulk, concurrency=1 if bulk else 16)
    two = new_node(THROUGH, like=one, schedule=schedule, bulk=bulk, concurrency=1 if bulk else 16)
    draw = random.Random(seed)
    stores = (one.source.store(B), one.targets["t"].store(B), one.primary)

    def fault(op: str, key: Key) -> None:
        if op != "check" and draw.random() < 0.15:
            raise Unavailable("at random")

    expected: dict[str, bytes | None] = {}
    agents = [asyncio.ensure_future(_for_ever(node)) for node in (one, two)]
    for number in range(draw.randint(1, 25)):
        for store in stores:
            store.fault = fault if draw.random() < 0.7 else None
            store.latency = draw.choice((0.0, 0.01, 0.3))
        node, key = draw.choice((one, two)), draw.choice("abcdefgh" if bulk else "abc")
        value = None if draw.random() < 0.35 else b"%d" % number
        while True:
            try:
                await (node.delete(key) if value is None else node.put(key, value))
                break
            except MillraceError:
                await node.clock.sleep(0.1)  # not acknowledged: the client tries again
        expected[key] = value
        await node.clock.sleep(draw.choice((0.0, 0.05, 1.0, 3.0)))
    for store in stores:
        store.fault, store.latency = None, 0.0
    for agent in agents:
        agent.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await agent
    for node in (one, two):
        node.mirror = node.new_mirror()
        await node.drain()
    alive = {key: value for key, value in expected.items() if value is not None}
    assert {name: one.source.store(B).data(name) for name in one.source.store(B).names} == alive
    assert one.copies() == alive
    for key, value in expected.items():
        assert await one.read(key) == value
    assert one.primary.names == []


async def _for_ever(node: ObjectNode) -> None:
    while True:
        with contextlib.suppress(MillraceError):
            if await node.mirror.once():
                continue
        await node.clock.sleep(0.1)
