"""The watch against scripted streams: late, doubled, cancelled, broken and silent ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.adapters.etcd.keyspace import Listing
from controlplane.adapters.etcd.watch import EndpointWatch
from controlplane.adapters.etcd.wire import Json, KeyValue, Nonsense, encode
from controlplane.model.endpoints import EndpointSet
from controlplane.ports.errors import Unavailable
from tests.support.virtual_time import VirtualClock

PREFIX = "/p/"
RECHECK_S = 10.0


def value(weight: int) -> str:
    return json.dumps({"url": "http://x", "weight": weight})


def put(node: str, weight: int, revision: int) -> Json:
    return {"kv": {"key": encode(PREFIX + node), "value": encode(value(weight)), "mod_revision": str(revision)}}


def deleted(node: str, revision: int) -> Json:
    return {"type": "DELETE", "kv": {"key": encode(PREFIX + node), "mod_revision": str(revision)}}


@dataclass
class Script:
    """Steps are lists of messages, or errors to raise; after the last one the stream is silent."""

    steps: list[list[Json] | Exception]
    url: str = "http://m"
    closed: bool = False

    async def messages(self) -> list[Json]:
        if not self.steps:
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed = True


@dataclass
class World:
    """What etcd holds, and the streams that it will open."""

    held: dict[str, int]
    revision: int
    scripts: list[Script]
    cluster_id: int = 1
    closed: bool = False
    opened: list[tuple[int, str]] = field(default_factory=list)
    """Start revision and avoided member of each stream."""
    lists: int = 0
    gave: list[Script] = field(default_factory=list)

    async def list(self, prefix: str) -> Listing:
        self.lists += 1
        kvs = [
            KeyValue((prefix + node).encode(), value(weight).encode(), 1, 1, 0) for node, weight in self.held.items()
        ]
        return Listing(kvs, self.revision, self.cluster_id)

    async def watch(self, key: str, start_revision: int, *, prefix: bool, avoid: str) -> Script:
        self.opened.append((start_revision, avoid))
        self.gave.append(self.scripts.pop(0) if self.scripts else Script([]))
        return self.gave[-1]


@asynccontextmanager
async def watching(world: World, clock: VirtualClock) -> AsyncIterator[Any]:
    keyspace: Any = world
    async with aclosing(EndpointWatch(keyspace, clock, "s", PREFIX, RECHECK_S).sets()) as sets:
        yield sets
    assert all(script.closed for script in world.gave), "a stream was left open"


def shown(found: EndpointSet) -> tuple[dict[str, int], int]:
    return {one.node: one.weight for one in found.endpoints}, found.revision


async def test_what_arrived_together_is_yielded_once(clock: VirtualClock) -> None:
    messages = [{"created": True}, {"events": [put("a", 2, 6), put("b", 3, 6)]}, {"events": [deleted("a", 7)]}]
    async with watching(World({"a": 1}, 5, [Script([messages])]), clock) as sets:
        assert shown(await anext(sets)) == ({"a": 1}, 5)
        assert shown(await anext(sets)) == ({"b": 3}, 7)


async def test_events_of_the_past_are_ignored(clock: VirtualClock) -> None:
    steps: list[list[Json] | Exception] = [
        [{"events": [put("a", 9, 4), put("a", 8, 5)]}],
        [{"events": [put("a", 2, 6)]}],
    ]
    async with watching(World({"a": 1}, 5, [Script(steps)]), clock) as sets:
        assert shown(await anext(sets)) == ({"a": 1}, 5)
        assert shown(await anext(sets)) == ({"a": 2}, 6)


async def test_a_broken_stream_is_resumed_after_the_last_revision_at_another_member(clock: VirtualClock) -> None:
    broken = Script([[{"events": [put("a", 2, 8)]}], Unavailable("broke")])
    world = World({"a": 1}, 5, [broken, Script([[{"events": [put("a", 3, 9)]}]])])
    async with watching(world, clock) as sets:
        assert [shown(await anext(sets)) for _ in range(3)] == [({"a": 1}, 5), ({"a": 2}, 8), ({"a": 3}, 9)]
    assert world.opened == [(6, ""), (9, "http://m")]
    assert world.lists == 1


@pytest.mark.parametrize(
    "step",
    [
        [{"created": True}, {"canceled": True, "compact_revision": "7"}],
        [{"created": True, "canceled": True, "cancel_reason": "etcdserver: permission denied"}],
        [{"events": [{"kv": {"key": "!"}}]}],
        [{"events": 5}],
        Nonsense("a line is too long"),
    ],
)
async def test_what_cannot_be_resumed_is_listed_anew(clock: VirtualClock, step: list[Json] | Exception) -> None:
    world = World({"a": 1}, 5, [Script([step])])
    async with watching(world, clock) as sets:
        await anext(sets)
        world.held, world.revision = {"b": 1}, 9
        assert shown(await anext(sets)) == ({"b": 1}, 9)
    assert world.lists == 2


async def test_a_silent_stream_that_missed_a_change_is_left(clock: VirtualClock) -> None:
    world = World({"a": 1}, 5, [Script([]), Script([[{"events": [put("a", 3, 10)]}]])])
    async with watching(world, clock) as sets:
        await anext(sets)
        world.held, world.revision = {"a": 2}, 9
        began = clock.monotonic()
        assert shown(await anext(sets)) == ({"a": 2}, 9)
        assert clock.monotonic() - began == RECHECK_S
        assert shown(await anext(sets)) == ({"a": 3}, 10)
    assert world.opened == [(6, ""), (10, "http://m")]


async def test_a_silent_stream_that_missed_nothing_is_kept(clock: VirtualClock) -> None:
    world = World({"a": 1}, 5, [Script([])])
    async with watching(world, clock) as sets:
        await anext(sets)
        change = asyncio.ensure_future(anext(sets))
        await clock.sleep(10 * RECHECK_S + 1)
        change.cancel()
        await asyncio.wait([change])
    assert len(world.opened) == 1
    assert world.lists == 11


async def test_refused_watches_are_not_repeated_hotly(clock: VirtualClock) -> None:
    scripts = [Script([[{"created": True, "canceled": True}]]) for _ in range(1000)]
    world = World({"a": 1}, 5, scripts)
    async with watching(world, clock) as sets:
        await anext(sets)
        change = asyncio.ensure_future(anext(sets))
        await clock.sleep(60)
        change.cancel()
        await asyncio.wait([change])
    assert 10 < len(world.opened) < 40


@pytest.mark.parametrize(("revision", "cluster_id"), [(4, 1), (9, 2)])
async def test_a_store_that_went_back_or_is_another_ends_the_watch(
    clock: VirtualClock, revision: int, cluster_id: int
) -> None:
    world = World({"a": 1}, 5, [Script([])])
    async with watching(world, clock) as sets:
        await anext(sets)
        world.revision, world.cluster_id = revision, cluster_id
        with pytest.raises(Unavailable, match="restored or replaced"):
            await anext(sets)


async def test_a_closed_directory_ends_the_watch(clock: VirtualClock) -> None:
    world = World({"a": 1}, 5, [Script([Unavailable("broke")])])
    async with watching(world, clock) as sets:
        await anext(sets)
        world.closed = True
        with pytest.raises(Unavailable, match="closed"):
            await anext(sets)
