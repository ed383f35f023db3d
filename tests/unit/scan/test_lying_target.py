"""A target whose listing is old, that loses what it took, or damages it: found and repaired; on virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.retry import RetrySchedule
from controlplane.ports.errors import MillraceError
from controlplane.ports.object_store import Page
from controlplane.services.scan_queue import JournalSink
from tests.support.fakes import damage, shorten
from tests.support.scan_world import World
from tests.support.virtual_time import VirtualClock


class StaleListing:
    """The target lists what it had `age_s` ago, as S3 did before December 2020; what it is asked by name is true."""

    def __init__(self, world: World, age_s: float) -> None:
        self._world = world
        self._age_s = age_s
        self._list = world.target.list
        self._past: list[tuple[float, tuple[Any, ...]]] = []
        world.target.list = self._stale  # type: ignore[method-assign]

    async def remember(self) -> None:
        page = await self._list(limit=1000)
        self._past.append((self._world.clock.now(), page.objects))

    async def _stale(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        await self.remember()
        seen = self._world.clock.now() - self._age_s
        objects = next((objects for at, objects in reversed(self._past) if at <= seen), ())
        rows = [info for info in objects if info.key.startswith(prefix) and (after is None or info.key > after)]
        return Page(tuple(rows[:limit]), rows[limit - 1].key if len(rows) > limit else None)

    def heal(self) -> None:
        self._world.target.list = self._list  # type: ignore[method-assign]


@pytest.fixture
async def world(clock: VirtualClock, tmp_path: Path) -> World:
    return World(clock, tmp_path / "spool")


async def test_what_a_stale_listing_leaves_out_is_copied_once_more_and_nothing_else(world: World) -> None:
    listing = StaleListing(world, age_s=60)
    await world.node.put("a", b"x")
    await world.node.drain()
    queue = JournalSink(world.node.journal, world.clock, share=0.5)
    report = await world.run(queue).run()
    assert (report.totals.missing, report.totals.enqueued) == (1, 1)
    await world.node.drain(world.node.new_mirror())
    assert world.node.copies() == {"a": b"x"}
    await listing.remember()
    await world.clock.sleep(61)
    # As soon as it is listed nothing is asked and nothing is told.
    report = await world.run(queue).run()
    assert (report.totals.same, report.totals.differences) == (1, 0)


async def test_what_a_stale_listing_still_shows_is_no_copy_of_anything(world: World) -> None:
    listing = StaleListing(world, age_s=60)
    for key in ("a", "b", "c"):
        await world.node.put(key, b"x")
    await world.node.drain()
    await listing.remember()
    await world.clock.sleep(61)
    await world.run().run()
    await world.node.delete("a")
    await world.node.drain(world.node.new_mirror())
    assert world.node.copies() == {"b": b"x", "c": b"x"}
    report = await world.run(deletes=world.deletes(most=10, share=1.0, grace_s=0.0)).run()
    assert report.totals.extra == 1
    await world.clock.sleep(1)
    report = await world.run(deletes=world.deletes(most=10, share=1.0, grace_s=0.0)).run()
    # By name the target says that it has nothing there: there is nothing to delete.
    assert not world.deletions
    await listing.remember()
    await world.clock.sleep(61)
    assert (await world.run().run()).totals.differences == 0


@pytest.mark.parametrize("fault", ["lost", "damaged", "short", "replaced"])
async def test_what_goes_wrong_after_it_was_proved_is_found_by_the_next_scan(world: World, fault: str) -> None:
    """200, the right ETag at every look, and then gone: only who looks again can know."""
    for key in ("a", "b"):
        await world.node.put(key, b"some bytes")
    await world.node.drain()
    match fault:
        case "lost":
            await world.target.delete(Key("a"))
        case "damaged":
            damage(world.target, "a")
        case "short":
            shorten(world.target, "a")
        case _:
            world.target.replace_bytes("a", b"other byte", honest_etag=True)
    queue = JournalSink(world.node.journal, world.clock, share=0.5)
    report = await world.run(queue).run()
    assert (report.totals.to_copy, report.totals.same) == (1, 1)
    await world.node.drain(world.node.new_mirror())
    assert world.node.copies() == {"a": b"some bytes", "b": b"some bytes"}
    assert (await world.run(queue).run()).totals.differences == 0


@given(seed=st.integers(0, 1 << 32))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
async def test_whatever_a_target_does_its_copies_are_right_in_the_end(
    clock: VirtualClock, tmp_path: Path, seed: int
) -> None:
    """Writes and deletes, scans over a listing that lags behind, puts that keep nothing, half, or a wrong bit, and
    copies that go bad later. After it has become honest, a scan and what it enqueued make both sides equal."""
    draw = random.Random(seed)
    rule = MirrorRule("photos", "", "t")
    path = tmp_path / f"spool{len(list(tmp_path.iterdir()))}"
    world = World(clock, path, rule, schedule=RetrySchedule(0.5, 2.0, 5.0, budget=1000), bulk=draw.random() < 0.5)
    listing = StaleListing(world, age_s=draw.choice((0.0, 3.0, 30.0)))
    queue = JournalSink(world.node.journal, clock, share=0.5)
    expected: dict[str, bytes] = {}

    async def drain_for_ever() -> None:
        while True:
            with contextlib.suppress(MillraceError):
                if await world.node.mirror.once():
                    continue
            await clock.sleep(0.1)

    agent = asyncio.ensure_future(drain_for_ever())
    for number in range(draw.randint(1, 20)):
        world.target.lie = draw.choice((None, None, "nothing", "damage", "short", "etag"))
        key = draw.choice("abcde")
        match draw.random():
            case chance if chance < 0.25:
                await world.node.delete(key)
                expected.pop(key, None)
            case chance if chance < 0.4 and world.target.has(key):
                draw.choice((damage, shorten))(world.target, key)
            case chance if chance < 0.5 and world.target.has(key):
                await world.target.delete(Key(key))
            case chance if chance < 0.65:
                await world.run(queue).run()
            case _:
                expected[key] = b"%d bytes" % number
                await world.node.put(key, expected[key])
        await listing.remember()
        await clock.sleep(draw.choice((0.05, 1.0, 4.0, 40.0)))
    world.target.lie = None
    listing.heal()
    agent.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await agent
    world.node.mirror = world.node.new_mirror()
    await world.node.journal.revive(None, clock.now())
    await world.node.drain()
    report = await world.run(queue).run()
    assert report.failed == 0
    await world.node.drain(world.node.new_mirror())
    assert world.node.copies() == expected
    assert (await world.run(queue).run()).totals.differences == 0
    world.node.spool.close()
