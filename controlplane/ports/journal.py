"""Journal: the durable queue between an acknowledged write and its copy in the persistent store (I1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, Key
from controlplane.model.rule_stats import RuleStats
from controlplane.model.sharding import Shard
from controlplane.model.task import Draft, Dropped, Task

EVERY_RULE: Final = "*"
"""In pause(): the whole mirror."""


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
    """Tasks by (bucket, key, rule): one such place is one queue, and no two places wait for each other."""

    @property
    def is_shared(self) -> bool:
        """Whether the agents of all nodes see the same entries, and divide them by shards. False: these are the entries
        of this node, which only its own agent can work on."""
        ...

    async def append(self, draft: Draft, now: float) -> Task:
        """Write one entry, on stable storage when this returns. Raises Full at the bound, Unavailable, StorageFull."""
        ...

    async def due(
        self,
        now: float,
        limit: int,
        skip: Collection[int] = (),
        *,
        rule: str | None = None,
        shards: Collection[Shard] | None = None,
    ) -> Sequence[Task]:
        """Pending tasks with due_at <= now, in order of seq, without those in `skip` (being worked on).
        `rule`: only those of this rule; `shards`: only those whose key is in one of these (None: all).

        Only the oldest open task of a (bucket, key, rule) is ever due: a task behind one that is pending, skipped or
        FAILED waits for it, so operations on one key never overtake each other. Exception: a task behind a FAILED one
        is due (the failed one is superseded by it: newer truth for the key).
        """
        ...

    async def close(
        self, seqs: Sequence[int], *, copied: Mapping[int, int] | None = None, now: float = 0.0
    ) -> Sequence[Task]:
        """Remove tasks that are done and verified, durably, in one transaction. Unknown ones are ignored.
        Closing a task also removes FAILED tasks of the same (bucket, key, rule) with a smaller seq, which are returned.

        `copied`: those of them that were copied and verified at `now` (Unix seconds), with their bytes. They count in
        the figures of their rules (rules()) in the same transaction, with the lag from their enqueued_at."""
        ...

    async def postpone(
        self, seq: int, *, attempts: int, due_at: float, error: str, failure: Failure | None = None
    ) -> None: ...

    async def bury(self, seq: int, *, attempts: int, error: str, failure: Failure | None = None) -> None:
        """Make it a dead letter (FAILED). It still counts against the bound."""
        ...

    async def failed(self, limit: int = 1000, after: int = 0) -> Sequence[Task]:
        """Dead letters with seq > after, in order of seq."""
        ...

    async def find(self, seq: int) -> Task | None:
        """One entry, pending or FAILED; None: it is not (or no longer) in the journal."""
        ...

    async def newest_of(self, bucket: Bucket, key: Key, rule: str) -> Task | None:
        """The newest entry, pending or FAILED, of one (bucket, key, rule); None: there is none."""
        ...

    async def revive(self, seqs: Sequence[int] | None, now: float) -> int:
        """Make dead letters (all when None) PENDING, due now, attempts 0; return how many."""
        ...

    async def drop(self, seqs: Sequence[int], reason: str, now: float) -> int:
        """Remove dead letters for good, keeping in the same transaction a record of what they promised (dropped());
        return how many. What is not a dead letter is left alone."""
        ...

    async def dropped(self, limit: int = 1000, after: int = 0) -> Sequence[Dropped]:
        """What was dropped, with seq > after, in order of seq. The records stay for ever."""
        ...

    async def stats(self) -> JournalStats: ...

    async def rules(self) -> Mapping[str, RuleStats]:
        """By the name of the rule, as entries name it; those that never had an entry are not there."""
        ...

    async def pause(self, rule: str, now: float) -> None:
        """Remember, durably, that a rule (or EVERY_RULE) is to rest. The mirror obeys it; the journal goes on taking
        and answering entries. Pausing twice keeps the first time."""
        ...

    async def resume(self, rule: str) -> bool:
        """Forget that; False: it was not paused. EVERY_RULE resumes the whole, and every single rule too."""
        ...

    async def paused(self) -> Mapping[str, float]:
        """Names of paused rules (or EVERY_RULE), and since when (Unix seconds)."""
        ...

    async def aclose(self) -> None: ...
