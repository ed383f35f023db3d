"""The write-behind: drains the journal into the persistent store (I1), many objects at once, none blocking another."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from controlplane.model.keys import StoreName, guid_of
from controlplane.model.manifest import LocationState
from controlplane.model.mirror_plan import Bury, Close, Done, Failed, Failure, Outcome, Postpone, settle
from controlplane.model.retry import RetrySchedule
from controlplane.model.tally import MirrorTally
from controlplane.model.task import Task
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, MillraceError, StorageFull
from controlplane.ports.fault_points import reach
from controlplane.ports.journal import Journal
from controlplane.services.together import Together

log = logging.getLogger(__name__)

_UNDER_WAY = (LocationState.PENDING, LocationState.COPYING)

_SETTLE_WAIT_S = 0.02
"""Finished tasks are settled together: one journal transaction for all that finish within this time."""

_MOST_TOGETHER = 64


class Checked(Protocol):
    """A store, or a service of stores, as far as the mirror needs to know it."""

    @property
    def name(self) -> StoreName: ...

    async def check(self) -> None:
        """Raises a MillraceError when it cannot be used now."""
        ...


class Mirror:
    """Keeps `concurrency` tasks under way. once() starts what is due and settles what is done."""

    def __init__(
        self,
        work: Callable[[Task], Awaitable[Done]],
        *,
        journal: Journal,
        catalog: Catalog,
        stores: Sequence[Checked],
        clock: Clock,
        schedule: RetrySchedule,
        jitter: Callable[[], float],
        tally: MirrorTally,
        concurrency: int,
        batch: int,
        together: Together | None = None,
    ) -> None:
        self._work = work
        self._together = together
        self._journal = journal
        self._catalog = catalog
        self._stores = stores
        self._clock = clock
        self._schedule = schedule
        self._jitter = jitter
        self._tally = tally
        self._concurrency = concurrency
        self._batch = batch
        self._waiting: deque[Task] = deque()
        self._taken: set[int] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._store_away_until = 0.0

    async def once(self) -> bool:
        """One round; True when there is more to do at once."""
        if self._clock.now() >= self._store_away_until:
            await self._take()
        if not self._taken:
            return False
        await self._clock.sleep(_SETTLE_WAIT_S)
        await self._settle()
        return True

    async def aclose(self) -> None:
        """Finish the copies under way and settle them; what has not begun stays in the journal."""
        self._waiting.clear()
        if self._workers:
            await asyncio.wait(self._workers)
        await self._settle()

    async def _take(self) -> None:
        # Half a batch in reserve keeps the workers busy while the next one is read.
        if len(self._waiting) * 2 <= self._batch:
            due = await self._journal.due(self._clock.now(), self._batch, self._taken)
            self._taken.update(task.seq for task in due)
            self._waiting.extend(due)
        while self._waiting and len(self._workers) < self._concurrency:
            worker = asyncio.ensure_future(self._drain())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _drain(self) -> None:
        while self._waiting:
            tasks = self._next()
            self._tally.in_flight += len(tasks)
            try:
                if self._together is not None and len(tasks) > 1:
                    await self._attempt_together(tasks, self._together)
                else:
                    await self._attempt_one_by_one((task, partial(self._work, task)) for task in tasks)
            finally:
                self._tally.in_flight -= len(tasks)

    def _next(self) -> list[Task]:
        """One task; or this worker's share of the small ones, up to a bound: what is spread over all workers is done
        sooner, what is done together is done cheaper."""
        tasks = [self._waiting.popleft()]
        together = self._together
        group = None if together is None else together.group(tasks[0])
        if together is not None and group is not None:
            share = min(len(self._waiting) // self._concurrency, _MOST_TOGETHER - 1)
            while len(tasks) <= share and together.group(self._waiting[0]) == group:
                tasks.append(self._waiting.popleft())
        return tasks

    async def _attempt_together(self, tasks: Sequence[Task], together: Together) -> None:
        try:
            done, doubtful = await together.work(tasks)
        except Exception:
            log.exception("copying %d objects together failed in an unexpected way: please report it", len(tasks))
            await self._attempt_one_by_one((task, partial(self._work, task)) for task in tasks)
            return
        self._outcomes += done
        await self._attempt_one_by_one((each.task, each.way_on) for each in doubtful)

    async def _attempt_one_by_one(self, ways: Iterable[tuple[Task, Callable[[], Awaitable[Done]]]]) -> None:
        for task, way in ways:
            # Not in one expression: the list is another one after the wait.
            outcome = await self._attempt(task, way)
            self._outcomes.append(outcome)

    async def _attempt(self, task: Task, way: Callable[[], Awaitable[Done]]) -> Outcome:
        try:
            return await way()
        except Conflict as error:
            return Failed(task, Failure.HOPELESS, str(error))
        except StorageFull as error:
            # Room is the store's affair, not the object's.
            self._wait_for_store(str(error))
            return Failed(task, Failure.STORE, str(error))
        except MillraceError as error:
            # Whatever it says: credentials that ended, or a bucket that is gone, must not bury the journal.
            failure = Failure.STORE if await self._store_away() else Failure.OBJECT
            return Failed(task, failure, str(error))
        except Exception as error:
            log.exception("copying %s failed in an unexpected way: please report it", task.draft.key)
            return Failed(task, Failure.OBJECT, f"unexpected: {type(error).__name__}: {error}")

    async def _store_away(self) -> bool:
        """Whether a whole store is away, not only this object: then the journal waits instead of burning its budget."""
        if self._clock.now() < self._store_away_until:
            return True
        for store in self._stores:
            try:
                await store.check()
            except MillraceError as error:
                self._wait_for_store(f"{store.name}: {error}")
                return True
        return False

    def _wait_for_store(self, error: str) -> None:
        now = self._clock.now()
        if now >= self._store_away_until:
            self._tally.store_outages += 1
            log.warning("a store is away or full, the mirror waits for it: %s", error)
        self._store_away_until = now + self._schedule.wait_s(1, self._jitter())

    async def _settle(self) -> None:
        """Tell the journal what became of the finished tasks. An outcome that it does not take is kept for the next
        time: until then its task stays taken, and open."""
        now = self._clock.now()
        closed: list[Done] = []
        left, self._outcomes = self._outcomes, []
        try:
            while left:
                await self._settle_one(left[-1], now, closed)
                left.pop()
            await self._close(closed, now)
            closed = []
        finally:
            self._outcomes += [*left, *closed]

    async def _settle_one(self, outcome: Outcome, now: float, closed: list[Done]) -> None:
        match settle(outcome, self._schedule, now, self._jitter()):
            case Close(done):
                closed.append(done)
            case Postpone(task, attempts, due_at, error):
                await self._journal.postpone(task.seq, attempts=attempts, due_at=due_at, error=error)
                self._taken.discard(task.seq)
                self._tally.retried += 1
                log.info("copying %s failed, again in %.1f s: %s", task.draft.key, due_at - now, error)
            case Bury(task, attempts, error):
                await self._journal.bury(task.seq, attempts=attempts, error=error)
                self._taken.discard(task.seq)
                self._tally.buried += 1
                log.error("copying %s given up after %d attempts: %s", task.draft.key, attempts, error)
                await self._record_failure(task)

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
        reach("mirror.recorded")
        await self._journal.close([done.task.seq for done in closed])
        self._taken.difference_update(done.task.seq for done in closed)
        reach("mirror.closed")
        for done in closed:
            self._count(done, now)

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
