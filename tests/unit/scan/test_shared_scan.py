"""Several nodes scan together: everything is found, each does a share, and whatever dies is taken up by the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.adapters.memory.scan_board import MemoryScanBoards
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.rate import Limit
from controlplane.model.scan_guard import GuardLimits
from controlplane.model.scan_join import Kind
from controlplane.ports.errors import Unavailable
from controlplane.services.lanes import LanePlan, Lanes
from controlplane.services.scan_duty import LAST
from controlplane.services.scan_seat import Look
from controlplane.services.shared_documents import SharedDocuments
from tests.support.object_node import B, FakeBuckets
from tests.support.scan_team import DAY, TTL_S, ScanNode, Team
from tests.support.scan_world import PLACES, WEEK, Place, World
from tests.support.virtual_time import VirtualClock, VirtualTimeLoop

EQUAL = [Place(f"{n:04d}", True, "copy", "right") for n in range(400)]
BUDGET = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

Change = Callable[[Mapping[str, Any] | None], Mapping[str, Any] | None]


def on_virtual_time(course: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(course)


@pytest.fixture
def world(clock: VirtualClock, tmp_path: Path) -> Iterator[World]:
    world = World(clock, tmp_path / "spool")
    yield world
    world.node.spool.close()


async def timed(world: World, *names: str) -> tuple[float, Team]:
    team = Team(world, *names, workers=2, page=4)
    began = world.clock.monotonic()
    await team.run()
    return world.clock.monotonic() - began, team


async def test_three_nodes_take_a_third_of_the_time_of_one_and_each_does_a_share(world: World) -> None:
    await world.fill([Place(f"{n:04d}", True, "copy", "right") for n in range(1600)])
    world.source.latency = world.target.latency = 1.0
    alone_s, _ = await timed(world, "a")
    together_s, team = await timed(world, "a", "b", "c")
    last = await team.last()
    assert last["totals"]["same"] == last["totals"]["listed_at_source"] == 1600
    assert sum(last["nodes"].values()) == 1600
    assert min(last["nodes"].values()) >= 1600 / 3 / 2
    # From a bucket that nobody knows: cut in the course of it.
    assert together_s < alone_s * 0.55
    began = world.clock.monotonic() + DAY
    await world.clock.sleep(DAY)
    await team.run()
    learnt_s = world.clock.monotonic() - began
    assert learnt_s < alone_s * 0.5
    assert sum(node.tally.runs for node in team.nodes.values()) == 2
    assert sum(node.tally.keys for node in team.nodes.values()) >= 3200


@BUDGET
@given(places=PLACES, own=st.booleans(), kills=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), max_size=3))
def test_whatever_dies_all_is_found_and_counted_once(
    tmp_path_factory: pytest.TempPathFactory, places: list[Place], own: bool, kills: list[tuple[int, int]]
) -> None:
    async def course() -> None:
        world = World(VirtualClock(), tmp_path_factory.mktemp("w") / "spool")
        await world.fill(places)
        world.source.latency = world.target.latency = 1.0
        team = Team(world, "a", "b", "c", own_catalogs=own, page=1, workers=1)
        told = {}
        running = {name: asyncio.ensure_future(node.duty.once()) for name, node in team.nodes.items()}
        for number, after in kills:
            await world.clock.sleep(after / 2)
            name = "abc"[number]
            # SIGKILL: nothing is given back; the same node comes again, as another process.
            running[name].cancel()
            await asyncio.gather(running[name], return_exceptions=True)
            told.update(team.nodes[name].told.kinds)
            team.nodes[name] = team.make(name)
            running[name] = asyncio.ensure_future(team.nodes[name].duty.once())
        await asyncio.gather(*running.values())
        for node in team.nodes.values():
            told.update(node.told.kinds)
        last = await team.last()
        counts = last["totals"]
        expected = {place.key: place.kind for place in places if place.kind is not None}
        assert told == expected
        assert counts["listed_at_source"] == sum(place.at_source for place in places)
        assert counts["listed_at_target"] == sum(bool(place.at_target) for place in places)
        for kind in Kind:
            assert counts[kind.value] == sum(found is kind for found in expected.values())
        assert last["failed_buckets"] == 0
        assert team.board.text is None
        world.node.spool.close()

    on_virtual_time(course())


async def test_a_dead_nodes_share_is_anothers_within_the_ttl_and_two_seconds(world: World) -> None:
    await world.fill(EQUAL)
    world.source.latency = world.target.latency = 1.0
    team = Team(world, "a", "b", workers=2, page=4, look_every_s=1.0)
    dying = asyncio.ensure_future(team.nodes["a"].duty.once())
    await world.clock.sleep(30)
    # It does not give back its lease: its process is no more.
    team.nodes["a"].seat.leave = _nothing  # type: ignore[method-assign]
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    died_at = world.clock.monotonic()
    other = asyncio.ensure_future(team.nodes["b"].duty.once())
    while not team.nodes["b"].tally.taken_over:
        await world.clock.sleep(0.1)
        assert world.clock.monotonic() - died_at <= TTL_S + 2.0
    done = team.nodes["a"].tally.keys
    await other
    last = await team.last()
    assert last["totals"]["same"] == 400
    # From its checkpoint, not anew.
    assert 0 < done < 400
    assert team.nodes["b"].tally.keys <= 400 - last["nodes"]["a"] + 8
    assert last["nodes"]["a"] > 0


async def _nothing() -> None: ...


async def test_many_small_buckets_are_divided_too(clock: VirtualClock, tmp_path: Path) -> None:
    rule = MirrorRule("b*", "", "t")
    world = World(clock, tmp_path / "spool", rule)
    buckets = [Bucket(f"b{n:02d}") for n in range(30)]
    for bucket in buckets:
        await world.node.source.store(bucket).put(Key("k"), b"x")
        world.node.source.store(bucket).latency = 1.0
    for _ in range(2):
        team = Team(world, "a", "b", "c", buckets=lambda: buckets)
        await team.run()
        last = await team.last()
        assert last["totals"]["missing"] == 30
        assert len(last["nodes"]) == 3
        assert min(last["nodes"].values()) >= 5
        await clock.sleep(DAY)
    world.node.spool.close()


async def test_a_node_that_cannot_reach_a_store_leaves_its_share_to_the_others(world: World) -> None:
    await world.fill(EQUAL)
    team = Team(world, "a", "b")
    away = FakeBuckets("source", world.clock)

    def refuse(op: str, key: Key) -> None:
        raise Unavailable("no way to Riak CS from here")

    away.store(B).fault = refuse
    team.nodes["a"] = team.make("a", source=away)
    await team.run()
    last = await team.last()
    assert (last["totals"]["same"], last["failed_buckets"]) == (400, 0)
    world.source.fault = refuse
    await world.clock.sleep(DAY)
    await team.run()
    assert (await team.last())["failed_buckets"] == 1


async def test_a_directory_that_is_away_for_a_while_ends_nothing(world: World) -> None:
    await world.fill(EQUAL)
    world.source.latency = world.target.latency = 1.0
    team = Team(world, "a", "b", page=20)
    running = asyncio.ensure_future(team.run())
    await world.clock.sleep(4)
    team.board.away = True
    await world.clock.sleep(4)
    team.board.away = False
    await running
    assert (await team.last())["totals"]["same"] == 400
    assert not any(node.tally.sessions_lost for node in team.nodes.values())


async def test_a_node_that_is_told_to_stop_while_the_directory_is_away_does_not_ask_it_again_and_again(
    world: World,
) -> None:
    await world.fill(EQUAL)
    world.source.latency = 1.0
    team = Team(world, "a", page=4)
    node = team.nodes["a"]
    running = asyncio.ensure_future(node.duty.once())
    await world.clock.sleep(3)
    looks, look = 0, node.seat.look

    async def counted() -> Look:
        nonlocal looks
        looks += 1
        assert looks < 10
        return await look()

    node.seat.look = counted  # type: ignore[method-assign]
    team.board.away = True
    node.duty.stop()
    stopped_at = world.clock.monotonic()
    await running
    assert world.clock.monotonic() - stopped_at < 1.0
    team.board.away = False
    await world.clock.sleep(TTL_S)
    team.nodes["a"] = team.make("a")
    await team.run()
    assert (await team.last())["totals"]["same"] == 400


async def test_a_lease_that_is_renewed_no_more_is_said_and_why(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.fill(EQUAL)
    world.source.latency = 1.0
    team = Team(world, "a", page=4)

    async def broken() -> None:
        raise KeyError("a bug")

    team.nodes["a"].seat.keep = broken  # type: ignore[method-assign]
    await team.run()
    assert [record.exc_info for record in caplog.records if "please report it" in record.getMessage()]


async def test_every_node_tells_when_the_last_scan_ended_whoever_concluded_it(world: World) -> None:
    await world.fill(EQUAL)
    team = Team(world, "a", "b")
    await team.run("a")
    ended_at = (await team.last())["finished_at"]
    await world.clock.sleep(60)
    team.nodes["a"] = team.make("a")
    await team.run()
    assert [node.tally.last_finished_at for node in team.nodes.values()] == [ended_at, ended_at]
    assert [node.tally.runs for node in team.nodes.values()] == [0, 0]


async def test_a_node_that_stood_still_as_it_concluded_a_run_says_nothing_over_a_later_one(world: World) -> None:
    stands, goes_on = asyncio.Event(), asyncio.Event()

    class Standing(SharedDocuments):
        async def change(self, name: str, change: Change) -> Mapping[str, Any] | None:
            if name == LAST:
                stands.set()
                await goes_on.wait()
            return await super().change(name, change)

    await world.fill(EQUAL)
    team = Team(world, "b")
    standing = ScanNode(world, "a", MemoryScanBoards(team.board), Standing(team.directory, "scan"))
    standing.seat.keep = goes_on.wait  # type: ignore[assignment,method-assign]
    concluding = asyncio.ensure_future(standing.duty.once())
    await stands.wait()
    await world.clock.sleep(TTL_S)
    await team.run()
    world.clock.step(DAY)
    await team.run()
    later = await team.last()
    assert later["run"] == 2
    goes_on.set()
    await concluding
    assert await team.last() == later


async def test_nodes_with_other_rules_stay_away_until_it_is_over(world: World) -> None:
    await world.fill(EQUAL)
    world.source.latency = 1.0
    team = Team(world, "a", page=40)
    running = asyncio.ensure_future(team.run())
    await world.clock.sleep(3)
    world.rules = (MirrorRule("photos", "0", "t"),)
    other = team.make("b")
    await other.duty.once()
    assert other.tally.keys == 0
    await running
    assert (await team.last())["totals"]["same"] == 400
    # A run that nobody is at any more, under rules of yesterday, is begun anew under those of today.
    await world.clock.sleep(DAY)
    again = asyncio.ensure_future(team.run())
    await world.clock.sleep(3)
    team.nodes["a"].duty.stop()
    await again
    assert team.board.text is not None
    await other.duty.once()
    last = await team.last()
    assert (last["run"], last["totals"]["same"]) == (3, 400)


async def test_an_orderly_stop_keeps_what_is_done(world: World) -> None:
    await world.fill(EQUAL)
    world.source.latency = 1.0
    team = Team(world, "a", "b", page=4)
    running = asyncio.ensure_future(team.run("a"))
    await world.clock.sleep(20)
    team.nodes["a"].duty.stop()
    await running
    done = team.nodes["a"].tally.keys
    await team.run("b")
    assert (await team.last())["nodes"] == {"a": done, "b": 400 - done}
    assert team.nodes["b"].tally.keys == 400 - done
    assert done > 0


async def test_a_node_that_waits_for_room_in_its_journal_can_be_stopped(world: World) -> None:
    await world.fill([*GONE, *KEPT])
    team = Team(world, "a", limits=GuardLimits(10**6, 1.0))
    await team.run()
    await world.clock.sleep(WEEK + DAY)
    world.node.journal = type(world.node.journal)(0)  # no room at all
    team.nodes["a"] = team.make("a")
    running = asyncio.ensure_future(team.run())
    await world.clock.sleep(60)
    assert not running.done()
    team.nodes["a"].duty.stop()
    await asyncio.wait_for(running, 5)
    assert team.board.text is not None
    assert not team.board.sessions()


# What nodes know by catalogs of their own


async def test_each_node_scans_again_what_it_knows_and_asks_targets_about_nothing(world: World) -> None:
    await world.fill(EQUAL)
    world.source.latency = world.target.latency = 1.0
    team = Team(world, "a", "b", own_catalogs=True, page=4)
    await team.run()
    assert (await team.last())["totals"]["heads"] == 400
    await world.clock.sleep(DAY)
    await team.run()
    # At the end one that is done takes a bit of what the other has.
    assert (await team.last())["totals"]["heads"] <= 100


# Deleting (I6)

GONE = [Place(f"gone{n}", False, "copy", "right") for n in range(6)]
KEPT = [Place(f"{n:04d}", True, "copy", "right") for n in range(60)]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("most", "share", "allowed"), [(6, 0.03, True), (5, 0.03, False), (6, 0.01, False)])
async def test_i6_the_guard_judges_the_whole_run_whoever_found_what(
    world: World, own: bool, most: int, share: float, allowed: bool
) -> None:
    spread = [Place(f"{n * 60:04d}x", False, "copy", "right") for n in range(6)]
    await world.fill([*spread, *EQUAL])
    world.source.latency = world.target.latency = 1.0
    team = Team(world, "a", "b", own_catalogs=own, limits=GuardLimits(most, share))
    await team.run()
    assert not world.deletions
    await world.clock.sleep(WEEK + DAY)
    await team.run()
    last = await team.last()
    assert len(last["nodes"]) == 2
    gone = {place.key for place in spread}
    # What changed hands between the runs is not known to be gone for long enough by a catalog that is one node's.
    assert world.deletions <= gone
    if not own:
        assert world.deletions == (gone if allowed else set())
        assert last["held_back_buckets"] == (0 if allowed else 1)
    assert len(world.deletions) == last["totals"]["deletes_enqueued"]


async def test_i6_a_node_that_sees_another_riak_cs_deletes_nothing(world: World) -> None:
    """Its listing is empty, so all keys in its pieces look gone; the others' listings are right."""
    await world.fill(EQUAL)
    world.source.latency = world.target.latency = 1.0
    other = FakeBuckets("source", world.clock)
    other.store(B).latency = 1.0
    team = Team(world, "a", limits=GuardLimits(10**6, 1.0))
    team.nodes["b"] = team.make("b", source=other)
    for _ in range(2):
        await team.run()
        assert (await team.last())["totals"]["extra"] > 0
        await world.clock.sleep(WEEK + DAY)
    assert not world.deletions
    last = await team.last()
    assert last["held_back_buckets"] == len(last["notes"]) == 1
    assert B in last["notes"][0]


async def test_i6_a_key_that_came_back_while_another_node_scanned_it_begins_a_new_grace_period(world: World) -> None:
    """Node a notes that a key is gone; b sees it again; a scans it once more when it is gone again."""
    await world.fill([*GONE, *KEPT])
    team = Team(world, "a", "b", own_catalogs=True, limits=GuardLimits(10**6, 1.0))
    await team.run("a")
    await world.source.put(Key("gone0"), world.target.data("gone0"))
    await world.clock.sleep(DAY)
    await team.run("b")
    await world.source.delete(Key("gone0"))
    await world.clock.sleep(WEEK)
    await team.run("a")
    assert not world.deletions
    await world.clock.sleep(WEEK + DAY)
    await team.run("a")
    assert world.deletions == {place.key for place in GONE}


async def test_i6_a_listing_that_fails_in_the_middle_deletes_nothing(world: World) -> None:
    await world.fill([*GONE, *KEPT])
    team = Team(world, "a", "b", limits=GuardLimits(10**6, 1.0))
    await team.run()
    await world.clock.sleep(WEEK + DAY)
    lists = 0

    def fault(op: str, key: Key) -> None:
        nonlocal lists
        lists += op == "list"
        if lists > 4:
            raise Unavailable("the listing broke off")

    world.source.fault = fault
    await team.run()
    assert (await team.last())["failed_buckets"] == 1
    assert not world.deletions


async def test_together_they_keep_to_a_rules_limit(world: World) -> None:
    """Each node has the limit for itself, as for its copies, and takes for all that scan."""
    await world.fill(EQUAL)
    world.source.latency = world.target.latency = 0.01
    limit_s = 20.0
    plan = LanePlan((), (Limit(requests_per_s=limit_s),))
    team = Team(world, page=2, workers=4)
    for name in "abc":
        lanes = Lanes(world.clock, {world.rules[0].name: plan}, concurrency=4)

        async def admit(rule: MirrorRule, requests: int, lanes: Lanes = lanes) -> bool:
            return await lanes.admit(rule.name, requests, 0)

        team.nodes[name] = team.make(name, admit=admit)
    began = world.clock.monotonic()
    before = sum(world.source.calls.values()) + sum(world.target.calls.values())
    await team.run()
    took_s = world.clock.monotonic() - began
    requests = sum(world.source.calls.values()) + sum(world.target.calls.values()) - before
    last = await team.last()
    assert last["totals"]["same"] == 400
    assert min(last["nodes"].values()) > 0
    assert requests >= 400
    # Each bucket holds a second's worth at first, and nobody else is seen in the first moment.
    assert requests <= limit_s * (took_s + 3)
    assert requests >= limit_s * took_s * 0.5
