"""I1: what append() has answered is in the journal, whenever the process is killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.adapters.sqlite.journal import SqliteJournal

APPENDER = Path(__file__).with_name("appender.py")


async def seqs_in(path: Path) -> set[int]:
    journal = SqliteJournal(path, limit=1_000_000)
    await journal.open()
    found: set[int] = set()
    while batch := await journal.due(4e9, 10_000):
        found.update(task.seq for task in batch)
        await journal.close([task.seq for task in batch])
    stats = await journal.stats()
    assert (stats.pending, stats.failed) == (0, 0)  # the counters agree with the entries
    await journal.aclose()
    return found


def killed_after(path: Path, answers: int) -> list[int]:
    """The seqs that a process had reported when it was killed, `answers` of them or a few more."""
    with subprocess.Popen([sys.executable, str(APPENDER), str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(answers)]
        process.kill()
        lines += process.stdout.readlines()
    return [int(line) for line in lines if line.endswith(b"\n")]


@pytest.mark.crash
async def test_every_reported_append_survives_a_kill(tmp_path: Path) -> None:
    seeded = random.Random(7)
    last = 0
    for _ in range(10):
        reported = killed_after(tmp_path / "j.db", seeded.randint(1, 300))
        found = await seqs_in(tmp_path / "j.db")
        assert found.issuperset(reported)
        assert len(reported) == len(set(reported))
        assert min(reported) > last
        last = max(found)


@pytest.mark.crash
@pytest.mark.parametrize(("point", "kept"), [("journal.before_commit", False), ("journal.after_commit", True)])
async def test_a_kill_around_the_commit_keeps_all_of_it_or_nothing(tmp_path: Path, point: str, kept: bool) -> None:
    path = tmp_path / "j.db"
    ran = subprocess.run(
        [sys.executable, str(APPENDER), str(path)],
        env=os.environ | {"MILLRACE_FAULT": f"{point}:1"},
        stdout=subprocess.PIPE,
        check=False,
        timeout=30,
    )
    assert (ran.returncode, ran.stdout) == (-9, b"")
    assert bool(await seqs_in(path)) is kept
