"""Processes under measurement: their CPU and memory from /proc, and how they are started and stopped, by process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import end

TICKS = os.sysconf("SC_CLK_TCK")


class CannotRun(Exception):
    """The comparison could not be made: what is missing, or what broke."""


def need(tool: str, package: str = "") -> str:
    """The path of a program. Raises CannotRun, naming the Debian package."""
    found = shutil.which(tool)
    if found is None:
        raise CannotRun(f"{tool} is missing: apt-get install {package or tool}")
    return found


def children_of(pid: int) -> list[int]:
    """All processes below `pid`, at any depth."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *children_of(int(child))]
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a process, its threads, its living children and those it waited for."""
    total = 0
    for each in (pid, *children_of(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return total / TICKS


def peak_rss_bytes(pid: int) -> int:
    """The most memory that the process ever held resident (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise CannotRun(f"process {pid} has no VmHWM: has it ended?")


def wait_for(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise CannotRun(f"{what} does not listen on port {port} (exit code {process.poll()})")


@contextlib.contextmanager
def running(command: list[str], port: int, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A server that listens on `port`; stopped by its process id at the end."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )  # type: ignore[call-overload]
    try:
        wait_for(port, process, Path(command[0]).name)
        yield process
    finally:
        end(process)
