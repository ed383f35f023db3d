"""Small blobs are held in memory while their descriptor is, and not longer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controlplane.adapters.disk_cache import DiskHotCache, cache
from tests.contract.object_store_suite import content_of
from tests.support.virtual_time import VirtualClock


async def filled(path: Path, clock: VirtualClock, open_files: int, bodies: list[bytes]) -> DiskHotCache:
    hot = DiskHotCache(path, limit_bytes=10**7, max_blob_bytes=10**7, open_files=open_files, clock=clock)
    await hot.open()
    for body in bodies:
        assert await hot.admit(content_of(body), "text/plain", body, clock.now())
    return hot


async def test_only_the_small_blobs_asked_for_last_are_read_once(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [b"a", b"b", b"c" * cache.HELD_BYTES, b"d" * (cache.HELD_BYTES + 1)]
    hot = await filled(tmp_path / "hot", clock, 2, bodies)
    reads: list[int] = []
    real = os.preadv

    def counted(fd: int, buffers: tuple[bytearray], offset: int, flags: int) -> int:
        reads.append(len(buffers[0]))
        return real(fd, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", counted)
    for body, most in zip(bodies, (1, 1, 1, 3), strict=True):
        reads.clear()
        for _ in range(3):
            hit = hot.lookup(content_of(body).md5)
            assert hit is not None
            if hit.data is not None:  # a page cache under pressure may have to answer with the descriptor
                assert hit.data == body
            hot.release(hit)
        assert len(reads) <= most if most == 1 else len(reads) == most
    reads.clear()
    hit = hot.lookup(content_of(bodies[0]).md5)  # two others were asked for since
    assert hit is not None
    hot.release(hit)
    assert reads == [1]
    await hot.aclose()


async def test_what_is_held_goes_with_its_blob(tmp_path: Path, clock: VirtualClock) -> None:
    hot = await filled(tmp_path / "hot", clock, 10, [b"gone"])
    guid = content_of(b"gone").md5
    hit = hot.lookup(guid)
    assert hit is not None
    hot.release(hit)
    hot.evict(guid)
    assert hot.lookup(guid) is None
    assert hot.stats().bytes == 0
    await hot.aclose()
