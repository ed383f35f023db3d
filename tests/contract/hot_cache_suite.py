"""What every HotCache that keeps anything promises. Subclass HotCacheContract and give it a `make` fixture."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from controlplane.model.content import Guid
from controlplane.ports.hot_cache import Hit, HotCache
from controlplane.ports.object_store import LocalFile
from tests.contract.object_store_suite import OTHER_MD5, OTHER_SHA256, content_of

Make: TypeAlias = Callable[[int, int], Awaitable[HotCache]]
"""(limit_bytes, max_blob_bytes) -> an empty cache that the fixture closes."""


def bytes_of(hit: Hit) -> bytes:
    if hit.data is not None:
        assert hit.fd == -1
        return hit.data
    return os.pread(hit.fd, hit.content.size + 1, 0)


def read(cache: HotCache, guid: Guid) -> bytes | None:
    hit = cache.lookup(guid)
    if hit is None:
        return None
    try:
        return bytes_of(hit)
    finally:
        cache.release(hit)


class HotCacheContract:
    @pytest.fixture
    async def make(self) -> Make:
        raise NotImplementedError("override `make`")

    @pytest.mark.parametrize("size", [0, 1, 4096, 65_536, 65_537, 300_000])
    @pytest.mark.parametrize("kind", ["bytes", "file"])
    async def test_what_is_admitted_is_found(self, make: Make, tmp_path: Path, kind: str, size: int) -> None:
        cache = await make(10**7, 10**6)
        data = os.urandom(size)
        content = content_of(data)
        (tmp_path / "body").write_bytes(data)
        body = data if kind == "bytes" else LocalFile(tmp_path / "body", size)
        assert await cache.admit(content, "text/plain; charset=utf-8", body, 100.0)
        (tmp_path / "body").unlink()
        for _ in range(2):
            hit = cache.lookup(content.md5)
            assert hit is not None
            assert (hit.content, hit.content_type, hit.validated_at) == (content, "text/plain; charset=utf-8", 100.0)
            assert bytes_of(hit) == data
            cache.release(hit)
            cache.release(hit)  # a second release changes nothing

    async def test_what_is_not_there_is_a_miss(self, make: Make) -> None:
        cache = await make(10**6, 10**6)
        assert cache.lookup(OTHER_MD5) is None
        cache.evict(OTHER_MD5)
        cache.touch(OTHER_MD5, 5.0)
        assert cache.lookup(OTHER_MD5) is None

    async def test_the_bound_holds_and_the_least_recently_used_leave(self, make: Make) -> None:
        cache = await make(100_000, 100_000)
        blobs = [os.urandom(10_000) for _ in range(30)]
        keep = content_of(blobs[0])
        for data in blobs:
            assert await cache.admit(content_of(data), "", data, 1.0)
            assert read(cache, keep.md5) == blobs[0]
            stats = cache.stats()
            assert stats.entries * 10_000 <= stats.bytes <= stats.limit_bytes == 100_000
        found = [read(cache, content_of(data).md5) == data for data in blobs]
        assert found[0]
        assert found[-1]
        assert found[1:] == sorted(found[1:])
        assert cache.stats().evictions == 30 - sum(found)

    async def test_the_bound_holds_while_many_are_admitted_at_once(self, make: Make) -> None:
        cache = await make(100_000, 100_000)
        blobs = [os.urandom(9_000) for _ in range(30)]
        await asyncio.gather(*(cache.admit(content_of(data), "", data, 1.0) for data in blobs))
        stats = cache.stats()
        assert stats.bytes <= 100_000
        left = [data for data in blobs if (found := read(cache, content_of(data).md5)) is not None and found == data]
        assert len(left) == stats.entries > 0

    async def test_what_does_not_fit_is_refused_and_displaces_nothing(self, make: Make) -> None:
        cache = await make(50_000, 20_000)
        small = os.urandom(1_000)
        assert await cache.admit(content_of(small), "", small, 1.0)
        for size in (20_001, 60_000):
            data = os.urandom(size)
            assert not await cache.admit(content_of(data), "", data, 1.0)
            assert cache.lookup(content_of(data).md5) is None
        assert read(cache, content_of(small).md5) == small

    async def test_a_body_of_another_length_is_refused(self, make: Make, tmp_path: Path) -> None:
        cache = await make(10**6, 10**6)
        content = content_of(b"whole")
        (tmp_path / "body").write_bytes(b"who")
        assert not await cache.admit(content, "", b"who", 1.0)
        assert not await cache.admit(content, "", LocalFile(tmp_path / "body", 5), 1.0)
        assert not await cache.admit(content, "", LocalFile(tmp_path / "absent", 5), 1.0)
        assert cache.lookup(content.md5) is None
        assert cache.stats().bytes == 0

    async def test_admitting_again_renews(self, make: Make) -> None:
        cache = await make(10**6, 10**6)
        content = content_of(b"it")
        for now in (5.0, 9.0, 7.0):
            assert await cache.admit(content, "text/plain", b"it", now)
        hit = cache.lookup(content.md5)
        assert hit is not None
        assert hit.validated_at == 9.0
        cache.release(hit)
        assert cache.stats().entries == 1

    async def test_a_collision_is_served_by_neither(self, make: Make) -> None:
        cache = await make(10**6, 10**6)
        content = content_of(b"it")
        assert await cache.admit(content, "", b"it", 1.0)
        assert not await cache.admit(replace(content, sha256=OTHER_SHA256), "", b"ti", 1.0)
        assert cache.lookup(content.md5) is None

    async def test_touch_sets_when_it_was_validated(self, make: Make) -> None:
        cache = await make(10**6, 10**6)
        content = content_of(b"it")
        await cache.admit(content, "", b"it", 1.0)
        cache.touch(content.md5, 55.0)
        hit = cache.lookup(content.md5)
        assert hit is not None
        assert hit.validated_at == 55.0
        cache.release(hit)

    @pytest.mark.parametrize("size", [1_000, 300_000])
    async def test_a_hit_outlives_the_eviction(self, make: Make, size: int) -> None:
        cache = await make(10**6, 10**6)
        data = os.urandom(size)
        content = content_of(data)
        await cache.admit(content, "", data, 1.0)
        first, second = cache.lookup(content.md5), cache.lookup(content.md5)
        assert first is not None
        assert second is not None
        cache.evict(content.md5)
        assert cache.lookup(content.md5) is None
        assert bytes_of(first) == data
        cache.release(first)
        assert bytes_of(second) == data
        cache.release(second)
        stats = cache.stats()
        assert (stats.entries, stats.bytes) == (0, 0)

    async def test_an_eviction_during_the_admission_wins(self, make: Make, tmp_path: Path) -> None:
        cache = await make(10**6, 10**6)
        content = content_of(b"it")
        (tmp_path / "body").write_bytes(b"it")
        admission = asyncio.create_task(cache.admit(content, "", LocalFile(tmp_path / "body", 2), 1.0))
        await asyncio.sleep(0)
        cache.evict(content.md5)
        assert not await admission
        assert cache.lookup(content.md5) is None
        assert cache.stats().bytes == 0
        assert await cache.admit(content, "", b"it", 1.0)
        assert read(cache, content.md5) == b"it"

    async def test_hits_and_misses_are_counted(self, make: Make) -> None:
        cache = await make(10**6, 10**6)
        await cache.admit(content_of(b"it"), "", b"it", 1.0)
        for _ in range(3):
            read(cache, content_of(b"it").md5)
        cache.lookup(OTHER_MD5)
        stats = cache.stats()
        assert (stats.entries, stats.hits, stats.misses, stats.evictions) == (1, 3, 1, 0)
