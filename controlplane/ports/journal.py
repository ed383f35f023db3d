"""Journal: the durable queue between an acknowledged write and its copy in the persistent store (I1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.model.task import Draft, Task


@dataclass(frozen=True, slots=True)
class JournalStats:
    pending: int
    pending_bytes: int
    failed: int
    oldest_enqueued_at: float | None
    """Of the pending tasks; None when there are none."""
    limit: int
    """Pending plus failed entries at which append raises Full."""


class Journal(Protocol):
    async def append(self, draft: Draft, now: float) -> Task:
        """Write one entry, on stable storage when this returns. Raises Full at the bound, Unavailable, StorageFull."""
        ...

    async def due(self, now: float, limit: int, skip: Collection[int] = ()) -> Sequence[Task]:
        """Pending tasks with due_at <= now, in order of seq, without those in `skip` (being worked on).

        Only the oldest open task of a (bucket, key) is ever due: a task behind one that is pending, skipped or FAILED
        waits for it, so operations on one key never overtake each other. Exception: a task behind a FAILED one is due
        (the failed one is superseded by it: newer truth for the key).
        """
        ...

    async def close(self, seqs: Sequence[int]) -> None:
        """Remove tasks that are done and verified, durably, in one transaction. Unknown ones are ignored.
        Closing a task also removes FAILED tasks of the same (bucket, key) with a smaller seq."""
        ...

    async def postpone(self, seq: int, *, attempts: int, due_at: float, error: str) -> None: ...

    async def bury(self, seq: int, *, attempts: int, error: str) -> None:
        """Make it a dead letter (FAILED). It still counts against the bound."""
        ...

    async def failed(self, limit: int = 1000, after: int = 0) -> Sequence[Task]:
        """Dead letters with seq > after, in order of seq."""
        ...

    async def revive(self, seqs: Sequence[int] | None, now: float) -> int:
        """Make dead letters (all when None) PENDING, due now, attempts 0; return how many."""
        ...

    async def stats(self) -> JournalStats: ...

    async def aclose(self) -> None: ...
