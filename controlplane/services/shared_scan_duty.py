"""The agent's periodic scan where nodes share it: whoever finds it due begins it, all take part, one concludes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from controlplane.model.scan_board import Board
from controlplane.model.scan_join import Kind
from controlplane.model.tally import ScanTally
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable
from controlplane.ports.scan_board import NoSession
from controlplane.services.scan_duty import LAST, is_long_ago, note_last, summary, tell
from controlplane.services.scan_run import RUN, Report
from controlplane.services.scan_seat import Look, ScanSeat
from controlplane.services.shared_documents import SharedDocuments
from controlplane.services.shared_scan import SharedScan

log = logging.getLogger(__name__)

_TRIES: Final = 8


class SharedScanDuty:
    """once() takes part in a run until it is over, or does nothing. Nodes whose rules or guard are others than those of
    the run under way stay away until it is over; a run whose nodes are all gone, under other rules, is begun anew."""

    def __init__(
        self,
        new_scan: Callable[[], SharedScan],
        seat: ScanSeat,
        documents: SharedDocuments,
        clock: Clock,
        tally: ScanTally,
        *,
        every_s: float,
    ) -> None:
        self._new_scan = new_scan
        self._seat = seat
        self._documents = documents
        self._clock = clock
        self._tally = tally
        self._every_s = every_s
        self._scan: SharedScan | None = None
        self._stopped = False
        self._said = ""

    async def once(self) -> bool:
        """Always False: the next look can wait for the runner's pace. Raises Unavailable."""
        if self._stopped:
            return False
        scan = self._scan = self._new_scan()
        try:
            look = await self._seat.look()
            if self._is_ours(look, scan) or (not self._is_others(look, "") and await self._is_due(look)):
                await self._take_part(scan)
        except NoSession as error:
            log.warning("scan: %s: it is taken up again", error)
        finally:
            self._scan = None
        return False

    def stop(self) -> None:
        """The node's part is free for others within a moment."""
        self._stopped = True
        if self._scan is not None:
            self._scan.stop()

    async def _take_part(self, scan: SharedScan) -> None:
        await self._seat.join()
        keeper = asyncio.ensure_future(self._keep_seat())
        try:
            board = await self._board(scan)
            finished = None if board is None else await scan.run(board)
            if finished is not None:
                await self._conclude(finished)
        finally:
            keeper.cancel()
            (ended,) = await asyncio.gather(keeper, return_exceptions=True)
            await self._seat.leave()
            if isinstance(ended, Exception):
                log.error("scan: the lease was not renewed any more: please report it", exc_info=ended)

    async def _keep_seat(self) -> None:
        while True:
            await self._clock.sleep(self._seat.pace_s)
            await self._seat.keep()

    # Beginning

    async def _board(self, scan: SharedScan) -> Board | None:
        """The one under way, or a new one. None: other settings rule it."""
        for _ in range(_TRIES):
            look = await self._seat.look()
            if self._is_ours(look, scan):
                log.info("scan: this node takes part in run %d", look.board.run if look.board is not None else 0)
                return look.board
            if self._is_others(look, self._seat.session) or not await self._is_due(look):
                return None
            last = await self._documents.load(LAST) or {}
            before = 0 if look.board is None else look.board.run
            board = Board(scan.fingerprint, max(before, int(last.get("run", 0))) + 1, self._clock.now())
            if await self._seat.post(look, board):
                log.info("scan: run %d is begun by this node", board.run)
                await self._documents.remove(RUN)  # of a version that did not share scans
                return board
        raise Unavailable("the board of the scan is changed by others all the time", 1.0)

    def _is_ours(self, look: Look, scan: SharedScan) -> bool:
        return look.board is not None and look.board.fingerprint == scan.fingerprint

    def _is_others(self, look: Look, session: str) -> bool:
        """Whether nodes with other settings, or of another version, are at it."""
        others = look.sessions - {session}
        if look.posted.text is None or not others:
            self._said = ""
            return False
        names = ", ".join(sorted(others))
        if self._said != names:
            log.warning("scan: other rules, guard or version than here: %s scan without this node until the end", names)
            self._said = names
        return True

    async def _is_due(self, look: Look) -> bool:
        if look.posted.text is not None:
            return True
        last = await self._documents.load(LAST)
        note_last(self._tally, last)
        return is_long_ago(last, self._clock.now(), self._every_s)

    # Concluding

    async def _conclude(self, board: Board) -> None:
        """First what was found, then the board goes: who finds no board finds that the last scan is not long ago."""
        report = Report(board.started_at, totals=board.totals, failed=board.failed, held_back=board.held_back)
        report.notes, report.complete = board.notes, True
        now = self._clock.now()
        document: dict[str, Any] = {**summary(report, now), "run": board.run, "nodes": board.shares}
        look = await self._seat.look()
        if look.board is None or look.board.run != board.run:
            return

        def last(held: Mapping[str, Any] | None) -> Mapping[str, Any]:
            # Since that look this node may have stood still, and others have concluded this run and later ones.
            return document if held is None or int(held.get("run", 0)) < board.run else held

        await self._documents.change(LAST, last)
        if not await self._seat.post(look, None):
            return
        self._count(board, now)
        tell(report)

    def _count(self, board: Board, now: float) -> None:
        """By one node for all: sums over the nodes are right."""
        tally, totals = self._tally, board.totals
        seconds = max(now - board.started_at, 1e-9)
        tally.runs += 1
        tally.failed_buckets += board.failed
        tally.guard_refusals += board.held_back
        tally.last_finished_at = now
        tally.last_seconds = seconds
        tally.keys_per_second = totals.listed_at_source / seconds
        tally.last_found = {kind.value: getattr(totals, kind.value) for kind in Kind}
        for name, count in tally.last_found.items():
            tally.found[name] = tally.found.get(name, 0) + count
        tally.enqueued += totals.enqueued
        tally.deletes_enqueued += totals.deletes_enqueued
