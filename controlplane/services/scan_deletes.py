"""Copies whose objects are gone: whether they may go too (I6), and their entries in the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from controlplane.model.copies import Copy
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule, covering
from controlplane.model.scan_guard import Evidence, GuardLimits, Verdict, judge
from controlplane.model.scan_join import Listed
from controlplane.model.scan_ranges import LAST
from controlplane.model.scan_state import Unit, UnitState
from controlplane.model.task import Draft, Op
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ObjectStore
from controlplane.services.copy_judging import is_a_copy
from controlplane.services.scan_admission import Admit, at_once
from controlplane.services.scan_queue import JournalSink

_PAGE: Final = 1000


class ScanDeletes:
    """After a whole scan of a bucket. Invariants: nothing without the guard's leave, and never more than it was asked
    about; each object that goes was asked for at the source by name, which said that it has none; only what carries a
    copy's record at the target goes; the journal's task looks at the source once more."""

    def __init__(
        self,
        *,
        rules: Sequence[MirrorRule],
        source: BucketStores,
        catalog: Catalog,
        queue: JournalSink,
        clock: Clock,
        limits: GuardLimits,
        grace_s: float,
    ) -> None:
        self._rules = tuple(rules)
        self._source = source
        self._catalog = catalog
        self._queue = queue
        self._clock = clock
        self.limits = limits
        self.grace_s = grace_s

    async def apply(
        self,
        unit: Unit,
        state: UnitState,
        target: ObjectStore,
        deleted_before: int,
        allowed: Callable[[int], Awaitable[None]],
        admit: Admit = at_once,
    ) -> tuple[int, Verdict]:
        """How many deletions were enqueued, and what the guard said. `allowed` is told how many they may become, before
        the first is. Raises Unavailable, Rejected."""
        if not unit.rule.deletes or not state.done:
            return 0, Verdict(True)
        since = self._clock.now() - self.grace_s
        candidates = 0
        after = unit.floor()
        while rows := await self._absent(unit, after):
            candidates += sum(self._is_due(unit, row, since) for row in rows)
            after = rows[-1].key
        if not candidates:
            return 0, Verdict(True)
        evidence = Evidence(
            listed_at_source=state.counts.listed_at_source,
            copies_at_target=state.counts.listed_at_target - state.counts.foreign,
            witnessed=await self.is_witnessed(unit, state.witness),
            candidates=candidates,
            deleted_before=deleted_before,
        )
        verdict = judge(evidence, self.limits)
        if not verdict.allowed:
            return 0, verdict
        await allowed(candidates)
        return await self.enqueue(unit, target, [(unit.floor(), None)], since, candidates, admit), verdict

    async def enqueue(
        self,
        unit: Unit,
        target: ObjectStore,
        stretches: Iterable[tuple[Key | None, Key | None]],
        since: float,
        most: int,
        admit: Admit = at_once,
    ) -> int:
        """Only after the guard's leave. `stretches`: keys in (after, until] of the unit. `most`: as many as the guard
        was asked about. How many there were. Raises Unavailable, Rejected."""
        source = self._source.store(unit.bucket)
        enqueued = 0
        for after, until in stretches:
            while rows := await self._absent(unit, after, until):
                after = rows[-1].key
                drafts: list[Draft] = []
                for row in rows:
                    if enqueued + len(drafts) >= most:
                        break
                    if self._is_due(unit, row, since) and await self._is_gone(source, target, row.key, admit):
                        drafts.append(Draft(Op.DELETE_OBJECT, unit.bucket, row.key, rule=unit.rule.name))
                await self._queue.append(drafts)
                enqueued += len(drafts)
        return enqueued

    async def _absent(self, unit: Unit, after: Key | None, until: Key | None = None) -> Sequence[Copy]:
        floor, end = unit.floor(), Key(unit.prefix + LAST)
        after = max(filter(None, (after, floor)), default=None)
        until = end if until is None else min(until, end)
        return await self._catalog.copies(unit.target, unit.bucket, after=after, until=until, limit=_PAGE, absent=True)

    def _is_due(self, unit: Unit, row: Copy, since: float) -> bool:
        return row.absent_since <= since and unit.rule in covering(self._rules, unit.bucket, row.key)

    async def is_witnessed(self, unit: Unit, witness: Listed | None) -> bool:
        """The canary: whether the source that this node asks has that very version. Raises Unavailable, Rejected."""
        if witness is None:
            return False
        try:
            held = await self._source.store(unit.bucket).head(witness.key)
        except NotFound:
            return False
        return held.etag == witness.etag and round(held.modified_at) == witness.mtime

    async def _is_gone(self, source: ObjectStore, target: ObjectStore, key: Key, admit: Admit) -> bool:
        """The source says so by name, and the target still has a copy."""
        await admit(2)
        try:
            await source.head(key)
        except NotFound:
            pass
        else:
            return False
        try:
            return is_a_copy(await target.head(key))
        except NotFound:
            return False
