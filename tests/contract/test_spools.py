"""DiskSpool keeps the spool's promises; a full disk says so, and whatever happens leaves no file and no descriptor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.adapters.spool import DiskSpool
from controlplane.model.content import Content
from controlplane.ports.errors import StorageFull, Unavailable
from controlplane.ports.object_store import LocalFile
from controlplane.ports.spool import Spooled, SpoolWriter
from tests.contract.spool_suite import BATCH, NEAR, SpoolContract, fill, identity, noise


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


class TestDiskSpool(SpoolContract):
    @pytest.fixture
    async def spool(self, place: Path) -> AsyncIterator[DiskSpool]:
        spool = DiskSpool(place, memory_bytes=NEAR, reserve_bytes=0, threads=3)
        spool.prepare()
        yield spool
        spool.close()


@pytest.fixture
async def spool(place: Path) -> AsyncIterator[DiskSpool]:
    spool = DiskSpool(place, memory_bytes=NEAR, reserve_bytes=0, threads=3)
    yield spool
    spool.close()


def open_files(place: Path) -> list[str]:
    """Descriptors of this process that lie in `place`, deleted files among them."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith(f"{place}/"):
            found.append(target)
    return found


async def closed(place: Path) -> bool:
    """A write in progress may hold its file a moment longer."""
    for _ in range(200):
        if not open_files(place) and not list(place.iterdir()):
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize(("size", "on_disk"), [(NEAR - 1, False), (NEAR, False), (NEAR + 1, True)])
async def test_the_bound_of_memory_is_exact(spool: DiskSpool, place: Path, size: int, on_disk: bool) -> None:
    writer = spool.open(None)
    await fill(writer, noise(size), 1000)
    spooled = await writer.finish()
    assert isinstance(spooled.body, LocalFile) == on_disk
    assert len(list(place.iterdir())) == on_disk
    spooled.discard()
    assert await closed(place)


@pytest.mark.parametrize("written", [0, 1, NEAR, NEAR + 1, BATCH + 5, 6 * BATCH])
async def test_discard_in_every_phase_leaves_nothing(spool: DiskSpool, place: Path, written: int) -> None:
    for finish in (False, True):
        writer = spool.open(None)
        await fill(writer, noise(written), 200_000)
        if finish:
            (await writer.finish()).discard()
            writer.discard()
        else:
            writer.discard()
            writer.discard()
        assert await closed(place)


async def test_a_writer_cancelled_at_any_moment_leaves_nothing(spool: DiskSpool, place: Path) -> None:
    data = noise(4 * BATCH)

    async def write() -> None:
        writer = spool.open(None)
        try:
            await fill(writer, data, 100_000)
            (await writer.finish()).discard()
        finally:
            writer.discard()

    for turns in range(0, 60, 3):
        writing = asyncio.ensure_future(write())
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait((writing,))
        assert await closed(place)


async def test_what_was_linked_elsewhere_stays(spool: DiskSpool, place: Path, tmp_path: Path) -> None:
    data = noise(NEAR * 3)
    writer = spool.open(len(data))
    await fill(writer, data, 9999)
    spooled = await writer.finish()
    assert isinstance(spooled.body, LocalFile)
    kept = tmp_path / "kept"
    os.link(spooled.body.path, kept)
    spooled.discard()
    assert kept.read_bytes() == data
    assert await closed(place)


async def test_what_a_killed_process_left_is_removed_and_nothing_else(place: Path) -> None:
    (place / "1-1.part").write_bytes(b"half")
    (place / "README").write_bytes(b"not ours")
    spool = DiskSpool(place, memory_bytes=1)
    spool.prepare()
    spool.close()
    assert [path.name for path in place.iterdir()] == ["README"]


async def test_a_directory_that_vanished_is_unavailable(spool: DiskSpool, place: Path) -> None:
    place.rmdir()
    with pytest.raises(Unavailable):
        spool.open(NEAR + 1)
    writer = spool.open(None)
    with pytest.raises(Unavailable):
        await fill(writer, noise(NEAR + 1), 1000)
    writer.discard()
    place.mkdir()


async def whole(writer: SpoolWriter, data: bytes, chunk: int) -> Spooled:
    await fill(writer, data, chunk)
    return await writer.finish()


@pytest.mark.parametrize("chunk", [5000, 1 << 20, 1 << 30])
async def test_a_full_disk_is_storage_full_and_leaves_nothing(tiny: Path, chunk: int) -> None:
    spool = DiskSpool(tiny, memory_bytes=NEAR, reserve_bytes=0, threads=2)
    data = noise(12 << 20)
    writer = spool.open(None)
    with pytest.raises(StorageFull):
        await whole(writer, data, chunk)
    writer.discard()
    assert await closed(tiny)
    with pytest.raises(StorageFull):
        spool.open(len(data))
    small = spool.open(2 << 20)
    await fill(small, data[: 2 << 20], chunk)
    spooled = await small.finish()
    assert spooled.content == identity(data[: 2 << 20])
    assert isinstance(spooled.content, Content)
    spooled.discard()
    assert await closed(tiny)
    spool.close()


async def test_the_reserve_is_kept_free(tiny: Path) -> None:
    spool = DiskSpool(tiny, memory_bytes=NEAR, reserve_bytes=2 << 20)
    with pytest.raises(StorageFull):
        spool.open(3 << 20)
    spool.open(1 << 20).discard()
    spool.close()


async def test_memory_of_a_body_is_bounded_when_it_comes_in_crumbs(place: Path) -> None:
    """A client that sends two bytes at a time must not cost a list entry for each."""
    spool = DiskSpool(place, memory_bytes=1 << 20, reserve_bytes=0, threads=2)
    writer = spool.open(None)
    for _ in range(200_000):
        await writer.write(b"ab")
    assert len(writer._held) < 200
    spooled = await writer.finish()
    assert spooled.content == identity(b"ab" * 200_000)
    spooled.discard()
    spool.close()
