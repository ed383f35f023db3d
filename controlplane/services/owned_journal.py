"""A journal that all agents share, as one of them sees it: the entries of its shards, and no others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, Key
from controlplane.model.rule_stats import RuleStats
from controlplane.model.sharding import Shard, shard_of
from controlplane.model.task import Draft, Dropped, Task
from controlplane.ports.journal import Journal, JournalStats
from controlplane.services.shard_ownership import ShardOwnership


class OwnedJournal:
    """Implements Journal for a mirror. What became of a task counts only while its shard is still ours: else the next
    owner finds the entry as it was, and does the work again."""

    def __init__(self, journal: Journal, ownership: ShardOwnership) -> None:
        self._journal = journal
        self._ownership = ownership
        self._shards: dict[int, Shard] = {}
        """Of the tasks that were given out and not settled yet."""

    @property
    def is_shared(self) -> bool:
        return True

    async def append(self, draft: Draft, now: float) -> Task:
        return await self._journal.append(draft, now)

    async def due(
        self,
        now: float,
        limit: int,
        skip: Collection[int] = (),
        *,
        rule: str | None = None,
        shards: Collection[Shard] | None = None,
    ) -> Sequence[Task]:
        ours = self._ownership.working()
        if shards is not None:
            ours &= frozenset(shards)
        tasks = await self._journal.due(now, limit, skip, rule=rule, shards=ours)
        self._shards.update((task.seq, shard_of(task.draft.bucket, task.draft.key)) for task in tasks)
        return tasks

    async def close(
        self, seqs: Sequence[int], *, copied: Mapping[int, int] | None = None, now: float = 0.0
    ) -> Sequence[Task]:
        ours = [seq for seq in seqs if self._counts(seq)]
        superseded: Sequence[Task] = ()
        if ours:
            sizes = None if copied is None else {seq: copied[seq] for seq in ours if seq in copied}
            superseded = await self._journal.close(ours, copied=sizes, now=now)
        self._settled(seqs)
        return superseded

    async def postpone(
        self, seq: int, *, attempts: int, due_at: float, error: str, failure: Failure | None = None
    ) -> None:
        if self._counts(seq):
            await self._journal.postpone(seq, attempts=attempts, due_at=due_at, error=error, failure=failure)
        self._settled([seq])

    async def bury(self, seq: int, *, attempts: int, error: str, failure: Failure | None = None) -> None:
        if self._counts(seq):
            await self._journal.bury(seq, attempts=attempts, error=error, failure=failure)
        self._settled([seq])

    async def failed(self, limit: int = 1000, after: int = 0) -> Sequence[Task]:
        return await self._journal.failed(limit, after)

    async def find(self, seq: int) -> Task | None:
        return await self._journal.find(seq)

    async def newest_of(self, bucket: Bucket, key: Key, rule: str) -> Task | None:
        return await self._journal.newest_of(bucket, key, rule)

    async def revive(self, seqs: Sequence[int] | None, now: float) -> int:
        return await self._journal.revive(seqs, now)

    async def drop(self, seqs: Sequence[int], reason: str, now: float) -> int:
        return await self._journal.drop(seqs, reason, now)

    async def dropped(self, limit: int = 1000, after: int = 0) -> Sequence[Dropped]:
        return await self._journal.dropped(limit, after)

    async def stats(self) -> JournalStats:
        return await self._journal.stats()

    async def rules(self) -> Mapping[str, RuleStats]:
        return await self._journal.rules()

    async def pause(self, rule: str, now: float) -> None:
        await self._journal.pause(rule, now)

    async def resume(self, rule: str) -> bool:
        return await self._journal.resume(rule)

    async def paused(self) -> Mapping[str, float]:
        return await self._journal.paused()

    async def aclose(self) -> None:
        """The journal is its opener's to close."""

    def _counts(self, seq: int) -> bool:
        shard = self._shards.get(seq)
        return shard is not None and self._ownership.holds(shard)

    def _settled(self, seqs: Sequence[int]) -> None:
        """Not before the journal has taken it: what it does not take is offered again."""
        for seq in seqs:
            self._shards.pop(seq, None)
