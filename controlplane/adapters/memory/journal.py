"""A journal in this process's memory: for tests and trials. Nothing outlives the process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from controlplane.model.failures import Failure
from controlplane.model.hybrid_clock import next_stamp
from controlplane.model.keys import Bucket, Key
from controlplane.model.rule_stats import RuleStats, lag_slot
from controlplane.model.sharding import Shard, shard_of
from controlplane.model.task import Draft, Dropped, Task, TaskState
from controlplane.ports.errors import Full, Unavailable
from controlplane.ports.journal import EVERY_RULE, JournalStats

_Place: TypeAlias = tuple[Bucket, Key, str]


class MemoryJournal:
    """See the port. due() looks at every task up to the last that it returns.

    revive() leaves a dead letter alone behind which a newer task of its key is pending: it is superseded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: dict[int, Task] = {}  # in order of seq, since seq only grows
        self._last_stamp = 0
        self._dropped: dict[int, Dropped] = {}
        self._paused: dict[str, float] = {}
        self._flows: dict[str, RuleStats] = {}
        """Of each rule what is not counted anew each time."""
        self._closed = False

    @property
    def is_shared(self) -> bool:
        return False

    async def open(self) -> None:
        """Nothing to do."""

    async def append(self, draft: Draft, now: float) -> Task:
        self._require_open()
        if len(self._tasks) >= self._limit:
            raise Full(f"the journal in memory holds {len(self._tasks)} entries, its limit is {self._limit}")
        self._last_stamp = next_stamp(self._last_stamp, now)
        task = Task(self._last_stamp, draft, TaskState.PENDING, 0, now, now)
        self._tasks[task.seq] = task
        self._flows.setdefault(draft.rule, RuleStats())
        return task

    async def due(
        self,
        now: float,
        limit: int,
        skip: Collection[int] = (),
        *,
        rule: str | None = None,
        shards: Collection[Shard] | None = None,
    ) -> Sequence[Task]:
        self._require_open()
        found: list[Task] = []
        skipped = frozenset(skip)
        for task in self._first_of_each_key():
            if len(found) >= limit:
                break
            wanted = rule is None or task.draft.rule == rule
            if shards is not None and shard_of(task.draft.bucket, task.draft.key) not in shards:
                wanted = False
            if wanted and task.due_at <= now and task.seq not in skipped:
                found.append(task)
        return found

    def _first_of_each_key(self) -> Iterator[Task]:
        seen: set[_Place] = set()
        for task in self._tasks.values():
            at = _place(task)
            if task.state is TaskState.PENDING and at not in seen:
                seen.add(at)
                yield task

    async def close(
        self, seqs: Sequence[int], *, copied: Mapping[int, int] | None = None, now: float = 0.0
    ) -> Sequence[Task]:
        self._require_open()
        closed = [task for seq in dict.fromkeys(seqs) if (task := self._tasks.pop(seq, None))]
        newest: dict[_Place, int] = {}
        for task in closed:
            if copied is not None:
                self._count(task, copied.get(task.seq), now)
            newest[_place(task)] = max(task.seq, newest.get(_place(task), 0))
        superseded = [task for task in self._in_state(TaskState.FAILED) if task.seq < newest.get(_place(task), 0)]
        for task in superseded:
            del self._tasks[task.seq]
        return superseded

    def _count(self, task: Task, copied_bytes: int | None, now: float) -> None:
        flow = self._flows[task.draft.rule]
        flow = replace(flow, progress_at=max(flow.progress_at, now))
        if copied_bytes is not None:
            lag_s = max(now - task.enqueued_at, 0.0)
            counts = list(flow.lag_counts)
            counts[lag_slot(lag_s)] += 1
            flow = replace(
                flow,
                copied=flow.copied + 1,
                copied_bytes=flow.copied_bytes + copied_bytes,
                lag_counts=tuple(counts),
                lag_total_s=flow.lag_total_s + lag_s,
            )
        self._flows[task.draft.rule] = flow

    async def postpone(
        self, seq: int, *, attempts: int, due_at: float, error: str, failure: Failure | None = None
    ) -> None:
        self._require_open()
        task = self._tasks.get(seq)
        if task is not None and task.state is TaskState.PENDING:
            self._tasks[seq] = replace(task, attempts=attempts, due_at=due_at, error=error, failure=failure)

    async def bury(self, seq: int, *, attempts: int, error: str, failure: Failure | None = None) -> None:
        self._require_open()
        task = self._tasks.get(seq)
        if task is not None and task.state is TaskState.PENDING:
            self._tasks[seq] = replace(task, state=TaskState.FAILED, attempts=attempts, error=error, failure=failure)

    async def failed(self, limit: int = 1000, after: int = 0) -> Sequence[Task]:
        self._require_open()
        return [task for task in self._in_state(TaskState.FAILED) if task.seq > after][: max(limit, 0)]

    async def find(self, seq: int) -> Task | None:
        self._require_open()
        return self._tasks.get(seq)

    async def newest_of(self, bucket: Bucket, key: Key, rule: str) -> Task | None:
        self._require_open()
        of_place = [task for task in self._tasks.values() if _place(task) == (bucket, key, rule)]
        return of_place[-1] if of_place else None

    async def revive(self, seqs: Sequence[int] | None, now: float) -> int:
        self._require_open()
        newest = {_place(task): task.seq for task in self._in_state(TaskState.PENDING)}
        chosen = None if seqs is None else frozenset(seqs)
        revived = 0
        for task in self._in_state(TaskState.FAILED):
            if (chosen is None or task.seq in chosen) and newest.get(_place(task), 0) < task.seq:
                self._tasks[task.seq] = replace(
                    task, state=TaskState.PENDING, attempts=0, due_at=now, error="", failure=None
                )
                revived += 1
        return revived

    async def drop(self, seqs: Sequence[int], reason: str, now: float) -> int:
        self._require_open()
        count = 0
        for seq in dict.fromkeys(seqs):
            task = self._tasks.get(seq)
            if task is not None and task.state is TaskState.FAILED:
                self._dropped[seq] = Dropped(self._tasks.pop(seq), reason, now)
                count += 1
        return count

    async def dropped(self, limit: int = 1000, after: int = 0) -> Sequence[Dropped]:
        self._require_open()
        return [self._dropped[seq] for seq in sorted(self._dropped) if seq > after][: max(limit, 0)]

    async def stats(self) -> JournalStats:
        self._require_open()
        pending = self._in_state(TaskState.PENDING)
        return JournalStats(
            pending=len(pending),
            pending_bytes=sum(task.draft.size for task in pending),
            failed=len(self._tasks) - len(pending),
            oldest_enqueued_at=pending[0].enqueued_at if pending else None,
            limit=self._limit,
        )

    async def rules(self) -> Mapping[str, RuleStats]:
        self._require_open()
        found = dict(self._flows)
        for task in self._tasks.values():
            at = found[task.draft.rule]
            if task.state is TaskState.FAILED:
                found[task.draft.rule] = replace(at, failed=at.failed + 1)
            else:
                oldest = task.enqueued_at if at.oldest_enqueued_at is None else at.oldest_enqueued_at
                found[task.draft.rule] = replace(
                    at,
                    pending=at.pending + 1,
                    pending_bytes=at.pending_bytes + task.draft.size,
                    oldest_enqueued_at=oldest,
                )
        return found

    async def pause(self, rule: str, now: float) -> None:
        self._require_open()
        self._paused.setdefault(rule, now)

    async def resume(self, rule: str) -> bool:
        self._require_open()
        if rule == EVERY_RULE:
            was = bool(self._paused)
            self._paused.clear()
            return was
        return self._paused.pop(rule, None) is not None

    async def paused(self) -> Mapping[str, float]:
        self._require_open()
        return dict(self._paused)

    async def aclose(self) -> None:
        self._closed = True

    def _in_state(self, state: TaskState) -> list[Task]:
        return [task for task in self._tasks.values() if task.state is state]

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the journal in memory is closed: this process is stopping")


def _place(task: Task) -> _Place:
    return task.draft.bucket, task.draft.key, task.draft.rule
