"""Garbage collection of Riak CS runs on one node of the cluster, and moves when that node dies."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from controlplane.model.gc_plan import Action, Local, Situation, Times, plan, wants_duty
from controlplane.model.lock_plan import Wish
from controlplane.model.tally import GcTally
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError
from controlplane.ports.garbage_collector import GarbageCollector
from controlplane.services.held_lock import NEVER, HeldLock

log = logging.getLogger(__name__)


class GcDuty:
    """once() brings the local Riak CS in line with who holds the duty; the lock's own rounds run beside it."""

    def __init__(
        self, collector: GarbageCollector, lock: HeldLock, clock: Clock, times: Times, *, tally: GcTally
    ) -> None:
        self._collector = collector
        self._lock = lock
        self._clock = clock
        self._times = times
        self._tally = tally
        self._local = Local.UNKNOWN
        self._asked_at = NEVER
        self._silent = 0
        self._may_collect = False
        self._next_batch_at = NEVER

    async def once(self) -> bool:
        """One action, or none. True when a further one may be due at once."""
        action = plan(self._situation(), self._times)
        match action:
            case Action.LOOK:
                await self._try(action, self._look)
            case Action.START:
                await self._try(action, self._start)
            case Action.HALT:
                await self._try(action, self._halt)
            case Action.REST:
                pass
        self._lock.wish = self._wish()
        self._tally.held = self._lock.held
        self._tally.directory_errors = self._lock.errors
        return action is not Action.REST and not self._silent

    async def end(self) -> None:
        """At an orderly stop: no batch is left behind, and the duty is free for others at once."""
        self._lock.wish = Wish.LAPSE
        if self._may_collect:
            await self._try(Action.HALT, self._halt)
        if self._may_collect:
            log.warning("garbage collection could not be halted: the duty is left to its lease")
            return
        await self._lock.give_back()
        self._tally.held = False

    def _wish(self) -> Wish:
        if wants_duty(self._local, self._silent, holding=self._lock.held):
            return Wish.HOLD
        return Wish.LAPSE if self._may_collect else Wish.LEAVE

    def _situation(self) -> Situation:
        return Situation(
            now=self._clock.monotonic(),
            held_until=self._lock.held_until,
            local=self._local,
            asked_at=self._asked_at,
            silent=self._silent,
            may_collect=self._may_collect,
            next_batch_at=self._next_batch_at,
        )

    async def _try(self, action: Action, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except MillraceError as error:
            self._local = Local.UNKNOWN
            self._silent += 1
            self._tally.errors += 1
            self._tally.last_error = str(error)
            log.warning("garbage collection: %s (%d in a row): %s", action.value, self._silent, error)
        else:
            self._silent = 0
            self._tally.last_error = ""
        self._asked_at = self._clock.monotonic()

    async def _look(self) -> None:
        state = await self._collector.state(self._times.command_s)
        self._may_collect = state.collecting or state.scheduled
        if state.scheduled:
            self._local = Local.SCHEDULED
            log.warning("the timer of Riak CS's own garbage collection is on here: switching it off")
        else:
            self._local = Local.COLLECTING if state.collecting else Local.IDLE

    async def _start(self) -> None:
        self._may_collect = True
        self._next_batch_at = self._clock.monotonic() + self._times.interval_s
        await self._collector.start(self._times.command_s)
        self._local = Local.COLLECTING
        self._tally.batches += 1
        self._tally.last_batch_at = self._clock.now()

    async def _halt(self) -> None:
        await self._collector.halt(self._times.command_s)
        self._local = Local.IDLE
        self._may_collect = False
        self._tally.halts += 1
