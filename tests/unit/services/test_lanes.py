"""Targets do not wait for each other; what is paused rests, what is limited keeps to it, what fails is told apart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.system_clock import SystemClock
from controlplane.model.failures import Failure
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.rate import Limit
from controlplane.model.retry import RetrySchedule
from controlplane.model.task import Draft, Op, TaskState
from controlplane.ports.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    MillraceError,
    Missing,
    Rejected,
    Throttled,
    Unavailable,
)
from controlplane.ports.journal import EVERY_RULE
from controlplane.services.lanes import LanePlan, Lanes
from controlplane.services.mirror import category
from tests.support.fakes import failing
from tests.support.object_node import B, ObjectNode
from tests.support.virtual_time import VirtualClock

NEAR = MirrorRule("*", "", "t", name="near")
FAR = MirrorRule("*", "", "u", name="far")
NewNode = Callable[..., ObjectNode]


@pytest.fixture
def new_node(clock: VirtualClock, tmp_path: Path) -> Iterator[NewNode]:
    nodes: list[ObjectNode] = []

    def make(*rules: MirrorRule, **more: Any) -> ObjectNode:
        node = ObjectNode(clock, tmp_path / f"spool{len(nodes)}", *(rules or (NEAR, FAR)), **more)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.spool.close()


async def run_for(node: ObjectNode, seconds: float) -> None:
    until = node.clock.monotonic() + seconds
    while node.clock.monotonic() < until:
        if not await node.mirror.once():
            await node.clock.sleep(0.1)


async def test_a_target_that_is_away_holds_up_nobody_else(new_node: NewNode) -> None:
    node = new_node()
    node.targets["u"].store(B).fault = failing()
    for number in range(600):  # more than a batch
        await node.put(f"k{number}", b"%d" % number)
    await run_for(node, 20)
    assert len(node.copies()) == 600
    figures = await node.journal.rules()
    assert (figures["near"].pending, figures["near"].copied, figures["far"].pending) == (0, 600, 600)
    assert all(task.attempts == 0 for task in node.journal.open_tasks)  # an outage burns no budget
    await node.put("late", b"x")
    await run_for(node, 1)
    assert node.copies()["late"] == b"x"
    node.targets["u"].store(B).fault = None
    await node.drain()
    assert len(node.copies("u")) == 601


async def test_a_slow_target_leaves_another_its_workers(new_node: NewNode) -> None:
    node = new_node()
    node.targets["u"].store(B).latency = 30.0
    for number in range(100):
        await node.put(f"k{number}", b"%d" % number)
    await run_for(node, 10)
    assert len(node.copies()) == 100


async def test_an_object_that_one_target_refuses_is_a_dead_letter_of_that_rule_only(new_node: NewNode) -> None:
    node = new_node(schedule=RetrySchedule(0.1, 1.0, 1.0, budget=2))
    node.targets["u"].store(B).fault = failing("put", key="bad", error=lambda: Forbidden("no"))
    await node.put("bad", b"1")
    await node.drain()
    (letter,) = await node.journal.failed()
    assert (letter.draft.rule, letter.failure, letter.attempts) == ("far", Failure.FORBIDDEN, 2)
    assert node.copies() == {"bad": b"1"}


async def test_an_entry_that_names_no_rule_becomes_one_for_each(new_node: NewNode) -> None:
    """As gateways wrote them before there were entries for rules."""
    node = new_node()
    info = await node.source.store(B).put(Key("a"), b"1")
    await node.journal.append(Draft(Op.PUT_OBJECT, B, Key("a"), etag=info.etag, object_size=1), node.clock.now())
    await node.drain()
    assert node.copies() == node.copies("u") == {"a": b"1"}


async def test_a_rule_that_was_renamed_loses_nothing(new_node: NewNode) -> None:
    old = new_node()
    await old.put("a", b"1")
    await old.put("b", b"2")
    await old.delete("b")
    new = new_node(MirrorRule("*", "", "t", name="renamed"), FAR, like=old)
    new.journal = old.journal
    new.mirror = new.new_mirror()
    await new.drain()
    assert new.copies() == new.copies("u") == {"a": b"1"}


async def test_a_paused_rule_rests_and_the_others_do_not(new_node: NewNode) -> None:
    node = new_node()
    await node.journal.pause("far", node.clock.now())
    await node.put("a", b"1")
    await run_for(node, 5)
    assert (node.copies(), node.copies("u")) == ({"a": b"1"}, {})
    fresh = node.new_mirror()  # a restart does not end a pause
    for _ in range(30):
        await fresh.once()
        await node.clock.sleep(0.1)
    assert node.copies("u") == {}
    await node.journal.resume("far")
    await node.drain()
    assert node.copies("u") == {"a": b"1"}


async def test_everything_can_be_paused(new_node: NewNode) -> None:
    node = new_node()
    await node.journal.pause(EVERY_RULE, node.clock.now())
    await node.put("a", b"1")
    await run_for(node, 5)
    assert node.copies() == node.copies("u") == {}
    assert await node.journal.resume(EVERY_RULE)
    await node.drain()
    assert node.copies() == node.copies("u") == {"a": b"1"}


async def test_overwrites_end_with_the_newest_at_every_target(new_node: NewNode) -> None:
    node = new_node()
    node.targets["u"].store(B).fault = failing("put")
    for number in range(5):
        await node.put("a", b"%d" % number)
        await run_for(node, 0.5)
    assert node.copies() == {"a": b"4"}
    node.targets["u"].store(B).fault = None
    await node.drain()
    assert node.copies("u") == {"a": b"4"}
    assert node.targets["u"].store(B).calls.get("delete", 0) == 0  # never absent in between


@pytest.mark.parametrize("away", ["t", "u", "none"])
async def test_i4_a_tombstone_goes_when_the_last_target_has_deleted(new_node: NewNode, away: str) -> None:
    rules = [MirrorRule("*", "", target, read_through=True) for target in ("t", "u")]
    node = new_node(*rules)
    await node.put("a", b"1")
    await node.drain()
    if away != "none":
        node.targets[away].store(B).fault = failing()
    await node.delete("a")
    await run_for(node, 20)
    if away != "none":
        assert await node.tombstones.has(B, Key("a"))
        assert await node.read("a") is None
        node.targets[away].store(B).fault = None
    await node.drain()
    assert node.copies() == node.copies("u") == {}
    assert not await node.tombstones.has(B, Key("a"))
    assert await node.read("a") is None


async def test_a_delete_waits_for_its_grace(new_node: NewNode) -> None:
    node = new_node(NEAR, delete_grace_s=3600.0)
    await node.put("a", b"1")
    await node.drain()
    await node.delete("a")
    await run_for(node, 3590)
    assert node.copies() == {"a": b"1"}
    (task,) = node.journal.open_tasks
    assert (task.attempts, task.failure) == (0, None)
    await run_for(node, 30)
    assert node.copies() == {}


async def test_what_is_written_again_within_the_grace_does_not_wait_for_it(new_node: NewNode) -> None:
    node = new_node(NEAR, delete_grace_s=3600.0)
    await node.put("a", b"1")
    await node.drain()
    await node.delete("a")
    await run_for(node, 10)
    await node.put("a", b"2")
    await run_for(node, 15)
    assert node.copies() == {"a": b"2"}
    assert node.journal.open_tasks == []
    assert node.targets["t"].store(B).calls.get("delete", 0) == 0


async def test_a_limit_of_bytes_is_kept(clock: VirtualClock) -> None:
    lanes = Lanes(clock, {"far": LanePlan((), (Limit(bytes_per_s=1000.0),)), "near": LanePlan(())}, concurrency=4)
    began = clock.monotonic()
    for _ in range(10):
        assert await lanes.admit("far", 4, 1000)
    assert clock.monotonic() - began == pytest.approx(9.0, abs=0.6)  # one second's worth is there at once
    assert await lanes.admit("near", 4, 10**12)
    assert await lanes.admit("unheard-of", 4, 10**12)


async def test_a_busy_machine_does_not_lower_the_rate(clock: VirtualClock) -> None:
    class Late(SystemClock):
        """Wakes whoever sleeps half a second too late."""

        def now(self) -> float:
            return clock.now()

        def monotonic(self) -> float:
            return clock.monotonic()

        async def sleep(self, seconds: float) -> None:
            await clock.sleep(seconds + 0.5)

    lanes = Lanes(Late(), {"far": LanePlan((), (Limit(bytes_per_s=1000.0),))}, concurrency=4)
    began = clock.monotonic()
    await asyncio.gather(*(lanes.admit("far", 4, 1000) for _ in range(20)))
    assert clock.monotonic() - began == pytest.approx(19.0, abs=1.1)


@pytest.mark.parametrize("limit", [Limit(requests_per_s=20.0), Limit(bytes_per_s=5000.0)])
async def test_what_is_copied_together_keeps_to_the_limit_each_second(new_node: NewNode, limit: Limit) -> None:
    """Five small objects a second: so many more than the rate at most as one second's burst and one group are."""
    node = new_node(NEAR)
    lane = node.lanes.of("near")
    lane.plan = LanePlan(lane.plan.stores, (limit,))
    for number in range(300):
        await node.put(f"k{number:03}", bytes(1000))
    for second in range(1, 8):
        await run_for(node, 1)
        assert 5 * (second - 2) <= len(node.copies()) <= 5 * (second + 2)


@pytest.mark.parametrize(("after", "waited_s"), [(None, 60), (100_000.0, 60 + 60), (250.0, 60 + 24_000)])
async def test_who_waits_goes_on_by_the_rate_of_the_next_hours(
    clock: VirtualClock, after: float | None, waited_s: float
) -> None:
    """A body for which the old rate takes hours, a minute before the old rate's time is over."""
    then = time.localtime(clock.now() + 60)
    minute = then.tm_hour * 60 + then.tm_min
    await clock.sleep(60 - then.tm_sec)  # to the full minute
    timetable = [Limit(bytes_per_s=1000.0, from_min=minute, to_min=(minute + 1) % 1440)]
    if after is not None:
        timetable.append(Limit(bytes_per_s=after))
    lanes = Lanes(clock, {"far": LanePlan((), timetable)}, concurrency=4)
    began = clock.monotonic()
    assert await lanes.admit("far", 1, 6_061_000)  # 1000 of them at once, 60,000 until the minute is over
    assert clock.monotonic() - began == pytest.approx(waited_s, abs=1.0)
    assert await lanes.admit("near", 1, 10**12)


async def test_who_waits_for_a_turn_is_told_when_the_process_stops(clock: VirtualClock) -> None:
    lanes = Lanes(clock, {"far": LanePlan((), (Limit(requests_per_s=0.001),))}, concurrency=4)
    lanes.stop()
    assert await lanes.admit("far", 1, 0) is False


async def test_a_clock_that_is_set_back_does_not_make_a_lane_wait_for_the_time_to_come_again(new_node: NewNode) -> None:
    """It was a year ahead when a target was away for a moment; now it is right."""
    node = new_node(NEAR)
    target = node.targets["t"].store(B)
    await node.put("before", b"1")
    node.clock.step(365 * 86_400.0)
    target.fault = failing("put", "check")
    await run_for(node, 10)
    target.fault = None
    node.clock.step(-365 * 86_400.0)
    await node.put("after", b"2")
    await run_for(node, 10)
    assert "after" in node.copies()


async def test_a_target_that_is_away_for_an_hour_fills_neither_log_nor_journal_and_is_soon_found_again(
    new_node: NewNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node = new_node(NEAR)
    for number in range(50):
        await node.put(f"k{number}", b"1")
    target = node.targets["t"].store(B)
    target.fault = failing()
    await run_for(node, 3600)
    assert target.calls["put"] < 1500
    told = [record for record in caplog.records if "is away" in record.getMessage()]
    assert 10 < len(told) == len(caplog.records) < 15
    caplog.clear()
    target.fault = None
    back = node.clock.monotonic()
    await node.drain()
    assert node.clock.monotonic() - back < 5
    assert caplog.records == []
    target.fault = failing()
    await node.put("another", b"1")
    await run_for(node, 1)
    assert "is away" in caplog.text  # another outage is told at once


async def test_a_throttled_lane_slows_down_and_buries_nothing(new_node: NewNode) -> None:
    node = new_node(NEAR, schedule=RetrySchedule(0.1, 1.0, 1.0, budget=2))
    node.targets["t"].store(B).fault = failing("put", error=lambda: Throttled("slow down", 1.0))
    for number in range(20):
        await node.put(f"k{number}", b"1")
    await run_for(node, 120)
    assert all((task.state, task.attempts) == (TaskState.PENDING, 0) for task in node.journal.open_tasks)
    assert node.lanes.of("near").pace.limit < 16
    node.targets["t"].store(B).fault = None
    await node.drain()
    assert len(node.copies()) == 20


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Unavailable("x"), Failure.UNAVAILABLE),
        (Throttled("x"), Failure.THROTTLED),
        (Forbidden("x"), Failure.FORBIDDEN),
        (Rejected("x"), Failure.FORBIDDEN),
        (Missing("x"), Failure.GONE),
        (Corrupt("x"), Failure.CORRUPT),
        (Conflict("x"), Failure.HOPELESS),
    ],
)
def test_errors_have_categories(error: MillraceError, failure: Failure) -> None:
    assert category(error) is failure


async def test_figures_are_exact_after_a_crash(new_node: NewNode) -> None:
    node = new_node(NEAR)
    for number in range(10):
        await node.put(f"k{number}", b"12345")
    await node.clock.sleep(2.0)
    await node.drain()
    node.mirror = node.new_mirror()  # counts nothing itself
    await node.put("more", b"123")
    await node.drain()
    figures = (await node.journal.rules())["near"]
    assert (figures.copied, figures.copied_bytes, figures.pending, sum(figures.lag_counts)) == (11, 53, 0, 11)
    assert figures.lag_total_s >= 20.0
