"""What the processes hold resident while a trial runs: in a run of hours growth would show."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.cluster import ROLES, Cluster

MEBI = 1 << 20


def resident_bytes(pid: int) -> int | None:
    """RSS of a process (second field of /proc/PID/statm, in pages; proc(5)); None when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") or None


class Memory:
    """Looks at all processes of the cluster every `every_s` seconds, from start() to end(), in a thread of its own."""

    def __init__(self, cluster: Cluster, say: Callable[[str], None], every_s: float) -> None:
        self._cluster = cluster
        self._say = say
        self._every_s = every_s
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._seen: dict[tuple[str, int], list[int]] = {}
        """MiB at each look, by process: a role of a node and a PID."""

    def start(self) -> None:
        self._thread.start()

    def end(self) -> list[str]:
        """A line for each process that lives still: what it held at first, at most, and last."""
        self._ended.set()
        self._thread.join()
        self._look()
        alive = {(who, pid) for who, pid in self._processes() if resident_bytes(pid)}
        return [
            f"{who}: RSS {seen[0]} MiB at first, {max(seen)} at most, {seen[-1]} last, in {len(seen)} looks"
            for (who, pid), seen in sorted(self._seen.items())
            if (who, pid) in alive
        ]

    def _watch(self) -> None:
        while not self._ended.wait(self._every_s):
            self._look()

    def _processes(self) -> list[tuple[str, int]]:
        return [
            (f"{node.name} {role}", process.pid)
            for node in self._cluster.nodes
            for role in ROLES
            if (process := node.processes.get(role)) is not None
        ]

    def _look(self) -> None:
        found = []
        for who, pid in self._processes():
            held = resident_bytes(pid)
            if held is not None:
                self._seen.setdefault((who, pid), []).append(held // MEBI)
                found.append(f"{who} {held // MEBI}")
        self._say(f"{time.monotonic() - self._began:6.0f} s  RSS in MiB: {', '.join(found)}")
