"""HotCache: the nearest copy of the blobs asked for most. Losing it loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from controlplane.model.content import Content, Guid
from controlplane.ports.object_store import LocalFile


@dataclass(slots=True)
class Hit:
    """A cached blob. Either `data` or `fd` is set; an fd stays open until release()."""

    content: Content
    content_type: str
    validated_at: float
    """Unix seconds when the blob was last known to exist in a store; the reader decides when that is too old."""
    data: bytes | None = None
    fd: int = -1


@dataclass(frozen=True, slots=True)
class TierStats:
    """Of the tier that nodes share, as this process finds it."""

    recalled: int
    """Blobs that it gave, and that were proved."""
    wrong: int
    """Values that were not what their names say (I2)."""
    away: bool
    """It is passed over for a while, since it did not answer."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    entries: int
    bytes: int
    limit_bytes: int
    hits: int
    misses: int
    evictions: int
    tier: TierStats | None = None
    """None: there is none behind this cache."""


class HotCache(Protocol):
    def lookup(self, guid: Guid) -> Hit | None:
        """The blob, or None. Never blocks: an entry that fails to open is a miss, and dropped.
        The caller must release() a hit when its bytes are no longer needed."""
        ...

    async def recall(self, guid: Guid) -> Hit | None:
        """After a miss: the blob from farther away than this node's own memory and disk, if the cache reaches that far;
        proved (I2), and cheaper than asking a store. None too when it is away. release() the hit as any other."""
        ...

    def release(self, hit: Hit) -> None: ...

    async def admit(self, content: Content, content_type: str, body: bytes | LocalFile, now: float) -> bool:
        """Keep a blob whose digests the caller has verified (I2); False when it does not fit the bounds.

        Evicts the least recently used until it fits. A LocalFile on the same file system is linked, not copied.
        A full disk is False, not an error."""
        ...

    def touch(self, guid: Guid, now: float) -> None:
        """Set validated_at."""
        ...

    def evict(self, guid: Guid) -> None:
        """Forget the blob at once; readers that hold a hit keep theirs. Unknown GUIDs are ignored."""
        ...

    def stats(self) -> CacheStats: ...

    async def aclose(self) -> None: ...
