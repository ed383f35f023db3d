"""The write-behind: drains the journal into the persistent store (I1), many objects at once, none blocking another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Final

from controlplane.model.copies import Copy
from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, StoreName, guid_of
from controlplane.model.manifest import LocationState
from controlplane.model.mirror_plan import Bury, Close, Done, Failed, Outcome, Postpone, Worked, settle
from controlplane.model.retry import RetrySchedule, schedules
from controlplane.model.tally import MirrorTally
from controlplane.model.task import Op, Task
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import (
    BrokenOff,
    Conflict,
    Corrupt,
    Full,
    MillraceError,
    Missing,
    NotFound,
    Rejected,
    StorageFull,
    Throttled,
    let_go_of_frames,
)
from controlplane.ports.fault_points import reach
from controlplane.ports.journal import EVERY_RULE, Journal
from controlplane.services.lanes import Lane, Lanes
from controlplane.services.runner import pause
from controlplane.services.together import Together

log = logging.getLogger(__name__)

_UNDER_WAY = (LocationState.PENDING, LocationState.COPYING)

_SETTLE_WAIT_S = 0.02
"""Finished tasks are settled together: one journal transaction for all that finish within this time."""

_WORTH_SETTLING: Final = 64
"""So many are settled at once when nothing else is under way; fewer wait, or single writes would cost a flush each."""

_MOST_TOGETHER = 64
_SETTLED_AT_ONCE: Final = 256

_READ_AT_ONCE: Final = 4
"""Batches that a lane reads in one round: one alone is less than sixteen workers finish while a round settles."""

_LOOK_EVERY_S: Final = 1.0
"""How soon a pause, or its end, counts."""
_NAMES_EVERY_S: Final = 10.0
_EMPTY_S: Final = 0.05
"""A lane that had nothing due is not asked for again sooner, while others are busy."""

_AWAY_AT_MOST_S: Final = 3.0
"""So long a lane waits at most before it asks again for a store that is away."""
_TELL_EVERY_S: Final = 300.0

_REQUESTS: Final = 4
"""Of one copy: read the source, write the target, ask both."""


class Mirror:
    """Keeps up to `concurrency` tasks of each rule under way. once() starts what is due and settles what is done."""

    def __init__(
        self,
        work: Callable[[Task], Awaitable[Worked]],
        *,
        journal: Journal,
        catalog: Catalog,
        lanes: Lanes,
        clock: Clock,
        schedule: RetrySchedule,
        jitter: Callable[[], float],
        tally: MirrorTally,
        batch: int,
        large_bytes: int = 64 << 20,
        together: Together | None = None,
        read_through: Collection[str] = (),
    ) -> None:
        """`schedule`: of what is unavailable; the other categories of failures have theirs from it. `read_through`:
        names of the rules whose targets are read where Riak CS lacks an object."""
        self._work = work
        self._together = together
        self._journal = journal
        self._catalog = catalog
        self._lanes = lanes
        self._clock = clock
        self._schedules = schedules(schedule)
        self._jitter = jitter
        self._tally = tally
        self._batch = batch
        self._large_bytes = large_bytes
        self._read_through = frozenset(read_through)
        self._outcomes: list[Outcome] = []
        self._enough = asyncio.Event()
        """Nothing is under way, and what is done is worth settling."""
        self._looked_at = float("-inf")
        self._named_at = float("-inf")

    async def once(self) -> bool:
        """One round; True when there is more to do at once."""
        await self._look()
        for lane in self._lanes:
            if not lane.rests(self._clock.monotonic()):
                await self._take(lane)
        if not any(lane.taken for lane in self._lanes):
            return False
        await self._wait_for_more()
        await self._settle()
        return True

    async def _wait_for_more(self) -> None:
        """Until what is done now, and what is done within a moment, is worth settling."""
        if sum(len(lane.taken) for lane in self._lanes) < _WORTH_SETTLING:
            await self._clock.sleep(_SETTLE_WAIT_S)
            return
        self._enough.clear()
        self._worker_ended()
        await pause(self._clock, _SETTLE_WAIT_S, self._enough)

    def _worker_ended(self, _worker: object = None) -> None:
        if len(self._outcomes) >= _WORTH_SETTLING and not self.workers:
            self._enough.set()

    async def aclose(self) -> None:
        """Finish the copies under way and settle them; what has not begun stays in the journal."""
        self._lanes.stop()
        for lane in self._lanes:
            lane.put_back()
        if self.workers:
            await asyncio.wait(self.workers)
        await self._settle()

    @property
    def workers(self) -> list[asyncio.Task[None]]:
        """Those under way, of all lanes."""
        return [worker for lane in self._lanes for worker in lane.workers]

    async def _look(self) -> None:
        """Which rules are paused, and which others the journal knows (those of former settings)."""
        now = self._clock.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        paused = await self._journal.paused()
        if now - self._named_at >= _NAMES_EVERY_S:
            self._named_at = now
            for name in await self._journal.rules():
                self._lanes.of(name)
        for lane in self._lanes:
            lane.paused = lane.name in paused or EVERY_RULE in paused
            if lane.paused:
                lane.put_back()

    async def _take(self, lane: Lane) -> None:
        """Half a batch in reserve keeps the workers busy until the next round: while what is done is settled."""
        for _ in range(_READ_AT_ONCE):
            enough = len(lane.waiting) * 2 > self._batch
            if enough or lane.rests(self._clock.monotonic()) or not await self._read(lane):
                break
            self._employ(lane)
            await asyncio.sleep(0)  # they take what they work on
        self._employ(lane)

    async def _read(self, lane: Lane) -> bool:
        """Whether more may be had at once."""
        now = self._clock.monotonic()
        if now - lane.looked_at < _EMPTY_S:
            return False
        due = await self._journal.due(self._clock.now(), self._batch, lane.taken, rule=lane.name)
        if not due:
            lane.looked_at = now
        lane.has_more = len(due) == self._batch
        lane.taken.update(task.seq for task in due)
        lane.waiting.extend(due)
        return lane.has_more

    def _employ(self, lane: Lane) -> None:
        lane.workers.difference_update([worker for worker in lane.workers if worker.done()])  # found nothing to do
        while lane.waiting and len(lane.workers) < lane.pace.limit:
            worker = asyncio.ensure_future(self._drain(lane))
            lane.workers.add(worker)
            worker.add_done_callback(lane.workers.discard)
            worker.add_done_callback(self._worker_ended)

    async def _drain(self, lane: Lane) -> None:
        while lane.waiting and len(lane.workers) <= lane.pace.limit:
            tasks = self._next(lane)
            if not await self._lanes.admit(lane.name, _REQUESTS * len(tasks), sum(map(self._size_at_once, tasks))):
                lane.taken.difference_update(task.seq for task in tasks)
                return
            self._tally.in_flight += len(tasks)
            try:
                if self._together is not None and len(tasks) > 1:
                    await self._attempt_together(lane, tasks, self._together)
                else:
                    await self._attempt_one_by_one(lane, ((task, partial(self._work, task)) for task in tasks))
            finally:
                self._tally.in_flight -= len(tasks)

    def _size_at_once(self, task: Task) -> int:
        """Bytes that a task takes from its rule's bandwidth when it begins; what is large takes them by parts."""
        size = task.draft.size
        return size if size <= self._large_bytes and not task.draft.op.is_delete else 0

    def _next(self, lane: Lane) -> list[Task]:
        """One task; or small ones together, up to a bound: what is spread over all workers is done sooner, what is done
        together is done cheaper. Never more than a second's worth of the lane's limits: all of them begin at once."""
        tasks = [lane.waiting.popleft()]
        together = self._together
        group = None if together is None else together.group(tasks[0])
        if together is not None and group is not None:
            # Where more is waiting in the journal than was read, all workers have enough to do.
            waiting = len(lane.waiting)
            share = min(waiting if lane.has_more else waiting // lane.pace.limit, _MOST_TOGETHER - 1)
            limit = self._lanes.limit(lane)
            if limit.requests_per_s is not None:
                share = min(share, int(limit.requests_per_s / _REQUESTS) - 1)
            most = limit.bytes_per_s
            room = inf if most is None else most - self._size_at_once(tasks[0])
            while len(tasks) <= share and together.group(lane.waiting[0]) == group:
                if most is not None:
                    room -= self._size_at_once(lane.waiting[0])
                    if room < 0:
                        break
                tasks.append(lane.waiting.popleft())
        return tasks

    async def _attempt_together(self, lane: Lane, tasks: Sequence[Task], together: Together) -> None:
        try:
            done, doubtful = await together.work(tasks)
        except Exception:
            log.exception("copying %d objects together failed in an unexpected way: please report it", len(tasks))
            await self._attempt_one_by_one(lane, ((task, partial(self._work, task)) for task in tasks))
            return
        if done:
            lane.outages = 0
        self._outcomes += done
        await self._attempt_one_by_one(lane, ((each.task, each.way_on) for each in doubtful))

    async def _attempt_one_by_one(
        self, lane: Lane, ways: Iterable[tuple[Task, Callable[[], Awaitable[Worked]]]]
    ) -> None:
        for task, way in ways:
            # Not in one expression: the list is another one after the wait.
            outcome = await self._attempt(lane, task, way)
            self._outcomes.append(outcome)

    async def _attempt(self, lane: Lane, task: Task, way: Callable[[], Awaitable[Worked]]) -> Outcome:
        try:
            worked = await way()
            lane.outages = 0
            return worked
        except Exception as error:  # noqa: BLE001 - it is reported there
            failed = await self._failed(lane, task, error)
            let_go_of_frames(error)
            return failed

    async def _failed(self, lane: Lane, task: Task, error: Exception) -> Failed:
        match error:
            case StorageFull() | Full():
                # Room is the store's affair, or the journal's, not the object's.
                self._wait_for_store(lane, str(error))
                return Failed(task, Failure.UNAVAILABLE, str(error), store_away=True)
            case Throttled():
                lane.pace.throttled()
                self._rest(lane, max(error.retry_after, self._schedules[Failure.THROTTLED].wait_s(1, self._jitter())))
                return Failed(task, Failure.THROTTLED, str(error))
            case MillraceError():
                failure = category(error)
                if failure is Failure.HOPELESS:
                    return Failed(task, failure, str(error))
                if self._lanes.stopping:
                    return Failed(task, failure, str(error), store_away=True)  # it goes on after the next start
                # Whatever it says: credentials that ended, or a bucket that is gone, must not bury the journal.
                away = await self._store_away(lane) or isinstance(error, BrokenOff)
                return Failed(task, failure, str(error), store_away=away)
            case _:
                log.error("copying %s failed in an unexpected way: please report it", task.draft.key, exc_info=error)
                return Failed(task, Failure.UNAVAILABLE, f"unexpected: {type(error).__name__}: {error}")

    async def _store_away(self, lane: Lane) -> bool:
        """Whether a whole store is away, not only this object: then the lane waits instead of burning its budget."""
        if self._clock.monotonic() < lane.away_until:
            return True
        for store in lane.plan.stores:
            try:
                await store.check()
            except MillraceError as error:
                self._wait_for_store(lane, f"{store.name}: {error}")
                return True
        return False

    def _wait_for_store(self, lane: Lane, error: str) -> None:
        """Ever longer, but not so long that a store that is back is not soon found. It may take days: the log is told
        now and then."""
        now = self._clock.monotonic()
        if now >= lane.away_until:
            self._tally.store_outages += 1
            lane.outages += 1
            if lane.outages == 1 or now - lane.told_at >= _TELL_EVERY_S:
                lane.told_at = now
                log.warning("a store is away or full, %s waits for it: %s", called(lane.name), error)
        wait_s = self._schedules[Failure.UNAVAILABLE].wait_s(max(lane.outages, 1), self._jitter())
        self._rest(lane, min(wait_s, _AWAY_AT_MOST_S))

    def _rest(self, lane: Lane, wait_s: float) -> None:
        lane.away_until = max(lane.away_until, self._clock.monotonic() + wait_s)
        lane.put_back()

    async def _settle(self) -> None:
        """Tell the journal what became of the finished tasks. An outcome that it does not take is kept for the next
        time: until then its task stays taken, and open."""
        now = self._clock.now()
        closed: list[Done] = []
        left: list[tuple[Outcome, Postpone | Bury]] = []
        for outcome in self._outcomes:
            if isinstance(outcome, Done):  # nearly all; settle() would say the same
                closed.append(outcome)
                continue
            action = settle(outcome, self._schedules, now, self._jitter())
            if isinstance(action, Close):
                closed.append(action.done)
            else:
                left.append((outcome, action))
        self._outcomes = []
        try:
            while left:
                # As many as meet share a commit.
                some = left[-_SETTLED_AT_ONCE:]
                answers = await asyncio.gather(*(self._put_off(action) for _, action in some), return_exceptions=True)
                failed = [error for error in answers if isinstance(error, BaseException)]
                left[-_SETTLED_AT_ONCE:] = [
                    each for each, answer in zip(some, answers, strict=True) if answer is not None
                ]
                if failed:
                    raise failed[0]
            await self._close(closed, now)
            closed = []
        finally:
            self._outcomes += [*(outcome for outcome, _ in left), *closed]

    async def _put_off(self, action: Postpone | Bury) -> None:
        match action:
            case Postpone(task, attempts, due_at, error, failure):
                await self._journal.postpone(task.seq, attempts=attempts, due_at=due_at, error=error, failure=failure)
                self._let_go([task])
                if failure is not None:
                    self._tally.retried += 1
                    wait_s = due_at - self._clock.now()
                    # What counts against nothing is the store's affair, which is told elsewhere.
                    level = logging.DEBUG if attempts == task.attempts else logging.INFO
                    log.log(level, "copying %s failed, again in %.1f s: %s", task.draft.key, wait_s, error)
            case Bury(task, attempts, error, failure):
                await self._journal.bury(task.seq, attempts=attempts, error=error, failure=failure)
                self._let_go([task])
                self._tally.buried += 1
                log.error("copying %s given up after %d attempts: %s", task.draft.key, attempts, error)
                await self._record_failure(task)

    def _let_go(self, tasks: Iterable[Task]) -> None:
        by_rule: dict[str, list[int]] = {}
        for task in tasks:
            by_rule.setdefault(task.draft.rule, []).append(task.seq)
        for rule, seqs in by_rule.items():
            self._lanes.of(rule).taken.difference_update(seqs)

    async def _record_failure(self, task: Task) -> None:
        """Let the catalog say what the journal says: the promised copy is a dead letter."""
        if task.draft.op.is_of_object:
            return  # the catalog knows blobs only
        guid = guid_of(task.draft.key)
        try:
            known = await self._catalog.get(guid)
            promised = () if known is None or task.draft.op.is_delete else known.locations
            failed = [(guid, replace(at, state=LocationState.FAILED)) for at in promised if at.state in _UNDER_WAY]
            if failed:
                await self._catalog.set_locations(failed)
        except MillraceError as error:
            log.warning("the catalog does not know that %s is a dead letter: %s", task.draft.key, error)

    async def _close(self, closed: Sequence[Done], now: float) -> None:
        if not closed:
            return
        await self._catalog.set_locations(
            [(guid_of(done.task.draft.key), done.location) for done in closed if done.location is not None]
        )
        await self._note(closed)
        reach("mirror.recorded")
        copied = {done.task.seq: done.copied_bytes for done in closed if _is_copy(done)}
        superseded = await self._journal.close([done.task.seq for done in closed], copied=copied, now=now)
        self._let_go(done.task for done in closed)
        reach("mirror.closed")
        for done in closed:
            self._count(done, now)
        await self._promise_again(superseded, now)

    async def _promise_again(self, superseded: Iterable[Task], now: float) -> None:
        """Deletes that were given up before their object was written again have left its tombstone. Only a delete task
        lifts it, and only then the object is read through when Riak CS loses it. Under other rules there is none, and a
        promise to delete what lives would only cost its copy, were Riak CS to lose the object before it is kept."""
        for task in superseded:
            if task.draft.op is not Op.DELETE_OBJECT or task.draft.rule not in self._read_through:
                continue
            try:
                await self._journal.append(task.draft, now)
            except MillraceError as error:
                log.warning("%s may not be read through: its tombstone stays: %s", task.draft.key, error)

    async def _note(self, closed: Sequence[Done]) -> None:
        """Tell the catalog what is at the targets now, in one transaction each. Without it the next scan asks them
        itself: so a catalog that is away holds up nothing."""
        rows: dict[tuple[StoreName, Bucket], list[Copy]] = {}
        for done in closed:
            for row in done.rows:
                rows.setdefault((row.store, row.bucket), []).append(row.copy)
        try:
            for (store, bucket), copies in rows.items():
                await self._catalog.record_copies(store, bucket, copies)
        except MillraceError as error:
            log.warning("the catalog does not know of %d copies, a scan will look: %s", len(closed), error)

    def _count(self, done: Done, now: float) -> None:
        if done.note:
            self._tally.superseded += 1
            log.info("%s %s: %s", done.task.draft.op.value, done.task.draft.key, done.note)
        elif done.task.draft.op.is_delete:
            self._tally.deleted += 1
        else:
            self._tally.copied += 1
            self._tally.copied_bytes += done.copied_bytes
            self._tally.lag.observe(now - done.task.enqueued_at)


def category(error: MillraceError) -> Failure:
    """What kind of failure an error is."""
    match error:
        case Conflict():
            return Failure.HOPELESS
        case Throttled():
            return Failure.THROTTLED
        case Missing() | NotFound():
            return Failure.GONE
        case Rejected():
            return Failure.FORBIDDEN
        case Corrupt():
            return Failure.CORRUPT
        case _:
            return Failure.UNAVAILABLE


def called(rule: str) -> str:
    """A rule's lane, for people."""
    return f"mirror rule {rule}" if rule else "the mirror of blobs"


def _is_copy(done: Done) -> bool:
    return not done.note and not done.task.draft.op.is_delete
