"""Mirror tasks of S3 objects: what Riak CS holds under a key now is brought to the target of a rule, and proved.

The source is the truth, the journal says where to look. So a task brings the newest version whichever it was written
for, and the order of two tasks of one key does not matter for where they end: both end with what is there at last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from controlplane.model.content import Content
from controlplane.model.copy_record import CopyRecord, Tags, decode_copy_record
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_plan import Done, Worked
from controlplane.model.mirror_rules import MirrorRule, covering
from controlplane.model.pace import Side
from controlplane.model.recent import Recent
from controlplane.model.task import Draft, Op, Task
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, NotFound, Rejected, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import Expected, LocalFile, ObjectInfo, ObjectStore
from controlplane.ports.server_copy import ServerCopies, ServerCopy
from controlplane.ports.spool import Spool
from controlplane.services.answer_times import Answered, Moving, unheard, unwatched
from controlplane.services.handing_on import hand_on
from controlplane.services.held_copies import is_copy_of, require_what_was_put
from controlplane.services.large_copying import LargeCopier
from controlplane.services.object_acls import ObjectAcls
from controlplane.services.object_deletes import Brought, ObjectDeletes, RuleTarget
from controlplane.services.object_tombstones import ObjectTombstones
from controlplane.services.proving import content_in, digest, read_content
from controlplane.services.seen_object import SeenObject
from controlplane.services.source_claims import known_content, noted, require_claimed
from controlplane.services.source_tags import SourceTags
from controlplane.services.spooled_bodies import SpooledBodies, Turn
from controlplane.services.target_states import Asked, TargetStates

log = logging.getLogger(__name__)

T = TypeVar("T")

_IN_MEMORY: Final = 1 << 20
_HASHED_INLINE: Final = 64 * 1024
_CHANGES_FOLLOWED: Final = 3
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class _Copied:
    """What the target holds of the version that was read, proved."""

    etag: str
    """As the target names it."""
    size: int
    fresh: bool
    """False: it was there already."""


class ObjectCopier:
    """Works single tasks. Every step may be repeated after a crash at any point.

    Invariants: a task is done only when its target was asked after the put what it holds, and the source after that
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
        journal: Journal,
        spool: Spool,
        clock: Clock,
        read_back: bool,
        tags: SourceTags,
        states: TargetStates,
        large: LargeCopier | None = None,
        delete_grace_s: float = 0.0,
        admit: Callable[[str, int, int], Awaitable[bool]] | None = None,
        answered: Answered = unheard,
        moving: Moving = unwatched,
        at_service: Mapping[str, ServerCopies] | None = None,
        acls: ObjectAcls | None = None,
    ) -> None:
        """`at_service`: for the names of rules whose source and target are one service, its way of copying by itself.
        `answered` is told how long stores took to answer, `moving` is around large bodies; `admit` is waited for before
        what is too large to be counted when it begins goes in one piece, since its target takes no parts."""
        self._admit = admit
        self._at_service = dict(at_service or {})
        self._acls = acls
        self._rules = tuple(rules)
        self._source = source
        self._targets = targets
        self._tombstones = tombstones
        self._journal = journal
        self._bodies = SpooledBodies(spool)
        self._clock = clock
        self._read_back = read_back
        self._tags = tags
        self._states = states
        self._large = large
        self._answered = answered
        self._moving = moving
        self._recent: Recent[tuple[str, Bucket, Key], str] = Recent(_REMEMBERED)
        """ETags that were brought not long ago, by rule: of several writes in a row only one is copied."""
        self._deletes = ObjectDeletes(
            targets=targets,
            tombstones=tombstones,
            clock=clock,
            grace_s=delete_grace_s,
            states=states,
            lives=self._lives,
            bring=self._bring,
            forget=self._forget,
        )

    async def work(self, task: Task) -> Worked:
        """Raises Unavailable (also when a target keeps what was deleted), Corrupt, Rejected, StorageFull."""
        bucket, key = task.draft.bucket, task.draft.key
        if not task.draft.op.is_of_object:
            raise Rejected(f"{key} is a blob, not an S3 object")
        rules = covering(self._rules, bucket, key)
        rule = next((rule for rule in rules if rule.name == task.draft.rule), None)
        if rule is None:
            return await hand_on(task, rules, self._journal, self._work)
        return await self._work(task, rule, rules)

    async def _work(self, task: Task, rule: MirrorRule, rules: Sequence[MirrorRule]) -> Worked:
        target = RuleTarget(rule, self._targets[rule.target].store(task.draft.bucket))
        if task.draft.op is Op.DELETE_OBJECT:
            return await self._deletes.work(task, target, rules)
        brought = await self._bring(task, target)
        return Done(task, None, brought.copied_bytes, brought.note, brought.rows)

    # Bringing

    async def _bring(self, task: Task, target: RuleTarget) -> Brought:
        bucket, key = task.draft.bucket, task.draft.key
        source = self._source.store(bucket)
        refused: list[Asked] = []
        conflict = False
        for _ in range(_CHANGES_FOLLOWED):
            before = await self._before(task, target, refused, ask=conflict)
            async with self._bodies.turn(task.draft.size) as turn:
                bytes_wanted = not self._does_without_bytes(task, target)
                began = self._clock.monotonic()
                try:
                    found = await self._in_source(bucket, SeenObject.seen(source, key, bytes_wanted=bytes_wanted))
                except NotFound:
                    gone = await self._gone(task, target)
                    if await self._lives(bucket, key):
                        continue  # written again: what was removed may have been the copy of that, by another node
                    return gone
                self._answered(task.draft.rule, self._clock.monotonic() - began, "" if bytes_wanted else "head")
                try:
                    seen = found.info
                    tags = await self._tags.of(bucket, seen)
                    copied = await self._copy(task, target, found, tags, turn, before)
                except Conflict:
                    # Another agent brought a copy meanwhile, perhaps of a newer version; or the catalog was wrong.
                    conflict = True
                    refused += [before] if isinstance(before, Asked) else []
                    continue
                finally:
                    await found.aclose()
            self._states.now_holds(target.rule, bucket, key, copied.etag)
            reach("objects.verified")
            try:
                again = await self._in_source(bucket, source.head(key))
            except NotFound:
                vanished = await self._vanished(task, target, copied)
                if await self._lives(bucket, key):
                    continue
                return vanished
            if again == seen and await self._tags.of(bucket, again, now=True) == tags:
                if target.rule.read_through and not target.rule.deletes:
                    # Where deletes do not reach the target, the tombstone of a former life stays until the key lives.
                    await self._deletes.lift_of_the_living(task)
                self.remember(target.rule, task.draft, seen.etag, copied.etag)
                rows = noted(target.rule, bucket, seen, copied.etag, tags)
                if not copied.fresh:
                    return Brought(True, 0, "the copy was there already", rows)
                return Brought(True, copied.size, "", rows)
        raise Unavailable(f"{bucket}/{key} changes faster than it can be copied")

    def _does_without_bytes(self, task: Task, target: RuleTarget) -> bool:
        """Whether an object of the size that the task names is copied by ranges or by the service, or is likely to be
        there already. A small one is read at once: that saves a request."""
        draft = task.draft
        if draft.size <= _IN_MEMORY:
            return False
        by_ranges = (
            self._large is not None
            and draft.size > self._large.above_bytes
            and self._targets[target.rule.target].parts(draft.bucket) is not None
        )
        ways = self._at_service.get(target.rule.name)
        by_service = ways is not None and ways.of(draft.bucket) is not None
        return by_ranges or by_service or task.attempts > 0 or self.has_just_brought(draft)

    async def _before(self, task: Task, target: RuleTarget, refused: Sequence[Asked], *, ask: bool) -> Asked | Expected:
        """The target before the source is asked: see services/target_states.py."""
        bucket, key = task.draft.bucket, task.draft.key
        if self._states.is_fenced(target.rule) and (task.attempts or ask):
            return await self._states.asked(target.rule, bucket, target.store, key, refused)
        return (await self._states.known(target.rule, bucket, [key]))[key]

    async def _copy(
        self, task: Task, target: RuleTarget, found: SeenObject, tags: Tags, turn: Turn, before: Asked | Expected
    ) -> _Copied:
        """Bring what was found to the target, unless it is there already."""
        info = found.info
        record = CopyRecord(info.etag, info.modified_at, info.metadata, info.headers, task.seq, tags)
        bucket = task.draft.bucket
        if self._acls is not None:
            record = replace(record, acl=await self._acls.of(target.rule, bucket, info.key))
        copied = await self._copy_bytes(task, target, found, record, turn, before)
        if self._acls is not None:
            # Also of one that was there: the crash may have come right before this.
            await self._acls.carry(target.rule, bucket, info.key, record.acl)
        return copied

    async def _copy_bytes(
        self,
        task: Task,
        target: RuleTarget,
        found: SeenObject,
        record: CopyRecord,
        turn: Turn,
        before: Asked | Expected,
    ) -> _Copied:
        info = found.info
        expected = before.expected if isinstance(before, Asked) else before
        held = await self._found(task, target, info, record, before)
        if held is not None:
            await self._abandon(task, target)  # it may have been completed just before a crash
            return _Copied(held.etag, held.size, fresh=False)
        ways = self._at_service.get(target.rule.name)
        way = None if ways is None or info.size <= _IN_MEMORY else ways.of(task.draft.bucket)
        if way is None or not way.takes(info):
            return await self._send(task, target, found, record, turn, expected)
        copied = await self._copy_at_service(task, target, way, found, record, expected)
        if copied is not None:
            return copied
        # What the service would not do, or did not prove, is sent, over what may be there now.
        await found.aclose()
        if self._states.is_fenced(target.rule):
            expected = (await self._states.asked(target.rule, task.draft.bucket, target.store, info.key)).expected
        return await self._send(task, target, found, record, turn, expected, way)

    async def _copy_at_service(
        self,
        task: Task,
        target: RuleTarget,
        way: ServerCopy,
        found: SeenObject,
        record: CopyRecord,
        expected: Expected,
    ) -> _Copied | None:
        """Let the service that has both ends copy. Its bytes do not come here, unless their SHA-256 is not known: then
        they are read once. None: it has to be sent."""
        info, bucket = found.info, task.draft.bucket
        if info.size > way.most_bytes:
            return None
        content = known_content(info)
        if content is None:
            if self._admit is not None and self._large is not None and info.size > self._large.above_bytes:
                await self._admit(task.draft.rule, 0, info.size)
            with self._moving(task.draft.rule, Side.SOURCE, info.size):
                content = await content_in(await found.reader())
            require_claimed(info, content, self._source.name)
        else:
            await found.aclose()
        await self._targets[target.rule.target].prepare(bucket)
        put = await way.copy(info, content, record.encoded(), **expected)
        if put is None:
            return None
        reach("objects.copied")
        try:
            await self._prove(target, put, content, record)
        except Corrupt as error:
            log.warning("%s/%s was copied by the service itself, and wrongly: it is sent: %s", bucket, info.key, error)
            return None
        return _Copied(put.etag, content.size, fresh=True)

    async def _send(
        self,
        task: Task,
        target: RuleTarget,
        found: SeenObject,
        record: CopyRecord,
        turn: Turn,
        expected: Expected,
        way: ServerCopy | None = None,
    ) -> _Copied:
        """The bytes go through here; by `way` at most parts of what is too large for one request."""
        info = found.info
        service = self._targets[target.rule.target]
        parts = service.parts(task.draft.bucket)
        if self._large is not None and parts is not None and info.size > self._large.above_bytes:
            turn.end()
            await found.aclose()
            await service.prepare(task.draft.bucket)
            source = self._source.store(task.draft.bucket)
            put, content = await self._large.copy(
                task.draft, source, info, parts, record.encoded(), at_service=way, **expected
            )
            reach("objects.copied")
            await self._prove(target, put, content, record)
            return _Copied(put.etag, content.size, fresh=True)
        reader = await found.reader()
        if reader.length <= _IN_MEMORY:
            data = b"".join([chunk async for chunk in reader])
            content = digest(data) if len(data) <= _HASHED_INLINE else await asyncio.to_thread(digest, data)
            put = await self._put(task.draft.bucket, target, data, content, info, record, expected)
            return _Copied(put.etag, content.size, fresh=True)
        if self._admit is not None and self._large is not None and info.size > self._large.above_bytes:
            await self._admit(task.draft.rule, 0, info.size)
        # Both digests must be known before the first byte goes out: they are stored beside it.
        with self._moving(task.draft.rule, Side.SOURCE, info.size):
            spooled = await turn.spooled(reader)
        try:
            put = await self._put(task.draft.bucket, target, spooled.body, spooled.content, info, record, expected)
        finally:
            spooled.discard()
        return _Copied(put.etag, spooled.content.size, fresh=True)

    async def _found(
        self, task: Task, target: RuleTarget, info: ObjectInfo, record: CopyRecord, before: Asked | Expected
    ) -> ObjectInfo | None:
        """What the target holds, if that is this version already. Looked for only where that is likely."""
        draft = task.draft
        likely = task.attempts > 0 or info.etag != draft.etag or self._recent.get(_place(draft)) == info.etag
        if not likely:
            return None
        try:
            held = before.held if isinstance(before, Asked) else await target.store.head(draft.key)
        except NotFound:
            return None
        if held is None or not is_copy_of(info, record, held):
            return None
        if self._read_back and await read_content(target.store, draft.key) != held.content:
            return None
        return held

    async def _put(
        self,
        bucket: Bucket,
        target: RuleTarget,
        body: bytes | LocalFile,
        content: Content,
        info: ObjectInfo,
        record: CopyRecord,
        expected: Expected,
    ) -> ObjectInfo:
        require_claimed(info, content, self._source.name)
        reach("objects.fetched")
        await self._targets[target.rule.target].prepare(bucket)
        rule, is_large = target.rule.name, content.size > _IN_MEMORY
        began = self._clock.monotonic()
        with self._moving(rule, Side.TARGET, content.size) if is_large else nullcontext():
            put = await target.store.put(
                info.key,
                body,
                content=content,
                content_type=info.content_type,
                metadata=record.encoded(),
                **expected,
            )
        if not is_large:
            # Compared with bodies of about the same size. A store that has requests wait and come again is slow, too.
            kind = f"put {content.size.bit_length()}"
            self._answered(rule, self._clock.monotonic() - began, kind, Side.TARGET)
        reach("objects.copied")
        await self._prove(target, put, content, record)
        return put

    async def _prove(self, at: RuleTarget, put: ObjectInfo, content: Content, record: CopyRecord) -> None:
        """Ask the target what it holds now. What it says must be what was put, word for word."""
        target = at.store
        began = self._clock.monotonic()
        try:
            held = await target.head(put.key)
        except NotFound as error:
            raise Unavailable(f"{target.name} took {put.key} and does not have it") from error
        self._answered(at.rule.name, self._clock.monotonic() - began, "head", Side.TARGET)
        require_what_was_put(put, content, record, held, target.name)
        if self._read_back and await read_content(target, put.key) != content:
            raise Corrupt(f"the bytes of {put.key} in {target.name} are not those that were put")

    async def _gone(self, task: Task, target: RuleTarget) -> Brought:
        """The source does not have it: deleted since, by whichever node, or lost. A copy that an earlier attempt of
        this very task made may have come after the deletion had passed the target: it goes."""
        key = task.draft.key
        await self._abandon(task, target)
        if target.rule.deletes:
            made = await self._made_by(task, target.store)
            if made is not None and not await self._lives(task.draft.bucket, key):
                await self._take_away(target, task.draft.bucket, key, made.etag)
        if not await self._tombstones.has(task.draft.bucket, key):
            log.warning(
                "%s/%s left %s before it was copied: deleted, or lost", task.draft.bucket, key, self._source.name
            )
        return Brought(False, note="gone from the source before it was copied")

    async def _abandon(self, task: Task, target: RuleTarget) -> None:
        """Parts of it that an interrupted attempt left at the target go."""
        parts = self._targets[target.rule.target].parts(task.draft.bucket)
        if self._large is not None and parts is not None:
            await self._large.abandon(task.draft, parts)

    async def _made_by(self, task: Task, target: ObjectStore) -> ObjectInfo | None:
        try:
            held = await target.head(task.draft.key)
        except NotFound:
            return None
        said = decode_copy_record(held.metadata)
        return held if said is not None and said.seq == task.seq else None

    async def _vanished(self, task: Task, target: RuleTarget, copied: _Copied) -> Brought:
        """Deleted while it was copied; the deletion may have passed the target before this copy (I4)."""
        if copied.fresh and target.rule.deletes:
            await self._take_away(target, task.draft.bucket, task.draft.key, copied.etag)
        return Brought(False, note="deleted while it was copied")

    async def _take_away(self, target: RuleTarget, bucket: Bucket, key: Key, etag: str) -> None:
        """Remove a copy that this process put, unless another has replaced it meanwhile."""
        with suppress(Conflict):
            await target.store.delete(key, if_match=etag if self._states.is_fenced(target.rule) else None)
            self._states.now_holds(target.rule, bucket, key, "")

    def has_just_brought(self, draft: Draft) -> bool:
        """Whether this very version is likely to be at the targets: then it takes a look, not a copy."""
        return self._recent.get(_place(draft)) == draft.etag

    def remember(self, rule: MirrorRule, draft: Draft, etag: str, target_etag: str) -> None:
        """This version is at the target of its rule now, under an ETag of its own there."""
        self._states.now_holds(rule, draft.bucket, draft.key, target_etag)
        self._recent.set(_place(draft), etag)

    async def _forget(self, task: Task, target: RuleTarget) -> None:
        """Nothing is remembered of the object any more, and nothing is under way to its target."""
        self._recent.forget(_place(task.draft))
        await self._abandon(task, target)

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


def _place(draft: Draft) -> tuple[str, Bucket, Key]:
    return draft.rule, draft.bucket, draft.key
