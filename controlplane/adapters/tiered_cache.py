"""A node's hot cache with a tier behind it that all nodes share.

Nobody waits for the tier longer than its timeout, and while it is away it is not asked: it is left alone for a second,
then twice as long, up to half a minute. What it gives is proved before it is served (I2), and carries the time at which
the blob was last known to exist: a reader that finds it too old asks the stores, as with any hot copy (I4).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

from controlplane.model.content import Content, Guid, Md5, Sha256
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable
from controlplane.ports.hot_cache import CacheStats, Hit, HotCache, TierStats
from controlplane.ports.hot_tier import HotTier
from controlplane.ports.object_store import LocalFile

log = logging.getLogger(__name__)

_VERSION: Final = b"MrH1"
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_REMEMBERED: Final = 65_536
_MOST_UNDER_WAY: Final = 256
"""Writes to the tier; further ones are left out. Removals never are."""


class TieredHotCache:
    """Implements ports.hot_cache.HotCache. `near` and `tier` are closed with it."""

    def __init__(self, near: HotCache, tier: HotTier, *, clock: Clock, max_blob_bytes: int) -> None:
        self._near = near
        self._tier = tier
        self._clock = clock
        self._max_blob_bytes = max_blob_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._evicted: OrderedDict[Guid, float] = OrderedDict()
        """When a blob was evicted here: what the tier says of an earlier time no longer holds on this node."""
        self._failures = 0
        self._away_until = 0.0
        self._recalled = 0
        self._wrong = 0

    def lookup(self, guid: Guid) -> Hit | None:
        return self._near.lookup(guid)

    def release(self, hit: Hit) -> None:
        self._near.release(hit)

    async def recall(self, guid: Guid) -> Hit | None:
        value = await self._ask(self._tier.get(guid)) if self._is_there() else None
        if value is None:
            return None
        found = await asyncio.to_thread(_unpacked, guid, value)
        if found is None:
            self._wrong += 1
            log.warning("the hot tier had other bytes than those of blob %s: removed there", guid)
            self._spawn(self._ask(self._tier.forget(guid)))
            return None
        content, content_type, validated_at, data = found
        if validated_at <= self._evicted.get(guid, -1.0):
            return None
        self._recalled += 1
        await self._near.admit(content, content_type, data, validated_at)
        hit = self._near.lookup(guid)
        return hit if hit is not None else Hit(content, content_type, validated_at, data)

    async def admit(self, content: Content, content_type: str, body: bytes | LocalFile, now: float) -> bool:
        kept = await self._near.admit(content, content_type, body, now)
        if kept and content.size <= self._max_blob_bytes and self._is_there():
            data = body if isinstance(body, bytes) else await asyncio.to_thread(_read, body)
            if data is not None and len(data) == content.size:
                self._put(content, content_type, data, now)
        return kept

    def touch(self, guid: Guid, now: float) -> None:
        """The other nodes learn it too."""
        self._near.touch(guid, now)
        if not self._is_there():
            return
        hit = self._near.lookup(guid)
        if hit is None:
            return
        try:
            if hit.content.size <= self._max_blob_bytes:
                data = hit.data if hit.data is not None else os.pread(hit.fd, hit.content.size, 0)
                self._put(hit.content, hit.content_type, data, now)
        except OSError as error:
            log.debug("blob %s could not be read for the hot tier: %s", guid, error)
        finally:
            self._near.release(hit)

    def evict(self, guid: Guid) -> None:
        self._near.evict(guid)
        self._evicted[guid] = self._clock.now()
        self._evicted.move_to_end(guid)
        while len(self._evicted) > _REMEMBERED:
            self._evicted.popitem(last=False)
        self._spawn(self._ask(self._tier.forget(guid)))

    def stats(self) -> CacheStats:
        """Of the node's own cache, and what became of the questions to the tier."""
        return replace(self._near.stats(), tier=TierStats(self._recalled, self._wrong, self._failures > 0))

    async def aclose(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tier.aclose()
        await self._near.aclose()

    # -- the tier -----------------------------------------------------------------------------------------------------

    def _put(self, content: Content, content_type: str, data: bytes, now: float) -> None:
        if len(self._tasks) < _MOST_UNDER_WAY:
            self._spawn(self._write(content, content_type, data, now))

    async def _write(self, content: Content, content_type: str, data: bytes, now: float) -> None:
        guid = content.md5
        if now > self._evicted.get(guid, -1.0):
            await self._ask(self._tier.put(guid, _packed(content, content_type, data, now)))
        if now <= self._evicted.get(guid, -1.0):
            await self._ask(self._tier.forget(guid))  # evicted while it was written

    def _is_there(self) -> bool:
        return self._clock.monotonic() >= self._away_until

    async def _ask(self, work: Coroutine[Any, Any, bytes | None] | Coroutine[Any, Any, None]) -> bytes | None:
        try:
            answer: bytes | None = await work
        except Unavailable as error:
            pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(self._failures, 16), _LONGEST_PAUSE_S)
            if self._is_there():  # of many that failed at once, one counts
                self._failures += 1
                self._away_until = self._clock.monotonic() + pause_s
                log.warning("the hot tier is passed over for %g s: %s", pause_s, error)
            return None
        self._failures = 0
        return answer

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        async def run() -> None:
            await work

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _packed(content: Content, content_type: str, data: bytes, validated_at: float) -> bytes:
    head = json.dumps([content.sha256, content.size, content_type, validated_at]).encode()
    return b"".join((_VERSION, len(head).to_bytes(4, "big"), head, data))


def _unpacked(guid: Guid, value: bytes) -> tuple[Content, str, float, bytes] | None:
    """None unless it is, to the last bit, what its name says."""
    try:
        if value[:4] != _VERSION:
            return None
        end = 8 + int.from_bytes(value[4:8], "big")
        sha256, size, content_type, validated_at = json.loads(value[8:end])
        data = value[end:]
        content = Content(Md5(guid), Sha256(str(sha256)), int(size))
        real = Content(Md5(hashlib.md5(data).hexdigest()), Sha256(hashlib.sha256(data).hexdigest()), len(data))
        return (content, str(content_type), float(validated_at), data) if real == content else None
    except (ValueError, TypeError):
        return None


def _read(file: LocalFile) -> bytes | None:
    try:
        return file.path.read_bytes()
    except OSError:
        return None
