"""Other people's programs that copy a bucket: rclone, s5cmd and awscli.

s5cmd and awscli know one endpoint at a time: between two servers they download everything to a disk and upload it from
there. Both halves count, and so does nothing else: the disk is emptied outside of the measured time.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench.processes import CannotRun, need, peak_rss_bytes
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY

CLIENTS = Path(__file__).parents[2] / ".venv-clients"
"""Made by `make bench` and `make clients`."""
_LOOKED_AT_S = 0.02
_TIMEOUT_S = 1800
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1"}
_DISK = "disk"


@dataclass(frozen=True)
class Run:
    wall_s: float
    cpu_s: float
    rss_bytes: int
    """The most that one process held."""


def median(runs: Sequence[Run]) -> Run:
    """The peak is the highest of all."""
    return Run(
        statistics.median(run.wall_s for run in runs),
        statistics.median(run.cpu_s for run in runs),
        max(run.rss_bytes for run in runs),
    )


class Copier(Protocol):
    @property
    def name(self) -> str:
        """As rows say it."""

    def copy(self, source: str, target: str, bucket: str, folder: Path) -> Run:
        """All of the bucket named source at the URL `source`, to `bucket` at the URL `target`. `folder` is on a disk,
        and left as it was. Raises CannotRun."""


@dataclass(frozen=True)
class Rclone:
    options: tuple[str, ...]
    name: str = "rclone"

    def copy(self, source: str, target: str, bucket: str, folder: Path) -> Run:
        environ = {"RCLONE_CONFIG": "/dev/null"}
        for remote, endpoint in (("A", source), ("B", target)):
            for name, value in (
                ("TYPE", "s3"), ("PROVIDER", "Other"), ("ENDPOINT", endpoint), ("ACCESS_KEY_ID", ACCESS_KEY),
                ("SECRET_ACCESS_KEY", SECRET_KEY), ("REGION", "us-east-1"), ("FORCE_PATH_STYLE", "true"),
            ):  # fmt: skip
                environ[f"RCLONE_CONFIG_{remote}_{name}"] = value
        return _ran([need("rclone"), "copy", "--stats", "0", *self.options, "a:source", f"b:{bucket}"], environ)


@dataclass(frozen=True)
class S5cmd:
    name: str = "s5cmd (by way of a disk)"

    def copy(self, source: str, target: str, bucket: str, folder: Path) -> Run:
        # The program itself: the wheel's script would be one more Python to start.
        found = sorted(CLIENTS.glob("lib/python3*/site-packages/s5cmd/bin/s5cmd"))
        if not found:
            raise CannotRun(f"s5cmd is missing below {CLIENTS}: make clients")
        command = [str(found[0]), "--log", "error", "--endpoint-url"]
        disk = folder / _DISK
        down = [*command, source, "cp", "s3://source/*", f"{disk}/"]
        return _by_way_of(disk, down, [*command, target, "cp", f"{disk}/", f"s3://{bucket}/"], _CREDENTIALS)


@dataclass(frozen=True)
class AwsCli:
    name: str = "awscli (by way of a disk)"

    def copy(self, source: str, target: str, bucket: str, folder: Path) -> Run:
        program = CLIENTS / "bin" / "aws"
        if not program.exists():
            raise CannotRun(f"awscli is missing below {CLIENTS}: make clients")
        environ = {
            **_CREDENTIALS,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            # Checksums in a trailer, which neither Riak CS nor the look-alike knows.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }
        disk = folder / _DISK
        copy = ["s3", "cp", "--recursive", "--only-show-errors"]
        down = [str(program), "--endpoint-url", source, *copy, "s3://source/", f"{disk}/"]
        up = [str(program), "--endpoint-url", target, *copy, f"{disk}/", f"s3://{bucket}/"]
        return _by_way_of(disk, down, up, environ)


def _by_way_of(disk: Path, down: Sequence[str], up: Sequence[str], environ: dict[str, str]) -> Run:
    disk.mkdir()
    try:
        halves = [_ran(down, environ), _ran(up, environ)]
    finally:
        shutil.rmtree(disk)
    return Run(sum(h.wall_s for h in halves), sum(h.cpu_s for h in halves), max(h.rss_bytes for h in halves))


def _ran(command: Sequence[str], environ: dict[str, str]) -> Run:
    """CPU is exact. The peak is the kernel's high-water mark as it was at most _LOOKED_AT_S before the end: what the
    kernel tells after the end would include the peak of this process, which it was forked from."""
    began = time.monotonic()
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ}
    process = subprocess.Popen(
        list(command), env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    said, peak = b"", 0
    while True:
        said += process.stderr.read() or b""
        try:
            peak = max(peak, peak_rss_bytes(process.pid))
        except CannotRun:  # it has ended, and is waited for below
            pass
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - began > _TIMEOUT_S:
            process.kill()
            process.wait()
            raise CannotRun(f"{Path(command[0]).name} did not end within {_TIMEOUT_S} s")
        time.sleep(_LOOKED_AT_S)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    said += process.stderr.read() or b""
    process.stderr.close()
    if process.returncode:
        program = Path(command[0]).name
        raise CannotRun(f"{program} ended with {process.returncode}: {said[-2000:].decode(errors='replace')}")
    return Run(wall, usage.ru_utime + usage.ru_stime, peak)
