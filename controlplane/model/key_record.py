"""What a shared journal knows of one (bucket, key, rule): its open tasks, and which were closed a short while ago.

Nodes change records without asking each other. Two states of one record are joined by merge(), which is commutative,
associative and idempotent: in whatever order a cluster's nodes meet each other's changes, they end with the same
record. What was closed stays closed, as long as the closing is remembered (see pruned()).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, Key
from controlplane.model.task import Task, TaskState


@dataclass(frozen=True, slots=True)
class Entry:
    """A task, and how often it was changed since it was appended."""

    task: Task
    revision: int = 0

    @property
    def _rank(self) -> tuple[int, bool, int, float, str, str, float, str]:
        """A total order of what may be said of one task: the later change counts, and the more serious one of two that
        did not know of each other. The rest only makes the choice the same everywhere."""
        task = self.task
        failed = task.state is TaskState.FAILED
        failure = task.failure.value if task.failure is not None else ""
        draft = repr(task.draft)
        return self.revision, failed, task.attempts, task.due_at, failure, task.error, task.enqueued_at, draft

    def newer(self, other: Entry) -> Entry:
        return self if self._rank >= other._rank else other

    def changed(self, **changes: object) -> Entry:
        return Entry(replace(self.task, **changes), self.revision + 1)  # type: ignore[arg-type]  # fields of Task


@dataclass(frozen=True, slots=True)
class Tally:
    """What a record adds to the journal's counters."""

    pending: int = 0
    pending_bytes: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """`entries` and `closed` have no seq in common."""

    bucket: Bucket
    key: Key
    rule: str
    entries: Mapping[int, Entry] = field(default_factory=dict)
    """Open tasks by seq."""
    closed: Mapping[int, int] = field(default_factory=dict)
    """When which seq was closed: Unix milliseconds."""

    # -- what it says -------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> tuple[Task, ...]:
        """In order of seq."""
        return self._in_state(TaskState.PENDING)

    @property
    def failed(self) -> tuple[Task, ...]:
        """In order of seq."""
        return self._in_state(TaskState.FAILED)

    @property
    def first(self) -> Task | None:
        """The only task of the key that can be due: the oldest pending one. A dead letter before it is superseded."""
        return next(iter(self.pending), None)

    @property
    def highest_seq(self) -> int:
        """Of all that is known of the key: a new task must come after it."""
        return max((*self.entries, *self.closed), default=0)

    @property
    def tally(self) -> Tally:
        pending = self.pending
        return Tally(len(pending), sum(task.draft.size for task in pending), len(self.entries) - len(pending))

    def _in_state(self, state: TaskState) -> tuple[Task, ...]:
        found = [entry.task for entry in self.entries.values() if entry.task.state is state]
        return tuple(sorted(found, key=lambda task: task.seq))

    # -- changes: each gives a new record, or this one when there is nothing to change --------------------------------

    def appended(self, task: Task) -> KeyRecord:
        return replace(self, entries={**self.entries, task.seq: Entry(task)})

    def closing(self, seqs: Collection[int], at_ms: int) -> KeyRecord:
        """Without these tasks, and without the dead letters before the newest of them, which it supersedes."""
        gone = {seq for seq in seqs if seq in self.entries}
        if not gone:
            return self
        newest = max(gone)
        gone.update(task.seq for task in self.failed if task.seq < newest)
        return replace(
            self,
            entries={seq: entry for seq, entry in self.entries.items() if seq not in gone},
            closed={**self.closed, **dict.fromkeys(gone, at_ms)},
        )

    def without(self, seq: int, at_ms: int) -> KeyRecord:
        """Without this one; what it would supersede stays."""
        return replace(
            self,
            entries={other: entry for other, entry in self.entries.items() if other != seq},
            closed={**self.closed, seq: at_ms},
        )

    def postponed(
        self, seq: int, *, attempts: int, due_at: float, error: str, failure: Failure | None = None
    ) -> KeyRecord:
        return self._with_pending(seq, attempts=attempts, due_at=due_at, error=error, failure=failure)

    def buried(self, seq: int, *, attempts: int, error: str, failure: Failure | None = None) -> KeyRecord:
        return self._with_pending(seq, state=TaskState.FAILED, attempts=attempts, error=error, failure=failure)

    def _with_pending(self, seq: int, **changes: object) -> KeyRecord:
        entry = self.entries.get(seq)
        if entry is None or entry.task.state is not TaskState.PENDING:
            return self
        return replace(self, entries={**self.entries, seq: entry.changed(**changes)})

    def revived(self, seqs: Collection[int] | None, now: float) -> KeyRecord:
        """Dead letters (all when None) are pending again, unless a newer task of the key is: that supersedes them."""
        newest = max((task.seq for task in self.pending), default=0)
        changed = {
            task.seq: self.entries[task.seq].changed(
                state=TaskState.PENDING, attempts=0, due_at=now, error="", failure=None
            )
            for task in self.failed
            if task.seq > newest and (seqs is None or task.seq in seqs)
        }
        return replace(self, entries={**self.entries, **changed}) if changed else self

    def pruned(self, before_ms: int) -> KeyRecord:
        """Without what was closed before that time. Sound when every change that began before it has ended."""
        if all(at >= before_ms for at in self.closed.values()):
            return self
        return replace(self, closed={seq: at for seq, at in self.closed.items() if at >= before_ms})


def merge(one: KeyRecord, other: KeyRecord) -> KeyRecord:
    """What both know. The records must be of the same key."""
    closed = dict(one.closed)
    for seq, at in other.closed.items():
        closed[seq] = max(at, closed.get(seq, at))
    entries: dict[int, Entry] = {}
    for seq, entry in sorted((*one.entries.items(), *other.entries.items()), key=lambda item: item[0]):
        if seq not in closed:
            known = entries.get(seq)
            entries[seq] = entry if known is None else entry.newer(known)
    return KeyRecord(one.bucket, one.key, one.rule, entries, dict(sorted(closed.items())))
