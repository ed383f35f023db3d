"""Three agents, each a process, share the scan of 30,000 keys over a real etcd; one is killed in the middle."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.adapters.etcd import EtcdDirectory, EtcdOptions
from controlplane.adapters.etcd.scan_board import EtcdScanBoards
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.scan_board import Board, node_of, shares_of
from controlplane.model.scan_board_document import read_board
from controlplane.model.scan_join import Kind
from controlplane.services.scan_duty import LAST
from controlplane.services.shared_documents import SharedDocuments
from tests.support.etcd_cluster import EtcdCluster
from tests.support.scan_agent import KEYS, NUMBERS, TTL_S, kind

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("forgive_lost_connections")]


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(1) as cluster:
        yield cluster


class Agents:
    def __init__(self, urls: tuple[str, ...], cluster: str, folder: Path, *names: str) -> None:
        command = [sys.executable, "-m", "tests.support.scan_agent", ",".join(urls), cluster]
        self.processes = {
            name: subprocess.Popen(
                [*command, name, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for name in names
        }

    def begin(self) -> None:
        """All at once, when all are loaded."""
        for process in self.processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in self.processes.values():
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def end(self, name: str) -> dict[str, int]:
        out, _ = self.processes[name].communicate(timeout=120)
        assert self.processes[name].returncode == 0
        tally: dict[str, int] = json.loads(out)
        return tally

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.communicate()


async def test_a_killed_agents_share_goes_on_from_its_checkpoint_and_every_finding_is_told(
    etcd: EtcdCluster, tmp_path: Path
) -> None:
    cluster = f"c{secrets.token_hex(4)}"
    clock = SystemClock()
    boards = EtcdScanBoards(EtcdOptions(etcd.urls), cluster)
    directory = EtcdDirectory(EtcdOptions(etcd.urls), cluster, clock)

    async def board() -> Board | None:
        text = (await boards.seen()).text
        return None if text is None else read_board(text)

    agents = Agents(etcd.urls, cluster, tmp_path, "a", "b", "c")
    try:
        agents.begin()
        while True:
            seen = await board()
            if seen is not None and shares_of(seen).get("b", 0) >= 2000:
                break
            assert agents.processes["b"].poll() is None
            await clock.sleep(0.05)
        agents.processes["b"].send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        seen = await board()
        assert seen is not None
        assert any(node_of(piece.session) == "b" for unit in seen.units.values() for piece in unit.pieces)
        checkpoint = shares_of(seen)["b"]
        while seen is not None and any(
            node_of(piece.session) == "b" for unit in seen.units.values() for piece in unit.pieces
        ):
            assert time.monotonic() - killed_at < TTL_S + 20.0  # two, and a busy machine
            await clock.sleep(0.05)
            seen = await board()
        tallies = [agents.end(name) for name in "ac"]
    finally:
        agents.close()
    last = await SharedDocuments(directory, "scan").load(LAST)
    assert last is not None
    assert await board() is None
    await boards.aclose()
    await directory.aclose()
    # Complete, and counted once.
    kinds = Counter(kind(number) for number in range(KEYS))
    totals = last["totals"]
    assert (totals["listed_at_source"], totals["same"]) == (KEYS - kinds[Kind.EXTRA], kinds[None])
    assert {name: totals[name.value] for name in Kind} == {name: kinds[name] for name in Kind}
    assert last["failed_buckets"] == 0
    # Every finding is told; twice only what the killed one told and had not reported.
    told = [line for name in "abc" for line in (tmp_path / name).read_text().splitlines()]
    expected = {f"{found.value} {at}" for at, number in NUMBERS.items() if (found := kind(number)) is not None}
    assert set(told) == expected
    assert len(told) - len(expected) < 200
    # Each did a share; the dead one's, up to its checkpoint, stayed done.
    assert last["nodes"]["b"] >= checkpoint
    assert sum(last["nodes"].values()) == totals["listed_at_source"]
    assert min(last["nodes"].values()) > KEYS / 20
    assert sum(tally["runs"] for tally in tallies) == 1
    assert sum(tally["taken_over"] for tally in tallies) >= 1
    assert sum(tally["keys"] for tally in tallies) < KEYS - checkpoint + 2000
