"""Reading blobs: from the hot cache, the primary, the persistent store; whoever is nearest."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from controlplane.model.content import Content, Guid, Sha256
from controlplane.model.keys import blob_key
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Corrupt, NotFound, Unavailable
from controlplane.ports.hot_cache import Hit, HotCache
from controlplane.ports.object_store import ByteRange, ObjectInfo, ObjectReader, ObjectStore
from controlplane.ports.peers import Asker
from controlplane.services.filling import BlobFiller
from controlplane.services.guid_locks import GuidLocks
from controlplane.services.open_blob import OpenBlob, from_bytes, from_file, from_hit
from controlplane.services.presence import refuse_if_entombed
from controlplane.services.proving import digest, proved

log = logging.getLogger(__name__)

_SMALL = 64 * 1024
"""Blobs of a local primary up to this size are proved and put into the hot cache while they are read."""


class BlobReader:
    """Opens blobs from the nearest place. `primary_is_local`: its objects are files that can be sent as they are."""

    def __init__(
        self,
        *,
        primary: ObjectStore,
        primary_is_local: bool,
        persistent: ObjectStore | None,
        catalog: Catalog,
        hot: HotCache,
        filler: BlobFiller,
        clock: Clock,
        recheck_s: float,
        locks: GuidLocks,
    ) -> None:
        self._primary = primary
        self._primary_is_local = primary_is_local
        self._persistent = persistent
        self._catalog = catalog
        self._hot = hot
        self._filler = filler
        self._clock = clock
        self._recheck_s = recheck_s
        self._locks = locks

    def hot(self, guid: Guid) -> Hit | None:
        """The cached blob when it is fresh enough to be served without asking anyone. Never blocks."""
        hit = self._hot.lookup(guid)
        if hit is not None and self._clock.now() - hit.validated_at > self._recheck_s:
            self._hot.release(hit)
            return None
        return hit

    def release(self, hit: Hit) -> None:
        self._hot.release(hit)

    async def open(self, guid: Guid, *, ranged: bool = False) -> OpenBlob:
        """The blob, from the nearest place that has it. `ranged`: only a part of it will be asked for.

        Raises NotFound, Corrupt, Unavailable (never NotFound for an outage: I5), StorageFull (no room to fetch it).
        """
        hit = self._hot.lookup(guid) or await self._hot.recall(guid)
        if hit is not None:
            try:
                await self._still_there(guid, hit)
            except BaseException:
                self._hot.release(hit)
                raise
            return from_hit(hit, lambda: self._hot.release(hit))
        if not self._filler.is_under_way(guid):
            if self._primary_is_local:
                opened = await self._open_local(guid)
            else:
                opened = await self._open_part(guid) if ranged else None
            if opened is not None:
                return opened
        fetch = await self._filler.join(guid)
        if fetch.too_large:
            fetch.leave()
            return (await self._open_part(guid) if ranged else None) or await self._open_stream(guid)
        assert fetch.content is not None
        assert fetch.info is not None
        return OpenBlob(fetch.content, fetch.info.content_type, None, fetch.chunks, fetch.leave)

    async def open_shown(self, guid: Guid, asker: Asker) -> OpenBlob:
        """For others: the blob that is being fetched here from the persistent store just now, as it arrives; proved
        before its end. Raises NotFound when it is not."""
        if not self._filler.is_shown(guid, asker):
            raise NotFound(f"blob {guid} is not being fetched here")
        fetch = await self._filler.join(guid)
        if fetch.content is None or fetch.info is None:
            fetch.leave()
            raise NotFound(f"blob {guid} is not being fetched here")
        return OpenBlob(fetch.content, fetch.info.content_type, None, fetch.chunks, fetch.leave)

    async def stat(self, guid: Guid) -> tuple[Content, str]:
        """The blob's content and content type, asked of the stores: a catalog may be behind another node's delete.

        Raises NotFound, Unavailable, Corrupt."""
        info = await self._find(guid)
        if info.content is not None:
            return info.content, info.content_type
        # Written by others: only a full read tells its SHA-256.
        opened = await self.open(guid)
        opened.release()
        return opened.content, opened.content_type

    async def by_sha256(self, sha256: Sha256) -> Guid:
        """The GUID of the blob with that SHA-256. Raises NotFound when this node's catalog has none."""
        known = await self._catalog.by_sha256(sha256)
        if known is None or known.deleted_at is not None:
            raise NotFound(f"no blob with SHA-256 {sha256} is in this node's catalog")
        return known.guid

    # -- the hot cache ------------------------------------------------------------------------------------------

    async def _still_there(self, guid: Guid, hit: Hit) -> None:
        """A cached blob of some age: was it deleted meanwhile, perhaps by another node (I4)?"""
        now = self._clock.now()
        if now - hit.validated_at <= self._recheck_s:
            return
        try:
            await self._primary.head(blob_key(guid))
        except NotFound:
            await self._still_far(guid)
        except Unavailable as error:
            # The bytes are proved and immutable, and nobody can delete while the primary is away: better served.
            log.warning("hot blob %s served unchecked: %s", guid, error)
            return
        self._hot.touch(guid, now)

    async def _still_far(self, guid: Guid) -> None:
        """The primary does not have it. Without a tombstone the deletion may be complete: only a copy tells."""
        try:
            await refuse_if_entombed(self._primary, self._catalog, guid)
            if self._persistent is None:
                raise NotFound(f"no blob {guid}")
            await self._persistent.head(blob_key(guid))
        except NotFound:
            self._hot.evict(guid)
            raise

    # -- the primary --------------------------------------------------------------------------------------------

    async def _open_local(self, guid: Guid) -> OpenBlob | None:
        """A file of the embedded store, sent as it is; a small one is proved and cached on the way."""
        try:
            reader = await self._primary.get(blob_key(guid))
        except NotFound:
            return None
        info = reader.info
        content = info.content
        if content is None or reader.file is None:
            await reader.aclose()
            return None
        try:
            self._filler.check(guid, content, replace(content, size=info.size), self._primary.name)
        except Corrupt:
            await reader.aclose()
            raise
        if info.size > _SMALL:
            return from_file(content, info.content_type, reader.file, self._closing(reader))
        await reader.aclose()
        # Read again under the lock, so that no delete comes between the reading and the caching (I4).
        async with self._locks.hold(guid):
            data = await self._read_small(guid, content)
            await self._hot.admit(content, info.content_type, data, self._clock.now())
        return from_bytes(content, info.content_type, data, _nothing)

    async def _read_small(self, guid: Guid, content: Content) -> bytes:
        reader = await self._primary.get(blob_key(guid))
        try:
            data = b"".join([chunk async for chunk in reader])
        finally:
            await reader.aclose()
        self._filler.check(guid, content, digest(data), self._primary.name)
        return data

    async def _open_part(self, guid: Guid) -> OpenBlob | None:
        """A remote primary's blob of which only a range is wanted: fetching all of it would cost too much."""
        try:
            info = await self._primary.head(blob_key(guid))
        except NotFound:
            return None
        content = info.content
        if content is None:
            return None
        self._filler.check(guid, content, replace(content, size=info.size), self._primary.name)

        async def chunks(part: ByteRange) -> AsyncIterator[bytes]:
            whole = part.length == content.size
            reader = await self._primary.get(blob_key(guid), byte_range=None if whole else part)
            try:
                async for chunk in self._proved(guid, content, reader) if whole else reader:
                    yield chunk
            finally:
                await reader.aclose()

        return OpenBlob(content, info.content_type, None, chunks, _nothing)

    async def _open_stream(self, guid: Guid) -> OpenBlob:
        """A blob too large for the hot cache, straight from the primary; its end is held back until it is proved."""
        reader = await self._primary.get(blob_key(guid))
        content = reader.info.content
        if content is None:
            await reader.aclose()
            raise Corrupt(f"blob {guid} in {self._primary.name} has no digests beside it and is too large to prove")
        return OpenBlob(
            content,
            reader.info.content_type,
            None,
            lambda _part: self._proved(guid, content, reader),
            self._closing(reader),
        )

    def _proved(self, guid: Guid, content: Content, reader: ObjectReader) -> AsyncIterator[bytes]:
        return proved(reader, lambda found: self._filler.check(guid, content, found, self._primary.name))

    def _closing(self, reader: ObjectReader) -> Callable[[], None]:
        return lambda: self._filler.spawn(reader.aclose())

    async def _find(self, guid: Guid) -> ObjectInfo:
        try:
            return await self._primary.head(blob_key(guid))
        except NotFound:
            await refuse_if_entombed(self._primary, self._catalog, guid)
            if self._persistent is None:
                raise NotFound(f"no blob {guid}") from None
        return await self._persistent.head(blob_key(guid))


def _nothing() -> None:
    """Nothing is held."""
