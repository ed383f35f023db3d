"""Mirror tasks of S3 objects: what Riak CS holds under a key now is brought to every target of its rules, and proved.

The source is the truth, the journal says where to look. So a task brings the newest version whichever it was written
for, and the order of two tasks of one key does not matter for where they end: both end with what is there at last.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from controlplane.model.content import Content
from controlplane.model.copy_record import CopyRecord, decode_copy_record
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_plan import Done
from controlplane.model.mirror_rules import MirrorRule, covering
from controlplane.model.task import Draft, Op, Task
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Corrupt, NotFound, Rejected, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.object_store import LocalFile, ObjectInfo, ObjectReader, ObjectStore
from controlplane.ports.spool import Spool
from controlplane.s3.etag import is_md5
from controlplane.services.object_tombstones import ObjectTombstones
from controlplane.services.presence import exists
from controlplane.services.proving import digest, read_content

log = logging.getLogger(__name__)

T = TypeVar("T")

TAKE_BACK_AFTER_S: Final = 2.0
"""Seconds after which an object that still stands is taken for written again, not for about to be deleted. The gateway
promises a delete anew when Riak CS took longer than half of it."""

_IN_MEMORY: Final = 1 << 20
_HASHED_INLINE: Final = 64 * 1024
_CHANGES_FOLLOWED: Final = 3
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class _Target:
    rule: MirrorRule
    store: ObjectStore


@dataclass(frozen=True, slots=True)
class _Brought:
    there: bool
    """Whether the source had the object to the end."""
    copied_bytes: int = 0
    note: str = ""


class ObjectCopier:
    """Works single tasks. Every step may be repeated after a crash at any point.

    Invariants: a task is done only when every target was asked after the put what it holds, and the source after that
    still held the very version (I1); only a delete that the source confirms deletes at a target, and a copy that this
    very task made of an object that vanished (I4). An object that the source lost without a delete stays at the target.
    """

    def __init__(
        self,
        rules: Sequence[MirrorRule],
        *,
        source: BucketStores,
        targets: Mapping[str, BucketStores],
        tombstones: ObjectTombstones,
        spool: Spool,
        clock: Clock,
        read_back: bool,
    ) -> None:
        self._rules = tuple(rules)
        self._source = source
        self._targets = targets
        self._tombstones = tombstones
        self._spool = spool
        self._clock = clock
        self._read_back = read_back
        self._recent: OrderedDict[tuple[Bucket, Key], str] = OrderedDict()
        """ETags that were brought not long ago: of several writes in a row only one is copied."""

    async def work(self, task: Task) -> Done:
        """Raises Unavailable (also when a target keeps what was deleted), Corrupt, Rejected, StorageFull."""
        bucket, key = task.draft.bucket, task.draft.key
        rules = covering(self._rules, bucket, key)
        if not rules:
            return Done(task, None, note="no rule mirrors it any more")
        targets = [_Target(rule, self._targets[rule.target].store(bucket)) for rule in rules]
        match task.draft.op:
            case Op.PUT_OBJECT:
                brought = await self._bring(task, targets)
                return Done(task, None, brought.copied_bytes, brought.note)
            case Op.DELETE_OBJECT:
                return await self._delete(task, targets)
            case Op.PUT | Op.DELETE:
                raise Rejected(f"{key} is a blob, not an S3 object")

    # Bringing

    async def _bring(self, task: Task, targets: Sequence[_Target]) -> _Brought:
        bucket, key = task.draft.bucket, task.draft.key
        source = self._source.store(bucket)
        for _ in range(_CHANGES_FOLLOWED):
            try:
                reader = await self._in_source(bucket, source.get(key))
            except NotFound:
                return await self._gone(task, targets)
            try:
                seen = reader.info
                copied_bytes, fresh = await self._copy(task, targets, reader)
            finally:
                await reader.aclose()
            reach("objects.verified")
            try:
                again = await self._in_source(bucket, source.head(key))
            except NotFound:
                return await self._vanished(task, fresh)
            if again == seen:
                await self._lift_of_archives(task, targets)
                self.remember(task.draft, seen.etag)
                return _Brought(True, copied_bytes, "" if fresh else "the copy was there already")
        raise Unavailable(f"{bucket}/{key} changes faster than it can be copied")

    async def _copy(
        self, task: Task, targets: Sequence[_Target], reader: ObjectReader
    ) -> tuple[int, Sequence[_Target]]:
        """Bring what the reader has to the targets that lack it; the bytes, and those targets."""
        info = reader.info
        record = CopyRecord(info.etag, info.modified_at, info.metadata, info.headers, task.seq)
        lacking = [target for target in targets if not await self._may_skip(task, target, info, record)]
        if not lacking:
            return 0, ()
        if reader.length <= _IN_MEMORY:
            data = b"".join([chunk async for chunk in reader])
            content = digest(data) if len(data) <= _HASHED_INLINE else await asyncio.to_thread(digest, data)
            await self._put_all(task.draft.bucket, lacking, data, content, info, record)
            return content.size, lacking
        # Both digests must be known before the first byte goes out: they are stored beside it.
        writer = self._spool.open(reader.length)
        try:
            async for chunk in reader:
                await writer.write(chunk)
            spooled = await writer.finish()
        except BaseException:
            writer.discard()
            raise
        try:
            await self._put_all(task.draft.bucket, lacking, spooled.body, spooled.content, info, record)
        finally:
            spooled.discard()
        return spooled.content.size, lacking

    async def _may_skip(self, task: Task, target: _Target, info: ObjectInfo, record: CopyRecord) -> bool:
        """Whether the target holds this version already. Looked for only where that is likely."""
        draft = task.draft
        likely = (
            task.attempts > 0 or info.etag != draft.etag or self._recent.get((draft.bucket, draft.key)) == info.etag
        )
        if not likely:
            return False
        try:
            held = await target.store.head(draft.key)
        except NotFound:
            return False
        said = decode_copy_record(held.metadata)
        if said is None or not said.is_same_version(record) or held.size != info.size or held.content is None:
            return False
        if held.content.size != info.size or (is_md5(info.etag) and held.content.md5 != info.etag):
            return False
        if is_md5(held.etag) and held.etag != held.content.md5:
            return False
        return not self._read_back or await read_content(target.store, draft.key) == held.content

    async def _put_all(
        self,
        bucket: Bucket,
        targets: Sequence[_Target],
        body: bytes | LocalFile,
        content: Content,
        info: ObjectInfo,
        record: CopyRecord,
    ) -> None:
        if content.size != info.size or (is_md5(info.etag) and content.md5 != info.etag):
            raise Corrupt(
                f"{info.key} of {self._source.name} has ETag {info.etag} and {info.size} bytes, but its bytes have MD5 "
                f"{content.md5} and are {content.size}: it was not copied; compare it with its copies"
            )
        reach("objects.fetched")
        for target in targets:
            await self._targets[target.rule.target].prepare(bucket)
            put = await target.store.put(
                info.key,
                body,
                content=content,
                content_type=info.content_type,
                metadata=record.encoded(),
            )
            reach("objects.copied")
            await self._prove(target.store, put, content, record)

    async def _prove(self, target: ObjectStore, put: ObjectInfo, content: Content, record: CopyRecord) -> None:
        """Ask the target what it holds now. What it says must be what was put, word for word."""
        try:
            held = await target.head(put.key)
        except NotFound as error:
            raise Unavailable(f"{target.name} took {put.key} and does not have it") from error
        said = decode_copy_record(held.metadata)
        plain = is_md5(held.etag)
        if (
            held.etag != put.etag
            or held.size != content.size
            or held.content != content
            or (plain and held.etag != content.md5)
            or said is None
            or not said.is_same_version(record)
        ):
            raise Corrupt(
                f"{target.name} does not hold what was put under {put.key}: ETag {held.etag}, {held.size} bytes, "
                f"source ETag {said.etag if said else 'unknown'}; put were ETag {put.etag}, {content.size} bytes"
            )
        if self._read_back and await read_content(target, put.key) != content:
            raise Corrupt(f"the bytes of {put.key} in {target.name} are not those that were put")

    async def _gone(self, task: Task, targets: Sequence[_Target]) -> _Brought:
        """The source does not have it: deleted since, by whichever node, or lost. A copy that an earlier attempt of
        this very task made may have come after the deletion had passed the target: it goes."""
        key = task.draft.key
        for target in targets:
            if target.rule.deletes and await self._made_by(task, target.store):
                await target.store.delete(key)
        if not await self._tombstones.has(task.draft.bucket, key):
            log.warning(
                "%s/%s left %s before it was copied: deleted, or lost", task.draft.bucket, key, self._source.name
            )
        return _Brought(False, note="gone from the source before it was copied")

    async def _made_by(self, task: Task, target: ObjectStore) -> bool:
        try:
            said = decode_copy_record((await target.head(task.draft.key)).metadata)
        except NotFound:
            return False
        return said is not None and said.seq == task.seq

    async def _vanished(self, task: Task, fresh: Sequence[_Target]) -> _Brought:
        """Deleted while it was copied; the deletion may have passed the target before this copy (I4)."""
        for target in fresh:
            if target.rule.deletes:
                await target.store.delete(task.draft.key)
        return _Brought(False, note="deleted while it was copied")

    async def _lift_of_archives(self, task: Task, targets: Sequence[_Target]) -> None:
        """Where deletes do not reach the target, the tombstone of a former life stays until the key lives again."""
        if any(target.rule.read_through and not target.rule.deletes for target in targets):
            await self._lift_of_the_living(task)

    def has_just_brought(self, draft: Draft) -> bool:
        """Whether this very version is likely to be at the targets: then it takes a look, not a copy."""
        return self._recent.get((draft.bucket, draft.key)) == draft.etag

    def remember(self, draft: Draft, etag: str) -> None:
        """This version is at every target now."""
        place = (draft.bucket, draft.key)
        self._recent[place] = etag
        self._recent.move_to_end(place)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    # Deleting

    async def _delete(self, task: Task, targets: Sequence[_Target]) -> Done:
        bucket, key = task.draft.bucket, task.draft.key
        if await self._lives(bucket, key):
            return await self._still_there(task, targets)
        self._recent.pop((bucket, key), None)
        for target in targets:
            if target.rule.deletes:
                await target.store.delete(key)
                reach("objects.target_deleted")
                if await exists(target.store, key):
                    # Or another node's copy, begun before the delete, came just now: so it is tried again.
                    raise Unavailable(
                        f"{key} is still in {target.store.name} after its deletion: is the bucket versioned or locked?"
                    )
        if await self._lives(bucket, key):
            # Written again meanwhile: what was deleted may have been its copy.
            return await self._alive(task, targets)
        readable = [target for target in targets if target.rule.read_through]
        if readable and all(target.rule.deletes for target in readable):
            await self._tombstones.lift(bucket, key)
            reach("objects.tombstone_lifted")
            for target in readable:
                # A newer life may have begun, been mirrored and ended while this one's tombstone was about to go.
                if await exists(target.store, key) and not await self._lives(bucket, key):
                    await self._tombstones.put(bucket, key)
                    raise Unavailable(f"{bucket}/{key} was written and deleted again at this very moment")
        return Done(task, None)

    async def _still_there(self, task: Task, targets: Sequence[_Target]) -> Done:
        """Written again, or not deleted yet, or its deletion broke off before Riak CS was asked."""
        bucket, key = task.draft.bucket, task.draft.key
        if self._clock.now() - task.enqueued_at < TAKE_BACK_AFTER_S:
            raise Unavailable(f"{bucket}/{key} is still in {self._source.name}: its deletion is under way", 1.0)
        return await self._alive(task, targets)

    async def _alive(self, task: Task, targets: Sequence[_Target]) -> Done:
        brought = await self._bring(task, targets)
        if not brought.there:
            raise Unavailable(f"{task.draft.bucket}/{task.draft.key} was deleted at this very moment")
        if any(target.rule.read_through for target in targets):
            await self._lift_of_the_living(task)
        note = "the object was written again, or its deletion broke off before it was acknowledged"
        return Done(task, None, brought.copied_bytes, note)

    async def _lift_of_the_living(self, task: Task) -> None:
        """The gateway looks for its tombstone after it removed the object, this looks for the object after it removed
        the tombstone: of two that cross, one sees the other (I4)."""
        bucket, key = task.draft.bucket, task.draft.key
        await self._tombstones.lift(bucket, key)
        if not await self._lives(bucket, key):
            await self._tombstones.put(bucket, key)
            raise Unavailable(f"{bucket}/{key} was deleted at this very moment")

    # The source

    async def _lives(self, bucket: Bucket, key: Key) -> bool:
        try:
            await self._in_source(bucket, self._source.store(bucket).head(key))
        except NotFound:
            return False
        return True

    async def _in_source(self, bucket: Bucket, asked: Awaitable[T]) -> T:
        """What was asked of the source. Raises NotFound also when the whole bucket is gone: then it was empty."""
        try:
            return await asked
        except Rejected:
            if await self._source.has(bucket):
                raise
            raise NotFound(f"bucket {bucket} is gone") from None
