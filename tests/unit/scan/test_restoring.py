"""What Riak CS lost comes back from the copies, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.model.copy_record import decode_copy_record
from controlplane.model.hybrid_clock import last_stamp
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_join import Difference, Kind
from controlplane.model.scan_state import Unit
from controlplane.ports.directory import Versioned
from controlplane.ports.errors import MillraceError, NotFound, Rejected, Unavailable
from controlplane.ports.journal import Journal
from controlplane.ports.upstream import Ask, KeyPair, Reply
from controlplane.services.fetch_sharing import FetchSharing
from controlplane.services.fill_fence import FillFence
from controlplane.services.object_read_through import ObjectReadThrough
from controlplane.services.restoring import Restorer
from tests.support.fakes import damage, failing
from tests.support.object_node import OWNER, B, ObjectNode
from tests.support.scan_world import World
from tests.support.virtual_time import VirtualClock

THROUGH = MirrorRule("photos", "", "t", read_through=True)
PLAIN = MirrorRule("photos", "", "t", name="far")
NewRestorer = Callable[..., Restorer]


@pytest.fixture
def world(clock: VirtualClock, tmp_path: Path) -> World:
    return World(clock, tmp_path / "spool", THROUGH)


async def owner(bucket: Bucket) -> KeyPair:
    assert bucket == B
    return OWNER


def restorer(world: World, up_to_seq: int | None = None) -> Restorer:
    return Restorer(world.node.through, targets=dict(world.node.targets), owner=owner, up_to_seq=up_to_seq)


async def test_a_lost_bucket_comes_back_whole(world: World) -> None:
    written = {"empty": b"", "small": b"abc", "large": bytes(range(256)) * 8192}
    for name, data in written.items():
        await world.node.put(name, data, metadata={"name": name})
    await world.node.put("kept", b"kept")
    await world.node.drain()
    for name in written:
        world.node.lose(name)
    restore = restorer(world)
    await world.run(restore).run()
    assert (restore.result.objects, restore.result.failed) == (3, 0)
    assert restore.result.bytes == sum(map(len, written.values()))
    for name, data in written.items():
        info = await world.source.head(Key(name))
        assert world.source.data(name) == data
        assert (info.content_type, info.metadata["name"]) == ("text/plain", name)
    # Written anew with the same bytes: nothing is to be copied again.
    report = await world.run().run()
    assert (report.totals.differences, report.totals.same) == (0, 4)
    assert (await world.run().run()).totals.heads == 0


async def test_what_was_deleted_and_what_is_there_in_another_version_stays_as_it_is(world: World) -> None:
    for name in ("deleted", "newer"):
        await world.node.put(name, b"old")
    await world.node.drain()
    await world.node.delete("deleted")
    await world.source.put(Key("newer"), b"new")
    restore = restorer(world)
    await world.run(restore).run()
    assert (restore.result.objects, restore.result.left_alone) == (0, 1)
    assert world.source.names == ["newer"]
    assert world.source.data("newer") == b"new"


@pytest.fixture
def plain(clock: VirtualClock, tmp_path: Path) -> World:
    """Under a rule that does not read through, as most are: no tombstone says what was deleted."""
    return World(clock, tmp_path / "plain-spool", PLAIN)


def restorer_of_all(node: ObjectNode, fence: FillFence, *, journal: Journal | None, **more: Any) -> Restorer:
    """As the command makes it: every rule is read through by it."""
    through = ObjectReadThrough(
        [replace(rule, read_through=True) for rule in node.rules],
        targets=dict(node.targets),
        tombstones=node.tombstones,
        upstream=node.upstream,
        fence=fence,
        spool=node.spool,
        records=node.records,
        sharing=FetchSharing(node.clock),
    )
    return Restorer(through, targets=dict(node.targets), owner=owner, journal=journal, rules=["far"], **more)


@pytest.mark.parametrize("state", ["pending", "a dead letter"])
async def test_i4_what_the_journal_says_to_be_deleted_is_not_put_back_unless_that_is_asked_for(
    plain: World, state: str
) -> None:
    """The target is away, or the grace of deletes is not over: the copy is there, and the object was deleted."""
    for name in ("deleted", "lost", "rewritten"):
        await plain.node.put(name, b"bytes")
    await plain.node.drain()
    for name in ("deleted", "rewritten"):
        await plain.node.delete(name)
    await plain.node.put("rewritten", b"newer")
    for name in ("lost", "rewritten"):
        plain.node.lose(name)
    if state == "a dead letter":
        for task in plain.node.journal.open_tasks:
            await plain.node.journal.bury(task.seq, attempts=9, error="locked")
    fence = FillFence(plain.clock, plain.node.source)
    restore = restorer_of_all(plain.node, fence, journal=plain.node.journal)
    await plain.run(restore).run()
    assert (restore.result.objects, restore.result.deleted, restore.result.failed) == (2, 1, 0)
    assert plain.source.names == ["lost", "rewritten"]
    restore = restorer_of_all(plain.node, fence, journal=None)
    await plain.run(restore).run()
    assert restore.result.objects == 1
    assert plain.source.names == ["deleted", "lost", "rewritten"]


async def test_gateways_are_told_once_before_the_first_is_put_back_and_not_for_nothing(plain: World) -> None:
    told = 0

    async def begin() -> None:
        nonlocal told
        told += 1
        await plain.clock.sleep(6)
        assert plain.source.names == []

    for number in range(12):
        await plain.node.put(f"k{number:02}", b"bytes")
    await plain.node.drain()
    restore = restorer_of_all(plain.node, FillFence(plain.clock, plain.node.source), journal=None, begin=begin)
    await plain.run(restore, workers=3).run()
    assert told == 0
    for number in range(12):
        plain.node.lose(f"k{number:02}")
    await plain.run(restore, workers=3).run()
    assert (told, restore.result.objects) == (1, 12)


@pytest.mark.parametrize("at", ["head", "put"])
async def test_what_a_killed_restore_was_at_is_told_and_comes_back_later(
    plain: World, clock: VirtualClock, at: str
) -> None:
    """Its mark in etcd outlives it. An operator who calls the command again must not take that for a deletion."""
    directory = InProcessDirectory(clock)
    await plain.node.put("a", b"bytes")
    await plain.node.drain()
    plain.node.lose("a")
    fence = FillFence(clock, plain.node.source, directory)

    def hang(ask: Ask) -> None:
        if ask.method == at.upper():
            raise asyncio.CancelledError

    send = plain.node.upstream.send

    async def killed(ask: Ask) -> Reply:
        hang(ask)
        return await send(ask)

    plain.node.upstream.send = killed  # type: ignore[method-assign]
    swap = directory.compare_and_swap

    async def dead(name: str, expected: int | None, value: str | None, ttl_s: float | None = None) -> int | None:
        return None if value == "done" else await swap(name, expected, value, ttl_s)

    directory.compare_and_swap = dead  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await restorer_of_all(plain.node, fence, journal=None).take(
            Unit(PLAIN, B, ""), [Difference(Kind.EXTRA, Key("a"), 5, "")]
        )
    plain.node.upstream.send = send  # type: ignore[method-assign]
    directory.compare_and_swap = swap  # type: ignore[method-assign]
    restore = restorer_of_all(plain.node, FillFence(clock, plain.node.source, directory), journal=None)
    await plain.run(restore).run()
    assert (restore.result.objects, restore.result.left_alone, restore.result.failed) == (0, 0, 1)
    assert "run the same command again" in restore.result.failures[0]
    await clock.sleep(361)
    restore = restorer_of_all(plain.node, fence, journal=None)
    await plain.run(restore).run()
    assert (restore.result.objects, restore.result.failed) == (1, 0)


async def test_what_is_lost_again_right_after_it_was_put_back_is_put_back_again(
    plain: World, clock: VirtualClock
) -> None:
    directory = InProcessDirectory(clock)
    await plain.node.put("a", b"bytes")
    await plain.node.drain()
    fence = FillFence(clock, plain.node.source, directory)
    for _ in range(3):
        plain.node.lose("a")
        restore = restorer_of_all(plain.node, fence, journal=None)
        await plain.run(restore).run()
        assert (restore.result.objects, restore.result.left_alone) == (1, 0)


@pytest.mark.parametrize("step", range(14))
@pytest.mark.parametrize("do", ["write", "delete"])
async def test_a_restore_never_undoes_what_a_client_does_meanwhile(
    plain: World, clock: VirtualClock, do: str, step: int
) -> None:
    """Through a gateway of another machine, under a rule that does not read through: its writes look for no mark."""
    directory = InProcessDirectory(clock)
    gateway = ObjectNode(
        clock, plain.node.spool_path.parent / "other-spool", PLAIN, like=plain.node, directory=directory
    )
    await gateway.put("a", b"old")
    await gateway.drain()
    plain.node.lose("a")
    await gateway.put("b", b"the gateway has just looked, and seen no restore")
    fence = FillFence(clock, plain.node.source, directory)

    async def restore() -> None:
        async with fence.everywhere():
            for store in (plain.source, plain.target):
                store.latency = 1.0
            await plain.run(restorer_of_all(plain.node, fence, journal=gateway.journal)).run()

    restoring = asyncio.ensure_future(restore())
    await clock.sleep(6 + step * 0.7 + 0.1)
    acknowledged = False
    while not acknowledged:
        try:
            await (gateway.put("a", b"newer") if do == "write" else gateway.delete("a"))
            acknowledged = True
        except Unavailable:
            await clock.sleep(0.3)  # the client tries again
    await restoring
    for store in (plain.source, plain.target):
        store.latency = 0.0
    if do == "write":
        assert plain.source.data("a") == b"newer"
    else:
        assert not plain.source.has("a")
    await gateway.drain()
    assert gateway.copies().get("a") == (b"newer" if do == "write" else None)


@pytest.mark.parametrize("error", [Unavailable("etcd is away"), Rejected("etcd refused /v3/kv/range: no permission")])
async def test_without_etcd_no_restore_begins_and_i10_writes_ask_riak_cs(
    plain: World, clock: VirtualClock, error: MillraceError
) -> None:
    directory = InProcessDirectory(clock)

    class Away(InProcessDirectory):
        async def get(self, name: str) -> Versioned | None:
            raise error

    with pytest.raises(type(error), match="etcd"):
        async with FillFence(clock, plain.node.source, Away(clock)).everywhere():
            pass
    gateway = ObjectNode(
        clock, plain.node.spool_path.parent / "other-spool", PLAIN, like=plain.node, directory=Away(clock)
    )
    heads = plain.source.calls.get("head", 0)
    await gateway.put("a", b"1")
    await gateway.delete("a")
    assert plain.source.calls["head"] - heads == 2
    fence = FillFence(clock, plain.node.source, directory)
    async with fence.everywhere():
        directory.get = Away(clock).get  # type: ignore[method-assign]
        await clock.sleep(121)
        with pytest.raises(Unavailable, match="not told any more"):
            async with fence.filling(B, Key("a")):
                pass


async def test_a_damaged_copy_is_not_put_back_and_the_others_are(world: World) -> None:
    for name in ("bad", "good"):
        await world.node.put(name, b"bytes")
    await world.node.drain()
    damage(world.target, "bad", honest_etag=False)
    for name in ("bad", "good"):
        world.node.lose(name)
    restore = restorer(world)
    await world.run(restore).run()
    assert (restore.result.objects, restore.result.failed) == (1, 1)
    assert "damaged" in restore.result.failures[0]
    assert world.source.names == ["good"]


async def test_as_of_a_time_only_what_was_written_by_then_comes_back(world: World) -> None:
    await world.node.put("early", b"1")
    await world.clock.sleep(10)
    then = world.clock.now()
    await world.clock.sleep(10)
    await world.node.put("late", b"2")
    await world.node.drain()
    for name in ("early", "late"):
        world.node.lose(name)
    restore = restorer(world, last_stamp(then))
    await world.run(restore).run()
    assert (restore.result.objects, restore.result.newer) == (1, 1)
    assert world.source.names == ["early"]


@pytest.mark.parametrize("last", [0, 1, 2, 3])
async def test_up_to_an_entry_of_the_journal_and_that_one_too(world: World, last: int) -> None:
    """Nothing of a later entry, and all of that one and of those before it."""
    for name in "abc":
        await world.node.put(name, name.encode())
        await world.clock.sleep(1)
    await world.node.drain()
    records = [decode_copy_record((await world.target.head(Key(name))).metadata) for name in "abc"]
    seqs = [0, *(record.seq for record in records if record is not None)]
    assert sorted(set(seqs)) == seqs
    assert len(seqs) == 4
    for name in "abc":
        world.node.lose(name)
    restore = restorer(world, seqs[last])
    await world.run(restore).run()
    assert (restore.result.objects, restore.result.newer) == (last, 3 - last)
    assert world.source.names == list("abc"[:last])


async def test_up_to_an_entry_what_was_overwritten_since_is_not_put_back(world: World) -> None:
    """The target holds the newest only: an older state is said to be lost, not replaced by a newer one."""
    await world.node.put("a", b"old")
    await world.node.drain()
    said = decode_copy_record((await world.target.head(Key("a"))).metadata)
    assert said is not None
    await world.node.put("a", b"new")
    await world.node.drain()
    world.node.lose("a")
    restore = restorer(world, said.seq)
    await world.run(restore).run()
    assert (restore.result.objects, restore.result.newer, restore.result.failed) == (0, 1, 0)
    assert world.source.names == []


async def test_i5_an_outage_is_told_and_the_next_call_goes_on(world: World) -> None:
    await world.node.put("a", b"1")
    await world.node.drain()
    world.node.lose("a")
    world.target.fault = failing("get")
    restore = restorer(world)
    await world.run(restore).run()
    assert (restore.result.objects, restore.result.failed) == (0, 1)
    world.target.fault = None
    restore = restorer(world)
    await world.run(restore).run()
    assert restore.result.objects == 1


async def test_why_an_object_did_not_come_back_is_told_in_words_also_when_time_was_up(world: World) -> None:
    await world.node.put("a", b"1")
    await world.node.drain()
    world.node.lose("a")

    def slow(op: str, key: Key) -> None:
        if op == "get":
            raise TimeoutError

    world.target.fault = slow
    restore = restorer(world)
    await world.run(restore).run()
    assert restore.result.failures == [f"{B}/a: it took too long"]


async def test_a_bucket_that_nobody_owns_is_told(world: World) -> None:
    async def nobody(bucket: Bucket) -> KeyPair:
        raise NotFound(f"no user owns {bucket}")

    await world.node.put("a", b"1")
    await world.node.drain()
    world.node.lose("a")
    report = await world.run(Restorer(world.node.through, targets=dict(world.node.targets), owner=nobody)).run()
    assert report.failed == 1
    assert "no user owns" in report.units[0].error


async def test_bring_back_raises_what_it_meets(world: World) -> None:
    await world.node.put("a", b"1")
    await world.node.drain()
    world.node.lose("a")
    world.target.fault = failing("head")
    with pytest.raises(Unavailable):
        await world.node.through.bring_back(B, Key("a"), OWNER)
    world.target.fault = None
    assert await world.node.through.bring_back(B, Key("a"), OWNER)
    assert not await world.node.through.bring_back(B, Key("a"), OWNER)
    assert not await world.node.through.bring_back(B, Key("never"), OWNER)
