"""I9: the catalog is a cache. Thrown away, it comes back from what the stores say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.adapters.memory.catalog import MemoryCatalog
from controlplane.model.content import Sha256
from controlplane.model.keys import Bucket, Key, blob_key, tombstone_key
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.mirror_rules import MirrorRule
from controlplane.ports.errors import MillraceError, Missing, NotFound, Unavailable
from controlplane.services.catalog_rebuild import CatalogRebuild
from tests.support.fakes import PERSISTENT, PRIMARY, Node, content_of, failing
from tests.support.object_node import B
from tests.support.scan_world import T, World
from tests.support.virtual_time import VirtualClock


async def only_photos(_: MirrorRule) -> Sequence[Bucket]:
    return [B]


def places(manifest: Manifest) -> list[Location]:
    """When it was proved, and when a pending copy was, may differ."""
    return sorted((replace(at, verified_at=None) for at in manifest.locations), key=lambda at: at.store)


async def test_i9_blobs_come_back_with_all_their_places(clock: VirtualClock, tmp_path: Path) -> None:
    node = Node(clock, tmp_path / "spool")
    for n in range(7):
        await node.store(f"blob {n}".encode())
    await node.drain()
    near_only = content_of(b"not copied yet")
    await node.primary.put(blob_key(near_only.md5), b"not copied yet", content=near_only)
    gone = content_of(b"gone")
    await node.primary.put(tombstone_key(gone.md5), b"")
    await node.persistent.put(Key("blobs/not-a-guid"), b"x")
    before = await node.catalog.list()
    fresh = MemoryCatalog()
    rebuild = CatalogRebuild(fresh, clock)
    await rebuild.blobs([node.primary, node.persistent], node.primary)
    after = {manifest.guid: manifest for manifest in await fresh.list()}
    for manifest in before:
        again = after[manifest.guid]
        assert (again.content, again.content_type) == (manifest.content, manifest.content_type)
        assert places(again) == places(manifest)
    assert [at.store for at in after[near_only.md5].locations] == [PRIMARY]
    assert after[gone.md5].deleted_at is not None
    assert (await fresh.counts(PERSISTENT))[LocationState.MIRRORED] == 7
    assert (rebuild.result.blobs, rebuild.result.tombstones, rebuild.result.foreign) == (15, 1, 1)
    node.spool.close()


async def test_i9_a_scan_with_a_rebuilt_catalog_asks_for_nothing_and_finds_the_same(
    clock: VirtualClock, tmp_path: Path
) -> None:
    world = World(clock, tmp_path / "spool")
    for n in range(20):
        await world.node.put(f"k{n}", f"bytes {n}".encode(), metadata={"n": str(n)})
    await world.node.drain()
    await world.target.put(Key("somebody's"), b"x")
    await world.run().run()
    known = await world.catalog.copies(T, B)
    world.catalog = MemoryCatalog()
    rebuild = CatalogRebuild(world.catalog, clock)
    await rebuild.copies(world.rules, dict(world.node.targets), only_photos)
    assert (rebuild.result.copies, rebuild.result.foreign) == (20, 1)
    # A copy's own name for the store is its target's.
    assert await world.catalog.copies(T, B) == known
    report = await world.run().run()
    assert (report.totals.same, report.totals.heads) == (20, 1)


async def test_i3_another_content_under_a_guid_is_counted_and_not_taken(clock: VirtualClock, tmp_path: Path) -> None:
    node = Node(clock, tmp_path / "spool")
    content = content_of(b"one")
    await node.primary.put(blob_key(content.md5), b"one", content=content)
    catalog = MemoryCatalog()
    other = replace(content, sha256=Sha256("0" * 64))
    await catalog.record(Manifest(other, "x/y", 1.0))
    rebuild = CatalogRebuild(catalog, clock)
    await rebuild.blobs([node.primary], node.primary)
    assert rebuild.result.collisions == 1
    known = await catalog.get(content.md5)
    assert known is not None
    assert known.content == other
    node.spool.close()


@pytest.mark.parametrize("op", ["list", "head"])
async def test_i5_a_store_that_is_away_is_no_empty_one(clock: VirtualClock, tmp_path: Path, op: str) -> None:
    node = Node(clock, tmp_path / "spool")
    await node.store(b"x")
    node.primary.fault = failing(op)
    with pytest.raises(Unavailable):
        await CatalogRebuild(MemoryCatalog(), clock).blobs([node.primary], node.primary)
    node.primary.fault = None
    node.spool.close()


@pytest.mark.parametrize("said", [NotFound, Missing])
async def test_a_target_without_the_bucket_has_no_copies_and_the_others_are_looked_at(
    clock: VirtualClock, tmp_path: Path, said: type[MillraceError]
) -> None:
    """As one is before its first copy: a bucket that was made today."""
    other = Bucket("albums")
    world = World(clock, tmp_path / "spool", MirrorRule("*", "", "t"))
    await world.node.put("a", b"1")
    await world.node.drain()

    def nothing_there(op: str, key: Key) -> None:
        if op == "list":
            raise said("404 Not Found, NoSuchBucket")

    world.node.targets["t"].store(other).fault = nothing_there

    async def both(_: MirrorRule) -> Sequence[Bucket]:
        return [other, B]

    rebuild = CatalogRebuild(MemoryCatalog(), clock)
    await rebuild.copies(world.rules, dict(world.node.targets), both)
    assert rebuild.result.copies == 1
    world.node.spool.close()
