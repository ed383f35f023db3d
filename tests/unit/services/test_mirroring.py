"""Mirror and Copier: every promise is kept and proved, whatever breaks; no object holds up another."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from typing import Any

import pytest

from controlplane.model.keys import Key, blob_key, tombstone_key
from controlplane.model.manifest import LocationState
from controlplane.model.retry import RetrySchedule
from controlplane.model.task import Draft, Op, TaskState
from controlplane.ports.errors import Corrupt, MillraceError, NotFound, Rejected, StorageFull, Unavailable
from tests.support.fakes import Node, content_of, damage, failing
from tests.support.md5_collision import A, B
from tests.unit.services.conftest import NewNode, break_off

BLOB = b"a blob"
GUID = content_of(BLOB).md5
KEY = blob_key(GUID)
LARGE = bytes(range(256)) * 8192


async def test_i1_an_entry_is_closed_when_the_copy_is_proved(node: Node) -> None:
    await node.store(BLOB)
    await node.drain()
    assert node.persistent.data(KEY) == BLOB
    assert node.journal.open_tasks == []
    assert await node.state_at_persistent(GUID) is LocationState.MIRRORED
    info = await node.persistent.head(KEY)
    assert (info.content, info.content_type) == (content_of(BLOB), "text/plain")  # I9: the target tells it all
    assert (node.mirror_tally.copied, node.mirror_tally.copied_bytes, node.mirror_tally.in_flight) == (1, len(BLOB), 0)
    assert sum(node.mirror_tally.lag.counts) == 1


async def test_a_large_blob_is_copied_in_a_stream(node: Node) -> None:
    guid = (await node.store(LARGE)).manifest.guid
    await node.drain()
    assert node.persistent.data(blob_key(guid)) == LARGE


@pytest.mark.parametrize("read_back", [False, True])
@pytest.mark.parametrize("lie", ["nothing", "damage", "short", "etag"])
async def test_i1_a_target_that_lies_keeps_the_entry_open_until_it_is_a_dead_letter(
    new_node: NewNode, lie: str, read_back: bool
) -> None:
    node = new_node(read_back=read_back, schedule=RetrySchedule(1.0, 2.0, 60.0, budget=4))
    node.persistent.lie = lie
    await node.store(BLOB)
    await node.drain()
    (task,) = node.journal.open_tasks
    assert (task.state, task.attempts) == (TaskState.FAILED, 4)
    assert task.error
    assert await node.state_at_persistent(GUID) is LocationState.FAILED
    assert node.mirror_tally.copied == 0
    node.persistent.lie = None
    await node.journal.revive(None, node.clock.now())
    await node.drain()
    assert node.persistent.data(KEY) == BLOB
    assert node.journal.open_tasks == []
    assert await node.state_at_persistent(GUID) is LocationState.MIRRORED


async def test_i1_damage_that_only_the_bytes_show_is_found_by_reading_back(new_node: NewNode) -> None:
    node = new_node(read_back=True)
    await node.store(BLOB)
    await node.persistent.put(KEY, BLOB, content=content_of(BLOB))
    damage(node.persistent, KEY, honest_etag=False)
    await node.drain()
    assert node.persistent.data(KEY) == BLOB
    assert node.mirror_tally.retried == 1


@pytest.mark.parametrize("step", range(16))
async def test_i1_a_crash_between_any_two_steps_then_a_fresh_mirror_finishes(new_node: NewNode, step: int) -> None:
    node = new_node()
    await node.store(BLOB)
    second = (await node.store(b"deleted")).manifest.guid
    await node.drain()
    third = await node.store(b"third")
    await node.writer.delete(second)
    slow = (node.primary, node.persistent, node.journal.faults, node.catalog.faults)
    await break_off(node, slow, after_s=step * 0.5 + 0.25)
    await node.drain(node.new_mirror())
    assert node.persistent.names == sorted((KEY, blob_key(third.manifest.guid)))
    assert node.primary.names == sorted((KEY, blob_key(third.manifest.guid)))
    assert node.journal.open_tasks == []


@pytest.mark.parametrize("op", ["close", "postpone", "bury"])
async def test_i1_a_journal_that_fails_loses_no_outcome(new_node: NewNode, op: str) -> None:
    node = new_node(schedule=RetrySchedule(1.0, 2.0, 60.0, budget=2))
    good = [b"%d" % n for n in range(10)]
    for data in [*good, BLOB]:
        await node.store(data)
    node.persistent.fault = failing("put", error=lambda: Rejected("no"), key=GUID)
    node.journal.faults.ops.add(op)
    for _ in range(20):
        try:
            again = await node.mirror.once()
        except Unavailable:
            again = False
        if not again:
            await node.clock.sleep(1.0)
    assert node.journal.open_tasks
    node.journal.faults.ops.clear()
    await node.drain()
    (left,) = node.journal.open_tasks
    assert (left.state, left.draft.key) == (TaskState.FAILED, KEY)
    assert all(node.persistent.has(blob_key(content_of(data).md5)) for data in good)


async def test_i3_a_collision_at_the_target_is_a_dead_letter_at_once_and_never_overwritten(node: Node) -> None:
    key = blob_key(content_of(A).md5)
    await node.persistent.put(key, B, content=content_of(B))
    await node.store(A)
    await node.drain()
    (task,) = node.journal.open_tasks
    assert (task.state, task.attempts) == (TaskState.FAILED, 1)
    assert node.persistent.data(key) == B
    assert "delete" not in node.persistent.calls
    assert await node.read(content_of(A).md5) == A


async def test_i3_a_collision_at_the_target_is_found_by_its_bytes_when_it_has_no_digests(node: Node) -> None:
    key = blob_key(content_of(A).md5)
    await node.persistent.put(key, B)
    await node.store(A)
    await node.drain()
    assert node.journal.open_tasks[0].state is TaskState.FAILED
    assert node.persistent.data(key) == B


async def test_i1_a_damaged_source_is_not_copied(node: Node) -> None:
    await node.store(BLOB)
    damage(node.primary, KEY)
    await node.drain()
    assert node.journal.open_tasks[0].state is TaskState.FAILED
    assert node.persistent.names == []


async def test_i1_a_source_that_is_lost_is_a_dead_letter_not_silence(node: Node) -> None:
    await node.store(BLOB)
    node.keep_far_only(BLOB)
    await node.catalog.forget(GUID)  # it may be lost as well: it proves nothing
    await node.drain()
    (task,) = node.journal.open_tasks
    assert task.state is TaskState.FAILED
    assert "restore it from a backup" in task.error


async def test_a_copy_made_before_a_crash_is_proved_not_made_again(node: Node) -> None:
    await node.store(BLOB)
    await node.persistent.put(KEY, BLOB, content=content_of(BLOB))
    await node.drain()
    assert node.journal.open_tasks == []
    assert await node.state_at_persistent(GUID) is LocationState.MIRRORED


# -- one bad object, one bad store ------------------------------------------------------------------------------


async def test_one_poison_object_does_not_hold_up_a_thousand(new_node: NewNode) -> None:
    node = new_node(concurrency=4, batch=32, schedule=RetrySchedule(1.0, 2.0, 300.0, budget=12))
    await node.store(BLOB)
    for n in range(1000):
        await node.store(b"%d" % n)
    node.persistent.latency = 0.01

    def poison(op: str, key: Key) -> None:
        if op == "put" and key == KEY:
            raise Corrupt("poison")

    node.persistent.fault = poison
    began = node.clock.monotonic()
    while node.mirror_tally.copied < 1000:
        if not await node.mirror.once():
            await node.clock.sleep(0.1)
        assert node.clock.monotonic() - began < 60
    await node.mirror.aclose()
    (left,) = node.journal.open_tasks
    assert left.draft.key == KEY


async def test_concurrency_is_bounded_and_used(new_node: NewNode) -> None:
    node = new_node(concurrency=5, batch=20)
    for n in range(60):
        await node.store(b"%d" % n)
    node.persistent.latency = 1.0
    await node.drain()
    assert node.persistent.most_under_way == 5


async def test_back_off_follows_the_schedule(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(1.0, 3.0, 20.0, budget=6))
    await node.store(BLOB)
    tried: list[float] = []

    def note(op: str, key: Key) -> None:
        if op == "put":
            tried.append(node.clock.now())
            raise Unavailable("no")

    node.persistent.fault = note
    await node.drain()
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert waits == [pytest.approx(wait, abs=0.2) for wait in (1.0, 3.0, 9.0, 20.0, 20.0)]
    assert node.journal.open_tasks[0].attempts == 6


@pytest.mark.parametrize("which", ["primary", "persistent"])
@pytest.mark.parametrize("error", [Unavailable, StorageFull, Rejected, NotFound])
async def test_an_outage_of_a_store_burns_no_budget_and_ends_by_itself(
    new_node: NewNode, which: str, error: type[MillraceError]
) -> None:
    """Away, full, credentials refused, bucket gone: it is the store's affair, however long it takes."""
    node = new_node(schedule=RetrySchedule(0.5, 2.0, 300.0, budget=3))
    for n in range(10):
        await node.store(b"%d" % n)
    getattr(node, which).fault = failing(error=lambda: error("away"))
    until = node.clock.monotonic() + 60
    while node.clock.monotonic() < until:
        if not await node.mirror.once():
            await node.clock.sleep(0.5)
    assert all(task.attempts == 0 and task.state is TaskState.PENDING for task in node.journal.open_tasks)
    assert len(node.journal.open_tasks) == 10
    assert node.mirror_tally.store_outages >= 1
    getattr(node, which).fault = None
    came_back = node.clock.monotonic()
    await node.drain()
    assert node.clock.monotonic() - came_back < 5
    assert len(node.persistent.names) == 10


async def test_one_object_that_the_store_refuses_while_it_is_well_has_a_budget(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(0.5, 2.0, 300.0, budget=3))
    await node.store(BLOB)
    await node.store(b"other")
    node.persistent.fault = failing("put", key=GUID)
    await node.drain()
    (task,) = node.journal.open_tasks
    assert (task.state, task.attempts) == (TaskState.FAILED, 3)
    assert node.persistent.has(blob_key(content_of(b"other").md5))


async def test_an_unexpected_exception_is_a_failure_of_that_object_only(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(0.5, 2.0, 300.0, budget=2))
    await node.store(BLOB)
    await node.store(b"other")

    def bug(op: str, key: Key) -> None:
        if op == "put" and key == KEY:
            raise ZeroDivisionError

    node.persistent.fault = bug
    await node.drain()
    (task,) = node.journal.open_tasks
    assert "ZeroDivisionError" in task.error
    assert node.persistent.has(blob_key(content_of(b"other").md5))


async def test_aclose_finishes_what_is_under_way_and_leaves_the_rest_in_the_journal(new_node: NewNode) -> None:
    node = new_node(concurrency=3)
    for n in range(10):
        await node.store(b"%d" % n)
    node.persistent.latency = 1.0
    await node.mirror.once()
    await node.mirror.aclose()
    assert len(node.persistent.names) == 3
    assert len(node.journal.open_tasks) == 7


# -- order ------------------------------------------------------------------------------------------------------


async def test_operations_on_one_key_keep_their_order(node: Node) -> None:
    for _ in range(3):
        await node.store(BLOB)
        await node.writer.delete(GUID)
    node.persistent.latency = node.primary.latency = 0.01
    await node.drain()
    assert node.persistent.names == node.primary.names == []
    await node.store(BLOB)
    await node.writer.delete(GUID)
    await node.store(BLOB)
    await node.drain()
    assert node.persistent.names == node.primary.names == [KEY]
    assert node.journal.open_tasks == []


async def test_a_dead_letter_is_superseded_by_a_deletion(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(0.5, 2.0, 300.0, budget=1))
    await node.store(BLOB)
    node.persistent.fault = failing("put", key=GUID)
    await node.drain()
    assert node.journal.open_tasks[0].state is TaskState.FAILED
    node.persistent.fault = None
    await node.writer.delete(GUID)
    await node.drain()
    assert node.journal.open_tasks == []
    assert node.persistent.names == node.primary.names == []


async def test_a_dead_letter_is_not_promised_twice(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(0.5, 2.0, 300.0, budget=1))
    await node.store(BLOB)
    node.persistent.fault = failing("put", key=GUID)
    await node.drain()
    for _ in range(3):
        await node.store(BLOB)
    assert len(node.journal.open_tasks) == 1


# -- deleting (I4) ----------------------------------------------------------------------------------------------


async def test_i4_the_mirror_that_meets_a_deletion_under_way_does_not_take_it_back(node: Node) -> None:
    """The entry is journalled before the blob leaves the primary: the mirror may be faster than the gateway."""
    await node.store(BLOB)
    await node.drain()

    for at in (0.0, 0.2, 1.0, 3.0):
        await node.store(BLOB)
        await node.drain()

        def slow(op: str, key: Key, until: float = node.clock.monotonic() + at) -> None:
            if op == "delete" and key == KEY and node.clock.monotonic() < until:
                raise Unavailable("slow")

        node.primary.fault = slow
        mirroring = asyncio.ensure_future(node.drain())
        while True:
            try:
                await node.writer.delete(GUID)
                break
            except Unavailable:
                mirroring = asyncio.ensure_future(node.drain()) if mirroring.done() else mirroring
                await node.clock.sleep(0.05)
        await mirroring
        node.primary.fault = None
        await node.drain()
        with pytest.raises(NotFound):
            await node.read(GUID)
        assert node.persistent.names == node.primary.names == []


async def test_i4_a_deletion_and_a_mirror_that_cross_end_in_a_deletion(new_node: NewNode) -> None:
    """Every step of both takes time, and the mirror begins at every moment of the deletion."""
    for begin in range(40):
        node = new_node(schedule=RetrySchedule(0.1, 1.0, 0.1, budget=50))
        await node.store(BLOB)
        await node.drain()
        node.primary.latency = 0.3
        node.journal.faults.latency = 0.1
        deleting = asyncio.ensure_future(node.writer.delete(GUID))
        await node.clock.sleep(begin * 0.05)
        while not deleting.done():
            if not await node.mirror.once():
                await node.clock.sleep(0.05)
        await deleting
        await node.drain()
        with pytest.raises(NotFound):
            await node.read(GUID)
        assert node.persistent.names == node.primary.names == [], begin


async def test_a_deletion_that_broke_off_before_the_primary_is_taken_back_whole(node: Node) -> None:
    await node.store(BLOB)
    await node.drain()
    node.primary.fault = failing("delete", key=KEY)
    with pytest.raises(Unavailable):
        await node.writer.delete(GUID)
    node.primary.fault = None
    await node.drain(node.new_mirror())  # a mirror that was closed counts nothing against its tasks
    assert node.primary.names == [KEY]
    assert node.persistent.names == [KEY]
    known = await node.catalog.get(GUID)
    assert known is not None
    assert known.deleted_at is None
    await node.writer.delete(GUID)
    await node.drain()
    assert node.primary.names == node.persistent.names == []


async def test_i4_a_deletion_while_the_copy_is_made(node: Node) -> None:
    for at in range(12):
        data = b"%d" % at
        guid = (await node.store(data)).manifest.guid
        node.primary.latency = node.persistent.latency = 0.3
        draining = asyncio.ensure_future(node.drain())
        await node.clock.sleep(at * 0.15)
        await node.writer.delete(guid)
        await draining
        await node.drain()
        assert node.persistent.names == node.primary.names == []
        node.primary.latency = node.persistent.latency = 0.0
        with pytest.raises(NotFound):
            await node.read(guid)


@pytest.mark.parametrize("at", range(16))
async def test_i4_another_node_deletes_while_this_one_copies(new_node: NewNode, at: int) -> None:
    """Two journals and two catalogs over the same stores; the deletion goes all its way while the copy is made."""
    one = new_node(schedule=RetrySchedule(0.5, 2.0, 10.0, budget=3))
    two = new_node(primary=one.primary, persistent=one.persistent)
    await one.store(BLOB)
    one.persistent.latency = 0.7
    one.primary.latency = 0.2
    copying = asyncio.ensure_future(one.drain())
    await one.clock.sleep(at * 0.2)
    await two.writer.delete(GUID)
    await two.drain()
    await copying
    one.persistent.latency = one.primary.latency = 0.0
    assert not one.persistent.has(KEY)
    for node in (one, two):
        with pytest.raises(NotFound):
            await node.read(GUID)


async def test_i4_another_node_writes_again_what_this_one_deletes(new_node: NewNode) -> None:
    """The old copy may go after the new one was proved: then it is promised, and made, anew."""
    for at in range(12):
        one = new_node()
        two = new_node(primary=one.primary, persistent=one.persistent)
        guid = (await one.store(b"%d" % at)).manifest.guid
        await one.drain()
        await one.writer.delete(guid)
        one.persistent.latency = one.primary.latency = 0.3
        deleting = asyncio.ensure_future(one.drain())
        await one.clock.sleep(at * 0.15)
        await two.store(b"%d" % at)
        await two.drain()
        await deleting
        await one.drain()
        one.persistent.latency = one.primary.latency = 0.0
        assert one.persistent.has(blob_key(guid)), at
        assert one.primary.has(blob_key(guid)), at
        assert not one.primary.has(tombstone_key(guid)), at
        for name in list(one.primary.names):
            await one.primary.delete(Key(name))
        await one.persistent.delete(blob_key(guid))


async def test_a_target_that_keeps_what_was_deleted_is_said(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A versioned or locked bucket: the deletion is not done, and never counts as done."""
    await node.store(BLOB)
    await node.drain()

    async def keep(key: Key) -> None:
        pass

    monkeypatch.setattr(node.persistent, "delete", keep)
    await node.writer.delete(GUID)
    await node.drain()
    (task,) = node.journal.open_tasks
    assert task.state is TaskState.FAILED
    assert "versioned or locked" in task.error
    with pytest.raises(NotFound):
        await node.read(GUID)


async def test_a_promise_without_digests_is_kept_by_what_the_source_says(node: Node) -> None:
    await node.store(BLOB)
    await node.drain()
    await node.persistent.delete(KEY)
    await node.journal.append(Draft(Op.PUT, node.primary.bucket, KEY), node.clock.now())
    await node.drain()
    assert node.persistent.data(KEY) == BLOB


async def test_lag_is_measured_from_the_acknowledgement(node: Node, clock: Any) -> None:
    await node.store(BLOB)
    await clock.sleep(100)
    await node.drain()
    assert node.mirror_tally.lag.total == pytest.approx(100, abs=1)


async def test_what_a_failed_copy_worked_on_is_let_go_of_with_it(new_node: NewNode) -> None:
    """And not when garbage is collected, which may be thousands of failures later: each would keep an object's body."""

    class Body:
        """Of a copy."""

    bodies: list[weakref.ref[Body]] = []

    def fault(op: str, at: Key) -> None:
        if op == "put" and GUID in at:
            body = Body()
            bodies.append(weakref.ref(body))
            cause = OSError("the line is cut")
            error = Unavailable("a frame has a name for this error")
            raise error from cause

    node = new_node(schedule=RetrySchedule(1.0, 2.0, 60.0, budget=4))
    node.persistent.fault = fault
    await node.store(BLOB)
    gc.disable()
    try:
        await node.drain()
        assert [body() for body in bodies] == [None] * 4
    finally:
        gc.enable()
    (task,) = node.journal.open_tasks
    assert task.error == "a frame has a name for this error"
