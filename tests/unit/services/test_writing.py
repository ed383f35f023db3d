"""BlobWriter: what is acknowledged is in the primary and promised; what fails leaves nothing acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.model.keys import Key, blob_key, quarantine_key, tombstone_key
from controlplane.model.manifest import LocationState
from controlplane.model.task import Op
from controlplane.ports.errors import Full, MillraceError, NotFound, StorageFull, Unavailable
from controlplane.services.blobs import Collision, WrongGuid
from tests.support.fakes import PRIMARY, FakeStore, Node, content_of, failing, in_chunks
from tests.support.md5_collision import A, B
from tests.unit.services.conftest import NewNode

BLOB = b"a blob"
COLLIDING = content_of(A).md5


def promises(node: Node, data: bytes) -> int:
    """PUT entries ever journalled for these bytes."""
    key = blob_key(content_of(data).md5)
    return sum(task.draft.op is Op.PUT and task.draft.key == key for task in node.journal.history)


async def test_i1_an_acknowledged_write_is_in_the_primary_and_in_the_journal(node: Node) -> None:
    stored = await node.store(BLOB)
    content = content_of(BLOB)
    assert stored.created
    assert stored.manifest.content == content
    assert node.primary.data(blob_key(content.md5)) == BLOB
    (task,) = node.journal.open_tasks
    assert (task.draft.op, task.draft.key, task.draft.content) == (Op.PUT, blob_key(content.md5), content)
    assert await node.state_at_persistent(content.md5) is LocationState.PENDING
    assert not node.persistent.calls  # not on the way to the acknowledgement


@pytest.mark.parametrize("data", [b"", b"x", b"y" * 300_000, b"z" * 3_000_000])
async def test_blobs_of_every_size_are_kept_whole(new_node: NewNode, data: bytes) -> None:
    node = new_node(memory_bytes=256 * 1024)
    stored = await node.store(data)
    assert stored.manifest.content == content_of(data)
    assert node.primary.data(blob_key(stored.manifest.guid)) == data


def break_spool(node: Node) -> Any:
    node.spool_path.rmdir()
    return node.spool_path.mkdir


def break_put(node: Node) -> Any:
    node.primary.fault = failing("put")
    return lambda: setattr(node.primary, "fault", None)


def break_append(node: Node) -> Any:
    node.journal.faults.ops.add("append")
    return node.journal.faults.ops.clear


def break_record(node: Node) -> Any:
    node.catalog.faults.ops.add("record")
    return node.catalog.faults.ops.clear


def break_tombstone_look(node: Node) -> Any:
    node.primary.fault = failing("head", key="tombstones/")
    return lambda: setattr(node.primary, "fault", None)


@pytest.mark.parametrize("break_it", [break_spool, break_put, break_append, break_record, break_tombstone_look])
async def test_i1_a_failing_step_is_an_error_and_sending_again_completes_the_write(
    new_node: NewNode, break_it: Any
) -> None:
    node = new_node(memory_bytes=10)
    data = b"larger than the spool's memory" * 100
    mend = break_it(node)
    with pytest.raises(Unavailable):
        await node.store(data)
    mend()
    await node.store(data)
    assert promises(node, data) >= 1
    assert node.primary.data(blob_key(content_of(data).md5)) == data
    await node.drain()
    assert node.persistent.data(blob_key(content_of(data).md5)) == data


async def test_i1_a_write_whose_entry_was_lost_is_not_taken_for_promised(new_node: NewNode) -> None:
    """Catalog and primary have it, the journal does not: the process died between the two."""
    node = new_node()
    node.journal.faults.ops.add("append")
    with pytest.raises(Unavailable):
        await node.store(BLOB)
    assert promises(node, BLOB) == 0
    node.journal.faults.ops.clear()
    stored = await node.store(BLOB)
    assert not stored.created
    assert promises(node, BLOB) == 1


@pytest.mark.parametrize("step", range(12))
async def test_i1_a_write_cancelled_at_any_step_is_not_acknowledged_and_can_be_repeated(
    new_node: NewNode, step: int
) -> None:
    node = new_node()
    node.primary.latency = 1.0
    node.journal.faults.latency = node.catalog.faults.latency = 1.0
    writing = asyncio.ensure_future(node.store(BLOB))
    await node.clock.sleep(step * 0.5 + 0.25)
    writing.cancel()
    await asyncio.wait((writing,))
    if not writing.cancelled():
        assert promises(node, BLOB) == 1
    assert (await node.store(BLOB)).manifest.content == content_of(BLOB)
    assert 1 <= promises(node, BLOB) <= 2
    await node.drain()
    assert node.persistent.data(blob_key(content_of(BLOB).md5)) == BLOB


async def test_a_client_that_breaks_off_leaves_nothing(new_node: NewNode) -> None:
    node = new_node(memory_bytes=10)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        yield b"x" * 2_000_000
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await node.writer.store(broken(), size=9_000_000, content_type="a/b")
    await asyncio.sleep(0)
    assert node.primary.names == []
    assert node.journal.history == []


async def test_content_that_does_not_hash_to_the_guid_leaves_nothing(node: Node) -> None:
    with pytest.raises(WrongGuid):
        await node.store(BLOB, expected=content_of(b"other").md5)
    assert node.primary.names == []
    assert node.journal.history == []
    assert await node.catalog.list() == []


async def test_the_same_blob_again_is_known_and_promised_once(node: Node) -> None:
    await node.store(BLOB)
    again = await node.store(BLOB)
    assert not again.created
    await node.drain()
    assert not (await node.store(BLOB)).created
    assert promises(node, BLOB) == 1
    assert (node.tally.stored, node.tally.deduplicated) == (1, 2)


async def test_a_hundred_writers_of_one_blob_make_one_promise(node: Node) -> None:
    node.primary.latency = 0.1
    stored = await asyncio.gather(*(node.store(BLOB) for _ in range(100)))
    assert sum(one.created for one in stored) == 1
    assert promises(node, BLOB) == 1


async def test_writers_of_different_blobs_do_not_wait_for_each_other(node: Node) -> None:
    node.primary.latency = 1.0
    began = node.clock.monotonic()
    await asyncio.gather(*(node.store(b"%d" % n) for n in range(50)))
    assert node.clock.monotonic() - began < 5


async def test_a_blob_that_vanishes_between_put_and_look_is_put_again(node: Node) -> None:
    """Another node deletes what the put met: that is no answer for a writer."""
    await node.store(BLOB)
    raw = blob_key(content_of(BLOB).md5)

    def vanish(op: str, key: Key) -> None:
        if op == "head" and key == raw and node.primary.has(raw):
            node.keep_far_only(BLOB)

    node.primary.fault = vanish
    assert (await node.store(BLOB)).created
    assert node.primary.has(raw)


async def test_a_damaged_copy_in_the_primary_is_replaced_by_the_right_bytes(node: Node) -> None:
    """Without metadata its bytes are read; they are not what their name says, so this is no collision."""
    guid = content_of(BLOB).md5
    await node.primary.put(blob_key(guid), b"rubbish")
    await node.store(BLOB)
    assert node.primary.data(blob_key(guid)) == BLOB


async def test_what_somebody_else_put_under_the_right_name_is_taken_over(node: Node) -> None:
    await node.primary.put(blob_key(content_of(BLOB).md5), BLOB)
    stored = await node.store(BLOB)
    assert not stored.created
    assert promises(node, BLOB) == 1


# -- I10: the bound of the journal ------------------------------------------------------------------------------


async def test_i10_the_persistent_store_is_away_writes_go_on_to_the_bound_and_none_is_dropped(
    new_node: NewNode,
) -> None:
    node = new_node(journal_limit=20)
    node.persistent.fault = failing()
    for n in range(20):
        assert (await node.store(b"%d" % n)).created
        await node.mirror.once()
    with pytest.raises(Full) as refused:
        await node.store(b"one more")
    assert refused.value.retry_after > 0
    assert not node.primary.has(blob_key(content_of(b"one more").md5))
    with pytest.raises(Full):
        await node.writer.delete(content_of(b"0").md5)
    assert len(node.journal.open_tasks) == 20
    node.persistent.fault = None
    await node.drain()
    assert len(node.persistent.names) == 20
    assert (await node.store(b"one more")).created


async def test_without_a_persistent_store_there_is_no_bound_and_no_journal(new_node: NewNode) -> None:
    node = new_node(mirrored=False, journal_limit=1)
    for n in range(5):
        await node.store(b"%d" % n)
    assert node.journal.history == []
    await node.writer.delete(content_of(b"1").md5)
    with pytest.raises(NotFound):
        await node.read(content_of(b"1").md5)
    assert node.primary.names == sorted(blob_key(content_of(b"%d" % n).md5) for n in (0, 2, 3, 4))


async def test_i5_an_outage_of_the_primary_is_unavailable_for_every_verb(node: Node) -> None:
    await node.store(BLOB)
    node.primary.fault = failing(error=lambda: Unavailable("primary away", retry_after=7.0))
    guid = content_of(BLOB).md5
    for verb in (
        node.store(b"new"),
        node.store(BLOB),
        node.writer.delete(guid),
        node.read(guid),
        node.reader.stat(guid),
    ):
        with pytest.raises(Unavailable) as refused:
            await verb
        assert refused.value.retry_after == 7.0


async def test_a_full_primary_says_so(new_node: NewNode, clock: Any) -> None:
    node = new_node(primary=FakeStore(PRIMARY, clock=clock, limit_bytes=10))
    with pytest.raises(StorageFull):
        await node.store(b"more than ten bytes")
    assert node.journal.history == []


# -- I3: collisions ---------------------------------------------------------------------------------------------


async def test_i3_a_collision_is_refused_kept_in_quarantine_and_changes_nothing(node: Node) -> None:
    await node.store(A)
    with pytest.raises(Collision):
        await node.store(B)
    assert await node.read(COLLIDING) == A  # type: ignore[arg-type]
    assert node.primary.data(quarantine_key(content_of(B).md5, content_of(B).sha256)) == B
    (entry,) = await node.catalog.quarantined()
    assert (entry.content, entry.kept) == (content_of(B), True)
    assert promises(node, A) == 1
    assert node.tally.collisions == 1


async def test_i3_a_collision_is_found_without_the_catalog_and_after_a_mirror(new_node: NewNode) -> None:
    first = new_node()
    await first.store(A)
    await first.drain()
    second = new_node(primary=first.primary, persistent=first.persistent)
    with pytest.raises(Collision):
        await second.store(B)
    assert first.persistent.data(blob_key(content_of(A).md5)) == A


async def test_i3_quarantine_is_bounded_and_beyond_it_collisions_are_only_recorded(node: Node) -> None:
    tails = [b"%d" % n for n in range(5)]
    for tail in tails:
        await node.store(A + tail)
        with pytest.raises(Collision):
            await node.store(B + tail)
    entries = await node.catalog.quarantined()
    assert {entry.content for entry in entries} == {content_of(B + tail) for tail in tails}
    assert sum(entry.kept for entry in entries) == 2
    assert sum(key.startswith("quarantine/") for key in node.primary.names) == 2


async def test_i3_a_quarantine_that_cannot_be_written_still_refuses(node: Node) -> None:
    await node.store(A)
    node.primary.fault = failing("put", key="quarantine/")
    with pytest.raises(Collision):
        await node.store(B)
    (entry,) = await node.catalog.quarantined()
    assert not entry.kept


async def test_i3_colliding_writers_at_once_one_wins_whole(node: Node) -> None:
    node.primary.latency = 0.5
    results = await asyncio.gather(node.store(A), node.store(B), return_exceptions=True)
    assert sum(isinstance(result, Collision) for result in results) == 1
    held = await node.read(COLLIDING)
    assert held in (A, B)
    await node.drain()
    assert node.persistent.data(blob_key(content_of(A).md5)) == held


# -- deleting ---------------------------------------------------------------------------------------------------


async def test_i4_deleting_leaves_a_tombstone_until_every_store_is_clean(node: Node) -> None:
    guid = (await node.store(BLOB)).manifest.guid
    await node.drain()
    await node.writer.delete(guid)
    assert node.primary.names == [tombstone_key(guid)]
    with pytest.raises(NotFound):
        await node.read(guid)
    await node.drain()
    assert node.primary.names == node.persistent.names == []
    assert await node.catalog.get(guid) is None
    with pytest.raises(NotFound):
        await node.writer.delete(guid)


@pytest.mark.parametrize("step", range(14))
async def test_i4_a_deletion_cancelled_at_any_step_can_be_repeated(new_node: NewNode, step: int) -> None:
    node = new_node()
    guid = (await node.store(BLOB)).manifest.guid
    await node.drain()
    node.primary.latency = node.journal.faults.latency = node.catalog.faults.latency = 1.0
    deleting = asyncio.ensure_future(node.writer.delete(guid))
    await node.clock.sleep(step * 0.5 + 0.25)
    deleting.cancel()
    await asyncio.wait((deleting,))
    try:
        await node.writer.delete(guid)
    except NotFound:
        assert not node.primary.has(blob_key(guid))
    await node.drain()
    assert node.primary.names == node.persistent.names == []


async def test_deleting_what_nobody_knows_is_not_found_and_an_outage_is_not_that(node: Node) -> None:
    guid = content_of(b"never").md5
    with pytest.raises(NotFound):
        await node.writer.delete(guid)
    node.primary.fault = failing()
    with pytest.raises(Unavailable):
        await node.writer.delete(guid)
    assert node.journal.history == []


async def test_a_copy_that_may_be_in_a_store_that_is_away_is_deleted_when_it_comes_back(node: Node) -> None:
    guid = (await node.store(BLOB)).manifest.guid
    await node.drain()
    node.keep_far_only(BLOB)
    await node.catalog.forget(guid)
    node.persistent.fault = failing()
    await node.writer.delete(guid)
    node.persistent.fault = None
    await node.drain()
    assert node.persistent.names == []


async def test_i1_a_deletion_that_the_journal_refuses_is_an_error_and_can_be_repeated(node: Node) -> None:
    guid = (await node.store(BLOB)).manifest.guid
    await node.drain()
    node.journal.faults.ops.add("append")
    with pytest.raises(MillraceError):
        await node.writer.delete(guid)
    assert node.primary.has(blob_key(guid))
    node.journal.faults.ops.clear()
    await node.writer.delete(guid)
    await node.drain()
    assert node.persistent.names == []


async def test_a_body_is_taken_in_chunks_of_any_size(node: Node) -> None:
    data = bytes(range(256)) * 40
    for size in (1, 7, 4096, len(data)):
        stored = await node.writer.store(in_chunks(data, size), size=None, content_type="a/b")
        assert stored.manifest.content == content_of(data)
