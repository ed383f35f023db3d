"""One node's part in a scan that several nodes share: it claims pieces of buckets, compares them, and gives some away
to whoever has none. What is whose, and what comes next, is decided on the board (model/scan_board.py)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Container, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from controlplane.model.scan_board import Board, Close, Delete, OpenUnit, Over, Part, Piece, Scan, Task, Vote, Wait
from controlplane.model.scan_guard import GuardLimits
from controlplane.model.scan_ranges import Range
from controlplane.model.scan_state import Counts, Unit, UnitState
from controlplane.model.tally import ScanTally
from controlplane.ports.errors import MillraceError, StorageFull, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.scan_board import NoSession
from controlplane.services.scan_deletes import ScanDeletes
from controlplane.services.scan_maker import ScanMaker
from controlplane.services.scan_seat import NoBoard, ScanSeat
from controlplane.services.scan_stretches import Stretches, StretchRecords
from controlplane.services.scan_unit import Stopped, UnitScan

log = logging.getLogger(__name__)

T = TypeVar("T")

_VERSION: Final = 1

SAVE_EVERY_S: Final = 10.0
"""Every value of a key stays in etcd until it is compacted."""
LOOK_EVERY_S: Final = 1.0


class _Everyone(Container[str]):
    def __contains__(self, _: object) -> bool:
        return True


@dataclass(slots=True)
class _Held:
    """What this node has of a unit."""

    order: str
    scan: UnitScan
    given: list[Piece] = field(default_factory=list)
    """Not yet on the board."""


@dataclass(frozen=True, slots=True)
class _Claimed:
    task: Task
    open_unit: OpenUnit | None
    """As it was on the board."""
    idle: bool
    """Nothing is to be had before another gives some away, or has finished."""


class SharedScan:
    """A bucket that this node cannot go on with is left to the others; it has failed when none can."""

    def __init__(
        self,
        scans: ScanMaker,
        tally: ScanTally,
        *,
        node: str,
        seat: ScanSeat,
        stretches: StretchRecords,
        catalog_is_shared: bool,
        deletes: ScanDeletes | None = None,
        save_every_s: float = SAVE_EVERY_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._scans = scans
        self._node = node
        self._seat = seat
        self._stretches = stretches
        self._catalog_is_shared = catalog_is_shared
        self._clock = scans.clock
        self._tally = tally
        self._workers = scans.workers
        self._deletes = deletes
        self._save_every_s = save_every_s
        self._look_every_s = look_every_s
        self._stopping = asyncio.Event()
        self._units: dict[str, Unit] = {}
        self._run = 0
        self._started_at = 0.0
        self._last: dict[str, Stretches] = {}

    def stop(self) -> None:
        """End soon; what is done is on the board."""
        self._stopping.set()

    @property
    def fingerprint(self) -> str:
        """Nodes share a run when they would do the same in it."""
        deletes = self._deletes
        guard = None if deletes is None else (deletes.limits, deletes.grace_s)
        facts = f"{_VERSION} {self._scans.rules!r} {guard!r} {self._catalog_is_shared}"
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    async def run(self, board: Board) -> Board | None:
        """Take part in the run of that board; the seat is taken. The board when all is done: whoever gets it concludes.
        None: it was stopped, the lease is gone, or another has concluded. Raises Unavailable (the directory, the list
        of buckets)."""
        self._run, self._started_at = board.run, board.started_at
        await self._list_units()
        self._tally.under_way = True
        try:
            while not self._stopping.is_set() and self._seat.is_sure:
                try:
                    claimed = await self._claim()
                except StorageFull:
                    raise
                except Unavailable as error:
                    log.warning("the scan's board cannot be reached: %s", error)
                    await self._look_in_a_moment()
                    continue
                if isinstance(claimed.task, Over):
                    look = await self._seat.look()
                    return look.board if look.board is not None and look.board.run == self._run else None
                await self._do(claimed)
        except NoBoard:
            log.info("scan: concluded by another node")
        except NoSession as error:
            log.warning("scan: %s: it is taken up again", error)
        finally:
            self._tally.under_way = False
            self._tally.pieces = 0
        return None

    async def _list_units(self) -> None:
        self._units = {order: unit async for order, unit in self._scans.units()}

    # What is next

    async def _claim(self) -> _Claimed:
        board = (await self._seat.look()).board
        if board is None or board.run != self._run:
            raise NoBoard
        following = next((order for order in self._units if order > board.opened), None)
        if following is not None and following not in self._last:
            self._last = {following: await self._stretches.load(self._units[following])}

        def claim(board: Board, live: frozenset[str]) -> _Claimed:
            session = self._seat.session
            opened = None if following is None else self._last[following].opened(self._units[following])
            task = board.claim(
                session,
                live,
                pieces=self._workers,
                limits=None if self._deletes is None else self._deletes.limits,
                able=self._able(live),
                following=None if following is None or opened is None else (following, opened),
            )
            unit = None if isinstance(task, (Wait, Over)) else board.units[task.order]
            return _Claimed(task, unit, session in board.hungry)

        return await self._change(claim)

    async def _change(self, change: Callable[[Board, frozenset[str]], T]) -> T:
        """Again and again while the lease surely lasts, which it does longer than etcd takes for an election; once when
        all is to end. Raises NoBoard, NoSession, StorageFull."""
        while True:
            try:
                return await self._seat.change(self._run, change)
            except (NoSession, StorageFull):
                raise
            except MillraceError as error:
                if not self._seat.is_sure:
                    raise NoSession(f"the lease may be over, and the directory does not say: {error}") from error
                if self._stopping.is_set():
                    raise NoSession(f"this node stops, and what it did last is not on the board: {error}") from error
                log.warning("the scan's board cannot be reached: %s", error)
                await self._look_in_a_moment()

    def _able(self, live: frozenset[str]) -> Container[str]:
        """Nodes whose deletions can be made now: rows of a catalog that is its node's own need that node."""
        return _Everyone() if self._catalog_is_shared else {session.rpartition("/")[0] for session in live}

    async def _do(self, claimed: _Claimed) -> None:
        task = claimed.task
        if isinstance(task, (Wait, Over)) or claimed.open_unit is None:
            if claimed.idle:
                await self._look_in_a_moment()
            return
        unit = self._units.get(task.order)
        if unit is None:
            await self._fail(task.order, "this node does not see the bucket")
            return
        match task:
            case Scan():
                await self._scan(unit, task, claimed.open_unit)
            case Close():
                await self._while_here(self._close(unit, task.order, claimed.open_unit))
            case Vote():
                await self._while_here(self._vote(unit, task, claimed.open_unit))
            case Delete():
                await self._while_here(self._delete(unit, task, claimed.open_unit))

    async def _while_here(self, work: Coroutine[Any, Any, None]) -> None:
        """It may wait long, as for room in the journal; it ends when this node is to stop, or its lease may be over.
        Another node, or this one later, does it from its beginning."""
        running = asyncio.ensure_future(work)
        try:
            while not (running.done() or self._stopping.is_set()) and self._seat.is_sure:
                await self._look_in_a_moment(running)
        finally:
            running.cancel()
            (outcome,) = await asyncio.gather(running, return_exceptions=True)
        if isinstance(outcome, Exception) and not isinstance(outcome, Stopped):
            raise outcome

    async def _look_in_a_moment(self, *others: asyncio.Future[None]) -> None:
        """Or as soon as one of `others` is done, or all is to end."""
        sleeping = asyncio.ensure_future(self._clock.sleep(self._look_every_s))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            awaited: list[asyncio.Future[Any]] = [sleeping, stopping, *others]
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
            await asyncio.gather(sleeping, stopping, return_exceptions=True)

    async def _fail(self, order: str, error: str) -> None:
        log.warning("the scan of %s did not come to its end on this node: %s", self._name(order), error)
        session = self._seat.session
        await self._change(lambda board, live: board.fail(session, order, error, live))

    def _name(self, order: str) -> str:
        unit = self._units.get(order)
        return order if unit is None else unit.name

    # Comparing

    async def _scan(self, unit: Unit, task: Scan, there: OpenUnit) -> None:
        part = there.part(self._node)
        ranges = [Range(piece.cursor, piece.until) for piece in task.pieces]
        state = UnitState(ranges, replace(part.counts), part.witness, part.due)
        last = Stretches()
        if self._deletes is not None and not self._catalog_is_shared:
            last = await self._stretches.load(unit)
        held = _Held(task.order, self._new_scan(unit, state, last))
        error = ""
        work = asyncio.ensure_future(held.scan.run())
        try:
            await self._keep_up(held, work)
        finally:
            work.cancel()
            (outcome,) = await asyncio.gather(work, return_exceptions=True)
        if isinstance(outcome, MillraceError):
            error = str(outcome)
        elif isinstance(outcome, Exception) and not isinstance(outcome, Stopped):
            raise outcome
        await self._report(held)
        if error:
            await self._fail(task.order, error)

    def _new_scan(self, unit: Unit, state: UnitState, last: Stretches) -> UnitScan:
        deletes = self._deletes if unit.rule.deletes else None

        async def moved(keys: int) -> None:
            self._tally.keys += keys

        return self._scans.scan(
            unit,
            state,
            moved=moved,
            due_since=None if deletes is None else self._started_at - deletes.grace_s,
            remembers=lambda key: self._catalog_is_shared or last.remembers(self._node, self._run, key),
        )

    async def _keep_up(self, held: _Held, work: asyncio.Future[None]) -> None:
        """Until the work is done or may not go on: tell how far it has come, and give away what others can have."""
        saved_at = self._clock.monotonic()
        while not work.done():
            await self._look_in_a_moment(work)
            self._tally.pieces = sum(not one.done for one in held.scan.state.ranges)
            if work.done() or self._stopping.is_set() or not self._seat.is_sure:
                return
            try:
                look = await self._seat.look()
                board = look.board
                if board is None or board.run != self._run or held.order not in board.units:
                    return
                if held.given or self._clock.monotonic() - saved_at >= self._save_every_s:
                    await self._report(held)
                    saved_at = self._clock.monotonic()
                await self._give(held, board, look.sessions)
            except NoSession:
                raise
            except MillraceError as error:
                # The scan goes on as long as the lease surely lasts; what is done since is done twice if it does not.
                log.warning("the scan's board cannot be reached: %s", error)

    async def _give(self, held: _Held, board: Board, live: frozenset[str]) -> None:
        """As many stretches as hungry nodes have workers by half, unless some lie there already."""
        hungry = [session for session in board.hungry if session in live and session != self._seat.session]
        free = sum(not at.session and not at.done for unit in board.units.values() for at in unit.pieces)
        for _ in range(len(hungry) * max(1, self._workers // 2) - free):
            one = await held.scan.spare()
            if one is None:
                return
            held.given.append(Piece(one.start, one.until, one.start))
            self._tally.given += 1
            # At once: finding the next one takes some looks into the listing.
            await self._report(held)

    async def _report(self, held: _Held) -> None:
        """All at this moment: the state is of one piece whenever nobody works on it in this very step."""
        state, given = held.scan.state, list(held.given)
        pieces = [Piece(one.start, one.until, one.cursor, done=one.done) for one in state.ranges]
        part = Part(replace(state.counts), state.due, state.witness)
        session = self._seat.session

        def report(board: Board, _: frozenset[str]) -> None:
            board.report(session, held.order, pieces, given, part)

        await self._change(report)
        reach("scan.saved")
        held.given = [at for at in held.given if at not in given]

    # What follows when all of a unit is compared

    async def _close(self, unit: Unit, order: str, there: OpenUnit) -> None:
        found = Counts()

        async def moved(_: int) -> None: ...

        try:
            await self._stretches.save(unit, there, self._run, self._node)
            await self._scans.compare_tags(unit, found, moved=moved)
        except MillraceError as error:
            await self._fail(order, str(error))
            return
        limits = self._limits(unit)
        session = self._seat.session
        await self._change(lambda board, _: board.closed_out(session, order, found, limits))

    def _limits(self, unit: Unit) -> GuardLimits | None:
        return None if self._deletes is None or not unit.rule.deletes else self._deletes.limits

    async def _vote(self, unit: Unit, task: Vote, there: OpenUnit) -> None:
        deletes = self._deletes
        assert deletes is not None
        try:
            seen = await deletes.is_witnessed(unit, there.witness)
        except MillraceError as error:
            await self._fail(task.order, str(error))
            return
        vote = "" if seen else f"{self._node} sees another source"
        reason = await self._change(
            lambda board, live: board.voted(task.order, task.node, vote, deletes.limits, self._able(live))
        )
        if reason:
            log.error("%s/%s: nothing is deleted at the target: %s", unit.bucket, unit.prefix, reason)

    async def _delete(self, unit: Unit, task: Delete, there: OpenUnit) -> None:
        deletes = self._deletes
        assert deletes is not None
        since = self._started_at - deletes.grace_s
        stretches = [(piece.start or None, piece.until) for piece in there.pieces if piece.node == task.node]
        store = self._scans.target(unit)
        try:
            most, admit = there.part(task.node).due, self._scans.admission(unit)
            enqueued = await deletes.enqueue(unit, store, stretches, since, most, admit)
        except MillraceError as error:
            await self._fail(task.order, str(error))
            return
        await self._change(lambda board, live: board.deleted(task.order, task.node, enqueued, self._able(live)))
