"""Tags that a copy does not have, has of old, or has no more: a scan finds them, and asks about none that is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model.copy_record import Tags, decode_copy_record
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_join import Difference, Kind
from controlplane.model.scan_state import Unit
from controlplane.services import scan_tags
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_run import ScanRun
from controlplane.services.scan_tags import TagScan
from controlplane.services.scan_unit import Sink
from controlplane.services.source_tags import SourceTags
from tests.support.fakes import failing
from tests.support.object_node import PRIVATE
from tests.support.scan_world import T, World
from tests.support.virtual_time import VirtualClock

RED, BLUE = (("colour", "red"),), (("colour", "blue"),)


@pytest.fixture
async def world(clock: VirtualClock, tmp_path: Path) -> World:
    return World(clock, tmp_path / "spool")


def scan(world: World, sink: Sink | None = None, **more: object) -> ScanRun:
    tags = SourceTags(world.node.source, PRIVATE, world.clock)
    return world.run(sink, tags=TagScan(tags, world.catalog, world.rules), **more)


async def behind_the_gateway(world: World, key: str, tags: Tags) -> None:
    """The copy is not told of, as before copies carried tags."""
    for task in world.node.journal.open_tasks:
        await world.node.journal.close([task.seq])
    await world.node.tag(key, tags)
    await world.node.journal.close([task.seq for task in world.node.journal.open_tasks])


async def said(world: World, key: str) -> Tags:
    record = decode_copy_record((await world.target.head(Key(key))).metadata)
    assert record is not None
    return record.tags


@pytest.mark.parametrize("step", ["added", "changed", "removed"])
async def test_what_differs_is_found_and_repaired(world: World, step: str) -> None:
    for key in ("a", "b", "c"):
        await world.node.put(key, key.encode())
    await world.node.tag("b", RED)
    if step != "added":
        await world.node.tag("a", RED)
    await world.node.drain()
    assert (await scan(world).run()).totals.differences == 0
    await behind_the_gateway(world, "a", {"added": RED, "changed": BLUE, "removed": ()}[step])
    queue = JournalSink(world.node.journal, world.clock, share=0.5)
    report = await scan(world, queue).run()
    assert (report.totals.different, report.totals.same, report.totals.enqueued) == (1, 2, 1)
    await world.node.drain(world.node.new_mirror())
    assert await said(world, "a") == {"added": RED, "changed": BLUE, "removed": ()}[step]
    assert (await scan(world).run()).totals.differences == 0


async def test_what_is_known_costs_a_listing_and_nothing_else(world: World) -> None:
    for number in range(30):
        await world.node.put(f"k{number:02d}", b"x")
        await world.node.tag(f"k{number:02d}", RED)
    await world.node.drain()
    first = await scan(world).run()
    assert first.totals.heads == 30  # to learn which record it was
    private = world.node.source.store(PRIVATE)
    before = dict(private.calls), dict(world.source.calls), dict(world.target.calls)
    second = await scan(world).run()
    assert (second.totals.heads, second.totals.differences, second.totals.same) == (0, 0, 30)
    assert private.calls["get"] == before[0]["get"]
    assert world.source.calls["head"] == before[1]["head"]
    assert world.target.calls["head"] == before[2]["head"]
    # Unless it is told to believe nothing.
    assert (await scan(world, trust_catalog=False).run()).totals.heads > 30


async def test_a_scan_that_was_stopped_among_the_tags_counts_none_of_them_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_tags, "_PAGE", 4)
    for number in range(12):
        await world.node.put(f"k{number:02d}", b"x")
    await world.node.drain()
    for number in range(12):
        await behind_the_gateway(world, f"k{number:02d}", RED)
    more: dict[str, Any] = {"checkpoints": world.checkpoints, "save_every_s": 0.0}
    take = world.told.take

    async def then_stop(unit: Unit, differences: Sequence[Difference]) -> int:
        first.stop()
        return await take(unit, differences)

    first = scan(world, **more)
    with monkeypatch.context() as patched:
        patched.setattr(world.told, "take", then_stop)
        assert not (await first.run()).complete
    report = await scan(world, **more).run()
    assert (report.totals.different, report.totals.same) == (12, 0)


async def test_what_the_scan_found_already_is_not_told_twice(world: World) -> None:
    await world.node.put("lost", b"x")
    await world.node.put("changed", b"x")
    for key in ("lost", "changed"):
        await world.node.tag(key, RED)
    await world.node.drain()
    await world.target.delete(Key("lost"))
    await world.source.put(Key("changed"), b"y")
    report = await scan(world).run()
    assert sorted((one.key, one.kind) for one in world.told.differences) == sorted(
        [("lost", Kind.MISSING), ("changed", Kind.DIFFERENT)]
    )
    assert (report.totals.missing, report.totals.different, report.totals.same) == (1, 1, 0)


async def test_a_record_of_what_is_gone_is_no_difference(world: World) -> None:
    await world.node.put("a", b"x")
    await world.node.tag("a", RED)
    await world.node.drain()
    world.node.lose("a")
    assert (await scan(world).run()).totals.differences == 1  # the extra copy
    assert world.told.kinds == {"a": Kind.EXTRA}


async def test_rules_of_one_bucket_look_at_their_own_prefixes(clock: VirtualClock, tmp_path: Path) -> None:
    rules = (MirrorRule("photos", "a/", "t", name="a"), MirrorRule("photos", "b/", "t", name="b"))
    world = World(clock, tmp_path / "spool", *rules)
    for key in ("a/1", "b/1", "c/1"):
        await world.node.put(key, b"x")
    await world.node.drain()
    for key in ("a/1", "b/1", "c/1"):
        await behind_the_gateway(world, key, RED)
    queue = JournalSink(world.node.journal, clock, share=0.5)
    await scan(world, queue).run()
    assert sorted((task.draft.rule, task.draft.key) for task in world.node.journal.open_tasks) == [
        ("a", "a/1"),
        ("b", "b/1"),
    ]


async def test_an_outage_of_the_records_fails_the_bucket_and_forgets_nothing(world: World) -> None:
    await world.node.put("a", b"x")
    await world.node.tag("a", RED)
    await world.node.drain()
    await scan(world).run()
    notes = list(await world.catalog.copies(T, Bucket("photos/tags/")))
    assert [row.target_etag for row in notes] == ["a"]
    world.node.source.store(PRIVATE).fault = failing("list")
    report = await scan(world).run()
    assert report.failed == 1
    assert list(await world.catalog.copies(T, Bucket("photos/tags/"))) == notes


async def test_without_a_front_nothing_has_tags(world: World) -> None:
    await world.node.put("a", b"x")
    await world.node.drain()
    world.node.source.gone.add(PRIVATE)
    assert (await scan(world).run()).totals.same == 1


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([(), RED, BLUE]), min_size=1),
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([(), RED, BLUE])),
    st.sets(st.sampled_from("abcdefgh")),
    st.booleans(),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
async def test_after_any_changes_a_scan_finds_exactly_what_differs(
    clock: VirtualClock,
    tmp_path: Path,
    before: dict[str, Tags],
    after: dict[str, Tags],
    forgotten: set[str],
    seen: bool,
) -> None:
    """Notes may be missing, and may be older than the copies; never does one hide a difference."""
    world = World(clock, tmp_path / f"spool{id(before)}{len(list(tmp_path.iterdir()))}")
    try:
        for key, tags in before.items():
            await world.node.put(key, b"x")
            if tags:
                await world.node.tag(key, tags)
        await world.node.drain()
        if seen:
            await scan(world).run()
        notes = await world.catalog.copies(T, Bucket("photos/tags/"))
        await world.catalog.forget_copies(T, Bucket("photos/tags/"), [row.key for row in notes if row[4] in forgotten])
        for key in before.keys() & after.keys():
            await clock.sleep(2)
            await behind_the_gateway(world, key, after[key])
        world.told.differences.clear()
        await scan(world).run()
        expected = {
            key
            for key in before.keys() & after.keys()
            if before[key] != after[key]
            # Nobody can miss a note that is gone together with its record.
            and not (after[key] == () and key in forgotten)
        }
        assert set(world.told.kinds) == expected
    finally:
        world.node.spool.close()
