"""`millrace mirror status` about the scan: what files or etcd say, and what is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controlplane.adapters.filesystem.documents import FileDocuments
from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.model.keys import Key
from controlplane.model.scan_board import Board, OpenUnit, Part, Piece
from controlplane.model.scan_state import Counts
from controlplane.ports.scan_board import Posted
from controlplane.services.held_lock import HeldLock
from controlplane.services.scan_duty import ScanDuty
from controlplane.settings.tree import Settings
from controlplane.wiring.scan_status import _posted, _under_way, scan_status
from tests.support.scan_world import Place, World
from tests.support.virtual_time import VirtualClock


def settings(path: Path, **more: Any) -> Settings:
    return Settings.model_validate(
        {"node": {"name": "n1", "data_dir": str(path)}, "mirror": {"scan": {"interval_s": 60}}, **more}
    )


async def test_a_scan_of_one_node_is_told_from_its_checkpoint_and_then_as_the_last_one(
    clock: VirtualClock, tmp_path: Path
) -> None:
    world = World(clock, tmp_path / "spool")
    await world.fill([Place(f"k{n}", True, "", "") for n in range(9)])
    assert await scan_status(settings(tmp_path)) == {"error": "", "under_way": None, "last": None}
    documents = FileDocuments(tmp_path / "scan")
    lock = HeldLock("locks/mirror-scan", "n1", InProcessDirectory(clock), clock, ttl_s=30)

    def new_run(on_keys: Any) -> Any:
        return world.run(checkpoints=documents, on_keys=lambda _: duty.stop(), save_every_s=0.0)

    duty = ScanDuty(new_run, lock, documents, clock, every_s=60)
    await lock.once()
    await duty.once()
    found = await scan_status(settings(tmp_path))
    assert found is not None
    assert found["under_way"]["nodes"] == {"n1": {"keys": 3, "there": None}}
    assert found["under_way"]["totals"]["missing"] == 3
    duty = ScanDuty(lambda _: world.run(checkpoints=documents), lock, documents, clock, every_s=60)
    await duty.once()
    found = await scan_status(settings(tmp_path))
    assert found is not None
    assert found["under_way"] is None
    assert found["last"]["totals"]["missing"] == 9
    world.node.spool.close()


def test_a_shared_one_is_the_sum_of_its_nodes_and_tells_who_is_gone() -> None:
    parts = {"a": Part(Counts(listed_at_source=5, missing=2)), "b": Part(Counts(listed_at_source=7))}
    unit = OpenUnit("u", [Piece(Key(""), None, Key("m"), "a", "a/1")], parts)
    board = Board("f", 3, 1000.0, units={"1": unit}, totals=Counts(listed_at_source=100), shares={"c": 100})
    told = _under_way(board, frozenset({"a/1", "c/1"}))
    assert told["totals"]["listed_at_source"] == 112
    assert told["totals"]["missing"] == 2
    assert told["nodes"] == {
        "a": {"keys": 5, "there": True}, "b": {"keys": 7, "there": False}, "c": {"keys": 100, "there": True},
    }  # fmt: skip


def test_a_board_of_another_version_is_said_and_not_taken_for_no_scan() -> None:
    assert _posted(Posted(frozenset(), None, 0)) == (None, "")
    under_way, error = _posted(Posted(frozenset({"a/1"}), '{"version": 99}', 7))
    assert under_way is None
    assert "version 99" in error
    assert "a at it" in error


async def test_an_etcd_that_is_away_is_said_and_not_taken_for_no_scan(tmp_path: Path) -> None:
    etcd = {"etcd": {"endpoints": ["http://127.0.0.1:1"], "timeout_s": 0.5}}
    found = await scan_status(settings(tmp_path, directory=etcd))
    assert found is not None
    assert found["error"]
    assert found["last"] is None


async def test_who_never_scans_has_nothing_to_tell(tmp_path: Path) -> None:
    assert await scan_status(Settings.model_validate({"node": {"data_dir": str(tmp_path)}})) is None
