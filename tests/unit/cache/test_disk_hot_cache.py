"""What the disk cache promises beyond the port: restarts, power failures (I2), full disks, descriptors."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.disk_cache import DiskHotCache, files
from controlplane.adapters.disk_cache.files import name_of, parse
from controlplane.model.content import Content, Md5, Sha256
from controlplane.ports.errors import Unavailable
from controlplane.ports.object_store import LocalFile
from tests.contract.hot_cache_suite import read
from tests.contract.object_store_suite import content_of
from tests.support.virtual_time import VirtualClock

Start = Callable[..., Awaitable[DiskHotCache]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "hot"


@pytest.fixture
async def start(root: Path, clock: VirtualClock) -> AsyncIterator[Start]:
    """Start a cache; the one before it is closed, as by a restart."""
    running: list[DiskHotCache] = []

    async def started(limit_bytes: int = 10**7, open_files: int = 100) -> DiskHotCache:
        if running:
            await running.pop().aclose()
        cache = DiskHotCache(root, limit_bytes=limit_bytes, max_blob_bytes=10**7, open_files=open_files, clock=clock)
        running.append(cache)
        await cache.open()
        return cache

    yield started
    for cache in running:
        await cache.aclose()


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for the kernel's boot id: write another text for another boot."""
    path = tmp_path / "boot_id"
    path.write_text("boot-1\n")
    monkeypatch.setattr(files, "_BOOT_ID", str(path))
    return path


def blob_files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "blobs").rglob("*") if path.is_file())


async def settled(clock: VirtualClock) -> None:
    """Let the verification in the background come to its end."""
    await clock.sleep(60)


async def test_blobs_survive_a_restart_but_must_be_validated_again(
    start: Start, clock: VirtualClock, boot: Path
) -> None:
    cache = await start()
    await settled(clock)
    blobs = [os.urandom(size) for size in (0, 100, 100_000)]
    for data in blobs:
        assert await cache.admit(content_of(data), 'text/plain; q="é/%"', data, 50.0)
    before = cache.stats().bytes
    cache = await start()
    assert cache.stats().bytes == before
    for data in blobs:
        hit = cache.lookup(content_of(data).md5)
        assert hit is not None
        assert (hit.content, hit.content_type, hit.validated_at) == (content_of(data), 'text/plain; q="é/%"', 0.0)
        cache.release(hit)
        assert read(cache, content_of(data).md5) == data


async def test_after_a_boot_a_torn_file_is_never_served(
    start: Start, root: Path, clock: VirtualClock, boot: Path
) -> None:
    cache = await start()
    await settled(clock)
    whole, torn = os.urandom(5_000), os.urandom(5_000)
    for data in (whole, torn):
        await cache.admit(content_of(data), "", data, 1.0)
    await (await start()).aclose()
    path = next(path for path in blob_files(root) if path.name.startswith(content_of(torn).md5))
    path.write_bytes(torn[:4096] + b"\0" * 904)
    boot.write_text("boot-2\n")
    cache = await start()
    assert cache.lookup(content_of(whole).md5) is None, "not verified yet"
    assert cache.lookup(content_of(torn).md5) is None
    assert cache.stats().entries == 2
    await settled(clock)
    assert read(cache, content_of(whole).md5) == whole
    assert cache.lookup(content_of(torn).md5) is None
    assert not path.exists()
    cache = await start()
    assert read(cache, content_of(whole).md5) == whole, "the same boot: verified already"


async def test_a_restart_in_the_middle_of_the_verification_trusts_nothing(
    start: Start, root: Path, clock: VirtualClock, boot: Path
) -> None:
    cache = await start()
    await settled(clock)
    for _ in range(5):
        data = os.urandom(1_000)
        await cache.admit(content_of(data), "", data, 1.0)
    boot.write_text("boot-2\n")
    await start()
    cache = await start()
    assert all(cache.lookup(Md5(path.name[:32])) is None for path in blob_files(root))
    await settled(clock)
    assert all(cache.lookup(Md5(path.name[:32])) is not None for path in blob_files(root))


async def test_without_a_boot_id_every_start_verifies(start: Start, clock: VirtualClock, boot: Path) -> None:
    boot.unlink()
    cache = await start()
    await settled(clock)
    await cache.admit(content_of(b"it"), "", b"it", 1.0)
    cache = await start()
    assert cache.lookup(content_of(b"it").md5) is None
    await settled(clock)
    assert read(cache, content_of(b"it").md5) == b"it"


async def test_files_that_say_another_size_or_nothing_are_removed_at_start(
    start: Start, root: Path, clock: VirtualClock, boot: Path
) -> None:
    cache = await start()
    await settled(clock)
    await cache.admit(content_of(b"whole"), "", b"whole", 1.0)
    (path,) = blob_files(root)
    path.write_bytes(b"who")
    (root / "blobs" / "00" / "what is this").write_text("x")
    (root / "tmp" / "7").write_text("half")
    cache = await start()
    assert cache.lookup(content_of(b"whole").md5) is None
    assert blob_files(root) == []
    assert list((root / "tmp").iterdir()) == []
    assert cache.stats().bytes == 0


async def test_a_smaller_bound_holds_after_a_restart(start: Start, root: Path, clock: VirtualClock) -> None:
    cache = await start()
    await settled(clock)
    for _ in range(10):
        data = os.urandom(4_000)
        await cache.admit(content_of(data), "", data, 1.0)
    cache = await start(limit_bytes=5 * 4096)
    assert (cache.stats().entries, cache.stats().bytes) == (5, 5 * 4096)
    assert len(blob_files(root)) == 5


async def test_a_file_is_linked(start: Start, root: Path, tmp_path: Path) -> None:
    cache = await start()
    (tmp_path / "spool").write_bytes(b"it")
    await cache.admit(content_of(b"it"), "", LocalFile(tmp_path / "spool", 2), 1.0)
    (path,) = blob_files(root)
    assert path.stat().st_ino == (tmp_path / "spool").stat().st_ino


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
async def test_a_disk_that_fails_admits_nothing_and_counts_nothing(
    start: Start, root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    cache = await start()

    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        assert not await cache.admit(content_of(b"it"), "", b"it", 1.0)
    assert cache.stats().bytes == 0
    assert blob_files(root) == list((root / "tmp").iterdir()) == []
    assert await cache.admit(content_of(b"it"), "", b"it", 1.0)


async def test_a_file_that_vanished_or_shrank_is_a_miss_and_dropped(start: Start, root: Path) -> None:
    cache = await start(open_files=0)
    for spoil in (lambda path: path.unlink(), lambda path: os.truncate(path, 1)):
        assert await cache.admit(content_of(b"it"), "", b"it", 1.0)
        spoil(*blob_files(root))
        assert cache.lookup(content_of(b"it").md5) is None
        assert (cache.stats().entries, cache.stats().bytes) == (0, 0)


async def test_too_many_open_files_is_a_miss_and_the_blob_stays(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = await start()
    await cache.admit(content_of(b"it"), "", b"it", 1.0)

    def refuse(*_: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert cache.lookup(content_of(b"it").md5) is None
    assert read(cache, content_of(b"it").md5) == b"it"


async def test_descriptors_stay_within_their_bound_and_none_leaks(start: Start) -> None:
    cache = await start(open_files=3)
    before = len(os.listdir("/proc/self/fd"))
    contents = []
    for size in (10, 100_000) * 5:
        data = os.urandom(size)
        contents.append(content_of(data))
        await cache.admit(contents[-1], "", data, 1.0)
    held = [cache.lookup(content.md5) for content in contents]
    for hit in held:
        assert hit is not None
        cache.release(hit)
    assert len(os.listdir("/proc/self/fd")) - before <= 3
    for content in contents:
        cache.evict(content.md5)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_blob_that_does_not_lie_in_memory_comes_as_a_descriptor(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await start()
    await cache.admit(content_of(b"it"), "", b"it", 1.0)

    def not_cached(*_: Any) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", not_cached)
    hit = cache.lookup(content_of(b"it").md5)
    assert hit is not None
    assert hit.data is None
    assert os.pread(hit.fd, 10, 0) == b"it"
    cache.release(hit)


async def test_space_that_a_reader_holds_is_not_given_away(start: Start) -> None:
    cache = await start(limit_bytes=200_000)
    data, other = os.urandom(150_000), os.urandom(150_000)
    assert await cache.admit(content_of(data), "", data, 1.0)
    hit = cache.lookup(content_of(data).md5)
    assert hit is not None
    assert not await cache.admit(content_of(other), "", other, 1.0)
    cache.release(hit)
    assert await cache.admit(content_of(other), "", other, 1.0)
    assert cache.lookup(content_of(data).md5) is None


async def test_a_content_type_too_long_for_a_name_is_not_kept(start: Start) -> None:
    cache = await start()
    assert not await cache.admit(content_of(b"it"), "x/" + "y" * 300, b"it", 1.0)


async def test_a_directory_that_cannot_be_used_is_said(start: Start, root: Path) -> None:
    root.write_text("a file")
    with pytest.raises(Unavailable):
        await start()


@given(st.text("0123456789abcdef", min_size=96, max_size=96), st.integers(0, 10**18), st.text(max_size=60))
def test_names_come_back_as_they_were(digits: str, size: int, content_type: str) -> None:
    try:
        content_type.encode()
    except UnicodeEncodeError:
        return
    content = Content(Md5(digits[:32]), Sha256(digits[32:]), size)
    name = name_of(content, content_type)
    if name is not None:
        folder, file = name.split("/")
        assert (folder, parse(file)) == (digits[:2], (content, content_type))


@given(st.text(max_size=300))
def test_any_other_name_is_nothing(name: str) -> None:
    try:
        assert parse(name) is None
    except UnicodeDecodeError:
        pass
