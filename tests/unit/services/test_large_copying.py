"""Large objects: parts that go on after a crash, never of two versions, never left behind, memory bounded."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.adapters.memory.object_store import MemoryReader
from controlplane.model.content import Md5
from controlplane.model.copy_record import decode_copy_record
from controlplane.model.failures import Failure
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.retry import RetrySchedule
from controlplane.model.task import Draft, Op
from controlplane.ports.errors import Corrupt, MillraceError, NotFound, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.object_store import ObjectReader
from controlplane.ports.object_store import pieces_of as ports_pieces_of
from controlplane.ports.part_store import Part
from controlplane.services import large_copying
from controlplane.services.large_copying import LargeCopier, UploadSweep
from controlplane.services.mirror import Mirror
from tests.support.object_node import B, ObjectNode, object_nodes
from tests.support.part_store import FakeParts
from tests.support.virtual_time import VirtualClock

RULE = MirrorRule("*", "", "t", name="far")
LARGE = bytes(range(256)) * 4096 * 5 + b"and a bit"  # five parts of 1 MiB and a small one
OTHER = LARGE[::-1]
K = Key("large")
NewNode = Callable[..., ObjectNode]


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def new_node(clock: VirtualClock, tmp_path: Path) -> Iterator[NewNode]:
    with object_nodes(clock, tmp_path, RULE, large_bytes=2 << 20, takes_parts=True) as new:
        yield new


def parts_of(node: ObjectNode) -> FakeParts:
    parts = node.targets["t"].parts(B)
    assert parts is not None
    return parts


async def crash_at(node: ObjectNode, monkeypatch: pytest.MonkeyPatch, point: str, nth: int = 1) -> Mirror:
    """Run the mirror until it comes to a fault point; what a fresh process would have comes back."""
    reached = 0
    arrived = asyncio.Event()

    def stop_there(name: str) -> None:
        nonlocal reached
        if name == point:
            reached += 1
            if reached == nth:
                arrived.set()
                raise Crash
        reach(name)

    with monkeypatch.context() as patched:
        patched.setattr(large_copying, "reach", stop_there)
        running = asyncio.ensure_future(node.drain())
        waiting = asyncio.ensure_future(arrived.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        assert arrived.is_set(), f"{point} was never reached"
        for worker in node.mirror.workers:
            worker.cancel()
        for each in (running, *node.mirror.workers):
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError, Crash):
                await each
    node.mirror = node.new_mirror()
    return node.mirror


async def test_it_arrives_whole_with_all_that_is_said_of_it(new_node: NewNode) -> None:
    node = new_node()
    await node.put("large", LARGE, metadata={"a": "b"})
    await node.drain()
    assert node.copies() == {"large": LARGE}
    copy = await node.targets["t"].store(B).head(K)
    record = decode_copy_record(copy.metadata)
    assert record is not None
    assert (record.metadata, copy.content_type) == ({"a": "b"}, "text/plain")
    assert copy.content is not None
    assert copy.content.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert copy.etag.endswith("-6")
    assert sorted(parts_of(node).sent) == [1, 2, 3, 4, 5, 6]
    assert await node.uploads.all() == []
    assert node.source.store(B).calls["get"] == 2 * 6  # ranges, and no body that is not read


@pytest.mark.parametrize(
    ("point", "nth", "parts_kept"),
    [
        ("large.announced", 1, 0),
        ("large.begun", 1, 0),
        ("large.recorded", 1, 0),
        ("large.part", 1, 1),
        ("large.part", 4, 4),
        ("large.sent", 1, 6),
    ],
)
async def test_a_crash_at_any_step_then_it_goes_on_and_leaves_nothing(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch, point: str, nth: int, parts_kept: int
) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await crash_at(node, monkeypatch, point, nth)
    assert node.copies() == {}
    before = len(parts_of(node).sent)
    assert before >= parts_kept
    await node.drain()
    assert node.copies() == {"large": LARGE}
    assert len(parts_of(node).sent) == 6 if parts_kept else True  # no part was sent twice
    assert parts_of(node).open == {}
    assert await node.uploads.all() == []


async def test_a_crash_after_the_completion_does_not_copy_again(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await crash_at(node, monkeypatch, "large.completed")
    await node.drain()
    assert node.copies() == {"large": LARGE}
    assert parts_of(node).begun == 1
    assert await node.uploads.all() == []


async def test_another_version_after_a_crash_takes_nothing_from_the_old_one(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await crash_at(node, monkeypatch, "large.part", 3)
    await node.put("large", OTHER)
    await node.drain()
    assert node.copies() == {"large": OTHER}
    assert parts_of(node).open == {}


async def test_deleted_after_a_crash_its_parts_go(new_node: NewNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await crash_at(node, monkeypatch, "large.part", 3)
    await node.delete("large")
    await node.drain()
    assert node.copies() == {}
    assert parts_of(node).open == {}
    assert await node.uploads.all() == []


async def test_it_never_mixes_two_versions(new_node: NewNode) -> None:
    node = new_node()
    await node.put("large", LARGE)
    writes: list[asyncio.Future[str]] = []

    def overwrite(op: str, number: int) -> None:
        if op == "put_part" and number == 3:
            parts_of(node).fault = lambda op, number: None
            writes.append(asyncio.ensure_future(node.put("large", OTHER)))

    parts_of(node).fault = overwrite
    await node.drain()
    assert node.copies() == {"large": OTHER}
    assert parts_of(node).open == {}


async def test_the_old_copy_stays_until_the_new_one_is_whole(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await node.drain()
    await node.put("large", OTHER)
    await crash_at(node, monkeypatch, "large.part", 5)
    assert node.copies() == {"large": LARGE}
    await node.drain()
    assert node.copies() == {"large": OTHER}


async def test_a_part_that_fails_is_sent_again_and_no_other(new_node: NewNode) -> None:
    node = new_node()
    await node.put("large", LARGE)
    failures = 0

    def fail_twice(op: str, number: int) -> None:
        nonlocal failures
        if op == "put_part" and number == 4 and failures < 2:
            failures += 1
            raise Unavailable("told to")

    parts_of(node).fault = fail_twice
    await node.drain()
    assert node.copies() == {"large": LARGE}
    assert sorted(parts_of(node).sent) == [1, 2, 3, 4, 5, 6]


@pytest.fixture
def put_bodies(monkeypatch: pytest.MonkeyPatch) -> list[bytes | bytearray]:
    """What was given to put_part(). All of it is kept, so that no other object can have its place."""
    bodies: list[bytes | bytearray] = []
    put_part = FakeParts.put_part

    async def put(self: FakeParts, key: Key, upload_id: str, number: int, body: bytes | bytearray, md5: Md5) -> Part:
        bodies.append(body)
        return await put_part(self, key, upload_id, number, body, md5)

    monkeypatch.setattr(FakeParts, "put_part", put)
    return bodies


async def test_parts_are_read_into_the_same_memory_one_after_the_other(
    new_node: NewNode, put_bodies: list[bytes | bytearray]
) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await node.drain()
    assert node.copies() == {"large": LARGE}
    assert len(put_bodies) == 6
    assert len({id(body) for body in put_bodies if len(body) == 1 << 20}) <= 2


async def test_a_range_that_ends_short_is_not_sent_with_what_was_in_its_memory_before(
    new_node: NewNode, put_bodies: list[bytes | bytearray], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, ranges = new_node(), 0

    async def pieces_of(reader: ObjectReader) -> AsyncIterator[bytes | memoryview]:
        nonlocal ranges
        ranges += 1
        async for piece in ports_pieces_of(reader):
            yield piece if ranges != 9 else piece[:-1]  # the third part, when it is read to be sent

    monkeypatch.setattr(large_copying, "pieces_of", pieces_of)
    await node.put("large", LARGE)
    await node.drain()
    assert node.copies() == {"large": LARGE}
    assert ranges > 12
    assert len(put_bodies) == 6


async def test_a_reading_that_breaks_off_leaves_no_digesting_behind(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, beside = new_node(), []

    async def pieces_of(_: ObjectReader) -> AsyncIterator[bytes | memoryview]:
        yield bytes(600 * 1024)
        raise Unavailable("it broke off")

    async def aclose(_: MemoryReader) -> None:
        beside.append(len(asyncio.all_tasks()) - 1)

    await node.put("large", LARGE)
    info = await node.source.store(B).head(K)
    copier = LargeCopier(node.uploads, node.clock, above_bytes=0, buffers=1, admit=node.lanes.admit)
    monkeypatch.setattr(large_copying, "pieces_of", pieces_of)
    monkeypatch.setattr(MemoryReader, "aclose", aclose)
    draft = Draft(Op.PUT_OBJECT, B, K, rule="far")
    with pytest.raises(Unavailable, match="broke off"):
        await copier.copy(draft, node.source.store(B), info, parts_of(node), metadata={})
    assert beside == [0]


async def test_an_upload_that_somebody_aborted_is_begun_anew(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await crash_at(node, monkeypatch, "large.part", 3)
    parts_of(node).open.clear()
    await node.drain()
    assert node.copies() == {"large": LARGE}


async def test_a_damaged_source_is_not_copied_and_said(new_node: NewNode) -> None:
    node = new_node()
    await node.put("large", LARGE)
    node.source.store(B).replace_bytes("large", OTHER, honest_etag=False)
    await node.drain()
    (letter,) = await node.journal.failed()
    assert letter.failure is Failure.CORRUPT
    assert node.copies() == {}
    assert parts_of(node).begun == 0


@pytest.mark.parametrize("lie", ["nothing", "damage", "short"])
async def test_a_lying_target_is_found(new_node: NewNode, lie: str) -> None:
    node = new_node(read_back=True)
    await node.put("large", LARGE)
    node.targets["t"].store(B).lie = lie
    for _ in range(50):
        if not await node.mirror.once():
            await node.clock.sleep(0.1)
    assert len(node.journal.open_tasks) == 1
    node.targets["t"].store(B).lie = None
    await node.drain()
    assert node.copies() == {"large": LARGE}


async def test_uploads_that_nobody_goes_on_with_are_aborted(new_node: NewNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await crash_at(node, monkeypatch, "large.part", 2)
    sweep = UploadSweep(node.uploads, node.clock, parts_of=lambda upload: parts_of(node), after_s=3600)
    await sweep.once()
    assert len(parts_of(node).open) == 1
    await node.clock.sleep(3601)
    await sweep.once()
    assert parts_of(node).open == {}
    assert await node.uploads.all() == []


async def test_an_upload_that_takes_longer_than_that_is_not_abandoned(new_node: NewNode) -> None:
    """Six parts of a second each: nobody takes it for abandoned after two."""
    node = new_node(tell_every_s=0.5)
    sweep = UploadSweep(node.uploads, node.clock, parts_of=lambda upload: parts_of(node), after_s=2.0)
    await node.put("large", LARGE)

    async def sweeps() -> None:
        while True:
            await node.clock.sleep(0.2)
            await sweep.once()

    source = node.source.store(B)
    source.latency = 1.0
    sweeping = asyncio.ensure_future(sweeps())
    await node.drain()
    sweeping.cancel()
    assert node.copies() == {"large": LARGE}
    assert (parts_of(node).begun, sorted(parts_of(node).sent)) == (1, [1, 2, 3, 4, 5, 6])


async def test_a_sweep_that_fails_at_one_upload_aborts_the_others(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = new_node()
    await node.put("large", LARGE)
    await crash_at(node, monkeypatch, "large.part", 2)
    (upload,) = await node.uploads.all()
    away = FakeParts(node.targets["t"].store(B))

    def fail(op: str, number: int) -> None:
        raise Unavailable("away for days")

    away.fault = fail
    await node.uploads.record(replace(upload, rule="older", begun_at=upload.begun_at - 1))
    sweep = UploadSweep(
        node.uploads,
        node.clock,
        parts_of=lambda upload: away if upload.rule == "older" else parts_of(node),
        after_s=3600,
    )
    await node.clock.sleep(3601)
    with pytest.raises(Unavailable, match="away for days"):
        await sweep.once()
    assert parts_of(node).open == {}
    assert [left.rule for left in await node.uploads.all()] == ["older"]


async def test_one_that_comes_on_is_never_given_up_and_one_that_does_not_is(new_node: NewNode) -> None:
    """Days over a network that hiccups now and then: more failures than the budget, but each after another part."""
    node = new_node(schedule=RetrySchedule(0.1, 1.0, 1.0, budget=3), concurrency=1)
    await node.put("large", LARGE)
    since = 0
    stuck = False

    def hiccup(op: str, number: int) -> None:
        nonlocal since
        if op == "put_part":
            since += 1
            if stuck or since % 2 == 0:
                raise Unavailable("the connection broke off")

    parts_of(node).fault = hiccup
    await node.drain()
    assert node.copies() == {"large": LARGE}
    assert sorted(parts_of(node).sent) == [1, 2, 3, 4, 5, 6]
    assert since > 2 * 3
    stuck = True
    await node.put("large", OTHER)
    await node.drain()
    (letter,) = await node.journal.failed()
    assert letter.attempts == 3


async def test_larger_parts_take_the_room_of_several(new_node: NewNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that would have too many parts has larger ones: of 5 TiB more than half a GiB each. Memory stays as it
    is for all objects together, and nobody waits for ever."""
    monkeypatch.setattr(large_copying, "MOST_PARTS", 3)
    node = new_node()
    held = most = 0
    put_part = FakeParts.put_part

    async def put(self: FakeParts, key: Key, upload_id: str, number: int, body: bytes | bytearray, md5: Md5) -> Part:
        nonlocal held, most
        held += len(body)
        most = max(most, held)
        await node.clock.sleep(1)
        held -= len(body)
        return await put_part(self, key, upload_id, number, body, md5)

    monkeypatch.setattr(FakeParts, "put_part", put)
    for name in ("one", "two", "three"):
        await node.put(name, LARGE)
    await node.drain()
    assert node.copies() == dict.fromkeys(("one", "two", "three"), LARGE)
    assert most == 2 << 20  # two buffers of 1 MiB


async def test_an_agent_that_stops_waits_for_the_part_under_way_and_not_for_the_object(new_node: NewNode) -> None:
    """And it counts against nothing: however often an agent is restarted, no object is given up because of it."""
    node = new_node()
    await node.put("large", LARGE)
    node.source.store(B).latency = 1.0
    began = node.clock.monotonic()
    while len(parts_of(node).sent) < 2:
        await node.mirror.once()
    took_s = node.clock.monotonic() - began
    await node.mirror.aclose()
    assert node.clock.monotonic() - began - took_s <= 1.5
    (task,) = node.journal.open_tasks
    assert task.attempts == 0
    sent = len(parts_of(node).sent)
    assert sent < 6
    node.mirror = node.new_mirror()
    await node.drain()
    assert node.copies() == {"large": LARGE}
    assert len(parts_of(node).sent) == 6  # none twice


@given(
    data=st.lists(
        st.tuples(st.sampled_from(["put", "delete", "crash", "fail", "drain"]), st.integers(0, 6), st.floats(0.1, 20)),
        min_size=1,
        max_size=8,
    )
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_any_course_ends_with_what_the_source_has(data: list[tuple[str, int, float]], new_node: NewNode) -> None:
    node = new_node()
    for step, number, seconds in data:
        match step:
            case "put":
                await node.put("large", LARGE[number:])
            case "delete":
                with contextlib.suppress(NotFound):
                    await node.delete("large")
            case "crash":
                node.targets["t"].store(B).latency = 0.5
                running = asyncio.ensure_future(node.drain())
                await node.clock.sleep(seconds)
                for each in (running, *node.mirror.workers):
                    each.cancel()
                await asyncio.gather(running, *node.mirror.workers, return_exceptions=True)
                node.targets["t"].store(B).latency = 0.0
                node.mirror = node.new_mirror()
            case "fail":
                left = [number]

                def fault(op: str, at: int, left: list[int] = left) -> None:
                    if left[0] > 0:
                        left[0] -= 1
                        error: MillraceError = Unavailable("told to") if at % 2 else Corrupt("told to")
                        raise error

                parts_of(node).fault = fault
            case _:
                for _ in range(20):
                    await node.mirror.once()
    parts_of(node).fault = lambda op, number: None
    await node.journal.revive(None, node.clock.now())
    await node.drain()
    held = node.source.store(B)
    assert node.copies() == ({"large": held.data("large")} if held.has("large") else {})
    assert parts_of(node).open == {}
    assert await node.uploads.all() == []
