"""Writing and deleting blobs: spool, primary, journal, acknowledge; in that order (I1)."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from controlplane.model.content import Content, Guid
from controlplane.model.keys import blob_key, quarantine_key, tombstone_key
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.tally import BlobTally
from controlplane.model.task import Draft, Op
from controlplane.ports.catalog import Catalog, Quarantined
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, Full, MillraceError, NotFound, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.hot_cache import HotCache
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import ObjectInfo, ObjectStore
from controlplane.ports.spool import Spool, Spooled
from controlplane.services.guid_locks import GuidLocks
from controlplane.services.presence import exists, is_entombed
from controlplane.services.proving import content_of

log = logging.getLogger(__name__)

_PROMISES = 65_536
"""So many GUIDs that this process journalled are remembered, to write no second promise for a blob sent again."""

_TRIES = 4
"""How often a step is taken again that another node undid between two looks."""


class WrongGuid(Corrupt):
    """The content does not hash to the GUID it was sent under. Nothing was kept."""


class Collision(Conflict):
    """Same MD5, another SHA-256 or size (I3): quarantined, nothing was overwritten."""


@dataclass(frozen=True, slots=True)
class Stored:
    manifest: Manifest
    created: bool
    """False: the same content was there already, and its copy is promised or made."""


class BlobWriter:
    """Stores and deletes blobs over one primary store; the mirror fills the persistent one from the journal."""

    def __init__(
        self,
        *,
        primary: ObjectStore,
        persistent: ObjectStore | None,
        catalog: Catalog,
        journal: Journal,
        hot: HotCache,
        spool: Spool,
        clock: Clock,
        tally: BlobTally,
        quarantine_limit: int,
        locks: GuidLocks,
    ) -> None:
        self._primary = primary
        self._persistent = persistent
        self._catalog = catalog
        self._journal = journal
        self._hot = hot
        self._spool = spool
        self._clock = clock
        self._tally = tally
        self._quarantine_limit = quarantine_limit
        self._locks = locks
        self._promised: OrderedDict[Guid, None] = OrderedDict()

    async def store(
        self,
        chunks: AsyncIterator[bytes | memoryview],
        *,
        size: int | None,
        content_type: str,
        expected: Guid | None = None,
    ) -> Stored:
        """Receive, hash and keep a blob; when this returns, it is in the primary and its copy is journalled (I1).

        Raises WrongGuid, Collision, Full (journal), StorageFull, Unavailable; and whatever `chunks` raises. A body that
        broke off or was refused leaves nothing behind; one that failed after it reached the primary may stay there,
        unacknowledged, and sending it again completes it.
        """
        await self._require_room()
        writer = self._spool.open(size)
        try:
            async for chunk in chunks:
                await writer.write(chunk)
            spooled = await writer.finish()
        except BaseException:
            writer.discard()
            raise
        reach("blobs.spooled")
        try:
            guid = spooled.content.md5
            if expected is not None and guid != expected:
                raise WrongGuid(f"the content hashes to {guid}, not to {expected}: it was not kept")
            async with self._locks.hold(guid):
                return await self._keep(spooled, content_type)
        finally:
            spooled.discard()

    async def delete(self, guid: Guid) -> None:
        """Remove a blob everywhere. When this returns it is gone from the primary and from this node's cache, a
        tombstone hides every other copy from all nodes (I4), and the deletion of the persistent copy is journalled.

        Raises NotFound when no store and no catalog knows it, Full, Unavailable.
        """
        async with self._locks.hold(guid):
            if not await self._exists(guid):
                raise NotFound(f"no blob {guid}")
            await self._require_room()
            self._promised.pop(guid, None)
            for _ in range(_TRIES):
                await self._remove(guid)
                # The mirror takes back a deletion that seems to have broken off: was it this one?
                if await is_entombed(self._primary, guid):
                    break
            else:
                raise Unavailable(f"blob {guid}: its tombstone vanishes again and again: somebody else writes it")
            # A read that began before the tombstone may have filled the cache meanwhile.
            self._hot.evict(guid)
            reach("blobs.deleted")
            if self._persistent is None:
                await self._primary.delete(tombstone_key(guid))
                await self._catalog.forget(guid)
            self._tally.deleted += 1
            log.info("deleted blob %s", guid)

    async def _remove(self, guid: Guid) -> None:
        await self._primary.put(tombstone_key(guid), b"", content_type="application/x-millrace-tombstone")
        reach("blobs.entombed")
        await self._catalog.entomb(guid, self._clock.now())
        self._hot.evict(guid)
        if self._persistent is not None:
            await self._journal.append(Draft(Op.DELETE, self._primary.bucket, blob_key(guid)), self._clock.now())
            reach("blobs.delete_journalled")
        await self._primary.delete(blob_key(guid))

    async def _keep(self, spooled: Spooled, content_type: str) -> Stored:
        content = spooled.content
        guid = content.md5
        known = await self._catalog.get(guid)
        buried = known is not None and known.deleted_at is not None
        if known is not None and not buried and known.content.collides_with(content):
            await self._refuse_collision(spooled, known.content)
        info, there = await self._put(spooled, content_type)
        reach("blobs.stored")
        promised = there and known is not None and not buried and self._copy_is_promised(known)
        # A tombstone beside a live blob is a deletion that broke off: it is lifted below like any other.
        if promised and known is not None and not await is_entombed(self._primary, guid):
            self._tally.deduplicated += 1
            return Stored(known, created=False)
        now = self._clock.now()
        locations = [
            Location(self._primary.name, self._primary.bucket, blob_key(guid), LocationState.MIRRORED, info.etag, now)
        ]
        if self._persistent is not None:
            locations.append(
                Location(self._persistent.name, self._persistent.bucket, blob_key(guid), LocationState.PENDING)
            )
        manifest = Manifest(content, info.content_type if there else content_type, now, tuple(locations))
        # Before the journal: the mirror may be done with the entry, and mark the copy in the catalog, at once.
        await self._catalog.record(manifest)
        reach("blobs.recorded")
        if self._persistent is not None:
            await self._journal.append(Draft(Op.PUT, self._primary.bucket, blob_key(guid), content, info.etag), now)
            reach("blobs.journalled")
            self._remember_promise(guid)
        # Written again: the blob must be readable from here on, also after the primary loses it.
        if await is_entombed(self._primary, guid):
            await self._primary.delete(tombstone_key(guid))
        self._tally.stored += 1
        return Stored(manifest, created=not there)

    async def _put(self, spooled: Spooled, content_type: str) -> tuple[ObjectInfo, bool]:
        """Put the blob into the primary unless it is there; what is there now, and whether it was. Raises Collision."""
        content = spooled.content
        key = blob_key(content.md5)
        for _ in range(_TRIES):
            try:
                info = await self._primary.put(
                    key, spooled.body, content=content, content_type=content_type, if_absent=True
                )
                return info, False
            except Conflict:
                pass
            try:
                info = await self._primary.head(key)
                held = await content_of(self._primary, info)
            except NotFound:
                continue  # deleted by another node between the two looks
            if held.collides_with(content):
                await self._refuse_collision(spooled, held)
            if held == content:
                return info, True
            # What is there does not hash to its own name: it is damaged, and here are the right bytes.
            log.error("%s in %s is damaged (MD5 %s): it is replaced", key, self._primary.name, held.md5)
            return await self._primary.put(key, spooled.body, content=content, content_type=content_type), True
        raise Unavailable(f"blob {content.md5} is written and deleted by others at this moment", retry_after=1.0)

    def _copy_is_promised(self, known: Manifest) -> bool:
        """Whether the journal has, or had, an entry for the copy. PENDING alone does not prove it: the catalog is
        written first, and the process may have died between the two."""
        if self._persistent is None:
            return True
        at = known.location(self._persistent.name)
        if at is None:
            return False
        return at.state in (LocationState.MIRRORED, LocationState.FAILED) or known.guid in self._promised

    def _remember_promise(self, guid: Guid) -> None:
        self._promised[guid] = None
        self._promised.move_to_end(guid)
        if len(self._promised) > _PROMISES:
            self._promised.popitem(last=False)

    async def _refuse_collision(self, spooled: Spooled, held: Content) -> None:
        content = spooled.content
        self._tally.collisions += 1
        known = await self._catalog.quarantined()
        kept = any(entry.content == content and entry.kept for entry in known)
        if not kept and sum(entry.kept for entry in known) < self._quarantine_limit:
            try:
                await self._primary.put(quarantine_key(content.md5, content.sha256), spooled.body, content=content)
                kept = True
            except MillraceError as error:
                log.warning("collision on %s: its bytes could not be kept in quarantine: %s", content.md5, error)
        await self._catalog.quarantine(Quarantined(content, self._clock.now(), kept))
        log.error(
            "MD5 collision on %s: held SHA-256 %s (%d bytes), refused SHA-256 %s (%d bytes); somebody makes them on "
            "purpose: find the writer",
            content.md5, held.sha256, held.size, content.sha256, content.size,
        )  # fmt: skip
        raise Collision(
            f"another content with the MD5 {content.md5} is stored already (SHA-256 {held.sha256}, {held.size} bytes); "
            f"this one (SHA-256 {content.sha256}, {content.size} bytes) was refused"
            f"{' and kept in quarantine' if kept else ''}"
        )

    async def _exists(self, guid: Guid) -> bool:
        """Whether there is anything to delete. An outage of the persistent store counts as yes: it may hold a copy."""
        known = await self._catalog.get(guid)
        if known is not None and known.deleted_at is None:
            return True
        # Also with a tombstone in the catalog: the deletion may have broken off before the primary.
        if await exists(self._primary, blob_key(guid)):
            return True
        if self._persistent is None or known is not None or await is_entombed(self._primary, guid):
            return False
        try:
            return await exists(self._persistent, blob_key(guid))
        except Unavailable:
            return True

    async def _require_room(self) -> None:
        if self._persistent is None:
            return
        stats = await self._journal.stats()
        if stats.pending + stats.failed >= stats.limit:
            raise Full(
                f"the journal holds {stats.pending} pending and {stats.failed} failed entries, its bound is "
                f"{stats.limit}: the persistent store is behind or away; see `millrace mirror status`",
                retry_after=30.0,
            )
