"""An agent that was stopped for longer than its lease, between its look at the source and what it does at the target,
and that never wakes for its second look: what it does late harms nothing where the target can compare."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.model.copy_record import decode_copy_record
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.ports.errors import Conflict
from tests.support.fakes import FakeStore
from tests.support.object_node import B, ObjectNode
from tests.support.virtual_time import VirtualClock

PAUSE_S = 60.0
"""Longer than any lease."""
OTHERS = ("b", "c")
RULE = MirrorRule("*", "", "t", name="far")
K = Key("a")
NewNode = Callable[..., ObjectNode]
SIZES = {"small": 10, "in bulk": 10, "spooled": (1 << 20) + 10, "in parts": (3 << 20) + 10}


@pytest.fixture
def new_node(clock: VirtualClock, tmp_path: Path) -> Iterator[NewNode]:
    nodes: list[ObjectNode] = []

    def make(kind: str = "small", **more: Any) -> ObjectNode:
        node = ObjectNode(
            clock,
            tmp_path / f"spool{len(nodes)}",
            RULE,
            bulk=kind == "in bulk",
            concurrency=1 if kind == "in bulk" else 16,
            large_bytes=2 << 20,
            **more,
        )
        node.targets["t"].takes_parts = True
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.spool.close()


class Stopped:
    """The first call of a target's method waits until it is let go; when it has had its effect, its caller is no
    more."""

    def __init__(self, store: FakeStore, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.came = asyncio.Event()
        self._go = asyncio.Event()
        self._after = asyncio.Event()
        real = getattr(store, method)

        async def late(*args: Any, **options: Any) -> Any:
            monkeypatch.setattr(store, method, real)
            self.came.set()
            await self._go.wait()
            try:
                await real(*args, **options)
            finally:
                self._after.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(store, method, late)

    async def acts(self) -> None:
        self._go.set()
        await self._after.wait()


async def killed(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("compares", [True, False], ids=["the target compares", "it does not"])
@pytest.mark.parametrize("first", [b"", b"0"], ids=["first copy", "overwrite"])
@pytest.mark.parametrize("kind", list(SIZES))
async def test_a_late_put_of_a_former_owner_does_not_replace_the_newer_copy(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch, kind: str, first: bytes, compares: bool
) -> None:
    unfenced = () if compares else ("t",)
    former = new_node(kind, unfenced=unfenced)
    owner = new_node(kind, unfenced=unfenced, like=former)
    old, new = b"1" * SIZES[kind], b"2" * (SIZES[kind] + 1)
    if first:
        await former.put(K, first)
        await former.drain()
    late = Stopped(former.targets["t"].store(B), "put", monkeypatch)
    await former.put(K, old)
    for other in OTHERS if kind == "in bulk" else ():
        await former.put(other, b"x")
    working = asyncio.create_task(former.drain())
    await late.came.wait()
    await former.clock.sleep(PAUSE_S)
    await owner.put(K, new)
    await owner.drain()
    assert owner.copies()[K] == new
    await late.acts()
    if not compares:
        # The hole: its entry is closed, and nothing but a scan would find it.
        await killed(working)
        assert former.copies()[K] == old
        return
    assert former.copies()[K] == new
    # One that is not killed goes on: what it finds is what the source has.
    await working
    assert former.copies()[K] == new
    assert former.journal.open_tasks == owner.journal.open_tasks == []
    if kind == "in bulk":
        assert ("put", 3) in former.targets["t"].bulks[B].batches


@pytest.mark.parametrize("compares", [True, False], ids=["the target compares", "it does not"])
@pytest.mark.parametrize("knows", [True, False], ids=["by the catalog", "by a look"])
async def test_a_late_delete_of_a_former_owner_does_not_remove_the_newer_copy(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch, knows: bool, compares: bool
) -> None:
    unfenced = () if compares else ("t",)
    former = new_node(unfenced=unfenced)
    owner = new_node(unfenced=unfenced, like=former)
    copied_by = former if knows else owner
    await copied_by.put(K, b"1")
    await copied_by.drain()
    late = Stopped(former.targets["t"].store(B), "delete", monkeypatch)
    await former.delete(K)
    working = asyncio.create_task(former.drain())
    await late.came.wait()
    await former.clock.sleep(PAUSE_S)
    await owner.put(K, b"22")
    await owner.drain()
    await late.acts()
    if not compares:
        await killed(working)
        assert former.copies() == {}
        return
    assert former.copies() == {K: b"22"}
    await working
    assert former.copies() == {K: b"22"}
    assert former.journal.open_tasks == []


@pytest.mark.parametrize("kind", list(SIZES))
async def test_conditions_cost_no_request(new_node: NewNode, kind: str) -> None:
    """Neither of first copies, nor of others when the catalog knows what is there."""
    counted = []
    for unfenced in ((), ("t",)):
        node = new_node(kind, unfenced=unfenced)
        target, source = node.targets["t"].store(B), node.source.store(B)
        for round_ in range(3):
            for number in range(3):
                await node.put(f"a{number}", b"%d" % round_ * SIZES[kind])
            await node.drain(node.new_mirror())
        counted.append((dict(target.calls), dict(source.calls)))
    assert counted[0] == counted[1]
    assert counted[0][0]["put"] == 9


async def test_what_was_just_put_is_known_when_the_source_has_changed_meanwhile(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = new_node()
    await node.put(K, b"1")
    await node.drain()
    target, source = node.targets["t"].store(B), node.source.store(B)
    real, before = target.put, target.calls["put"]

    async def meanwhile(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(target, "put", real)
        await source.put(Key(K), b"333", content_type="text/plain")
        return await real(*args, **options)

    monkeypatch.setattr(target, "put", meanwhile)
    await node.put(K, b"22")
    await node.drain()
    assert node.copies() == {K: b"333"}
    assert target.calls["put"] - before == 2
    assert node.tally.retried == 0


async def test_a_catalog_that_is_wrong_or_away_only_costs_requests(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = new_node()
    await node.put(K, b"1")
    await node.drain()
    (row,) = await node.catalog.copies(node.targets["t"].name, B)
    for wrong in ("0" * 32, "no ETag at all"):
        await node.catalog.record_copies(node.targets["t"].name, B, [row._replace(target_etag=wrong)])
        await node.put(K, wrong.encode())
        await node.drain(node.new_mirror())
        assert node.copies() == {K: wrong.encode()}
    await node.catalog.forget_copies(node.targets["t"].name, B, [K])
    await node.put(K, b"3")
    await node.drain(node.new_mirror())
    assert node.copies() == {K: b"3"}

    async def away(*args: Any) -> Any:
        raise Conflict("the catalog answers nonsense")

    monkeypatch.setattr(node.catalog, "copies_of", away)
    await node.put(K, b"4")
    await node.drain(node.new_mirror())
    assert node.copies() == {K: b"4"}
    assert node.tally.retried == 0


@pytest.mark.parametrize("refuses", ["if_match", "if_absent"])
async def test_a_target_that_refuses_what_is_true_is_sent_no_conditions(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refuses: str
) -> None:
    node = new_node()
    if refuses == "if_match":
        await node.put(K, b"1")
        await node.drain()
    target = node.targets["t"].store(B)
    real = target.put

    async def strange(*args: Any, **options: Any) -> Any:
        if options.get(refuses):
            raise Conflict("412")
        return await real(*args, **options)

    monkeypatch.setattr(target, "put", strange)
    await node.put(K, b"2")
    await node.drain()
    assert node.copies() == {K: b"2"}
    assert "its own answers call met" in caplog.text
    assert node.tally.retried == 1
    await node.put(K, b"3")
    await node.drain()
    assert node.copies() == {K: b"3"}
    assert node.tally.retried == 1


async def test_two_agents_that_copy_one_key_at_once_both_end(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = new_node()
    two = new_node(like=one)
    late = Stopped(one.targets["t"].store(B), "put", monkeypatch)
    await one.put(K, b"1")
    await two.log.wrote(B, K, (await two.source.store(B).head(K)).etag, 1)
    working = asyncio.create_task(one.drain())
    await late.came.wait()
    await two.drain()
    await late.acts()
    await working
    assert one.copies() == {K: b"1"}
    held = await one.targets["t"].store(B).head(K)
    assert decode_copy_record(held.metadata) is not None
    assert one.journal.open_tasks == two.journal.open_tasks == []
