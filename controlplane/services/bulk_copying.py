"""Many small blobs copied together: the same steps as one copy (services/copying.py), each for the whole batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from controlplane.model.content import Content
from controlplane.model.mirror_plan import Done
from controlplane.model.task import Op, Task
from controlplane.ports.bulk_store import MOST_BYTES, BulkStore, SmallPut
from controlplane.ports.fault_points import reach
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.etag import is_md5
from controlplane.services.copying import Copier
from controlplane.services.proving import digest
from controlplane.services.together import Doubtful


@dataclass(slots=True)
class _Copy:
    task: Task
    content: Content
    source: ObjectInfo
    put: ObjectInfo

    def is_proved_by(self, held: ObjectInfo) -> bool:
        """Whether that is what was put, and all it says of itself agrees."""
        named = held.content == self.content and held.size == self.content.size and held.etag == self.put.etag
        return named and (held.etag == self.content.md5 or not is_md5(held.etag))

    def is_of(self, alive: ObjectInfo) -> bool:
        return alive.etag == self.source.etag and alive.size == self.source.size


class BulkCopier:
    """Implements services.together.Together.

    Takes the plain case only, in which every store answers as it should. Whatever else a store says, or does not say,
    is worked by Copier, one object at a time and from the step that is in doubt: it alone decides what is missing,
    deleted, damaged or in the way.

    Per object nothing is skipped: the source's bytes are hashed against the promise before they are sent; the target
    is asked after the put what it holds, and must name the same ETag, size, MD5 and SHA-256 (I1); the source is asked
    after that, and must still be what was read (I4).
    """

    def __init__(self, copier: Copier, *, primary: BulkStore, persistent: BulkStore) -> None:
        self._copier = copier
        self._primary = primary
        self._target = persistent

    def group(self, task: Task) -> Hashable | None:
        """First attempts at small blobs: what failed once goes alone."""
        draft = task.draft
        small = draft.content is not None and draft.content.size <= MOST_BYTES
        return Op.PUT if small and draft.op is Op.PUT and task.attempts == 0 else None

    async def work(self, tasks: Sequence[Task]) -> tuple[Sequence[Done], Sequence[Doubtful]]:
        """Those that were copied and proved together, and each of the others with its way on."""
        copies = await self._copies(tasks)
        done = await self._proved(copies)
        finished = {each.task.seq for each in done}
        # Those that were put already must be proved or taken back, not begun anew.
        begun = {copy.task.seq: copy for copy in copies}
        doubtful = [self._doubtful(task, begun.get(task.seq)) for task in tasks if task.seq not in finished]
        return done, doubtful

    def _doubtful(self, task: Task, copy: _Copy | None) -> Doubtful:
        if copy is None:
            return Doubtful(task, partial(self._copier.work, task))
        return Doubtful(task, partial(self._copier.finish, task, copy.put, copy.content, fresh=True))

    async def _copies(self, tasks: Sequence[Task]) -> list[_Copy]:
        found = await self._primary.get_small([task.draft.key for task in tasks])
        reach("mirror.fetched")
        sources: list[tuple[Task, Content, ObjectInfo]] = []
        puts: list[SmallPut] = []
        for task, small in zip(tasks, found, strict=True):
            content = task.draft.content
            if small is None or content is None or digest(small.body) != content:
                continue
            sources.append((task, content, small.info))
            puts.append(SmallPut(task.draft.key, small.body, content, small.info.content_type, if_absent=True))
        if not puts:
            return []
        stored = await self._target.put_small(puts)
        reach("mirror.copied")
        return [
            _Copy(task, content, info, put)
            for (task, content, info), put in zip(sources, stored, strict=True)
            if put is not None
        ]

    async def _proved(self, copies: Sequence[_Copy]) -> list[Done]:
        if not copies:
            return []
        keys = [copy.task.draft.key for copy in copies]
        held = await self._target.head_many(keys)
        reach("mirror.verified")
        alive = await self._primary.head_many(keys)
        return [
            self._copier.mirrored(copy.task, target, copy.content)
            for copy, target, source in zip(copies, held, alive, strict=True)
            if target is not None and source is not None and copy.is_proved_by(target) and copy.is_of(source)
        ]
