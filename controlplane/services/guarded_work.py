"""Mirror tasks that are worked only while the shard of their key is this agent's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence

from controlplane.model.mirror_plan import Done, Worked
from controlplane.model.sharding import Shard, shard_of
from controlplane.model.task import Task
from controlplane.ports.shards import NotOwner
from controlplane.services.shard_ownership import ShardOwnership
from controlplane.services.together import Doubtful, Together


class GuardedWork:
    """What a mirror calls for one task. Raises NotOwner beside what the work raises."""

    def __init__(self, ownership: ShardOwnership, work: Callable[[Task], Awaitable[Worked]]) -> None:
        self._ownership = ownership
        self._work = work

    async def __call__(self, task: Task) -> Worked:
        return await self.on(task, lambda: self._work(task))

    async def on(self, task: Task, way: Callable[[], Awaitable[Worked]]) -> Worked:
        async def go() -> Worked:
            return await way()

        return await self._ownership.guarded([_shard(task)], go())


class GuardedTogether:
    """Implements Together: all tasks of a group, or each by itself when one of their shards is not ours any more."""

    def __init__(self, ownership: ShardOwnership, together: Together, alone: GuardedWork) -> None:
        self._ownership = ownership
        self._together = together
        self._alone = alone

    def group(self, task: Task) -> Hashable | None:
        return self._together.group(task)

    async def work(self, tasks: Sequence[Task]) -> tuple[Sequence[Done], Sequence[Doubtful]]:
        async def go() -> tuple[Sequence[Done], Sequence[Doubtful]]:
            return await self._together.work(tasks)

        try:
            done, doubtful = await self._ownership.guarded({_shard(task) for task in tasks}, go())
        except NotOwner:
            return (), [Doubtful(task, self._way(task, None)) for task in tasks]
        return done, [Doubtful(each.task, self._way(each.task, each.way_on)) for each in doubtful]

    def _way(self, task: Task, on: Callable[[], Awaitable[Worked]] | None) -> Callable[[], Awaitable[Worked]]:
        async def way() -> Worked:
            return await (self._alone(task) if on is None else self._alone.on(task, on))

        return way


def _shard(task: Task) -> Shard:
    return shard_of(task.draft.bucket, task.draft.key)
