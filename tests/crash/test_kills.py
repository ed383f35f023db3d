"""SIGKILL at every step of the write path and of the drain, on real processes.

What must hold afterwards: acknowledged means stored and journalled (I1); after a restart each copy is made exactly as
promised; a deleted blob stays deleted (I4); no half object anywhere.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.audit import after_gateway_kill, when_drained
from tests.crash.workload import Acknowledged
from tests.support.millrace_node import Node

WRITE_PATH = (
    "blobs.spooled",
    "filesystem.temp_opened",
    "filesystem.written",
    "filesystem.synced",
    "filesystem.renamed",
    "filesystem.dir_synced",
    "blobs.stored",
    "journal.before_commit",
    "journal.after_commit",
    "blobs.journalled",
    "blobs.recorded",
    "blobs.entombed",
    "blobs.delete_journalled",
    "blobs.deleted",
)
DRAIN = (
    "mirror.fetched",
    "filesystem.temp_opened",
    "filesystem.written",
    "filesystem.synced",
    "filesystem.renamed",
    "filesystem.dir_synced",
    "mirror.copied",
    "mirror.verified",
    "mirror.recorded",
    "journal.before_commit",
    "journal.after_commit",
    "mirror.closed",
    "mirror.target_deleted",
    "mirror.tombstone_removed",
)
LANES = 2
"""Nodes that are tortured side by side: one a core."""


@pytest.mark.crash
@pytest.mark.timeout(1200)
def test_killed_at_every_step_nothing_acknowledged_is_lost(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kills: int = request.config.getoption("--kills")
    plan = list(itertools.islice(_plan(), kills))
    with ThreadPoolExecutor(LANES) as pool:
        lanes = [pool.submit(_torture, tmp_path / f"lane{lane}", plan[lane::LANES]) for lane in range(LANES)]
        done = sum(lane.result() for lane in lanes)
    assert done == kills
    print(f"{done} kills at {len(WRITE_PATH) + len(DRAIN)} steps: nothing acknowledged was lost")


def _plan() -> Iterator[tuple[str, str]]:
    """(role, fault point:count) without end: every step first at its first passing, then at later ones."""
    for count in itertools.count(1):
        for point in WRITE_PATH:
            yield "gateway", f"{point}:{count}"
        for point in DRAIN:
            yield "agent", f"{point}:{count}"


def _torture(folder: Path, plan: list[tuple[str, str]]) -> int:
    """Kill one node's processes by the plan; audit after each kill of the gateway and when all is drained."""
    node = Node(folder, extra={"mirror": {"concurrency": 4, "retry": {"first_s": 0.05, "most_s": 0.2}}})
    known = Acknowledged()
    kills = 0
    try:
        for role, fault in plan:
            if role == "gateway":
                _kill_gateway(node, fault, known)
            else:
                _kill_agent(node, fault, known)
            kills += 1
        _drain(node, known)
    finally:
        node.stop()
    return kills


def _kill_gateway(node: Node, fault: str, known: Acknowledged) -> None:
    node.stop("gateway")
    before = set(known.stored)
    process = node.start("gateway", fault=fault, wait=False)
    _wait_until_it_serves_or_dies(node, process)
    assert known.run_until_killed(node), f"{fault} was never reached"
    assert process.wait(60) == -9, node.log("gateway")[-2000:]
    node.processes.pop("gateway")
    faults = after_gateway_kill(node.folder, known.stored - before).faults
    assert not faults, f"after a kill at {fault}: {faults}"


def _kill_agent(node: Node, fault: str, known: Acknowledged) -> None:
    """Writes and deletes go on until the agent has come to the point and died there."""
    if "gateway" not in node.processes:
        node.start("gateway")
    process = node.start("agent", fault=fault, wait=False)
    deadline = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < deadline, f"{fault} was never reached: {node.log('agent')[-2000:]}"
        known.put(node, 3_000)
        known.delete(node, known.put(node, 700_000))
        if len(known.stored) > 20:
            # One that was put a while ago: its copy may be at the target already.
            known.delete(node, min(known.stored))
        time.sleep(0.05)
    assert process.returncode == -9, node.log("agent")[-2000:]
    node.processes.pop("agent")


def _drain(node: Node, known: Acknowledged) -> None:
    node.stop()
    node.start("gateway")
    node.start("agent")
    deadline = time.monotonic() + 60
    while True:
        metrics = node.metrics("gateway")
        if not metrics["millrace_journal_pending_entries"]:
            break
        assert time.monotonic() < deadline, f"not drained: {metrics}"
        time.sleep(0.1)
    assert metrics["millrace_journal_failed_entries"] == 0, node.cli("mirror", "failed").stdout.decode()
    for guid in sorted(known.deleted)[:20]:
        assert node.request("GET", f"/blobs/{guid}")[0] == 404
    node.stop()
    faults = when_drained(node.folder, known.stored, known.deleted).faults
    assert not faults, faults


def _wait_until_it_serves_or_dies(node: Node, process: object) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            node.request("GET", "/blobs")
            return
        except OSError:
            if process.poll() is not None:  # type: ignore[attr-defined]
                return
            time.sleep(0.02)
    raise AssertionError(f"the gateway does not answer: {node.log('gateway')[-2000:]}")
