"""A journal in this process's memory: for tests and trials. Nothing outlives the process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from controlplane.model.hybrid_clock import next_stamp
from controlplane.model.keys import Bucket, Key
from controlplane.model.task import Draft, Task, TaskState
from controlplane.ports.errors import Full, Unavailable
from controlplane.ports.journal import JournalStats


class MemoryJournal:
    """See the port. due() looks at every task up to the last that it returns.

    revive() leaves a dead letter alone behind which a newer task of its key is pending: it is superseded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: dict[int, Task] = {}  # in order of seq, since seq only grows
        self._last_stamp = 0
        self._closed = False

    async def open(self) -> None:
        """Nothing to do."""

    async def append(self, draft: Draft, now: float) -> Task:
        self._require_open()
        if len(self._tasks) >= self._limit:
            raise Full(f"the journal in memory holds {len(self._tasks)} entries, its limit is {self._limit}")
        self._last_stamp = next_stamp(self._last_stamp, now)
        task = Task(self._last_stamp, draft, TaskState.PENDING, 0, now, now)
        self._tasks[task.seq] = task
        return task

    async def due(self, now: float, limit: int, skip: Collection[int] = ()) -> Sequence[Task]:
        self._require_open()
        found: list[Task] = []
        skipped = frozenset(skip)
        for task in self._first_of_each_key():
            if len(found) >= limit:
                break
            if task.due_at <= now and task.seq not in skipped:
                found.append(task)
        return found

    def _first_of_each_key(self) -> Iterator[Task]:
        seen: set[tuple[Bucket, Key]] = set()
        for task in self._tasks.values():
            at = _place(task)
            if task.state is TaskState.PENDING and at not in seen:
                seen.add(at)
                yield task

    async def close(self, seqs: Sequence[int]) -> None:
        self._require_open()
        closed = [task for seq in dict.fromkeys(seqs) if (task := self._tasks.pop(seq, None))]
        newest: dict[tuple[Bucket, Key], int] = {}
        for task in closed:
            newest[_place(task)] = max(task.seq, newest.get(_place(task), 0))
        if newest:
            for task in self._in_state(TaskState.FAILED):
                if task.seq < newest.get(_place(task), 0):
                    del self._tasks[task.seq]

    async def postpone(self, seq: int, *, attempts: int, due_at: float, error: str) -> None:
        self._require_open()
        task = self._tasks.get(seq)
        if task is not None and task.state is TaskState.PENDING:
            self._tasks[seq] = replace(task, attempts=attempts, due_at=due_at, error=error)

    async def bury(self, seq: int, *, attempts: int, error: str) -> None:
        self._require_open()
        task = self._tasks.get(seq)
        if task is not None and task.state is TaskState.PENDING:
            self._tasks[seq] = replace(task, state=TaskState.FAILED, attempts=attempts, error=error)

    async def failed(self, limit: int = 1000, after: int = 0) -> Sequence[Task]:
        self._require_open()
        return [task for task in self._in_state(TaskState.FAILED) if task.seq > after][: max(limit, 0)]

    async def revive(self, seqs: Sequence[int] | None, now: float) -> int:
        self._require_open()
        newest = {_place(task): task.seq for task in self._in_state(TaskState.PENDING)}
        chosen = None if seqs is None else frozenset(seqs)
        revived = 0
        for task in self._in_state(TaskState.FAILED):
            if (chosen is None or task.seq in chosen) and newest.get(_place(task), 0) < task.seq:
                self._tasks[task.seq] = replace(task, state=TaskState.PENDING, attempts=0, due_at=now, error="")
                revived += 1
        return revived

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

    async def aclose(self) -> None:
        self._closed = True

    def _in_state(self, state: TaskState) -> list[Task]:
        return [task for task in self._tasks.values() if task.state is state]

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the journal in memory is closed: this process is stopping")


def _place(task: Task) -> tuple[Bucket, Key]:
    return task.draft.bucket, task.draft.key
