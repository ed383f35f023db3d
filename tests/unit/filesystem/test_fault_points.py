"""A put killed at any step: the object is what it was, or whole; the next start leaves no half file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import NotFound
from tests.contract.object_store_suite import list_all, read_all
from tests.support.virtual_time import VirtualClock

_WRITER = """
import asyncio, sys
from pathlib import Path
from controlplane.adapters.filesystem import FilesystemStore
from controlplane.adapters.system_clock import SystemClock
async def main():
    store = FilesystemStore("files", Path(sys.argv[1]), clock=SystemClock())
    await store.open()
    for body in (b"first", b"second"):
        await store.put("it", body)
        print(body.decode(), flush=True)
asyncio.run(main())
"""
_STEPS = ["temp_opened", "written", "synced", "renamed", "dir_synced"]


async def run_writer(root: Path, fault: str) -> tuple[int, str]:
    environment = {**os.environ, "MILLRACE_FAULT": fault}
    finished = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _WRITER, str(root)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    return finished.returncode, finished.stdout


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", _STEPS)
async def test_a_kill_at_any_step_leaves_a_whole_object_or_none(
    tmp_path: Path, clock: VirtualClock, step: str, nth: int
) -> None:
    code, acknowledged = await run_writer(tmp_path / "store", f"filesystem.{step}:{nth}")
    assert code == -signal.SIGKILL
    assert acknowledged == ("" if nth == 1 else "first\n")
    store = FilesystemStore(StoreName("files"), tmp_path / "store", clock=clock)
    await store.open()
    renamed = _STEPS.index(step) >= _STEPS.index("renamed")
    if nth == 1 and not renamed:
        with pytest.raises(NotFound):
            await store.head(Key("it"))
    else:
        expected = (b"first", b"second")[nth - 1 if renamed else 0]
        assert await read_all(store, "it") == expected
        assert [info.size for info in await list_all(store)] == [len(expected)]
    assert [path for path in (tmp_path / "store" / "tmp").rglob("*") if path.is_file()] == []
    await store.aclose()


async def test_a_fault_that_is_never_reached_changes_nothing(tmp_path: Path) -> None:
    assert await run_writer(tmp_path / "store", "filesystem.renamed:3") == (0, "first\nsecond\n")


async def test_a_count_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    code, _ = await run_writer(tmp_path / "store", "filesystem.renamed:0")
    assert code == 1
