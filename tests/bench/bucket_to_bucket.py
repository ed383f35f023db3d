"""The agent mirroring a bucket to another server beside rclone, s5cmd and awscli: the same two servers, by turns.

The servers hold everything in memory (s3_memory.py). The agent's run is the whole life of its process with a journal of
all objects, from the start until the journal is empty; it verifies every copy. Every copy is a first one.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Sequence
from pathlib import Path

from tests.bench import write_behind
from tests.bench.bucket_copiers import AwsCli, Copier, Rclone, Run, S5cmd, median
from tests.bench.processes import CannotRun
from tests.bench.table import Row
from tests.bench.write_behind import Pair

MIB = 1 << 20
SMALL, LARGE = 4096, 64 * MIB
MOST_RSS_BYTES = 150_000_000
_OURS = "Millrace"
_WITHOUT_CHECKS = ("--no-check-dest", "--use-server-modtime", "--s3-no-check-bucket")
_SMALL_RCLONE = (
    Rclone(("--transfers", "16", "--checkers", "16", *_WITHOUT_CHECKS)),
    Rclone(("--transfers", "32", "--checkers", "32", *_WITHOUT_CHECKS)),
)
_LARGE_RCLONE = (Rclone(("--transfers", "4", *_WITHOUT_CHECKS)), Rclone(("--transfers", "8", *_WITHOUT_CHECKS)))
_SPEED_AIMS = {"small": {"rclone": ">= 3.0", "s5cmd": ">= 1.0"}, "large": {"rclone": ">= 1.0"}}
_CPU_AIMS = {"small": {"rclone": "<= 0.25"}}


def small(folder: Path, rounds: int, objects: int) -> list[Row]:
    """Many objects of 4 KiB: objects a second, CPU and memory."""
    runs = _compared(folder, objects, SMALL, rounds, _SMALL_RCLONE)
    rate, cost = "{:,.0f} objects/s".format, "{:.3f} CPU-s/1000".format
    mine = median(runs[_OURS])
    rows: list[Row] = []
    for name, theirs in _peers(runs):
        what, other = f"bucket to bucket, {objects:,} x 4 KiB; {_said(name, theirs)}", median(theirs)
        rows += [
            Row(what, rate(objects / mine.wall_s), rate(objects / other.wall_s), other.wall_s / mine.wall_s,
                _aim(_SPEED_AIMS, "small", name)),
            Row("  CPU of the copier", cost(mine.cpu_s / objects * 1000), cost(other.cpu_s / objects * 1000),
                mine.cpu_s / other.cpu_s, _aim(_CPU_AIMS, "small", name)),
            _memory(mine, other),
        ]  # fmt: skip
    return rows


def large(folder: Path, rounds: int, objects: int) -> list[Row]:
    """Some objects of 64 MiB: MB a second, CPU and memory."""
    runs = _compared(folder, objects, LARGE, rounds, _LARGE_RCLONE)
    gb = objects * LARGE / 1e9
    speed, cost = "{:,.0f} MB/s".format, "{:.2f} CPU-s/GB".format
    mine = median(runs[_OURS])
    rows: list[Row] = []
    for name, theirs in _peers(runs):
        what, other = f"bucket to bucket, {objects} x 64 MiB; {_said(name, theirs)}", median(theirs)
        rows += [
            Row(what, speed(gb * 1e3 / mine.wall_s), speed(gb * 1e3 / other.wall_s), other.wall_s / mine.wall_s,
                _aim(_SPEED_AIMS, "large", name)),
            Row("  CPU of the copier", cost(mine.cpu_s / gb), cost(other.cpu_s / gb), mine.cpu_s / other.cpu_s),
            _memory(mine, other),
        ]  # fmt: skip
    peak = max(run.rss_bytes for run in runs[_OURS])
    what, allowed = f"peak RSS of the agent, {objects} x 64 MiB", f"{MOST_RSS_BYTES / 1e6:.0f} MB allowed"
    return [*rows, Row(what, f"{peak / 1e6:.0f} MB", allowed, peak / MOST_RSS_BYTES, "<= 1.0")]


def _peers(runs: dict[str, list[Run]]) -> list[tuple[str, list[Run]]]:
    return [(name, values) for name, values in runs.items() if name != _OURS]


def _said(name: str, runs: Sequence[Run]) -> str:
    return name if len(runs) > 1 else f"{name}, one run"


def _aim(aims: dict[str, dict[str, str]], kind: str, name: str) -> str:
    return aims.get(kind, {}).get(name.partition(" ")[0], "")


def _memory(mine: Run, other: Run) -> Row:
    said = "{:.0f} MB".format
    return Row("  peak RSS of it", said(mine.rss_bytes / 1e6), said(other.rss_bytes / 1e6),
               mine.rss_bytes / other.rss_bytes)  # fmt: skip


def _compared(folder: Path, objects: int, size: int, rounds: int, rclones: Sequence[Rclone]) -> dict[str, list[Run]]:
    """Runs by name. awscli runs in the first turn only, for it takes ten times as long as all others."""
    template = folder / "template"
    with write_behind.memory_server() as source, write_behind.memory_server() as target:
        pair = Pair(source, target, objects, of_s3=True, size=size)
        asyncio.run(write_behind.fill(pair, template))

        def theirs(copier: Copier, bucket: str) -> Run:
            run = copier.copy(source, target, bucket, folder)
            _proved_and_emptied(pair, bucket)
            return run

        def ours(bucket: str) -> Run:
            run = write_behind.agent(folder, pair, bucket, template)
            _proved_and_emptied(pair, bucket)
            return run

        trials = [(theirs(rclone, f"trial-{at}").wall_s, rclone) for at, rclone in enumerate(rclones)]
        best = min(trials, key=lambda trial: trial[0])[1]
        runs: dict[str, list[Run]] = {_OURS: []}
        for turn in range(rounds):
            copiers: list[Copier] = [best, S5cmd(), *([AwsCli()] if turn == 0 else [])]
            if turn % 2:
                runs[_OURS].append(ours(f"ours-{turn}"))
            for at, copier in enumerate(copiers):
                runs.setdefault(copier.name, []).append(theirs(copier, f"peer-{turn}-{at}"))
            if not turn % 2:
                runs[_OURS].append(ours(f"ours-{turn}"))
    return runs


def _proved_and_emptied(pair: Pair, bucket: str) -> None:
    """A copy that is not complete must not win; and the next one finds the memory as this one did."""
    held = _asked(pair.target, "GET", f"count/{bucket}"), _asked(pair.target, "GET", f"bytes/{bucket}")
    if held != (pair.objects, pair.objects * pair.size):
        raise CannotRun(
            f"{bucket}: {held[0]} objects of {held[1]} bytes in all were copied, not {pair.objects} objects"
        )
    _asked(pair.target, "POST", f"empty/{bucket}")


def _asked(url: str, method: str, what: str) -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, f"/-/{what}")
        return int(connection.getresponse().read())
    finally:
        connection.close()
