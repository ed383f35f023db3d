"""The agent's periodic scan: one node of the cluster at a time, and what a killed one began is taken up again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from controlplane.model.lock_plan import Wish
from controlplane.model.tally import ScanTally
from controlplane.ports.clock import Clock
from controlplane.ports.scan_checkpoints import ScanCheckpoints
from controlplane.services.held_lock import HeldLock
from controlplane.services.scan_run import RUN, Report, ScanRun, UnitReport

log = logging.getLogger(__name__)

LAST: Final = "scan-last"
"""Name of the document that says when the last scan ended, and what it found."""


class ScanDuty:
    """once() scans when the lock is held and the last scan ended `every_s` ago, or one was broken off."""

    def __init__(
        self,
        new_run: Callable[[Callable[[int], None]], ScanRun],
        lock: HeldLock,
        checkpoints: ScanCheckpoints,
        clock: Clock,
        *,
        every_s: float,
        tally: ScanTally | None = None,
    ) -> None:
        """`new_run` makes a scan that tells its argument of the keys that it has done, and counts in `tally`."""
        self._tally = tally
        self._new_run = new_run
        self._lock = lock
        self._checkpoints = checkpoints
        self._clock = clock
        self._every_s = every_s
        self._run: ScanRun | None = None
        self._stopped = False
        lock.wish = Wish.HOLD

    async def once(self) -> bool:
        """Always False: the next look can wait for the runner's pace."""
        if self._stopped or not self._lock.held or not await self._is_due():
            return False
        run = self._run = self._new_run(self._check_lock)
        try:
            report = await run.run()
        finally:
            self._run = None
        if report.complete:
            await self._checkpoints.save(LAST, summary(report, self._clock.now()))
            tell(report)
        return False

    async def _is_due(self) -> bool:
        if await self._checkpoints.load(RUN) is not None:
            return True
        last = await self._checkpoints.load(LAST)
        note_last(self._tally, last)
        return is_long_ago(last, self._clock.now(), self._every_s)

    def _check_lock(self, _: int) -> None:
        if not self._lock.held and self._run is not None:
            log.warning(
                "the scan stops: the lock is no longer this node's; it will go on here, or begin at another node"
            )
            self._run.stop()

    def stop(self) -> None:
        """The scan under way ends soon; the agent's next start takes it up."""
        self._stopped = True
        if self._run is not None:
            self._run.stop()

    async def end(self) -> None:
        """After the runner has ended: the lock is free at once."""
        await self._lock.give_back()


def is_long_ago(last: Mapping[str, Any] | None, now: float, every_s: float) -> bool:
    """Whether the last scan ended so long ago; or, by the clock of the node that noted it, as far in the future: that
    clock was wrong, and nobody would scan until its time has come."""
    finished_at = 0.0 if last is None else float(last.get("finished_at", 0.0))
    return abs(now - finished_at) >= every_s


def note_last(tally: ScanTally | None, last: Mapping[str, Any] | None) -> None:
    """When the last scan ended, whichever process or node did it: so that it is told after a restart, too."""
    if tally is not None and last is not None:
        tally.last_finished_at = float(last.get("finished_at", 0.0))


def summary(report: Report, finished_at: float) -> dict[str, Any]:
    return {
        "started_at": report.started_at,
        "finished_at": finished_at,
        "totals": report.totals.encoded(),
        "failed_buckets": report.failed,
        "held_back_buckets": report.held_back,
        "notes": report.notes,
    }


def tell_unit(told: UnitReport) -> None:
    if told.error:
        log.warning("the scan of %s did not come to its end: %s", told.unit.name, told.error)
    if told.held_back:
        unit = told.unit
        log.error("%s/%s: nothing is deleted at the target: %s", unit.bucket, unit.prefix, told.held_back)


def tell(report: Report) -> None:
    counts = report.totals
    level = logging.WARNING if report.failed or report.held_back else logging.INFO
    log.log(
        level,
        "scan finished: %d keys at the source, %d at the targets; %d missing, %d different, %d extra; %d enqueued to "
        "be copied, %d to be deleted; %d buckets failed, in %d the guard forbade deletions",
        counts.listed_at_source,
        counts.listed_at_target,
        counts.missing,
        counts.different,
        counts.extra,
        counts.enqueued,
        counts.deletes_enqueued,
        report.failed,
        report.held_back,
    )
