"""Many small S3 objects copied together: the steps of services/object_copying.py, each for the whole batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from controlplane.model.content import Content
from controlplane.model.copy_record import CopyRecord, decode_copy_record
from controlplane.model.keys import Bucket
from controlplane.model.made_often import made_often
from controlplane.model.mirror_plan import Done
from controlplane.model.mirror_rules import AclCarried, MirrorRule, covering
from controlplane.model.pace import Side
from controlplane.model.task import Draft, Op, Task
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.bulk_store import MOST_BYTES, SmallObject, SmallPut
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError
from controlplane.ports.fault_points import reach
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.etag import is_md5
from controlplane.services.answer_times import Answered, unheard
from controlplane.services.object_copying import ObjectCopier
from controlplane.services.proving import digest
from controlplane.services.source_claims import noted
from controlplane.services.source_tags import SourceTags
from controlplane.services.target_states import TargetStates
from controlplane.services.together import Doubtful

_TELLING: Final = 8
"""In smaller batches the way there and back outweighs the store's work."""


@made_often
@dataclass(frozen=True, slots=True)
class _Read:
    """An object as it was read."""

    task: Task
    info: ObjectInfo
    content: Content
    record: CopyRecord

    def is_proved_by(self, put: ObjectInfo, held: ObjectInfo) -> bool:
        content = self.content
        if held.etag != put.etag or held.size != content.size or held.content != content:
            return False
        if held.etag != content.md5 and is_md5(held.etag):
            return False
        if held.metadata == put.metadata:
            return True  # word for word what was sent
        said = decode_copy_record(held.metadata)
        return said is not None and said.is_same_version(self.record)


class BulkObjectCopier:
    """Implements services.together.Together.

    The plain case only: the object is the version that was written, every store answers as it should. The rest is
    worked by ObjectCopier from the beginning, which may be done twice, and finds by the record what this has put.
    """

    def __init__(
        self,
        copier: ObjectCopier,
        rules: Sequence[MirrorRule],
        *,
        source: BucketStores,
        targets: Mapping[str, BucketStores],
        clock: Clock,
        tags: SourceTags,
        states: TargetStates,
        answered: Answered = unheard,
    ) -> None:
        self._clock = clock
        self._tags = tags
        self._states = states
        self._answered = answered
        self._copier = copier
        self._rules = tuple(rules)
        used = Counter([*(f"name {rule.name}" for rule in rules), *(f"target {rule.target}" for rule in rules)])
        self._alone = {
            rule.name: rule for rule in rules if used[f"name {rule.name}"] == used[f"target {rule.target}"] == 1
        }
        """Those that no other rule takes an object from: of several with one target only the first counts."""
        self._source = source
        self._targets = targets

    def group(self, task: Task) -> Hashable | None:
        """First attempts at small objects of one bucket for the same rule."""
        draft = task.draft
        if draft.op is not Op.PUT_OBJECT or task.attempts or draft.object_size is None:
            return None
        if draft.object_size > MOST_BYTES or self._copier.has_just_brought(draft):
            return None
        rule = self._rule_of(draft)
        # An archive's tombstone has to be lifted; ACLs are asked for one by one.
        if rule is None or (rule.read_through and not rule.deletes) or rule.acl is not AclCarried.NONE:
            return None
        if self._targets[rule.target].bulk(draft.bucket) is None or self._source.bulk(draft.bucket) is None:
            return None
        return draft.bucket, rule.name

    def _rule_of(self, draft: Draft) -> MirrorRule | None:
        rule = self._alone.get(draft.rule)
        if rule is not None:
            return rule if rule.covers(draft.bucket, draft.key) else None
        rules = covering(self._rules, draft.bucket, draft.key)
        return next((rule for rule in rules if rule.name == draft.rule), None)

    async def work(self, tasks: Sequence[Task]) -> tuple[Sequence[Done], Sequence[Doubtful]]:
        try:
            done = await self._work(tasks)
        except MillraceError:
            done = []  # the target's bucket could not be prepared: each alone says why
        finished = {each.task.seq for each in done}
        left = [task for task in tasks if task.seq not in finished]
        return done, [Doubtful(task, partial(self._copier.work, task)) for task in left]

    async def _work(self, tasks: Sequence[Task]) -> list[Done]:
        bucket = tasks[0].draft.bucket
        rule = self._rule_of(tasks[0].draft)
        assert rule is not None
        target = self._targets[rule.target]
        source, far = self._source.bulk(bucket), target.bulk(bucket)
        assert source is not None
        assert far is not None
        await target.prepare(bucket)
        expected = await self._states.known(rule, bucket, [task.draft.key for task in tasks])  # before the source
        began = self._clock.monotonic()
        found = await source.get_small([task.draft.key for task in tasks])
        self._tell(rule, "bulk", Side.SOURCE, began, len(tasks))
        reach("objects.fetched")
        pairs = [
            (read, small.body)
            for task, small in zip(tasks, found, strict=True)
            if small is not None and (read := _read(task, small)) is not None
        ]
        if not pairs:
            return []
        reads = await self._with_tags(bucket, [read for read, _ in pairs])
        keys = [read.task.draft.key for read in reads]
        began = self._clock.monotonic()
        stored = await far.put_small(
            [
                SmallPut(key, body, read.content, read.info.content_type, read.record.encoded(), **expected[key])
                for key, read, (_, body) in zip(keys, reads, pairs, strict=True)
            ]
        )
        self._tell(rule, "bulk put", Side.TARGET, began, len(stored))
        reach("objects.copied")
        began = self._clock.monotonic()
        held = await far.head_many(keys)
        self._tell(rule, "bulk head", Side.TARGET, began, len(held))
        reach("objects.verified")
        again = await source.head_many(keys)
        tagged = await self._with_tags(bucket, reads, now=True)
        done: list[Done] = []
        for read, put, there, alive, latest in zip(reads, stored, held, again, tagged, strict=True):
            if put is None or there is None or not read.is_proved_by(put, there):
                continue
            if alive is not read.info and alive != read.info:
                continue
            if latest.record.tags != read.record.tags:
                continue
            self._copier.remember(rule, read.task.draft, read.info.etag, there.etag)
            rows = noted(rule, bucket, read.info, there.etag, read.record.tags)
            done.append(Done(read.task, None, read.content.size, rows=rows))
        return done

    def _tell(self, rule: MirrorRule, kind: str, side: Side, began: float, requests: int) -> None:
        if requests >= _TELLING:
            self._answered(rule.name, (self._clock.monotonic() - began) / requests, kind, side)

    async def _with_tags(self, bucket: Bucket, reads: Sequence[_Read], *, now: bool = False) -> Sequence[_Read]:
        """The objects as they were read, with the tags that they have at present: where the bucket has none, one look
        for all of them."""
        if not await self._tags.any_in(bucket, now=now):
            return [_untagged(read) if read.record.tags else read for read in reads] if now else reads
        tags = await asyncio.gather(*(self._tags.of(bucket, read.info) for read in reads))
        return [replace(read, record=replace(read.record, tags=of)) for read, of in zip(reads, tags, strict=True)]


def _untagged(read: _Read) -> _Read:
    return replace(read, record=replace(read.record, tags=()))


def _read(task: Task, small: SmallObject | None) -> _Read | None:
    """None: it is not there, not the version that was written, or not what it says it is."""
    if small is None or small.info.etag != task.draft.etag or small.info.size != len(small.body):
        return None
    content = digest(small.body)
    if is_md5(small.info.etag) and content.md5 != small.info.etag:
        return None
    info = small.info
    record = CopyRecord(info.etag, info.modified_at, info.metadata, info.headers, task.seq)
    return _Read(task, info, content, record)
