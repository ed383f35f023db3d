"""The journal of a cluster in Riak KV: every gateway appends to it, every agent drains its shards of it."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from controlplane.adapters.riak_kv.backlog import Backlog
from controlplane.adapters.riak_kv.journal_document import (
    LAST,
    NO_SEQ,
    due_pattern,
    ms_digits,
    read_size_term,
    record_key,
    require_storable,
    rule_digits,
    seq_digits,
    storable,
)
from controlplane.adapters.riak_kv.journal_notes import JournalNotes
from controlplane.adapters.riak_kv.kv import RiakKv
from controlplane.adapters.riak_kv.records import PAGE, REMEMBERED_S, Change, Records
from controlplane.model.failures import Failure
from controlplane.model.hybrid_clock import WRITERS, next_stamp_of
from controlplane.model.key_record import KeyRecord, Tally
from controlplane.model.keys import Bucket, Key
from controlplane.model.rule_stats import RuleStats
from controlplane.model.sharding import Shard, shard_of
from controlplane.model.task import Draft, Dropped, Task, TaskState
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Full, MillraceError, Unavailable
from controlplane.ports.journal import JournalStats

log = logging.getLogger(__name__)

MOST_OF_ONE_KEY: Final = 5000
"""Open tasks of one (bucket, key, rule): its record is written whole each time."""
_SWEEP_EVERY_S: Final = 60.0
_AT_ONCE: Final = 32
_NEVER: Final = -math.inf


class RiakJournal:
    """See the port. Where it says less than one file on one machine does:

    - The bound is exact within this process; what others append counts when the journal is counted anew
      (every recount_s, beside the work). After a recount everything is exact.
    - close() and revive() are durable record by record, not in one transaction; a crash in between leaves the rest
      open, and it is done again.
    - The figures of rules() may lack the copies whose close() a crash cut off.
    - When more tasks are due than due() answers, those that were due first are answered first.
    """

    def __init__(
        self, kv: RiakKv, *, cluster: str, node: str, limit: int, clock: Clock, recount_s: float = 30.0
    ) -> None:
        self._kv = kv
        self._clock = clock
        self._recount_s = recount_s
        self._records = Records(kv, f"{cluster}.journal", clock, lambda b, k: shard_of(Bucket(b), Key(k)))
        self._notes = JournalNotes(kv, f"{cluster}.journal-notes", node)
        self._backlog = Backlog(limit)
        self._counting = asyncio.Lock()
        self._counted_at = self._swept_at = _NEVER
        self._writer = secrets.randbelow(WRITERS)
        self._last_stamp = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def is_shared(self) -> bool:
        return True

    async def open(self) -> None:
        """Nothing is asked yet: Riak KV may be away when a node starts (I10)."""

    # -- appending ----------------------------------------------------------------------------------------------------

    async def append(self, draft: Draft, now: float) -> Task:
        self._require_open()
        require_storable(draft, now)
        # Before anything else is waited for: the order of calls is the order of entries.
        seq = self._stamp(0, now)
        key = record_key(draft.bucket, draft.key, draft.rule)
        async with self._records.turn(key):
            await self._counted()
            self._backlog.reserve(self._full)
            try:
                await self._notes.introduce(draft.rule)
                _, after = await self._change(key, lambda record: self._appending(record, draft, seq, now))
            finally:
                self._backlog.release()
        assert after is not None
        # The newest of the record is this one: others of this process wait for their turn.
        return after.entries[max(after.entries)].task

    def _appending(self, record: KeyRecord | None, draft: Draft, seq: int, now: float) -> KeyRecord:
        record = record or KeyRecord(draft.bucket, draft.key, draft.rule)
        if len(record.entries) >= MOST_OF_ONE_KEY:
            raise Full(
                f"the journal in Riak KV holds {len(record.entries)} entries of {draft.bucket}/{draft.key} alone: "
                "see why the mirror does not keep up (`millrace mirror status`)"
            )
        # Whatever the clocks of other nodes say, a key's entries are in the order in which they were written.
        if record.highest_seq >= seq:
            seq = self._stamp(record.highest_seq, now)
        return record.appended(Task(seq, draft, TaskState.PENDING, 0, now, now))

    def _stamp(self, behind: int, now: float) -> int:
        self._last_stamp = next_stamp_of(self._writer, max(self._last_stamp, behind), now)
        return self._last_stamp

    def _full(self, total: Tally) -> Full:
        return Full(
            f"the journal in Riak KV holds {total.pending} pending and {total.failed} failed entries, its limit is "
            f"{self._backlog.limit}: see why the mirror does not keep up (`millrace mirror status`), "
            "or raise journal.limit"
        )

    # -- draining -----------------------------------------------------------------------------------------------------

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
        if limit <= 0 or (shards is not None and not shards):
            return []
        self._sweep_now_and_then()
        skipped = {seq_digits(seq) for seq in skip}
        found: list[Task] = []
        keys: list[str] = []
        page = min(PAGE, limit + len(skipped))
        async for term, key in self._records.rows(
            "due_bin", "0", f"{ms_digits(now)}.{LAST}", page=page, regex=due_pattern(rule, shards)
        ):
            if term.split(".")[1] in skipped:
                continue
            keys.append(key)
            if len(found) + len(keys) >= limit:
                found += await self._first_of(keys, now, skip)
                keys = []
                if len(found) >= limit:
                    break
        found += await self._first_of(keys, now, skip)
        return sorted(found, key=lambda task: task.seq)[:limit]

    async def _first_of(self, keys: list[str], now: float, skip: Collection[int]) -> list[Task]:
        """What is really due in these records: the index may be behind them, and lists siblings apart."""
        records = await self._records.get_all(list(dict.fromkeys(keys)))
        firsts = [record.first for record in records if record is not None]
        return [task for task in firsts if task is not None and task.due_at <= now and task.seq not in skip]

    async def close(
        self, seqs: Sequence[int], *, copied: Mapping[int, int] | None = None, now: float = 0.0
    ) -> Sequence[Task]:
        self._require_open()
        closed: list[Task] = []
        superseded: list[Task] = []

        async def close(key: str, gone: set[int]) -> None:
            at_ms = int(self._clock.now() * 1000)
            before, after = await self._change(
                key, lambda record: record if record is None else record.closing(gone, at_ms)
            )
            if before is not None and after is not before:
                closed.extend(entry.task for seq, entry in before.entries.items() if seq in gone)
                left = after.entries if after is not None else {}
                superseded.extend(task for task in before.failed if task.seq not in left and task.seq not in gone)

        await _gather([close(key, gone) for key, gone in (await self._by_record(seqs)).items()])
        if copied is not None and closed:
            await self._notes.count(closed, copied, now)
        return superseded

    async def postpone(
        self, seq: int, *, attempts: int, due_at: float, error: str, failure: Failure | None = None
    ) -> None:
        said = storable(error)
        await self._change_task(
            seq,
            lambda record: record.postponed(seq, attempts=attempts, due_at=due_at, error=said, failure=failure),
        )

    async def bury(self, seq: int, *, attempts: int, error: str, failure: Failure | None = None) -> None:
        said = storable(error)
        await self._change_task(seq, lambda record: record.buried(seq, attempts=attempts, error=said, failure=failure))

    # -- dead letters -------------------------------------------------------------------------------------------------

    async def failed(self, limit: int = 1000, after: int = 0) -> Sequence[Task]:
        self._require_open()
        found: dict[int, Task] = {}
        wanted: dict[str, None] = {}
        if limit > 0:
            async for _, key in self._records.rows("failed_bin", seq_digits(after + 1)):
                wanted[key] = None
                if len(wanted) + len(found) < limit:
                    continue
                found.update(await self._failed_in(wanted, after))
                wanted = {}
                if len(found) >= limit:
                    break
            found.update(await self._failed_in(wanted, after))
        return [found[seq] for seq in sorted(found)[: max(limit, 0)]]

    async def _failed_in(self, keys: Mapping[str, None], after: int) -> dict[int, Task]:
        records = await self._records.get_all(list(keys))
        return {
            task.seq: task for record in records if record is not None for task in record.failed if task.seq > after
        }

    async def find(self, seq: int) -> Task | None:
        self._require_open()
        key = await self._records.place_of(seq)
        record = await self._records.get(key) if key is not None else None
        entry = record.entries.get(seq) if record is not None else None
        return entry.task if entry is not None else None

    async def newest_of(self, bucket: Bucket, key: Key, rule: str) -> Task | None:
        self._require_open()
        record = await self._records.get(record_key(bucket, key, rule))
        return None if record is None or not record.entries else record.entries[max(record.entries)].task

    async def revive(self, seqs: Sequence[int] | None, now: float) -> int:
        self._require_open()
        places: dict[str, set[int] | None]
        if seqs is None:
            places = {key: None async for _, key in self._records.rows("failed_bin", "0")}
        else:
            places = dict(await self._by_record(seqs))
        counts: list[int] = []

        async def revive(key: str, chosen: set[int] | None) -> None:
            before, after = await self._change(
                key, lambda record: record if record is None else record.revived(chosen, now)
            )
            if before is not None and after is not None:
                counts.append(len(before.failed) - len(after.failed))

        await _gather([revive(key, chosen) for key, chosen in places.items()])
        return sum(counts)

    async def drop(self, seqs: Sequence[int], reason: str, now: float) -> int:
        """The record of what was promised is written first: a crash may leave it beside the dead letter."""
        self._require_open()
        count = 0
        for seq in dict.fromkeys(seqs):
            task = await self.find(seq)
            if task is None or task.state is not TaskState.FAILED:
                continue
            await self._notes.record_dropped(Dropped(task, storable(reason), now))
            count += await self._drop(seq)
        return count

    async def _drop(self, seq: int) -> bool:
        at_ms = int(self._clock.now() * 1000)
        before, after = await self._change_task(seq, lambda record: record.without(seq, at_ms))
        return before is not after

    async def dropped(self, limit: int = 1000, after: int = 0) -> Sequence[Dropped]:
        self._require_open()
        return await self._notes.dropped(limit, after)

    # -- figures and pauses -------------------------------------------------------------------------------------------

    async def stats(self) -> JournalStats:
        self._require_open()
        await self._counted()
        total = self._backlog.total
        oldest = await self._oldest() if total.pending else None
        return JournalStats(total.pending, total.pending_bytes, total.failed, oldest, self._backlog.limit)

    async def rules(self) -> Mapping[str, RuleStats]:
        self._require_open()
        await self._counted()
        found = await self._notes.figures()
        for rule, stats in found.items():
            tally = self._backlog.by_rule.get(rule_digits(rule), Tally())
            oldest = await self._oldest(rule) if tally.pending else None
            found[rule] = replace(
                stats,
                pending=tally.pending,
                pending_bytes=tally.pending_bytes,
                failed=tally.failed,
                oldest_enqueued_at=oldest,
            )
        return found

    async def _oldest(self, rule: str | None = None) -> float | None:
        regex = "" if rule is None else f"\\.{rule_digits(rule)}$"
        async for term, key in self._records.rows("size_bin", "0", page=2, regex=regex):
            if term.startswith(NO_SEQ):
                return None
            record = await self._records.get(key)
            if record is not None and record.first is not None:
                return record.first.enqueued_at
        return None

    async def pause(self, rule: str, now: float) -> None:
        self._require_open()
        await self._notes.pause(rule, now, self._clock.now())

    async def resume(self, rule: str) -> bool:
        self._require_open()
        return await self._notes.resume(rule, self._clock.now())

    async def paused(self) -> Mapping[str, float]:
        self._require_open()
        return await self._notes.paused()

    async def aclose(self) -> None:
        """Idempotent; later calls raise Unavailable. What other tasks have under way is not waited for."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._kv.aclose()

    # -- records ------------------------------------------------------------------------------------------------------

    async def _change(self, key: str, change: Change) -> tuple[KeyRecord | None, KeyRecord | None]:
        before, after = await self._records.change(key, change)
        if after is not None and after is not before:
            nothing = Tally()
            self._backlog.change(key, rule_digits(after.rule), before.tally if before else nothing, after.tally)
        return before, after

    async def _change_task(
        self, seq: int, change: Callable[[KeyRecord], KeyRecord]
    ) -> tuple[KeyRecord | None, KeyRecord | None]:
        self._require_open()
        key = await self._records.place_of(seq)
        if key is None:
            return None, None
        return await self._change(key, lambda record: record if record is None else change(record))

    async def _by_record(self, seqs: Sequence[int]) -> dict[str, set[int]]:
        """The open tasks among them, by their records."""
        found: dict[str, set[int]] = {}
        ordered = list(dict.fromkeys(seqs))

        async def look(seq: int) -> None:
            key = await self._records.place_of(seq)
            if key is not None:
                found.setdefault(key, set()).add(seq)

        await _gather([look(seq) for seq in ordered])
        return found

    async def _counted(self) -> None:
        """Wait for the first count; later ones go on beside the work."""
        if not self._backlog.counted:
            async with self._counting:
                if not self._backlog.counted:
                    await self._count()
        elif self._clock.monotonic() - self._counted_at > self._recount_s and not self._counting.locked():
            self._spawn(self._recount())

    async def _recount(self) -> None:
        async with self._counting:
            await self._count()

    async def _count(self) -> None:
        count = self._backlog.begin_count()
        async for term, key in self._records.rows("size_bin", "0"):
            count.saw(key, *read_size_term(term))
        self._backlog.end_count(count)
        self._counted_at = self._clock.monotonic()

    def _sweep_now_and_then(self) -> None:
        if self._clock.monotonic() - self._swept_at > _SWEEP_EVERY_S:
            self._swept_at = self._clock.monotonic()
            self._spawn(self._sweep())

    async def _sweep(self) -> None:
        await self._records.sweep(self._clock.now() - REMEMBERED_S)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        async def run() -> None:
            try:
                await work
            except MillraceError as error:
                log.warning("the journal in Riak KV could not be looked through: %s", error)

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the journal in Riak KV is closed: this process is stopping")


async def _gather(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of it, some at once; the first failure is raised when everything has ended."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(each: Coroutine[Any, Any, None]) -> None:
        async with turns:
            await each

    results = await asyncio.gather(*(one(each) for each in work), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
