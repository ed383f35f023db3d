"""Uploads in parts that a node left behind for ever are aborted by another; those of a living node are not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.adapters.memory.upload_ledger import MemoryUploadLedger
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.ports.errors import Forbidden, Unavailable
from controlplane.ports.part_store import PartStore
from controlplane.ports.upload_ledger import Upload
from controlplane.services.shared_documents import SharedDocuments
from controlplane.services.upload_register import NODES, OrphanSweep, Told, UploadRegister
from tests.support.fakes import content_of
from tests.support.object_node import B, ObjectNode
from tests.support.part_store import FakeParts
from tests.support.virtual_time import VirtualClock

LARGE = bytes(range(256)) * 4096 * 5
AFTER_S = 3600.0


class Cluster:
    """Two agents, one target; the first dies."""

    def __init__(self, clock: VirtualClock, path: Path) -> None:
        self.clock = clock
        self.directory = InProcessDirectory(clock)
        self.documents = SharedDocuments(self.directory, "uploads")
        self.one = ObjectNode(clock, path / "one", MirrorRule("*", "", "t", name="far"), large_bytes=2 << 20)
        self.one.targets["t"].takes_parts = True
        self.one.uploads = UploadRegister(MemoryUploadLedger(), self.documents, "one")
        parts = self.one.targets["t"].parts(B)
        assert parts is not None
        self.parts: FakeParts = parts

    def sweep(self, node: str = "two", *, knows: bool = True) -> OrphanSweep:
        def parts_of(rule: str, bucket: Bucket) -> PartStore | None:
            assert (rule, bucket) == ("far", B)
            return self.parts if knows else None

        return OrphanSweep(self.documents, self.clock, node, parts_of=parts_of, after_s=AFTER_S)

    async def die_after(self, op: str) -> None:
        """Killed before an operation at the target; its disk is lost too."""
        reached = asyncio.Event()

        def fault(what: str, number: int) -> None:
            if what == op:
                reached.set()
                raise Unavailable("it hangs")

        self.parts.fault = fault
        await self.one.put("large", LARGE)
        mirror = self.one.new_mirror()
        running = asyncio.ensure_future(self.one.drain(mirror))
        await reached.wait()
        running.cancel()
        for worker in mirror.workers:
            worker.cancel()
        await asyncio.wait((running, *mirror.workers))
        self.parts.fault = lambda what, number: None
        self.one.spool.close()


@pytest.fixture
def cluster(clock: VirtualClock, tmp_path: Path) -> Cluster:
    return Cluster(clock, tmp_path)


async def test_what_a_node_that_never_returns_left_behind_is_aborted_by_another(cluster: Cluster) -> None:
    await cluster.die_after("complete")
    assert len(cluster.parts.open) == 1
    sweep = cluster.sweep()
    await sweep.once()
    assert len(cluster.parts.open) == 1  # it may return
    await cluster.clock.sleep(AFTER_S + 1)
    await cluster.sweep(knows=False).once()
    assert len(cluster.parts.open) == 1  # whose settings do not name the target leaves it to others
    await sweep.once()
    assert cluster.parts.open == {}
    assert sweep.aborted == 1
    await sweep.once()
    assert sweep.aborted == 1


async def test_one_whose_id_nobody_knows_is_found_by_its_key(cluster: Cluster) -> None:
    await cluster.die_after("begin")
    for name in ("large", "another"):
        await cluster.parts.begin(Key(name), content_of(LARGE), "", {})
    await cluster.clock.sleep(AFTER_S + 1)
    await cluster.sweep().once()
    assert [upload.key for upload in cluster.parts.open.values()] == ["another"]


async def test_an_upload_that_ended_is_not_told_of_any_more(cluster: Cluster) -> None:
    await cluster.one.put("large", LARGE)
    await cluster.one.drain(cluster.one.new_mirror())
    assert cluster.one.copies() == {"large": LARGE}
    assert await cluster.documents.load(NODES) == {"nodes": ["one"]}
    assert await cluster.documents.load("of/one") is None
    cluster.one.spool.close()


async def test_a_sweep_that_fails_at_the_target_forgets_nothing(cluster: Cluster) -> None:
    await cluster.die_after("complete")
    await cluster.clock.sleep(AFTER_S + 1)

    def away(op: str, number: int) -> None:
        raise Unavailable("away")

    cluster.parts.fault = away
    with pytest.raises(Unavailable):
        await cluster.sweep().once()
    cluster.parts.fault = lambda op, number: None
    await cluster.sweep().once()
    assert cluster.parts.open == {}


async def test_a_directory_that_is_away_holds_up_no_copy_and_is_told_later(cluster: Cluster) -> None:
    await cluster.directory.aclose()
    await cluster.one.put("large", LARGE)
    await cluster.one.drain(cluster.one.new_mirror())
    assert cluster.one.copies() == {"large": LARGE}
    cluster.one.spool.close()
    # Another start, with an unfinished upload in the ledger.
    ledger = MemoryUploadLedger()
    fresh = SharedDocuments(InProcessDirectory(cluster.clock), "uploads")
    await ledger.record(Upload("far", B, Key("k"), "u", "v", content_of(b""), 1, (), 5.0))
    await UploadRegister(ledger, fresh, "one").tell()
    assert await fresh.load("of/one") == {"uploads": [["far", B, "k", "u", 5.0]]}


async def test_one_that_cannot_be_aborted_does_not_keep_the_others_from_it(cluster: Cluster) -> None:
    """For instance at a target that is away for good, or whose bucket forbids it."""
    await cluster.die_after("complete")
    refused = Told("far", B, Key("forbidden"), "upload-of-old", cluster.clock.now() - 10)

    def refusing(document: Mapping[str, Any] | None) -> Mapping[str, Any]:
        assert document is not None
        one = [refused.rule, refused.bucket, refused.key, refused.upload_id, refused.begun_at]
        return {"uploads": [one, *document["uploads"]]}

    await cluster.documents.change("of/one", refusing)
    await cluster.clock.sleep(AFTER_S + 1)
    abort = cluster.parts.abort

    async def abort_but_one(key: Key, upload_id: str) -> None:
        if key == refused.key:
            raise Forbidden("403, AccessDenied")
        await abort(key, upload_id)

    cluster.parts.abort = abort_but_one  # type: ignore[method-assign]
    with pytest.raises(Forbidden):
        await cluster.sweep().once()
    assert cluster.parts.open == {}
    left = await cluster.documents.load("of/one")
    assert left is not None
    assert [row[2] for row in left["uploads"]] == ["forbidden"]
