"""A scan finds exactly what differs, however it is sharded, stopped, resumed or lied to; no guard is exceeded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_join import Difference, Kind
from controlplane.model.scan_state import Counts, Unit
from controlplane.ports.errors import Unavailable
from controlplane.ports.object_store import Page
from controlplane.services import scan_run
from controlplane.services.scan_duty import tell_unit
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_run import RUN, UnitReport
from tests.support.fakes import damage, failing
from tests.support.object_node import B
from tests.support.scan_world import PLACES, RULE, WEEK, Place, T, Told, World
from tests.support.virtual_time import VirtualClock, VirtualTimeLoop

BUDGET = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def on_virtual_time(course: object) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(course)  # type: ignore[arg-type]


@pytest.fixture
def world(clock: VirtualClock, tmp_path: Path) -> World:
    return World(clock, tmp_path / "spool")


@BUDGET
@given(places=PLACES, workers=st.integers(1, 4), page=st.integers(1, 4), prefix=st.sampled_from(["", "a"]))
def test_it_finds_exactly_what_differs_however_it_is_sharded(
    tmp_path_factory: pytest.TempPathFactory, places: list[Place], workers: int, page: int, prefix: str
) -> None:
    async def course() -> None:
        rule = MirrorRule("photos", prefix, "t")
        world = World(VirtualClock(), tmp_path_factory.mktemp("w") / "spool", rule)
        await world.fill(places)
        ours = [place for place in places if place.key.startswith(prefix)]
        expected = {place.key: place.kind for place in ours if place.kind is not None}
        report = await world.run(workers=workers, page=page).run()
        assert report.complete
        assert not report.failed
        assert world.told.kinds == expected
        assert len(world.told.differences) == len(expected)
        counts = report.totals
        assert counts.listed_at_source == sum(place.at_source for place in ours)
        assert counts.listed_at_target == sum(bool(place.at_target) for place in ours)
        assert counts.same == sum(place.at_source and place.kind is None for place in ours)
        # What is equal is known now, and costs no request any more; what is verified is asked for all the same.
        before = world.target.calls.get("head", 0)
        again = await world.run(Told(), workers=workers, page=page).run()
        unequal = sum(place.kind in (Kind.DIFFERENT, Kind.FOREIGN) for place in ours)
        assert world.target.calls.get("head", 0) - before <= unequal
        assert again.totals.differences == counts.differences
        told = Told()
        await world.run(told, workers=workers, page=page, trust_catalog=False, read=True).run()
        assert told.kinds == expected

    on_virtual_time(course())


class Killed(Exception):
    """Stands for SIGKILL: nothing of the process is left but what is durable."""


@BUDGET
@given(places=PLACES, workers=st.integers(1, 3), page=st.integers(1, 3), after=st.lists(st.integers(0, 5), max_size=4))
def test_a_scan_that_is_killed_anywhere_and_resumed_ends_like_one_that_was_not(
    tmp_path_factory: pytest.TempPathFactory, places: list[Place], workers: int, page: int, after: list[int]
) -> None:
    async def course() -> None:
        path = tmp_path_factory.mktemp("w")
        whole = World(VirtualClock(), path / "1")
        await whole.fill(places)
        expected = (await whole.run(checkpoints=whole.checkpoints, workers=workers, page=page).run()).totals
        world = World(VirtualClock(), path / "2")
        await world.fill(places)
        for steps in after:
            left = steps

            def step(_: int) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed

            try:
                await world.run(checkpoints=world.checkpoints, workers=workers, page=page, on_keys=step).run()
            except Killed:
                continue
            break
        told = Told()
        report = await world.run(told, checkpoints=world.checkpoints, workers=workers, page=page).run()
        assert report.complete
        counts = report.totals
        # How many requests it took may differ: what was found out before the kill is known.
        expected.heads = counts.heads = 0
        assert counts == expected
        assert {**world.told.kinds, **told.kinds} == whole.told.kinds
        assert await world.checkpoints.load(RUN) is None

    saved_every_s, scan_run.SAVE_EVERY_S = scan_run.SAVE_EVERY_S, 0.0  # type: ignore[misc]
    try:
        on_virtual_time(course())
    finally:
        scan_run.SAVE_EVERY_S = saved_every_s  # type: ignore[misc]


async def test_a_scan_that_is_told_to_stop_goes_on_from_there(world: World) -> None:
    await world.fill([Place(f"k{n:02d}", True, "", "") for n in range(30)])
    first = world.run(checkpoints=world.checkpoints, on_keys=lambda _: first.stop())
    report = await first.run()
    assert not report.complete
    assert 0 < len(world.told.differences) < 30
    report = await world.run(checkpoints=world.checkpoints).run()
    assert report.complete
    assert report.totals.missing == 30
    assert [one.key for one in world.told.differences] == [f"k{n:02d}" for n in range(30)]


async def test_other_rules_begin_a_new_scan(world: World) -> None:
    await world.fill([Place(f"k{n}", True, "", "") for n in range(9)])
    first = world.run(checkpoints=world.checkpoints, on_keys=lambda _: first.stop())
    await first.run()
    world.rules = (MirrorRule("photos", "k", "t"),)
    assert (await world.run(Told(), checkpoints=world.checkpoints).run()).totals.missing == 9


async def test_shards_share_the_work_and_the_next_scan_begins_with_what_was_learnt(world: World) -> None:
    await world.fill([Place(f"{n:04d}", True, "copy", "right") for n in range(400)])
    world.source.latency = world.target.latency = 0.1
    began = world.clock.monotonic()
    report = await world.run(workers=1, page=4).run()
    alone_s = world.clock.monotonic() - began
    assert report.totals.same == 400
    began = world.clock.monotonic()
    await world.run(workers=4, page=4, checkpoints=world.checkpoints).run()
    stolen_s = world.clock.monotonic() - began
    began = world.clock.monotonic()
    await world.run(workers=4, page=4, checkpoints=world.checkpoints).run()
    learnt_s = world.clock.monotonic() - began
    assert stolen_s < alone_s * 0.5
    assert learnt_s < alone_s * 0.4


async def test_what_it_finds_is_repaired(world: World) -> None:
    """A lost copy, a damaged one, an old one."""
    for name in ("lost", "damaged", "old", "sound"):
        await world.node.put(name, f"bytes of {name}".encode())
    await world.node.drain()
    await world.target.delete(Key("lost"))
    damage(world.target, "damaged")
    await world.source.put(Key("old"), b"written behind the gateway's back")
    queue = JournalSink(world.node.journal, world.clock, share=0.5)
    report = await world.run(queue).run()
    assert (report.totals.missing, report.totals.different, report.totals.same) == (1, 2, 1)
    assert report.totals.enqueued == 3
    await world.node.drain(world.node.new_mirror())
    assert world.node.copies() == {name: world.source.data(name) for name in world.source.names}
    assert (await world.run(queue).run()).totals.differences == 0


@pytest.mark.parametrize("bulk", [False, True])
async def test_the_first_scan_after_copies_asks_the_target_about_none_of_them(
    clock: VirtualClock, tmp_path: Path, bulk: bool
) -> None:
    """The mirror notes what it has proved: small, in bulk, above the memory, in parts, found there, after a change."""
    world = World(clock, tmp_path / "spool", bulk=bulk, large_bytes=3 << 20)
    world.node.targets["t"].takes_parts = True
    for number in range(40):
        await world.node.put(f"small{number:02d}", b"%d" % number)
    await world.node.put("spooled", bytes(2 << 20))
    await world.node.put("large", bytes(4 << 20))
    await world.node.drain()
    await world.node.put("small00", b"another", metadata={"colour": "red"})
    await world.node.delete("small01")
    await world.node.drain(world.node.new_mirror())
    report = await world.run().run()
    assert (report.totals.same, report.totals.differences, report.totals.heads) == (41, 0, 0)


async def test_a_catalog_that_is_away_holds_up_no_copy(world: World) -> None:
    world.catalog.faults.ops = {"record_copies"}
    await world.node.put("a", b"x")
    await world.node.drain()
    assert world.node.copies() == {"a": b"x"}
    world.catalog.faults.ops = set()
    report = await world.run().run()
    assert (report.totals.same, report.totals.heads) == (1, 1)


async def test_bytes_that_rotted_behind_their_etag_are_found_by_reading(world: World) -> None:
    await world.node.put("a", b"good bytes")
    await world.node.drain()
    damage(world.target, "a", honest_etag=False)
    assert (await world.run().run()).totals.differences == 0
    report = await world.run(trust_catalog=False, read=True).run()
    assert report.totals.damaged == 1
    assert world.told.kinds == {"a": Kind.DAMAGED}


async def test_other_metadata_of_the_same_bytes_is_a_difference(world: World) -> None:
    await world.node.put("a", b"x", metadata={"colour": "red"})
    await world.node.drain()
    assert (await world.run().run()).totals.same == 1
    await world.clock.sleep(2)
    await world.source.put(Key("a"), b"x", metadata={"colour": "blue"})
    assert (await world.run().run()).totals.different == 1


async def test_the_journal_is_never_filled_by_a_scan_and_nothing_is_dropped(
    clock: VirtualClock, tmp_path: Path
) -> None:
    world = World(clock, tmp_path / "spool", journal_limit=20)
    await world.fill([Place(f"k{n:03d}", True, "", "") for n in range(100)])
    scan = asyncio.ensure_future(world.run(JournalSink(world.node.journal, clock, share=0.5), workers=3).run())
    most = 0
    mirror = world.node.new_mirror()
    while not scan.done():
        most = max(most, (await world.node.journal.stats()).pending)
        await clock.sleep(0.3)
        await mirror.once()
    await world.node.drain(mirror)
    assert most <= 10
    assert scan.result().totals.enqueued == 100
    assert len(world.node.copies()) == 100


# Deleting (I6)

GONE = [Place(f"gone{n}", False, "copy", "right") for n in range(3)]
KEPT = [Place(f"kept{n}", True, "copy", "right") for n in range(7)]


async def scan_twice(world: World, **limits: float) -> scan_run.Report:
    """What is gone must be seen to be gone for the grace period."""
    await world.run(deletes=world.deletes(**limits)).run()  # type: ignore[arg-type]
    await world.clock.sleep(WEEK)
    return await world.run(deletes=world.deletes(**limits)).run()  # type: ignore[arg-type]


async def test_what_is_gone_for_the_grace_period_is_deleted_at_the_target(world: World) -> None:
    await world.fill([*GONE, *KEPT])
    first = await world.run(deletes=world.deletes()).run()
    assert first.totals.extra == 3
    assert not world.deletions
    await world.clock.sleep(WEEK - 10)
    await world.run(deletes=world.deletes()).run()
    assert not world.deletions
    await world.clock.sleep(20)
    report = await world.run(deletes=world.deletes()).run()
    assert report.totals.deletes_enqueued == 3
    assert world.deletions == {place.key for place in GONE}
    await world.node.drain()
    assert set(world.node.copies()) == {place.key for place in KEPT}
    assert (await world.run().run()).totals.differences == 0


async def test_what_came_back_begins_a_new_grace_period(world: World) -> None:
    await world.fill([*GONE, *KEPT])
    await world.run(deletes=world.deletes()).run()
    data = world.target.data("gone0")
    await world.source.put(Key("gone0"), data)
    await world.clock.sleep(WEEK)
    await world.run(deletes=world.deletes()).run()
    await world.source.delete(Key("gone0"))
    world.node.journal = type(world.node.journal)(100)
    await world.run(deletes=world.deletes()).run()
    assert "gone0" not in world.deletions


@BUDGET
@given(
    places=PLACES,
    most=st.integers(0, 6),
    share=st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]),
    workers=st.integers(1, 3),
)
def test_i6_the_guard_is_never_exceeded_and_nothing_of_others_goes(
    tmp_path_factory: pytest.TempPathFactory, places: list[Place], most: int, share: float, workers: int
) -> None:
    async def course() -> None:
        world = World(VirtualClock(), tmp_path_factory.mktemp("w") / "spool")
        await world.fill(places)
        await world.run(deletes=world.deletes(most, share), workers=workers).run()
        await world.clock.sleep(WEEK)
        report = await world.run(deletes=world.deletes(most, share), workers=workers).run()
        extra = {place.key for place in places if place.kind is Kind.EXTRA}
        copies = sum(place.at_target not in ("", "foreign") for place in places)
        copies += sum(place.at_target == "foreign" and place.at_source for place in places)
        same = sum(place.at_source and place.at_target == "copy" for place in places)
        assert world.deletions in (set(), extra)
        assert len(world.deletions) == report.totals.deletes_enqueued
        allowed = len(extra) <= min(most, share * copies) and same > 0
        assert bool(world.deletions) == (allowed and bool(extra))
        assert report.held_back == (0 if allowed or not extra else 1)

    on_virtual_time(course())


@pytest.mark.parametrize("limits", [{"most": 2}, {"share": 0.2}])
async def test_i6_too_many_are_all_kept(world: World, limits: dict[str, float]) -> None:
    await world.fill([*GONE, *KEPT])
    report = await scan_twice(world, **limits)
    assert not world.deletions
    assert report.held_back == 1
    assert "deletions" in report.units[0].held_back
    assert [report.units[0].held_back in told for told in report.notes] == [True]


async def test_i6_an_empty_listing_deletes_nothing(world: World) -> None:
    await world.fill([*GONE, *KEPT])
    for place in KEPT:
        await world.source.delete(Key(place.key))
    report = await scan_twice(world, most=10**6, share=1.0)
    assert not world.deletions
    assert "empty listing" in report.units[0].held_back


async def test_i6_a_listing_that_fails_in_the_middle_deletes_nothing(world: World) -> None:
    await world.fill([*GONE, *KEPT])
    await world.run(deletes=world.deletes()).run()
    await world.clock.sleep(WEEK)
    lists = 0

    def fault(op: str, key: Key) -> None:
        nonlocal lists
        lists += op == "list"
        if lists == 2:
            raise Unavailable("the listing broke off")

    world.source.fault = fault
    report = await world.run(deletes=world.deletes()).run()
    assert report.failed == 1
    assert "broke off" in report.units[0].error
    assert not world.deletions


async def test_i6_a_listing_that_is_cut_short_without_a_word_deletes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys behind the cut look gone; asked for by name, the source has them."""
    await world.fill(KEPT)
    listing = world.source.list

    async def cut(*, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        page = await listing(prefix=prefix, after=after, limit=limit)
        return Page(page.objects, None)

    monkeypatch.setattr(world.source, "list", cut)
    report = await scan_twice(world)
    assert report.totals.extra == 4
    assert not world.deletions


async def test_i6_another_riak_cs_of_the_same_name_deletes_nothing(world: World) -> None:
    """Set up anew, with some objects of its own: no key is the one that its copy was made of."""
    await world.fill([*GONE, *KEPT])
    for place in KEPT:
        await world.source.put(Key(place.key), b"something else")
    report = await scan_twice(world)
    assert not world.deletions
    assert "mirrored" in report.units[0].held_back


async def test_i6_a_rule_without_deletes_deletes_nothing(clock: VirtualClock, tmp_path: Path) -> None:
    world = World(clock, tmp_path / "spool", MirrorRule("photos", "", "t", deletes=False))
    await world.fill([*GONE, *KEPT])
    report = await scan_twice(world)
    assert report.totals.extra == 3
    assert not world.deletions


async def test_i6_runs_count_over_all_buckets(clock: VirtualClock, tmp_path: Path) -> None:
    world = World(clock, tmp_path / "spool", MirrorRule("photos", "gone", "t"), MirrorRule("photos", "also", "t"))
    await world.fill([*GONE, Place("gone-not", True, "copy", "right")])
    await world.fill([Place(f"also{n}", n > 1, "copy", "right") for n in range(9)])
    report = await scan_twice(world, most=4)
    assert report.totals.deletes_enqueued == 3
    assert report.held_back == 1


async def test_i6_what_was_allowed_counts_although_the_process_was_killed_at_it(
    clock: VirtualClock, tmp_path: Path
) -> None:
    """Killed behind the last deletion that it enqueued, and before it had noted it; the mirror has done them when it
    comes back. Else each start would have the whole number to spend again."""
    world = World(clock, tmp_path / "spool", MirrorRule("photos", "gone", "t"), MirrorRule("photos", "also", "t"))
    await world.fill([*GONE, Place("gone-not", True, "copy", "right")])
    await world.fill([Place(f"also{n}", n > 1, "copy", "right") for n in range(9)])
    await world.run(deletes=world.deletes(4)).run()
    await world.clock.sleep(WEEK)
    deletes = world.deletes(4)
    enqueue = deletes.enqueue

    async def killed(*arguments: Any) -> int:
        await enqueue(*arguments)
        raise KeyboardInterrupt

    deletes.enqueue = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await world.run(deletes=deletes, checkpoints=world.checkpoints).run()
    assert world.deletions == {place.key for place in GONE}
    await world.node.drain()
    report = await world.run(deletes=world.deletes(4), checkpoints=world.checkpoints).run()
    assert report.complete
    assert not world.deletions
    assert (report.totals.deletes_enqueued, report.held_back) == (3, 1)


async def test_one_bucket_that_fails_does_not_keep_the_next_from_being_scanned(
    clock: VirtualClock, tmp_path: Path
) -> None:
    world = World(clock, tmp_path / "spool", MirrorRule("photos", "a", "t"), MirrorRule("photos", "b", "t"))
    await world.fill([Place("a1", True, "", ""), Place("b1", True, "", "")])
    world.source.fault = failing("list", key="a")
    report = await world.run().run()
    assert (report.complete, report.failed) == (True, 1)
    assert world.told.kinds == {"b1": Kind.MISSING}


async def test_of_two_rules_with_one_target_only_the_first_tells(clock: VirtualClock, tmp_path: Path) -> None:
    world = World(clock, tmp_path / "spool", MirrorRule("photos", "a", "t", deletes=False), RULE)
    await world.fill([Place("a1", True, "", ""), Place("a2", False, "copy", ""), Place("b1", True, "", "")])
    await world.run().run()
    assert sorted(one.key for one in world.told.differences) == ["a1", "a2", "b1"]


async def test_a_target_listing_that_is_older_than_its_copies_finds_nothing_wrong(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.node.put("a", b"one")
    await world.node.drain()
    stale = await world.target.list()
    await world.clock.sleep(5)
    await world.node.put("a", b"two")
    await world.node.drain(world.node.new_mirror())

    async def listing(**_: object) -> Page:
        return stale

    monkeypatch.setattr(world.target, "list", listing)
    assert (await world.run().run()).totals.differences == 0


class Failing:
    """Implements Sink."""

    async def take(self, unit: Unit, differences: Sequence[Difference]) -> int:
        raise Unavailable("the journal is away")


@pytest.mark.parametrize("how", ["it failed", "its deletions are refused"])
async def test_how_a_unit_ended_is_told_to_who_has_the_run_and_by_nobody_else(
    world: World, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    await world.fill([*GONE, *KEPT])
    if how == "it failed":
        world.source.fault = failing("list")
    else:
        await world.run(deletes=world.deletes()).run()
        await world.clock.sleep(WEEK)
    told: list[UnitReport] = []
    report = await world.run(deletes=world.deletes(most=2), on_unit=told.append).run()
    assert told == report.units
    assert bool(told[0].error) is (how == "it failed")
    assert bool(told[0].held_back) is (how != "it failed")
    assert caplog.messages == []
    tell_unit(told[0])  # as the agent does
    assert len(caplog.messages) == 1


async def test_what_could_not_be_told_is_told_by_the_next_scan(world: World) -> None:
    await world.fill([Place("a", True, "", ""), Place("b", True, "copy", "")])
    report = await world.run(Failing(), checkpoints=world.checkpoints).run()
    assert report.failed == 1
    assert (await world.run(checkpoints=world.checkpoints).run()).totals.missing == 1


async def test_a_damaged_checkpoint_begins_a_new_scan(world: World) -> None:
    await world.fill([Place("a", True, "", "")])
    first = world.run(checkpoints=world.checkpoints, on_keys=lambda _: first.stop())
    await first.run()
    document = dict(await world.checkpoints.load(RUN) or {})
    await world.checkpoints.save(RUN, {**document, "state": {"ranges": [["x", "y", False]]}})
    assert (await world.run(Told(), checkpoints=world.checkpoints).run()).totals.missing == 1


async def test_copies_of_what_vanished_are_forgotten(world: World) -> None:
    await world.fill([Place("a", True, "copy", "right"), Place("b", True, "copy", "right")])
    await world.target.delete(Key("b"))
    await world.run().run()
    assert [row.key for row in await world.catalog.copies(T, B)] == ["a"]


def test_counts_add_up() -> None:
    one = Counts(missing=1, extra=2, foreign=4)
    one.add(Counts(missing=2, damaged=1))
    assert (one.missing, one.to_copy, one.differences) == (3, 4, 6)
