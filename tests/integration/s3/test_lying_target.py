"""The mirror over sockets to a target that lies: nothing wrong stays unnoticed, and all is right when it is honest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from controlplane.adapters.s3 import S3Buckets
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.retry import RetrySchedule
from controlplane.model.scan_state import Counts
from controlplane.model.tally import ScanTally
from controlplane.model.task import TaskState
from controlplane.services.scan_maker import ScanMaker
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_run import ScanRun
from tests.integration.s3.faulty_store import options_for
from tests.integration.s3.lying_s3 import LyingS3, lying_s3
from tests.support.object_node import B, ObjectNode

RULE = MirrorRule("photos", "", "t")
NAMES = ["a", "b", "c"]


@pytest.fixture
async def server() -> AsyncIterator[LyingS3]:
    async with lying_s3() as server:
        yield server


class Mirrored:
    def __init__(self, server: LyingS3, path: Path) -> None:
        self.server = server
        self.clock = SystemClock()
        schedule = RetrySchedule(0.01, 2.0, 0.05, budget=3)
        self.node = ObjectNode(self.clock, path, RULE, schedule=schedule, bulk=True)
        options = options_for(server.url, bucket="mirror", prefix="{bucket}/", pipeline=4)
        self.target = S3Buckets(StoreName("t"), options, self.clock, Random(1))
        targets: dict[str, Any] = self.node.targets
        targets["t"] = self.target
        self.queue = JournalSink(self.node.journal, self.clock, share=0.5)

    async def drain(self) -> None:
        await asyncio.wait_for(self.node.drain(self.node.new_mirror()), 60)

    async def scan(self) -> Counts:
        async def buckets(_: MirrorRule) -> list[Any]:
            return [B]

        targets: dict[str, Any] = self.node.targets
        scans = ScanMaker(
            [RULE],
            source=self.node.source,
            targets=targets,
            catalog=self.node.catalog,
            buckets=buckets,
            sink=self.queue,
            clock=self.clock,
            workers=2,
        )
        return (await ScanRun(scans, ScanTally()).run()).totals

    @property
    def copies(self) -> dict[str, bytes]:
        return {key.removeprefix("photos/"): data for key, (data, _) in self.server.objects.items()}


@pytest.fixture
async def mirrored(server: LyingS3, tmp_path: Path) -> AsyncIterator[Mirrored]:
    mirrored = Mirrored(server, tmp_path / "spool")
    yield mirrored
    await mirrored.target.aclose()
    mirrored.node.spool.close()


@pytest.mark.parametrize("lie", ["lose", "truncate"])
@pytest.mark.parametrize("size", [10, 900_000], ids=["small", "large"])
async def test_i1_what_a_target_said_200_to_and_did_not_keep_stays_in_the_journal(
    mirrored: Mirrored, lie: str, size: int
) -> None:
    bodies = {name: name.encode() * size for name in NAMES}
    mirrored.server.lie = lie
    for name, body in bodies.items():
        await mirrored.node.put(name, body)
    await mirrored.drain()
    # Told: dead letters, with the reason.
    assert {(task.draft.key, task.state) for task in mirrored.node.journal.open_tasks} == {
        (name, TaskState.FAILED) for name in NAMES
    }
    assert all(task.error for task in mirrored.node.journal.open_tasks)
    mirrored.server.lie = ""
    await mirrored.node.journal.revive(None, mirrored.clock.now())
    await mirrored.drain()
    assert mirrored.copies == bodies
    assert (await mirrored.scan()).differences == 0


@pytest.mark.parametrize("size", [10, 900_000], ids=["small", "large"])
async def test_i1_a_wrong_etag_is_no_proof_and_what_is_there_is_looked_at_again(mirrored: Mirrored, size: int) -> None:
    mirrored.server.lie = "etag"
    for name in NAMES:
        await mirrored.node.put(name, name.encode() * size)
    await mirrored.drain()
    assert mirrored.node.journal.open_tasks == []
    assert mirrored.copies == {name: name.encode() * size for name in NAMES}
    assert mirrored.node.tally.retried == 3
    assert (await mirrored.scan()).differences == 0


async def test_what_it_loses_or_lets_rot_later_and_a_stale_listing(mirrored: Mirrored) -> None:
    bodies = {name: name.encode() * 10 for name in NAMES}
    for name, body in bodies.items():
        await mirrored.node.put(name, body)
    await mirrored.drain()
    first = await mirrored.scan()
    assert (first.same, first.heads) == (3, 0)
    before = dict(mirrored.server.objects)
    # Lost and rotten: found by listing, repaired.
    del mirrored.server.objects["photos/a"]
    mirrored.server.rot("photos/b")
    found = await mirrored.scan()
    assert (found.missing, found.different, found.same) == (1, 1, 1)
    await mirrored.drain()
    assert mirrored.copies == bodies
    # A listing from before: nothing is wrong, and nothing is thought to be wrong.
    await mirrored.node.put("d", b"new")
    await mirrored.node.delete("c")
    await mirrored.drain()
    mirrored.server.stale = before
    stale = await mirrored.scan()
    assert (stale.missing, stale.extra, stale.different) == (1, 1, 0)
    await mirrored.drain()
    mirrored.server.stale = None
    assert mirrored.copies == {"a": bodies["a"], "b": bodies["b"], "d": b"new"}
    last = await mirrored.scan()
    assert (last.differences, last.same) == (0, 3)
