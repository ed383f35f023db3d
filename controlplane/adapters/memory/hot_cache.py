"""HotCache in this process's memory, and the one that keeps nothing."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from controlplane.model.content import Content, Guid
from controlplane.ports.hot_cache import CacheStats, Hit
from controlplane.ports.object_store import LocalFile

ENTRY_BYTES = 1024
"""Counted for each entry beside its data: keys, digests, and the interpreter's own."""


@dataclass(slots=True)
class _Entry:
    content: Content
    content_type: str
    data: bytes
    validated_at: float


@dataclass(slots=True, eq=False)
class _Load:
    """A file being read for admission."""

    guid: Guid
    evicted: bool = False


class MemoryHotCache:
    """Implements ports.hot_cache.HotCache. The bound counts the data and ENTRY_BYTES an entry."""

    def __init__(self, limit_bytes: int, max_blob_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._max_blob_bytes = max_blob_bytes
        self._entries: OrderedDict[Guid, _Entry] = OrderedDict()
        self._loads: list[_Load] = []
        self._bytes = self._hits = self._misses = self._evictions = 0

    def lookup(self, guid: Guid) -> Hit | None:
        entry = self._entries.get(guid)
        if entry is None:
            self._misses += 1
            return None
        self._entries.move_to_end(guid)
        self._hits += 1
        return Hit(entry.content, entry.content_type, entry.validated_at, entry.data)

    async def recall(self, guid: Guid) -> Hit | None:  # noqa: ARG002 - the port's
        """None: there is nothing farther away."""
        return None

    def release(self, hit: Hit) -> None:
        """Nothing to release: the bytes are the hit's."""

    async def admit(self, content: Content, content_type: str, body: bytes | LocalFile, now: float) -> bool:
        cost = content.size + ENTRY_BYTES
        if content.size > self._max_blob_bytes or cost > self._limit_bytes:
            return False
        known = self._entries.get(content.md5)
        if known is not None:
            return self._known(known, content, now)
        if isinstance(body, bytes):
            data = body
        else:
            loaded = await self._load(content.md5, body)
            if loaded is None:
                return False
            data = loaded
            known = self._entries.get(content.md5)
            if known is not None:
                return self._known(known, content, now)
        if len(data) != content.size:
            return False
        while self._bytes + cost > self._limit_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= oldest.content.size + ENTRY_BYTES
            self._evictions += 1
        self._entries[content.md5] = _Entry(content, content_type, data, now)
        self._bytes += cost
        return True

    def _known(self, entry: _Entry, content: Content, now: float) -> bool:
        if entry.content != content:
            self.evict(content.md5)  # a collision (I3): which of the two is the blob is not ours to say
            return False
        entry.validated_at = max(entry.validated_at, now)
        self._entries.move_to_end(content.md5)
        return True

    async def _load(self, guid: Guid, body: LocalFile) -> bytes | None:
        """The file's bytes; None when it cannot be read, or the blob was evicted meanwhile."""
        load = _Load(guid)
        self._loads.append(load)
        try:
            data = await asyncio.to_thread(body.path.read_bytes)
        except OSError:
            return None
        finally:
            self._loads.remove(load)
        return None if load.evicted else data

    def touch(self, guid: Guid, now: float) -> None:
        entry = self._entries.get(guid)
        if entry is not None:
            entry.validated_at = now

    def evict(self, guid: Guid) -> None:
        for load in self._loads:
            if load.guid == guid:
                load.evicted = True
        entry = self._entries.pop(guid, None)
        if entry is not None:
            self._bytes -= entry.content.size + ENTRY_BYTES

    def stats(self) -> CacheStats:
        return CacheStats(len(self._entries), self._bytes, self._limit_bytes, self._hits, self._misses, self._evictions)

    async def aclose(self) -> None:
        self._entries.clear()
        self._bytes = 0


class NoHotCache:
    """Implements ports.hot_cache.HotCache: every look-up is a miss."""

    def __init__(self) -> None:
        self._misses = 0

    def lookup(self, guid: Guid) -> Hit | None:  # noqa: ARG002
        self._misses += 1
        return None

    async def recall(self, guid: Guid) -> Hit | None:  # noqa: ARG002 - the port's
        """None: there is nothing farther away."""
        return None

    def release(self, hit: Hit) -> None:
        """There are no hits."""

    async def admit(self, content: Content, content_type: str, body: bytes | LocalFile, now: float) -> bool:  # noqa: ARG002
        return False

    def touch(self, guid: Guid, now: float) -> None:
        """There is nothing to touch."""

    def evict(self, guid: Guid) -> None:
        """There is nothing to evict."""

    def stats(self) -> CacheStats:
        return CacheStats(0, 0, 0, 0, self._misses, 0)

    async def aclose(self) -> None:
        """There is nothing to close."""
