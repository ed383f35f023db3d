"""One fetch however many ask; what was fetched and proved is kept nearer: in the primary, in the hot cache."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial

from controlplane.model.content import Content, Guid
from controlplane.model.keys import StoreName, blob_key
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.tally import BlobTally
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, MillraceError, NotFound, Unavailable
from controlplane.ports.hot_cache import HotCache
from controlplane.ports.object_store import ByteRange, ObjectReader, ObjectStore
from controlplane.ports.peers import Asker
from controlplane.ports.spool import Spool, Spooled
from controlplane.services.fetch import Fetch, Source
from controlplane.services.fetch_sharing import PEERS, SIBLINGS, FetchSharing, brought_by_another
from controlplane.services.guid_locks import GuidLocks
from controlplane.services.presence import refuse_if_entombed
from controlplane.services.proving import check_identity

log = logging.getLogger(__name__)


class BlobFiller:
    """The fetches under way, by GUID. A blob comes from the primary, or from the persistent store into the primary."""

    def __init__(
        self,
        *,
        primary: ObjectStore,
        persistent: ObjectStore | None,
        catalog: Catalog,
        hot: HotCache,
        hot_max_bytes: int,
        spool: Spool,
        clock: Clock,
        tally: BlobTally,
        locks: GuidLocks,
        sharing: FetchSharing,
        primary_is_local: bool,
    ) -> None:
        """`primary_is_local`: other gateways have primaries of their own, and fill them themselves."""
        self._primary = primary
        self._persistent = persistent
        self._catalog = catalog
        self._hot = hot
        self._hot_max_bytes = hot_max_bytes
        self._spool = spool
        self._clock = clock
        self._tally = tally
        self._locks = locks
        self._sharing = sharing
        self._primary_is_local = primary_is_local
        self._fetches: dict[Guid, Fetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """How many fetches there are now."""
        return len(self._fetches)

    def is_under_way(self, guid: Guid) -> bool:
        return guid in self._fetches

    def is_shown(self, guid: Guid, asker: Asker) -> bool:
        """Whether this process fetches it from the store for others too: they are not sent round in a circle."""
        return guid in self._fetches and self._sharing.shows(_name(guid), asker)

    async def join(self, guid: Guid) -> Fetch:
        """The fetch of the blob, begun if nobody else did, and opened: the caller must leave() it."""
        fetch = self._fetches.get(guid) or self._start(guid)
        await fetch.opened()
        return fetch

    def check(self, guid: Guid, claimed: Content | None, found: Content, store: StoreName) -> None:
        """Raise Corrupt, counted and said, unless `found` is the blob (I2)."""
        try:
            check_identity(guid, claimed, found, store)
        except Corrupt as error:
            self._count_corrupt(store, str(error))
            raise

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Let it run beside the requests, to its end also when the gateway stops."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Let what is under way end."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, guid: Guid) -> Fetch:
        fetch = Fetch(
            f"blob {guid}", self._spool, lambda: self._locate(guid), self._keep, partial(check_identity, guid)
        )
        self._fetches[guid] = fetch

        async def run() -> None:
            try:
                await fetch.run()
            finally:
                del self._fetches[guid]
                await self._sharing.release(_name(guid))
            if fetch.is_corrupt and fetch.source is not None:
                self._count_corrupt(fetch.source, str(fetch.failure))

        self.spawn(run())
        return fetch

    async def _locate(self, guid: Guid) -> Source:
        known = await self._catalog.get(guid)
        expected = known.content if known is not None and known.deleted_at is None else None
        if (source := await self._in_primary(guid, expected)) is not None:
            return source
        await refuse_if_entombed(self._primary, self._catalog, guid)
        store = self._persistent
        if store is None:
            raise NotFound(f"no blob {guid}")
        found = await self._sharing.find(
            _name(guid), partial(self._in_primary, guid, expected), partial(_from, store, guid), expected
        )
        if found is not None:
            if found.store in (PEERS, SIBLINGS):
                self._tally.count_fill(found.store, "filled")
            return found
        try:
            return Source(store.name, await store.get(blob_key(guid)), None, expected)
        except NotFound:
            self._tally.count_fill(store.name, "missing")
            raise NotFound(f"no blob {guid}") from None
        except Unavailable:
            self._tally.count_fill(store.name, "unavailable")
            raise

    async def _in_primary(self, guid: Guid, expected: Content | None) -> Source | None:
        try:
            reader = await self._primary.get(blob_key(guid))
        except NotFound:
            return None
        return Source(self._primary.name, reader, self._hot_max_bytes, expected)

    async def _keep(self, source: Source, spooled: Spooled) -> None:
        """What becomes of a proved fetch: it goes into the primary if it was not there, and into the hot cache.

        Under the GUID's lock, and looked at again afterwards: a delete that came meanwhile wins (I4).
        """
        guid = spooled.content.md5
        if source.store not in (PEERS, SIBLINGS):
            self._tally.count_fill(source.store, "filled")
        async with self._locks.hold(guid):
            try:
                elsewhere = source.store == PEERS and self._primary_is_local
                if source.store == self._primary.name or (brought_by_another(source) and not elsewhere):
                    # The provider brings it into the primary that all share.
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
        await refuse_if_entombed(self._primary, self._catalog, guid)
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
            await refuse_if_entombed(self._primary, self._catalog, guid)
            await self._persistent.head(blob_key(guid))
        except NotFound:
            await self._primary.delete(blob_key(guid))
            raise
        now = self._clock.now()
        copies = (
            Location(self._primary.name, self._primary.bucket, kept.key, LocationState.MIRRORED, kept.etag, now),
            Location(self._persistent.name, self._persistent.bucket, info.key, LocationState.MIRRORED, info.etag, now),
        )
        await self._catalog.record(Manifest(spooled.content, info.content_type, now, copies))

    def _count_corrupt(self, store: StoreName, error: str) -> None:
        self._tally.corrupt += 1
        self._tally.count_fill(store, "corrupt")
        log.error("%s; repair that copy, or write the blob again", error)


async def _from(store: ObjectStore, guid: Guid, offset: int) -> ObjectReader:
    """The rest of a blob, whose first bytes came from a peer that broke off."""
    key = blob_key(guid)
    if not offset:
        return await store.get(key)
    info = await store.head(key)
    return await store.get(key, byte_range=ByteRange(offset, info.size - 1))


def _name(guid: Guid) -> str:
    return f"blobs/{guid}"
