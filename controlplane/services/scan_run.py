"""A scan of all buckets under all rules, one after another; it can be stopped, or killed, at any moment and resumed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.model.copies import Copy
from controlplane.model.keys import Key
from controlplane.model.scan_guard import Verdict
from controlplane.model.scan_join import Kind
from controlplane.model.scan_notes import broken_off, forbidden, note
from controlplane.model.scan_ranges import initial
from controlplane.model.scan_state import Counts, Unit, UnitState, decode_counts, decode_unit_state
from controlplane.model.tally import ScanTally
from controlplane.ports.errors import MillraceError, NotFound, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.scan_checkpoints import ScanCheckpoints
from controlplane.services.proving import read_content
from controlplane.services.scan_deletes import ScanDeletes
from controlplane.services.scan_maker import ScanMaker
from controlplane.services.scan_unit import Stopped, UnitScan

log = logging.getLogger(__name__)

RUN: Final = "scan"
"""Name of the checkpoint."""
SPLITS: Final = "scan-splits"
"""Name of the keys at which the next scan cuts its shards."""

SAVE_EVERY_S: Final = 2.0
_VERSION: Final = 1
_MOST_SPLITS_KEPT: Final = 1000


@dataclass(slots=True)
class UnitReport:
    unit: Unit
    counts: Counts
    error: str = ""
    """Why it did not come to its end; then nothing is known of the rest."""
    held_back: str = ""
    """Why the guard forbade its deletions."""


@dataclass(slots=True)
class Report:
    started_at: float
    """Unix seconds."""
    units: list[UnitReport] = field(default_factory=list)
    """Those of this process; a resumed scan has the earlier ones in the totals only."""
    totals: Counts = field(default_factory=Counts)
    failed: int = 0
    held_back: int = 0
    notes: list[str] = field(default_factory=list)
    """Why, of the first of both kinds: see model/scan_notes.py."""
    complete: bool = False
    """False: it was stopped."""

    def add(self, told: UnitReport) -> None:
        self.units.append(told)
        self.totals.add(told.counts)
        if told.error:
            self.failed += 1
            note(self.notes, broken_off(told.unit.name, told.error))
        if told.held_back:
            self.held_back += 1
            note(self.notes, forbidden(told.unit.name, told.held_back))


@dataclass(slots=True)
class _Progress:
    """What the checkpoint says beside the totals."""

    finished: str = ""
    """Order of the last unit that is over; those before it are too."""
    unit: str = ""
    state: UnitState | None = None


class ScanRun:
    """`deletes`: None reports what is extra, and that is all. `checkpoints`: None for a scan that begins anew each
    time."""

    def __init__(
        self,
        scans: ScanMaker,
        tally: ScanTally,
        *,
        deletes: ScanDeletes | None = None,
        checkpoints: ScanCheckpoints | None = None,
        trust_catalog: bool = True,
        read: bool = False,
        on_keys: Callable[[int], None] = lambda _: None,
        on_unit: Callable[[UnitReport], None] = lambda _: None,
        save_every_s: float = SAVE_EVERY_S,
    ) -> None:
        """`on_unit`: is told of each unit that is over; the report has them all."""
        self._scans = scans
        self._clock = scans.clock
        self._tally = tally
        self._deletes = deletes
        self._checkpoints = checkpoints
        self._trust_catalog = trust_catalog
        self._read = read
        self._on_keys = on_keys
        self._on_unit = on_unit
        self._save_every_s = save_every_s
        self._stopping = False
        self._saved_at = self._clock.monotonic()
        self._saving = False
        self._splits: dict[str, list[str]] = {}

    def stop(self) -> None:
        """End soon, with everything that is done in the checkpoint."""
        self._stopping = True

    async def run(self, chosen: Callable[[Unit], Unit | None] = lambda unit: unit) -> Report:
        """`chosen`: which units, or narrower ones. A bucket that fails does not keep the others from being scanned.
        Raises what the checkpoints and the list of buckets raise."""
        report, progress = await self._resumed()
        self._tally.under_way = True
        began, keys = self._clock.monotonic(), self._tally.keys
        try:
            async for order, unit in self._units(chosen):
                if self._stopping:
                    break
                if order <= progress.finished:
                    continue
                if not await self._scan(unit, report, progress):
                    break
                progress.finished = order
                await self._save(report, progress)
            else:
                report.complete = True
                await self._finish()
        finally:
            self._tally.under_way = False
        if report.complete:
            self._count(report, self._clock.monotonic() - began, self._tally.keys - keys)
        return report

    async def _units(self, chosen: Callable[[Unit], Unit | None]) -> AsyncIterator[tuple[str, Unit]]:
        async for order, each in self._scans.units():
            unit = chosen(each)
            if unit is not None:
                yield order, unit

    # One unit

    async def _scan(self, unit: Unit, report: Report, progress: _Progress) -> bool:
        """False: it was stopped."""
        state = progress.state if progress.unit == unit.name else None
        if state is None:
            splits = [Key(key) for key in self._splits.get(unit.name, ())]
            state = UnitState(initial(splits, self._scans.workers))
        progress.unit, progress.state = unit.name, state
        store = self._scans.target(unit)

        async def moved(keys: int) -> None:
            self._tally.keys += keys
            self._on_keys(keys)
            if self._stopping:
                raise Stopped
            await self._save_now_and_then(report, progress)

        read = self._reader(store) if self._read else None
        scan = self._scans.scan(unit, state, moved=moved, trust_catalog=self._trust_catalog, read=read)
        told = UnitReport(unit, state.counts)
        tagged = Counts()  # not in the checkpoint: tags are compared from their beginning again
        try:
            if not state.done:
                await scan.run()
            await self._scans.compare_tags(unit, tagged, moved=moved, trust_catalog=self._trust_catalog)
            if self._deletes is not None:
                verdict = await self._delete(self._deletes, unit, state, report, progress)
                if not verdict.allowed:
                    told.held_back = verdict.reason
        except Stopped:
            await self._save(report, progress)
            return False
        except MillraceError as error:
            told.error = str(error)
        else:
            self._keep_splits(unit, scan)
        state.counts.add(tagged)
        report.add(told)
        self._on_unit(told)
        progress.unit, progress.state = "", None
        return True

    async def _delete(
        self, deletes: ScanDeletes, unit: Unit, state: UnitState, report: Report, progress: _Progress
    ) -> Verdict:
        """What was allowed is in the checkpoint before the first of it is in the journal: it counts against the run's
        most (I6), although nobody knows how much of it was enqueued, or was done meanwhile, when the process ends."""
        counts = state.counts
        before = counts.deletes_enqueued

        async def allowed(candidates: int) -> None:
            counts.deletes_enqueued = max(before, candidates)
            await self._save(report, progress)

        enqueued, verdict = await deletes.apply(
            unit,
            state,
            self._scans.target(unit),
            report.totals.deletes_enqueued,
            allowed,
            self._scans.admission(unit),
        )
        counts.deletes_enqueued = max(before, enqueued)
        return verdict

    def _reader(self, store: ObjectStore) -> Callable[[Copy], Awaitable[bool]]:
        async def read(copy: Copy) -> bool:
            try:
                content = await read_content(store, copy.key)
            except NotFound:
                return False
            info = await store.head(copy.key)
            return info.content == content

        return read

    def _keep_splits(self, unit: Unit, scan: UnitScan) -> None:
        keys = list(scan.samples.keys)
        self._splits.pop(unit.name, None)
        if len(keys) > 1:
            self._splits[unit.name] = [str(key) for key in keys]
        while len(self._splits) > _MOST_SPLITS_KEPT:
            del self._splits[next(iter(self._splits))]

    # Checkpoints

    async def _resumed(self) -> tuple[Report, _Progress]:
        fresh = Report(self._clock.now()), _Progress()
        if self._checkpoints is None:
            return fresh
        splits = await self._checkpoints.load(SPLITS) or {}
        self._splits = {str(name): [str(key) for key in keys] for name, keys in splits.items()}
        document = await self._checkpoints.load(RUN)
        if document is None or document.get("fingerprint") != self._fingerprint():
            return fresh
        try:
            report = Report(float(document["started_at"]), totals=decode_counts(document["totals"]))
            report.failed, report.held_back = int(document["failed"]), int(document["held_back"])
            report.notes = [str(line) for line in document.get("notes", ())]
            state = document["state"]
            unit_state = None if state is None else decode_unit_state(state)
            progress = _Progress(str(document["finished"]), str(document["unit"]), unit_state)
        except (KeyError, TypeError, ValueError) as error:
            log.warning("the checkpoint of the scan cannot be read (%s): it begins anew", error)
            return fresh
        log.info("the scan goes on where it was: %d keys of the source are done", report.totals.listed_at_source)
        return report, progress

    def _fingerprint(self) -> str:
        """A scan is only resumed under the very rules that it began with."""
        return f"{_VERSION} {self._scans.rules!r}"

    async def _save_now_and_then(self, report: Report, progress: _Progress) -> None:
        if self._saving or self._clock.monotonic() - self._saved_at < self._save_every_s:
            return
        try:
            await self._save(report, progress)
        except Unavailable as error:
            # An older one stays: what is done since is done twice if this process ends now.
            log.warning("the checkpoint of the scan could not be written, it goes on: %s", error)

    async def _save(self, report: Report, progress: _Progress) -> None:
        if self._checkpoints is None:
            return
        document: dict[str, Any] = {
            "fingerprint": self._fingerprint(),
            "started_at": report.started_at,
            "totals": report.totals.encoded(),
            "failed": report.failed,
            "held_back": report.held_back,
            "notes": report.notes,
            "finished": progress.finished,
            "unit": progress.unit,
            "state": None if progress.state is None else progress.state.encoded(),
        }
        self._saving = True
        try:
            await self._checkpoints.save(RUN, document)
        finally:
            self._saving = False
            self._saved_at = self._clock.monotonic()
        reach("scan.saved")

    async def _finish(self) -> None:
        if self._checkpoints is not None:
            await self._checkpoints.save(SPLITS, self._splits)
            await self._checkpoints.remove(RUN)

    def _count(self, report: Report, seconds: float, keys: int) -> None:
        tally = self._tally
        tally.runs += 1
        tally.failed_buckets += report.failed
        tally.guard_refusals += report.held_back
        tally.last_finished_at = self._clock.now()
        tally.last_seconds = seconds
        tally.keys_per_second = keys / seconds if seconds > 0 else 0.0
        totals = report.totals
        tally.last_found = {kind.value: getattr(totals, kind.value) for kind in Kind}
        for name, count in tally.last_found.items():
            tally.found[name] = tally.found.get(name, 0) + count
        tally.enqueued += totals.enqueued
        tally.deletes_enqueued += totals.deletes_enqueued
