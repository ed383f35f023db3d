"""Every hot cache keeps HotCache's promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from controlplane.adapters.disk_cache import DiskHotCache
from controlplane.adapters.memory.hot_cache import MemoryHotCache, NoHotCache
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.hot_cache import HotCache
from tests.contract.hot_cache_suite import HotCacheContract, Make
from tests.contract.object_store_suite import content_of


class TestMemoryHotCache(HotCacheContract):
    @pytest.fixture
    async def make(self) -> Make:
        async def made(limit_bytes: int, max_blob_bytes: int) -> HotCache:
            return MemoryHotCache(limit_bytes, max_blob_bytes)

        return made


class TestDiskHotCache(HotCacheContract):
    open_files: ClassVar[int] = 100

    @pytest.fixture
    async def make(self, tmp_path: Path) -> AsyncIterator[Make]:
        caches: list[DiskHotCache] = []

        async def made(limit_bytes: int, max_blob_bytes: int) -> HotCache:
            cache = DiskHotCache(
                tmp_path / "cache",
                limit_bytes=limit_bytes,
                max_blob_bytes=max_blob_bytes,
                open_files=self.open_files,
                clock=SystemClock(),
            )
            caches.append(cache)
            await cache.open()
            return cache

        yield made
        for cache in caches:
            await cache.aclose()
        assert list((tmp_path / "cache" / "tmp").iterdir()) == []


class TestDiskHotCacheWithFewOpenFiles(TestDiskHotCache):
    open_files = 2


class TestDiskHotCacheWithNoOpenFiles(TestDiskHotCache):
    open_files = 0


async def test_no_hot_cache_keeps_nothing() -> None:
    cache: HotCache = NoHotCache()
    content = content_of(b"it")
    assert not await cache.admit(content, "", b"it", 1.0)
    assert cache.lookup(content.md5) is None
    cache.touch(content.md5, 2.0)
    cache.evict(content.md5)
    assert (cache.stats().entries, cache.stats().misses) == (0, 1)
    await cache.aclose()
