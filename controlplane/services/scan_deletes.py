"""Copies whose objects are gone: whether they may go too (I6), and their entries in the journal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from controlplane.model.copies import Copy
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule, covering
from controlplane.model.scan_guard import Evidence, GuardLimits, Verdict, judge
from controlplane.model.scan_ranges import LAST
from controlplane.model.scan_state import Unit, UnitState
from controlplane.model.task import Draft, Op
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ObjectStore
from controlplane.services.copy_judging import is_a_copy
from controlplane.services.scan_queue import JournalSink

log = logging.getLogger(__name__)

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
        self._limits = limits
        self._grace_s = grace_s

    async def apply(
        self, unit: Unit, state: UnitState, target: ObjectStore, deleted_before: int
    ) -> tuple[int, Verdict]:
        """How many deletions were enqueued, and what the guard said. Raises Unavailable, Rejected."""
        if not unit.rule.deletes or not state.done:
            return 0, Verdict(True)
        since = self._clock.now() - self._grace_s
        candidates = 0
        after = unit.floor()
        while rows := await self._absent(unit, after):
            candidates += sum(self._is_due(unit, row, since) for row in rows)
            after = rows[-1].key
        if not candidates:
            return 0, Verdict(True)
        source = self._source.store(unit.bucket)
        evidence = Evidence(
            listed_at_source=state.counts.listed_at_source,
            copies_at_target=state.counts.listed_at_target - state.counts.foreign,
            witnessed=await self._witnessed(source, state),
            candidates=candidates,
            deleted_before=deleted_before,
        )
        verdict = judge(evidence, self._limits)
        if not verdict.allowed:
            log.error("%s/%s: nothing is deleted at the target: %s", unit.bucket, unit.prefix, verdict.reason)
            return 0, verdict
        return await self._enqueue(unit, source, target, since, candidates), verdict

    async def _enqueue(self, unit: Unit, source: ObjectStore, target: ObjectStore, since: float, most: int) -> int:
        enqueued = 0
        after = unit.floor()
        while rows := await self._absent(unit, after):
            after = rows[-1].key
            drafts: list[Draft] = []
            for row in rows:
                if enqueued + len(drafts) >= most:
                    break
                if self._is_due(unit, row, since) and await self._is_gone(source, target, row.key):
                    drafts.append(Draft(Op.DELETE_OBJECT, unit.bucket, row.key, rule=unit.rule.name))
            await self._queue.append(drafts)
            enqueued += len(drafts)
        return enqueued

    async def _absent(self, unit: Unit, after: Key | None) -> Sequence[Copy]:
        until = Key(unit.prefix + LAST)
        return await self._catalog.copies(unit.target, unit.bucket, after=after, until=until, limit=_PAGE, absent=True)

    def _is_due(self, unit: Unit, row: Copy, since: float) -> bool:
        return row.absent_since <= since and unit.rule in covering(self._rules, unit.bucket, row.key)

    async def _witnessed(self, source: ObjectStore, state: UnitState) -> bool:
        if state.witness is None:
            return False
        try:
            held = await source.head(state.witness.key)
        except NotFound:
            return False
        return held.etag == state.witness.etag and round(held.modified_at) == state.witness.mtime

    async def _is_gone(self, source: ObjectStore, target: ObjectStore, key: Key) -> bool:
        """The source says so by name, and the target still has a copy."""
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
