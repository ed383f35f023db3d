"""A hot cache beside those of other processes of the node: what one evicts, no other serves unasked.

Implements ports.hot_cache.HotCache over another one.
"""

from __future__ import annotations

from controlplane.model.content import Content, Guid
from controlplane.ports.changes import Changes
from controlplane.ports.clock import Clock
from controlplane.ports.hot_cache import CacheStats, Hit, HotCache
from controlplane.ports.object_store import LocalFile


class WatchedHotCache:
    """A blob that was evicted anywhere on the node since it was validated counts as not validated (I4): its reader asks
    a store. Times are Unix seconds, as those of validation are."""

    def __init__(self, own: HotCache, evictions: Changes, clock: Clock) -> None:
        self._own = own
        self._evictions = evictions
        self._clock = clock

    def lookup(self, guid: Guid) -> Hit | None:
        return self._watched(guid, self._own.lookup(guid))

    async def recall(self, guid: Guid) -> Hit | None:
        return self._watched(guid, await self._own.recall(guid))

    def _watched(self, guid: Guid, hit: Hit | None) -> Hit | None:
        if hit is not None and hit.validated_at <= self._evictions.last(guid):
            hit.validated_at = 0.0
        return hit

    def release(self, hit: Hit) -> None:
        self._own.release(hit)

    async def admit(self, content: Content, content_type: str, body: bytes | LocalFile, now: float) -> bool:
        return await self._own.admit(content, content_type, body, now)

    def touch(self, guid: Guid, now: float) -> None:
        self._own.touch(guid, now)

    def evict(self, guid: Guid) -> None:
        self._evictions.mark(guid, self._clock.now())
        self._own.evict(guid)

    def stats(self) -> CacheStats:
        return self._own.stats()

    async def aclose(self) -> None:
        await self._own.aclose()
