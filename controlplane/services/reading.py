"""Reading blobs: hot cache, primary, persistent store; what is found further away is kept nearer, verified (I2)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace

from controlplane.model.content import Content, Guid, Md5, Sha256
from controlplane.model.keys import StoreName, blob_key, tombstone_key
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.tally import BlobTally
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, MillraceError, NotFound, Unavailable
from controlplane.ports.hot_cache import Hit, HotCache
from controlplane.ports.object_store import ByteRange, ObjectInfo, ObjectReader, ObjectStore
from controlplane.ports.spool import Spool, Spooled
from controlplane.services.fetch import HOLD_BACK, Fetch, Source, check_identity
from controlplane.services.guid_locks import GuidLocks

log = logging.getLogger(__name__)

_SMALL = 64 * 1024
"""Blobs of a local primary up to this size are proved and put into the hot cache while they are read."""


@dataclass(slots=True)
class OpenBlob:
    """A blob that is about to be sent. `release` must be called exactly once, whatever happened."""

    content: Content
    content_type: str
    file: tuple[int, int] | None
    """(descriptor, offset of the blob's first byte) when the whole blob lies in a local file."""
    chunks: Callable[[ByteRange], AsyncIterator[bytes]]
    """The bytes of a range; raises Corrupt or Unavailable instead of ending early or completing what is not proved."""
    release: Callable[[], None]


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
        hot_max_bytes: int,
        spool: Spool,
        clock: Clock,
        tally: BlobTally,
        recheck_s: float,
        locks: GuidLocks,
    ) -> None:
        self._primary = primary
        self._primary_is_local = primary_is_local
        self._persistent = persistent
        self._catalog = catalog
        self._hot = hot
        self._hot_max_bytes = hot_max_bytes
        self._spool = spool
        self._clock = clock
        self._tally = tally
        self._recheck_s = recheck_s
        self._locks = locks
        self._fetches: dict[Guid, Fetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

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
        hit = self._hot.lookup(guid)
        if hit is not None:
            try:
                await self._still_there(guid, hit)
            except BaseException:
                self._hot.release(hit)
                raise
            return self._from_hit(hit)
        if guid not in self._fetches:
            if self._primary_is_local:
                opened = await self._open_local(guid)
            else:
                opened = await self._open_part(guid) if ranged else None
            if opened is not None:
                return opened
        fetch = self._fetches.get(guid) or self._start(guid)
        await fetch.opened()
        if fetch.too_large:
            fetch.leave()
            return (await self._open_part(guid) if ranged else None) or await self._open_stream(guid)
        assert fetch.content is not None
        assert fetch.info is not None
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

    async def aclose(self) -> None:
        """Let the fetches in progress end."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the hot cache ------------------------------------------------------------------------------------------

    def _from_hit(self, hit: Hit) -> OpenBlob:
        data = hit.data

        async def chunks(part: ByteRange) -> AsyncIterator[bytes]:
            assert data is not None
            yield data[part.first : part.last + 1]

        file = (hit.fd, 0) if data is None else None
        return OpenBlob(hit.content, hit.content_type, file, chunks, lambda: self._hot.release(hit))

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
            await self._refuse_if_entombed(guid)
            if self._persistent is None:
                raise NotFound(f"no blob {guid}")
            await self._persistent.head(blob_key(guid))
        except NotFound:
            self._hot.evict(guid)
            raise

    async def _refuse_if_entombed(self, guid: Guid) -> None:
        known = await self._catalog.get(guid)
        if known is not None and known.deleted_at is not None:
            raise NotFound(f"blob {guid} was deleted")
        try:
            await self._primary.head(tombstone_key(guid))
        except NotFound:
            return
        raise NotFound(f"blob {guid} was deleted")

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
            self._check(guid, content, replace(content, size=info.size), self._primary.name)
        except Corrupt:
            await reader.aclose()
            raise
        if info.size > _SMALL:
            return OpenBlob(content, info.content_type, reader.file, _sent_as_file, self._closing(reader))
        await reader.aclose()
        # Read again under the lock, so that no delete comes between the reading and the caching (I4).
        async with self._locks.hold(guid):
            data = await self._read_small(guid, content)
            await self._hot.admit(content, info.content_type, data, self._clock.now())
        return _from_bytes(content, info.content_type, data)

    async def _read_small(self, guid: Guid, content: Content) -> bytes:
        reader = await self._primary.get(blob_key(guid))
        try:
            data = b"".join([chunk async for chunk in reader])
        finally:
            await reader.aclose()
        self._check(guid, content, _digest(data), self._primary.name)
        return data

    def _check(self, guid: Guid, claimed: Content | None, found: Content, store: StoreName) -> None:
        """Raise Corrupt, counted and said, unless `found` is the blob (I2)."""
        try:
            check_identity(guid, claimed, found, store)
        except Corrupt as error:
            self._count_corrupt(store, str(error))
            raise

    def _count_corrupt(self, store: StoreName, error: str) -> None:
        self._tally.corrupt += 1
        self._tally.count_fill(store, "corrupt")
        log.error("%s; repair that copy, or write the blob again", error)

    async def _open_part(self, guid: Guid) -> OpenBlob | None:
        """A remote primary's blob of which only a range is wanted: fetching all of it would cost too much."""
        try:
            info = await self._primary.head(blob_key(guid))
        except NotFound:
            return None
        content = info.content
        if content is None:
            return None
        self._check(guid, content, replace(content, size=info.size), self._primary.name)

        async def chunks(part: ByteRange) -> AsyncIterator[bytes]:
            whole = part.length == content.size
            reader = await self._primary.get(blob_key(guid), byte_range=None if whole else part)
            try:
                async for chunk in self._proved(guid, content, reader) if whole else reader:
                    yield chunk
            finally:
                await reader.aclose()

        return OpenBlob(content, info.content_type, None, chunks, lambda: None)

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

    async def _proved(self, guid: Guid, content: Content, reader: ObjectReader) -> AsyncIterator[bytes]:
        """The bytes of the primary's reader; the last HOLD_BACK of them only after all have been proved."""
        md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
        held: deque[bytes] = deque()
        held_bytes = 0
        async for chunk in reader:
            await asyncio.to_thread(_update, md5, sha256, chunk)
            size += len(chunk)
            held.append(chunk)
            held_bytes += len(chunk)
            while held_bytes - len(held[0]) >= HOLD_BACK:
                held_bytes -= len(held[0])
                yield held.popleft()
        found = Content(Md5(md5.hexdigest()), Sha256(sha256.hexdigest()), size)
        self._check(guid, content, found, self._primary.name)
        for chunk in held:
            yield chunk

    def _closing(self, reader: ObjectReader) -> Callable[[], None]:
        return lambda: self._spawn(reader.aclose())

    # -- one fetch however many ask -----------------------------------------------------------------------------

    def _start(self, guid: Guid) -> Fetch:
        fetch = Fetch(guid, self._spool, lambda: self._locate(guid), self._keep)
        self._fetches[guid] = fetch

        async def run() -> None:
            try:
                await fetch.run()
            finally:
                del self._fetches[guid]
            if fetch.is_corrupt and fetch.source is not None:
                self._count_corrupt(fetch.source, str(fetch.failure))

        self._spawn(run())
        return fetch

    async def _locate(self, guid: Guid) -> Source:
        known = await self._catalog.get(guid)
        expected = known.content if known is not None and known.deleted_at is None else None
        try:
            reader = await self._primary.get(blob_key(guid))
            return Source(self._primary.name, reader, self._hot_max_bytes, expected)
        except NotFound:
            pass
        await self._refuse_if_entombed(guid)
        store = self._persistent
        if store is None:
            raise NotFound(f"no blob {guid}")
        try:
            return Source(store.name, await store.get(blob_key(guid)), None, expected)
        except NotFound:
            self._tally.count_fill(store.name, "missing")
            raise NotFound(f"no blob {guid}") from None
        except Unavailable:
            self._tally.count_fill(store.name, "unavailable")
            raise

    async def _keep(self, source: Source, spooled: Spooled) -> None:
        """What becomes of a proved fetch: it goes into the primary if it was not there, and into the hot cache.

        Under the GUID's lock, and looked at again afterwards: a delete that came meanwhile wins (I4).
        """
        guid = spooled.content.md5
        self._tally.count_fill(source.store, "filled")
        async with self._locks.hold(guid):
            try:
                if source.store == self._primary.name:
                    await self._primary.head(blob_key(guid))
                else:
                    await self._fill_primary(guid, source, spooled)
            except NotFound:
                return
            except Conflict as error:
                log.error("blob %s was served, but the stores do not agree on it (I3): %s", guid, error)  # noqa: TRY400
                return
            except MillraceError as error:
                log.warning("blob %s was served, but not kept in %s: %s", guid, self._primary.name, error)
            info = source.reader.info
            await self._hot.admit(spooled.content, info.content_type, spooled.body, self._clock.now())

    async def _fill_primary(self, guid: Guid, source: Source, spooled: Spooled) -> None:
        """Raises NotFound when it was deleted meanwhile, Conflict when another content has its place."""
        assert self._persistent is not None
        info = source.reader.info
        await self._refuse_if_entombed(guid)
        try:
            kept = await self._primary.put(
                blob_key(guid), spooled.body, content=spooled.content, content_type=info.content_type, if_absent=True
            )
        except Conflict:
            there = await self._primary.head(blob_key(guid))
            if there.content is not None and there.content != spooled.content:
                raise
            return
        try:
            # Again: another node's deletion does not wait for this node's lock.
            await self._refuse_if_entombed(guid)
            await self._persistent.head(blob_key(guid))
        except NotFound:
            await self._primary.delete(blob_key(guid))
            raise
        now = self._clock.now()
        copies = (
            Location(self._primary.name, self._primary.bucket, kept.key, LocationState.MIRRORED, kept.etag, now),
            Location(source.store, self._persistent.bucket, info.key, LocationState.MIRRORED, info.etag, now),
        )
        await self._catalog.record(Manifest(spooled.content, info.content_type, now, copies))

    async def _find(self, guid: Guid) -> ObjectInfo:
        try:
            return await self._primary.head(blob_key(guid))
        except NotFound:
            await self._refuse_if_entombed(guid)
            if self._persistent is None:
                raise NotFound(f"no blob {guid}") from None
        return await self._persistent.head(blob_key(guid))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _update(md5: hashlib._Hash, sha256: hashlib._Hash, chunk: bytes) -> None:
    md5.update(chunk)
    sha256.update(chunk)


def _digest(data: bytes) -> Content:
    md5 = hashlib.md5(data, usedforsecurity=False)
    return Content(Md5(md5.hexdigest()), Sha256(hashlib.sha256(data).hexdigest()), len(data))


def _sent_as_file(part: ByteRange) -> AsyncIterator[bytes]:
    raise AssertionError(f"bytes {part} of a local file are sent by descriptor, not in chunks")


def _from_bytes(content: Content, content_type: str, data: bytes) -> OpenBlob:
    async def chunks(part: ByteRange) -> AsyncIterator[bytes]:
        yield data[part.first : part.last + 1]

    return OpenBlob(content, content_type, None, chunks, lambda: None)
