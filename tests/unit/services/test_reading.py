"""BlobReader and Fetch: nothing unproved is whole, deleted stays deleted, one fetch for many, outages say so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.model.content import Content
from controlplane.model.keys import Key, blob_key, tombstone_key
from controlplane.ports.errors import Corrupt, MillraceError, NotFound, StorageFull, Unavailable
from controlplane.ports.object_store import ByteRange
from controlplane.services.fetch import HOLD_BACK
from tests.support.fakes import PERSISTENT, FakeStore, Node, content_of, damage, failing, read_all, shorten
from tests.support.md5_collision import A, B
from tests.unit.services.conftest import NewNode

SMALL = b"a small blob"
LARGE = bytes(range(256)) * 8192  # 2 MiB
LARGER = LARGE * 3


async def far_only(node: Node, data: bytes) -> str:
    """A mirrored blob of which only the persistent copy is left, and nothing is cached."""
    await node.store(data)
    await node.drain()
    guid = node.keep_far_only(data)
    node.hot.evict(guid)
    return guid


# -- where blobs are found --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", SMALL, LARGE, LARGER])
async def test_a_blob_is_read_from_the_primary_then_from_the_hot_cache(node: Node, data: bytes) -> None:
    guid = (await node.store(data)).manifest.guid
    assert await node.read(guid) == data
    await node.filler.aclose()
    gets = node.primary.calls.get("get", 0)
    assert await node.read(guid) == data
    cached = len(data) <= 4 << 20
    assert node.primary.calls.get("get", 0) == gets if cached else node.primary.calls["get"] > gets
    assert (node.reader.hot(guid) is not None) == cached


@pytest.mark.parametrize("data", [b"", SMALL, LARGE, LARGER])
@pytest.mark.parametrize("memory_bytes", [1000, 64 << 20])
async def test_a_blob_found_far_away_is_kept_near(new_node: NewNode, data: bytes, memory_bytes: int) -> None:
    node = new_node(memory_bytes=memory_bytes)
    guid = await far_only(node, data)
    assert await node.read(guid) == data
    await node.filler.aclose()
    assert node.primary.data(blob_key(guid)) == data
    node.persistent.fault = failing()
    node.hot.evict(guid)
    assert await node.read(guid) == data
    assert node.tally.fills[PERSISTENT, "filled"] == 1


async def test_unknown_is_not_found_only_when_every_store_said_so(node: Node) -> None:
    guid = content_of(b"never").md5
    with pytest.raises(NotFound):
        await node.read(guid)
    with pytest.raises(NotFound):
        await node.reader.stat(guid)
    with pytest.raises(NotFound):
        await node.reader.by_sha256(content_of(b"never").sha256)


@pytest.mark.parametrize("which", ["primary", "persistent"])
async def test_i5_an_outage_is_never_not_found(node: Node, which: str) -> None:
    guid = await far_only(node, SMALL)
    getattr(node, which).fault = failing()
    for verb in (node.reader.open(guid), node.reader.open(guid, ranged=True), node.reader.stat(guid)):
        with pytest.raises(Unavailable):
            await verb


async def test_i10_what_is_near_is_served_while_the_persistent_store_is_away(node: Node) -> None:
    guid = (await node.store(SMALL)).manifest.guid
    node.persistent.fault = failing()
    assert await node.read(guid) == SMALL
    assert (await node.reader.stat(guid))[0] == content_of(SMALL)


async def test_a_hot_blob_is_served_while_the_primary_is_away(node: Node) -> None:
    guid = (await node.store(SMALL)).manifest.guid
    await node.read(guid)
    await node.clock.sleep(3600)
    node.primary.fault = failing()
    assert await node.read(guid) == SMALL


async def test_no_room_to_keep_a_fill_is_no_reason_not_to_serve_it(node: Node) -> None:
    guid = await far_only(node, SMALL)
    node.primary.fault = failing("put", error=lambda: StorageFull("full"))
    assert await node.read(guid) == SMALL


async def test_a_blob_of_others_is_hashed_before_it_is_named(node: Node) -> None:
    """No digests beside it: only a full read proves it."""
    for store in (node.primary, node.persistent):
        data = SMALL + str(store.name).encode()
        guid = content_of(data).md5
        await store.put(blob_key(guid), data)
        assert await node.reader.stat(guid) == (content_of(data), "application/octet-stream")
        assert await node.read(guid) == data


async def test_by_sha256(node: Node) -> None:
    guid = (await node.store(SMALL)).manifest.guid
    assert await node.reader.by_sha256(content_of(SMALL).sha256) == guid
    await node.writer.delete(guid)
    with pytest.raises(NotFound):
        await node.reader.by_sha256(content_of(SMALL).sha256)


@pytest.mark.parametrize("part", [ByteRange(0, 0), ByteRange(5, 1_000_000), ByteRange(0, len(LARGER) - 1)])
@pytest.mark.parametrize("where", ["primary", "persistent", "hot", "joining"])
async def test_ranges_from_everywhere(new_node: NewNode, part: ByteRange, where: str) -> None:
    node = new_node(hot_max_bytes=64 << 20 if where == "hot" else 1 << 20, hot_bytes=64 << 20)
    guid = (await node.store(LARGER)).manifest.guid
    await node.drain()
    if where == "persistent":
        node.keep_far_only(LARGER)
    elif where == "hot":
        await node.read(guid)
    elif where == "joining":
        node.primary.latency = 1.0
        first = asyncio.ensure_future(node.read(guid))
        await node.clock.sleep(0.5)
    blob = await node.reader.open(guid, ranged=True)
    assert b"".join([chunk async for chunk in blob.chunks(part)]) == LARGER[part.first : part.last + 1]
    blob.release()
    if where == "joining":
        assert await first == LARGER
    await node.filler.aclose()


# -- I2: nothing unproved ---------------------------------------------------------------------------------------


async def partly(node: Node, guid: Any) -> tuple[int, MillraceError | None]:
    """How much a client gets before the error, and the error."""
    got = 0
    blob = await node.reader.open(guid)
    try:
        async for chunk in blob.chunks(ByteRange(0, blob.content.size - 1)):
            got += len(chunk)
    except MillraceError as error:
        return got, error
    finally:
        blob.release()
    return got, None


@pytest.mark.parametrize("hurt", [damage, shorten])
@pytest.mark.parametrize("store", ["primary", "persistent"])
async def test_i2_a_small_damaged_copy_is_corrupt_before_anything_is_sent(node: Node, store: str, hurt: Any) -> None:
    guid = await far_only(node, SMALL)
    if store == "primary":
        await node.primary.put(blob_key(guid), SMALL, content=content_of(SMALL))
    hurt(getattr(node, store), blob_key(guid))
    with pytest.raises(Corrupt):
        await node.reader.open(guid)
    await node.filler.aclose()
    assert node.reader.hot(guid) is None
    assert store == "primary" or not node.primary.has(blob_key(guid))
    assert node.tally.corrupt == 1
    assert node.tally.fills[getattr(node, store).name, "corrupt"] == 1


@pytest.mark.parametrize("hot_max_bytes", [1 << 20, 64 << 20])
@pytest.mark.parametrize("store", ["primary", "persistent"])
async def test_i2_a_large_damaged_copy_breaks_off_before_its_end(
    new_node: NewNode, store: str, hot_max_bytes: int
) -> None:
    node = new_node(memory_bytes=1000, hot_max_bytes=hot_max_bytes, hot_bytes=64 << 20)
    guid = await far_only(node, LARGE)
    if store == "primary":
        await node.primary.put(blob_key(guid), LARGE, content=content_of(LARGE))
    damage(getattr(node, store), blob_key(guid))
    got, error = await partly(node, guid)
    assert isinstance(error, Corrupt)
    assert got <= len(LARGE) - HOLD_BACK
    await node.filler.aclose()
    assert node.reader.hot(guid) is None
    assert store == "primary" or not node.primary.has(blob_key(guid))
    assert node.tally.corrupt == 1


async def test_i2_bytes_that_hash_to_another_name_are_corrupt_also_without_claims(node: Node) -> None:
    guid = content_of(SMALL).md5
    await node.persistent.put(blob_key(guid), b"other bytes")
    with pytest.raises(Corrupt):
        await node.read(guid)
    assert not node.primary.has(blob_key(guid))


async def test_i2_a_copy_that_collides_with_what_the_catalog_knows_is_not_served(node: Node) -> None:
    """Somebody put the other half of a collision into the persistent store, with claims that fit it."""
    guid = await far_only(node, A)
    await node.persistent.put(blob_key(guid), B, content=content_of(B))
    with pytest.raises(Corrupt):
        await node.read(guid)
    assert not node.primary.has(blob_key(guid))
    assert node.reader.hot(guid) is None


async def test_i2_claims_that_do_not_fit_the_name_are_not_served_in_part(node: Node) -> None:
    guid = content_of(SMALL).md5
    await node.primary.put(blob_key(guid), LARGE, content=content_of(LARGE))
    with pytest.raises(Corrupt):
        await node.reader.open(guid, ranged=True)


async def test_a_store_that_breaks_off_is_unavailable_and_nothing_is_kept(new_node: NewNode, clock: Any) -> None:
    breaks = [True, False, False, False]

    class Breaking(FakeStore):
        async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> Any:
            reader = await super().get(key, byte_range=byte_range)
            whole = reader.__aiter__

            async def short() -> Any:
                async for chunk in whole():
                    yield chunk
                    await asyncio.sleep(0.01)
                    if breaks.pop():
                        raise Unavailable("connection broke")

            return type("Reader", (), {
                "info": reader.info, "length": reader.length, "file": None,
                "__aiter__": lambda self: short(), "aclose": reader.aclose,
            })()  # fmt: skip

    node = new_node(persistent=Breaking(PERSISTENT, clock=clock), memory_bytes=1000)
    guid = await far_only(node, LARGE)
    got, error = await partly(node, guid)
    assert isinstance(error, Unavailable)
    assert got < len(LARGE)
    await node.filler.aclose()
    assert not node.primary.has(blob_key(guid))


# -- stampede ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [SMALL, LARGE])
@pytest.mark.parametrize("memory_bytes", [1000, 64 << 20])
async def test_a_hundred_readers_of_a_cold_blob_make_one_fetch(
    new_node: NewNode, data: bytes, memory_bytes: int
) -> None:
    node = new_node(memory_bytes=memory_bytes)
    guid = await far_only(node, data)
    node.persistent.calls.clear()
    node.persistent.latency = 1.0
    bodies = await asyncio.gather(*(node.read(guid) for _ in range(100)))
    assert all(body == data for body in bodies)
    assert node.persistent.calls["get"] == 1
    await node.filler.aclose()
    assert node.spool_files() == []


async def test_followers_of_different_speeds_each_get_all_and_the_last_takes_the_spool_file_away(
    new_node: NewNode,
) -> None:
    node = new_node(memory_bytes=1000)
    guid = await far_only(node, LARGE)

    async def follow(pause_s: float, leaves_after: int | None = None) -> bytes:
        blob = await node.reader.open(guid)
        got = b""
        async for chunk in blob.chunks(ByteRange(0, blob.content.size - 1)):
            got += chunk
            await node.clock.sleep(pause_s)
            if leaves_after is not None and len(got) >= leaves_after:
                break
        if pause_s >= 10:
            assert len(node.spool_files()) == 1
        blob.release()
        return got

    leaver = follow(0.5, leaves_after=300_000)
    bodies = await asyncio.gather(follow(0), follow(0.01), leaver, follow(10.0))
    assert [len(body) == len(LARGE) for body in bodies] == [True, True, False, True]
    assert all(LARGE.startswith(body) for body in bodies)
    await node.filler.aclose()
    assert node.spool_files() == []


async def test_a_follower_that_is_cancelled_while_it_waits_disturbs_nobody(new_node: NewNode) -> None:
    node = new_node(memory_bytes=1000)
    guid = await far_only(node, LARGE)
    node.persistent.latency = 1.0
    readers = [asyncio.ensure_future(node.read(guid)) for _ in range(5)]
    await node.clock.sleep(0.5)
    readers[0].cancel()
    readers[3].cancel()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [result == LARGE for result in results] == [False, True, True, False, True]
    await node.filler.aclose()
    assert node.spool_files() == []


async def test_all_followers_leave_and_the_fetch_still_fills_the_primary(new_node: NewNode) -> None:
    node = new_node(memory_bytes=1000)
    guid = await far_only(node, LARGE)
    (await node.reader.open(guid)).release()
    await node.filler.aclose()
    assert node.primary.data(blob_key(guid)) == LARGE
    assert node.spool_files() == []


async def test_a_failed_fetch_fails_all_its_followers_and_the_next_one_tries_again(node: Node) -> None:
    guid = await far_only(node, SMALL)
    node.persistent.latency = 1.0
    node.persistent.fault = failing("get")
    results = await asyncio.gather(*(node.read(guid) for _ in range(10)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert node.persistent.calls["get"] == 1
    node.persistent.fault = None
    assert await node.read(guid) == SMALL


async def test_no_room_in_the_spool_is_storage_full(new_node: NewNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = new_node(memory_bytes=1000)
    guid = await far_only(node, LARGE)

    def full(size: int | None = None) -> Any:
        raise StorageFull("spool full")

    monkeypatch.setattr(node.spool, "open", full)
    with pytest.raises(StorageFull):
        await node.read(guid)


# -- I4: deleted stays deleted ----------------------------------------------------------------------------------


async def test_i4_a_deletion_during_a_fill_wins(node: Node) -> None:
    for at in (0.5, 1.5, 2.5, 3.5, 4.5):
        guid = await far_only(node, SMALL)
        node.primary.latency = node.persistent.latency = 1.0
        reading = asyncio.ensure_future(node.read(guid))
        await node.clock.sleep(at)
        await node.writer.delete(guid)
        await asyncio.wait((reading,))
        await node.filler.aclose()
        node.primary.latency = node.persistent.latency = 0.0
        assert node.reader.hot(guid) is None
        with pytest.raises(NotFound):
            await node.read(guid)
        assert not node.primary.has(blob_key(guid))
        await node.drain()
        assert node.persistent.names == node.primary.names == []


async def test_i4_deleted_then_the_persistent_store_goes_away_is_not_found(node: Node) -> None:
    guid = (await node.store(SMALL)).manifest.guid
    await node.drain()
    await node.read(guid)
    node.persistent.fault = failing()
    await node.writer.delete(guid)
    for _ in range(5):
        with pytest.raises(NotFound):
            await node.read(guid)
        assert node.reader.hot(guid) is None
        await node.mirror.once()
        await node.clock.sleep(100)
    node.persistent.fault = None
    await node.drain()
    with pytest.raises(NotFound):
        await node.read(guid)


async def test_i4_read_through_honours_another_nodes_tombstone(new_node: NewNode) -> None:
    one = new_node()
    two = new_node(primary=one.primary, persistent=one.persistent)
    guid = (await one.store(SMALL)).manifest.guid
    await one.drain()
    await one.writer.delete(guid)
    assert one.primary.has(tombstone_key(guid))
    assert one.persistent.has(blob_key(guid))
    with pytest.raises(NotFound):
        await two.read(guid)
    with pytest.raises(NotFound):
        await two.reader.stat(guid)


@pytest.mark.parametrize("drained", [False, True])
async def test_i4_another_nodes_hot_cache_forgets_within_the_recheck_time(new_node: NewNode, drained: bool) -> None:
    one = new_node()
    two = new_node(primary=one.primary, persistent=one.persistent, recheck_s=5.0)
    guid = (await one.store(SMALL)).manifest.guid
    await one.drain()
    assert await two.read(guid) == SMALL
    await two.filler.aclose()
    await one.writer.delete(guid)
    if drained:
        await one.drain()
        assert one.primary.names == one.persistent.names == []
    await one.clock.sleep(5.1)
    assert two.reader.hot(guid) is None
    with pytest.raises(NotFound):
        await two.read(guid)
    assert two.hot.lookup(guid) is None


async def test_i4_a_hot_blob_that_no_store_confirms_is_not_served_while_one_is_away(new_node: NewNode) -> None:
    one = new_node()
    two = new_node(primary=one.primary, persistent=one.persistent)
    guid = (await one.store(SMALL)).manifest.guid
    await one.drain()
    await two.read(guid)
    await two.filler.aclose()
    await one.writer.delete(guid)
    await one.drain()
    one.persistent.fault = failing()
    await one.clock.sleep(60)
    with pytest.raises(Unavailable):
        await two.read(guid)


async def test_i4_written_again_after_a_deletion_is_read_again_everywhere(new_node: NewNode) -> None:
    one = new_node()
    two = new_node(primary=one.primary, persistent=one.persistent)
    guid = (await one.store(SMALL)).manifest.guid
    await one.drain()
    await one.writer.delete(guid)
    assert (await one.store(SMALL)).created
    await one.drain()
    for node in (one, two):
        assert await node.read(guid) == SMALL
        await node.filler.aclose()
    assert one.persistent.data(blob_key(guid)) == SMALL
    one.keep_far_only(SMALL)
    one.hot.evict(guid)
    assert await one.read(guid) == SMALL


async def test_a_hot_blob_keeps_its_place_while_a_store_confirms_it(node: Node) -> None:
    guid = await far_only(node, SMALL)
    node.primary.fault = failing("put", error=lambda: StorageFull("full"))
    await node.read(guid)
    await node.filler.aclose()
    for _ in range(5):
        await node.clock.sleep(60)
        assert await node.read(guid) == SMALL
    assert node.persistent.calls["get"] == 1
    assert isinstance((await node.reader.stat(guid))[0], Content)


async def test_reads_release_what_they_hold(node: Node) -> None:
    guid = (await node.store(SMALL)).manifest.guid
    assert await read_all(await node.reader.open(guid)) == SMALL
    await node.filler.aclose()
    assert node.filler.under_way == 0
