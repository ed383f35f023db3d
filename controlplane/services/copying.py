"""One mirror task: copy a blob to the persistent store and prove it there, or delete it there and prove that."""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import replace

from controlplane.model.content import Content, Guid
from controlplane.model.keys import Key, guid_of, tombstone_key
from controlplane.model.manifest import Location, LocationState
from controlplane.model.mirror_plan import Done
from controlplane.model.task import Draft, Op, Task
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, NotFound, Rejected, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import Body, ObjectInfo, ObjectReader, ObjectStore
from controlplane.ports.part_store import PartStore
from controlplane.ports.server_copy import ServerCopy
from controlplane.services.large_copying import LargeCopier
from controlplane.services.presence import exists, is_entombed
from controlplane.services.proving import content_of, read_content

log = logging.getLogger(__name__)

_IN_MEMORY = 1 << 20
"""Blobs up to this size are read whole before they are sent: such a put can be retried inside the adapter."""

_NOT_DELETED = "the blob was written again, or its deletion broke off before it was acknowledged"

_PATIENCE = 3
"""Attempts after which a blob that still stands beside its tombstone is taken for a deletion that broke off. Until
then the gateway may be between its journal entry and its removal of the blob."""

_PLAIN_ETAG = re.compile(r"[0-9a-f]{32}\Z")


class DamagedCopy(Corrupt):
    """What the target holds under the blob's key does not hash to it."""


class SourceLost(Corrupt):
    """The journal promises a copy of a blob that neither store has any more."""


class Copier:
    """Works single tasks. Every step may be repeated after a crash at any point: the outcome is the same."""

    def __init__(
        self,
        *,
        primary: ObjectStore,
        persistent: ObjectStore,
        catalog: Catalog,
        journal: Journal,
        clock: Clock,
        read_back: bool,
        large: LargeCopier | None = None,
        parts: PartStore | None = None,
        at_service: ServerCopy | None = None,
    ) -> None:
        """`large` and `parts`: how large blobs go to the persistent store part by part; None: in one go. `at_service`:
        the way of the service that has both stores, where one has."""
        self._at_service = at_service
        self._large = large
        self._parts = parts
        self._primary = primary
        self._target = persistent
        self._catalog = catalog
        self._journal = journal
        self._clock = clock
        self._read_back = read_back

    async def work(self, task: Task) -> Done:
        """Do what the task promises, and prove it. Raises NotFound, Conflict (collision at the target), Corrupt,
        Rejected, Unavailable."""
        match task.draft.op:
            case Op.PUT:
                return await self._copy(task)
            case Op.DELETE:
                return await self._delete(task)
            case Op.PUT_OBJECT | Op.DELETE_OBJECT:
                raise Rejected(f"{task.draft.bucket}/{task.draft.key} is an S3 object: only mirror.rules copy it")

    async def _copy(self, task: Task) -> Done:
        key = task.draft.key
        served = await self._served(task)
        if served is not None:
            return served
        try:
            reader = await self._primary.get(key)
        except NotFound:
            return await self._without_source(task)
        try:
            content = task.draft.content or await content_of(self._primary, reader.info)
            if self._large is not None and self._parts is not None and content.size > self._large.above_bytes:
                await reader.aclose()
                info, fresh = await self._put_large(task.draft, reader.info, content, self._large, self._parts)
            else:
                body = await _body(reader)
                reach("mirror.fetched")
                info, fresh = await self._put(key, body, content, reader.info.content_type)
        finally:
            await reader.aclose()
        return await self.finish(task, info, content, fresh=fresh)

    async def _served(self, task: Task) -> Done | None:
        """What the service that has both stores copied by itself. None: the bytes have to be sent."""
        key, way, promised = task.draft.key, self._at_service, task.draft.content
        if way is None or not (promised is None or _IN_MEMORY < promised.size <= way.most_bytes):
            return None
        try:
            # Not get(): by the time its answer is closed, megabytes of the body are under way.
            info = await self._primary.head(key)
        except NotFound:
            return await self._without_source(task)
        content = promised or await content_of(self._primary, info)
        if not _IN_MEMORY < content.size <= way.most_bytes or not way.takes(info):
            return None
        served = await self._copy_at_service(task, info, content, way)
        if served is None:
            # What it may have put there proves nothing, and would be taken for a copy.
            await self._target.delete(key)
        return served

    async def _copy_at_service(self, task: Task, info: ObjectInfo, content: Content, way: ServerCopy) -> Done | None:
        """Let the service that has both stores copy: it names the MD5 of what it copied, and the SHA-256 is the one
        that the blob was taken under. None: the bytes have to be sent."""
        try:
            put = await way.copy(info, content, {}, if_absent=True)
        except Conflict:
            return await self.finish(task, await self._target.head(info.key), content, fresh=False)
        if put is None:
            return None
        try:
            return await self.finish(task, put, content, fresh=True)
        except Corrupt as error:
            log.warning("the service copied wrongly by itself, the blob is sent: %s", error)
            return None

    async def finish(self, task: Task, put: ObjectInfo, content: Content, *, fresh: bool) -> Done:
        """What follows a put: prove it (I1), and look whether the source is still there (I4). `fresh`: it was put just
        now, not found. Raises like work()."""
        key = task.draft.key
        reach("mirror.copied")
        try:
            proved = await self._prove(put, content)
        except DamagedCopy:
            # The right bytes are in the primary: the next attempt finds the way free for them.
            await self._target.delete(key)
            raise
        reach("mirror.verified")
        if not await exists(self._primary, key):
            return await self._deleted_meanwhile(task, fresh)
        return self.mirrored(task, proved, content)

    def mirrored(self, task: Task, proved: ObjectInfo, content: Content) -> Done:
        """The outcome when the copy was proved and its source seen after that."""
        return Done(task, self._mirrored(task.draft.key, proved), content.size)

    async def _deleted_meanwhile(self, task: Task, fresh: bool) -> Done:
        """The blob was deleted while it was copied, and the delete may have passed the target before this copy (I4)."""
        key = task.draft.key
        if await is_entombed(self._primary, guid_of(key)):
            await self._target.delete(key)
            return Done(task, None, note="deleted while it was copied")
        if fresh:
            # Another node's deletion may have gone all its way meanwhile. A copy that nothing confirms must not stay;
            # whether it was a deletion, the next attempt finds out.
            await self._target.delete(key)
        raise Unavailable(f"{key} vanished from {self._primary.name} while it was copied")

    async def _put(self, key: Key, body: Body, content: Content, content_type: str) -> tuple[ObjectInfo, bool]:
        """Put unless it is there, and whether it was put; what is there already is proved like a fresh copy, and
        never overwritten (I3)."""
        try:
            put = await self._target.put(
                key, body, size=content.size, content=content, content_type=content_type, if_absent=True
            )
            return put, True
        except Conflict:
            return await self._target.head(key), False

    async def _put_large(
        self, draft: Draft, source: ObjectInfo, content: Content, large: LargeCopier, parts: PartStore
    ) -> tuple[ObjectInfo, bool]:
        """Like _put()."""
        with contextlib.suppress(NotFound):
            held = await self._target.head(draft.key)
            # Completed before a crash, or somebody else's: an upload of it is of no use any more.
            await large.abandon(draft, parts)
            return held, False
        try:
            put, _ = await large.copy(draft, self._primary, source, parts, {}, promised=content, if_absent=True)
        except Conflict:
            await large.abandon(draft, parts)
            return await self._target.head(draft.key), False
        return put, True

    async def _prove(self, put: ObjectInfo, content: Content) -> ObjectInfo:
        """Ask the target what it holds now. Raises Conflict when that is another content (I3), DamagedCopy when it is
        no content of that name at all.

        Its metadata is believed only where the size fits, and the ETag if it looks like an MD5; else the bytes decide.
        """
        info = await self._target.head(put.key)
        if info.etag != put.etag:
            raise Corrupt(f"{put.key} in {self._target.name} changed while it was proved: {put.etag} to {info.etag}")
        believed = info.content
        if info.size != content.size or (_PLAIN_ETAG.match(info.etag) and info.etag != content.md5):
            believed = None
        if self._read_back or believed is None:
            held = await read_content(self._target, put.key)
        else:
            held = believed
        if held.collides_with(content):
            raise Conflict(
                f"{self._target.name} holds another content under {put.key}: SHA-256 {held.sha256}, {held.size} bytes; "
                f"promised was SHA-256 {content.sha256}, {content.size} bytes. It was not overwritten: compare both"
            )
        if held != content:
            raise DamagedCopy(
                f"the copy of {put.key} in {self._target.name} is damaged: its MD5 is {held.md5}, its size {held.size}"
            )
        return info

    async def _without_source(self, task: Task) -> Done:
        """The primary does not have it: deleted since, or copied before a crash, or lost."""
        key = task.draft.key
        if await is_entombed(self._primary, guid_of(key)):
            # An earlier attempt may have put it after the deletion passed the target (I4).
            await self._target.delete(key)
            return Done(task, None, note="deleted before it was copied")
        known = await self._catalog.get(guid_of(key))
        content = task.draft.content
        if content is None and known is not None and known.deleted_at is None:
            content = known.content
        if content is not None:
            try:
                proved = await self._prove(await self._target.head(key), content)
            except NotFound:
                pass
            else:
                return Done(task, self._mirrored(key, proved), note="the copy was there already")
        if known is not None and known.deleted_at is not None:
            return Done(task, None, note="deleted everywhere")
        if known is None and task.draft.content is None:
            # No client's promise: the mirror's own, made anew while a deletion overtook it.
            return Done(task, None, note="deleted since")
        raise SourceLost(
            f"{key} is neither in {self._primary.name} nor in {self._target.name}, though its write was acknowledged: "
            "restore it from a backup and run `millrace mirror retry`, or delete the blob"
        )

    async def _delete(self, task: Task) -> Done:
        key = task.draft.key
        guid = guid_of(key)
        if not await is_entombed(self._primary, guid_of(key)):
            return await self._not_deleted(task, guid)
        if self._large is not None and self._parts is not None:
            await self._large.abandon(task.draft, self._parts)
        if await exists(self._primary, key):
            if task.attempts + 1 < _PATIENCE:
                raise Unavailable(f"{key} is still in {self._primary.name}: its deletion is under way, or broke off")
            return await self._taken_back(task, guid)
        await self._target.delete(key)
        reach("mirror.target_deleted")
        if await exists(self._target, key):
            raise Conflict(
                f"{key} is still in {self._target.name} after its deletion: is the bucket versioned or locked?"
            )
        if await exists(self._primary, key):
            # Written again by another node while its old copy was deleted here.
            return await self._taken_back(task, guid)
        await self._primary.delete(tombstone_key(guid))
        reach("mirror.tombstone_removed")
        known = await self._catalog.get(guid)
        if known is not None and known.deleted_at is not None:
            await self._catalog.forget(guid)
        return Done(task, None)

    async def _taken_back(self, task: Task, guid: Guid) -> Done:
        """Lift the tombstone of a blob that stands. The gateway looks for its tombstone after it removed the blob, and
        this looks for the blob after it removed the tombstone: of two that cross, one sees the other (I4)."""
        await self._primary.delete(tombstone_key(guid))
        if not await exists(self._primary, task.draft.key):
            await self._primary.put(tombstone_key(guid), b"", content_type="application/x-millrace-tombstone")
            raise Unavailable(f"{task.draft.key} was deleted at this very moment")
        return await self._not_deleted(task, guid)

    async def _not_deleted(self, task: Task, guid: Guid) -> Done:
        """The blob lives: its copy is promised anew, since an attempt of this task may have removed it; and the
        catalog must not call it deleted."""
        key = task.draft.key
        lives = await exists(self._primary, key)
        if lives:
            await self._journal.append(Draft(Op.PUT, self._primary.bucket, key), self._clock.now())
        known = await self._catalog.get(guid)
        if known is not None and known.deleted_at is not None:
            if known.content.sha256 and (lives or await exists(self._target, key)):
                await self._catalog.record(replace(known, deleted_at=None))
                if await is_entombed(self._primary, guid_of(key)):  # deleted again at this very moment
                    await self._catalog.entomb(guid, self._clock.now())
            else:
                await self._catalog.forget(guid)
        return Done(task, None, note=_NOT_DELETED if lives else "deleted, or written again, before")

    def _mirrored(self, key: Key, proved: ObjectInfo) -> Location:
        now = self._clock.now()
        return Location(self._target.name, self._target.bucket, key, LocationState.MIRRORED, proved.etag, now)


async def _body(reader: ObjectReader) -> Body:
    if reader.length > _IN_MEMORY:
        return reader.__aiter__()
    return b"".join([chunk async for chunk in reader])
