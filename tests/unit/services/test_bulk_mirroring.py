"""Small blobs copied together keep every promise that one by one they keep, whatever part of a batch gets no answer."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model.keys import blob_key, tombstone_key
from controlplane.model.manifest import LocationState
from controlplane.model.retry import RetrySchedule
from controlplane.model.task import TaskState
from controlplane.ports.bulk_store import MOST_BYTES
from controlplane.ports.errors import NotFound
from tests.support.fakes import Node, content_of, damage
from tests.support.md5_collision import A, B
from tests.unit.services.conftest import NewNode

BLOBS = [b"blob %d" % number for number in range(20)]


async def _stored(node: Node) -> None:
    for blob in BLOBS:
        await node.store(blob)


def _whole(node: Node) -> None:
    assert node.persistent.names == sorted(blob_key(content_of(blob).md5) for blob in BLOBS)
    for blob in BLOBS:
        assert node.persistent.data(blob_key(content_of(blob).md5)) == blob
    assert node.journal.open_tasks == []


async def test_i1_a_batch_is_copied_and_proved(new_node: NewNode) -> None:
    node = new_node(bulk=True, concurrency=1)
    await _stored(node)
    asked = dict(node.primary.calls)
    await node.drain()
    _whole(node)
    for blob in BLOBS:
        assert await node.state_at_persistent(content_of(blob).md5) is LocationState.MIRRORED
        info = await node.persistent.head(blob_key(content_of(blob).md5))
        assert (info.content, info.content_type) == (content_of(blob), "text/plain")  # I9
    assert node.mirror_tally.copied == len(BLOBS)
    assert node.mirror_tally.in_flight == 0
    # Each was looked for again after its copy (I4), and each copy was asked for after it was made (I1).
    assert node.primary.calls["head"] - asked.get("head", 0) == len(BLOBS)
    assert node.bulk_persistent is not None
    assert node.bulk_persistent.batches == [("put", 20), ("head", 20)]


@pytest.mark.parametrize("lie", ["nothing", "damage", "short", "etag"])
async def test_i1_a_target_that_lies_keeps_every_entry_open(new_node: NewNode, lie: str) -> None:
    node = new_node(bulk=True, concurrency=1, schedule=RetrySchedule(1.0, 2.0, 60.0, budget=3))
    node.persistent.lie = lie
    await _stored(node)
    await node.drain()
    assert [(task.state, task.attempts) for task in node.journal.open_tasks] == [(TaskState.FAILED, 3)] * len(BLOBS)
    assert node.mirror_tally.copied == 0
    node.persistent.lie = None
    await node.journal.revive(None, node.clock.now())
    await node.drain()
    _whole(node)


@pytest.mark.parametrize("after", [False, True], ids=["not carried out", "carried out"])
@pytest.mark.parametrize("side", ["primary", "persistent"])
@pytest.mark.parametrize("op", ["get", "put", "head"])
async def test_i1_answers_that_are_lost_are_asked_for_again(new_node: NewNode, op: str, side: str, after: bool) -> None:
    node = new_node(bulk=True, concurrency=1)
    bulk = node.bulk_primary if side == "primary" else node.bulk_persistent
    assert bulk is not None
    bulk.drop = lambda name, key: name == op and key[-1] in "02468ace"
    bulk.after = after
    await _stored(node)
    await node.drain()
    _whole(node)


async def test_i1_a_damaged_source_is_not_copied_and_holds_up_nobody(new_node: NewNode) -> None:
    node = new_node(bulk=True, concurrency=1, schedule=RetrySchedule(1.0, 2.0, 60.0, budget=2))
    await _stored(node)
    key = blob_key(content_of(BLOBS[3]).md5)
    damage(node.primary, key)
    await node.drain()
    (task,) = node.journal.open_tasks
    assert (task.draft.key, task.state) == (key, TaskState.FAILED)
    assert not node.persistent.has(key)
    assert node.mirror_tally.copied == len(BLOBS) - 1


async def test_i3_a_collision_at_the_target_is_never_overwritten(new_node: NewNode) -> None:
    node = new_node(bulk=True, concurrency=1)
    guid = content_of(A).md5
    await node.persistent.put(blob_key(guid), B, content=content_of(B))
    await node.store(A)
    for blob in BLOBS:
        await node.store(blob)
    await node.drain()
    (task,) = node.journal.open_tasks
    assert (task.draft.key, task.state, task.attempts) == (blob_key(guid), TaskState.FAILED, 1)
    assert node.persistent.data(blob_key(guid)) == B


async def test_large_blobs_and_second_attempts_go_alone(new_node: NewNode) -> None:
    node = new_node(bulk=True, concurrency=1)
    await node.store(bytes(MOST_BYTES + 1))
    await node.store(b"small")
    await node.store(bytes(MOST_BYTES))
    await node.drain()
    assert node.bulk_persistent is not None
    assert node.bulk_persistent.batches == [("put", 2), ("head", 2)]
    assert node.mirror_tally.copied == 3


async def test_a_few_blobs_are_spread_over_the_workers(new_node: NewNode) -> None:
    """What is done together is cheaper, what is spread is done sooner: together only what fills every worker."""
    node = new_node(bulk=True, concurrency=16)
    await _stored(node)
    node.primary.latency = 0.1
    await node.drain()
    node.primary.latency = 0.0
    assert node.primary.most_under_way == 16
    _whole(node)


async def test_a_deep_backlog_is_worked_in_full_batches(new_node: NewNode) -> None:
    """Who has more to do than was read from the journal has enough for every worker."""
    node = new_node(bulk=True, concurrency=16, batch=128)
    for number in range(300):
        await node.store(b"blob %d" % number)
    await node.drain()
    assert node.bulk_persistent is not None
    puts = [size for kind, size in node.bulk_persistent.batches if kind == "put"]
    assert puts[:2] == [64, 64]
    assert node.mirror_tally.copied == 300


async def test_a_round_reads_for_as_many_workers_as_there_are(new_node: NewNode) -> None:
    """A slow target's workers are all busy, although a batch of the journal is enough for one of them only."""
    node = new_node(bulk=True, concurrency=3, batch=64)
    for number in range(400):
        await node.store(b"blob %d" % number)
    node.persistent.latency = 10.0
    await node.mirror.once()
    assert node.mirror_tally.in_flight == 3 * 64
    node.persistent.latency = 0.1
    await node.drain()
    assert node.mirror_tally.copied == 400


@pytest.mark.parametrize(("blobs", "waits"), [(64, False), (63, True)])
async def test_a_batch_is_settled_when_nothing_else_is_under_way_and_single_writes_together(
    new_node: NewNode, blobs: int, waits: bool
) -> None:
    node = new_node(bulk=True, concurrency=4, batch=64)
    for number in range(blobs):
        await node.store(b"blob %d" % number)
    node.persistent.latency = 0.0001
    began = node.clock.monotonic()
    await node.mirror.once()
    assert node.journal.open_tasks == []
    assert (node.clock.monotonic() - began >= 0.02) is waits


@pytest.mark.parametrize("at", [0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.25])
@pytest.mark.parametrize("whole", [False, True], ids=["under way", "gone all its way"])
async def test_i4_another_node_deletes_while_a_batch_is_copied(new_node: NewNode, at: float, whole: bool) -> None:
    node = new_node(bulk=True, concurrency=1)
    await _stored(node)
    other = new_node(primary=node.primary, persistent=node.persistent)
    victim = content_of(BLOBS[7]).md5
    for store in (node.primary, node.persistent):
        store.latency = 0.5 / len(BLOBS)
    draining = asyncio.ensure_future(node.drain())
    await node.clock.sleep(at)
    for store in (node.primary, node.persistent):
        store.latency = 0.0
    await other.writer.delete(victim)
    if whole:
        await other.drain()
    for store in (node.primary, node.persistent):
        store.latency = 0.5 / len(BLOBS)
    await draining
    if not whole:
        await other.drain()
    assert not node.persistent.has(blob_key(victim))
    assert not node.primary.has(blob_key(victim))
    assert not node.primary.has(tombstone_key(victim))
    with pytest.raises(NotFound):
        await node.read(victim)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
async def test_i1_whatever_is_lost_in_between(new_node: NewNode, data: st.DataObject) -> None:
    node = new_node(bulk=True, concurrency=data.draw(st.integers(1, 4)), batch=data.draw(st.integers(1, 30)))
    lost = data.draw(st.sets(st.tuples(st.sampled_from(["get", "put", "head"]), st.integers(0, len(BLOBS) - 1))))
    names = {(op, blob_key(content_of(BLOBS[number]).md5)) for op, number in lost}
    for bulk in (node.bulk_primary, node.bulk_persistent):
        assert bulk is not None
        bulk.drop = lambda op, key: (op, key) in names
        bulk.after = data.draw(st.booleans())
    await _stored(node)
    await node.drain()
    _whole(node)
