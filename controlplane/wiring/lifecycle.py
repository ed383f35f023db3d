"""Lifecycle of S3 buckets in the agent: whose duty it is, and when it begins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from controlplane.model.lock_plan import Wish
from controlplane.model.tally import LifecycleTally
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.write_log import WriteLog
from controlplane.services.held_lock import HeldLock
from controlplane.services.runner import Runner
from controlplane.settings.tree import Settings

if TYPE_CHECKING:
    from controlplane.wiring.lifecycle_sweeps import LifecycleSweeps

log = logging.getLogger(__name__)

LOCK = "locks/s3-lifecycle"
"""In the directory: whose agent looks after the lifecycle rules."""

LOCK_TTL_S = 30.0
LOCK_ROUND_S = 5.0
LOOK_S = 5.0
"""How soon an agent begins that has got the lock or was started, or whose time for a sweep has come."""


class LifecyclePart:
    """`run` starts a loop and gives its task."""

    def __init__(self, settings: Settings, directory: Directory, writes: WriteLog, clock: Clock) -> None:
        if not settings.directory.etcd.endpoints:
            log.warning("s3.endpoints without directory.etcd: with several agents each looks after lifecycle rules")
        self.tally = LifecycleTally()
        self._settings = settings
        self._writes = writes
        self._clock = clock
        self._lock = HeldLock(LOCK, settings.node.name, directory, clock, ttl_s=LOCK_TTL_S)
        self._lock.wish = Wish.HOLD
        self._looked = False
        self._ending = False
        self._sweeps: LifecycleSweeps | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, run: Callable[[Runner], asyncio.Task[None]]) -> None:
        lock = Runner("lifecycle lock", self._lock.once, self._clock, every_s=LOCK_ROUND_S, most_s=LOCK_ROUND_S)
        duty = Runner("lifecycle", self._once, self._clock, every_s=LOOK_S, most_s=300.0)
        self._tasks = [run(lock), run(duty)]

    async def _once(self) -> bool:
        """Nothing in the first round: at a start, what the journal holds goes first."""
        self.tally.held = self._lock.held
        self.tally.directory_errors = self._lock.errors
        looked, self._looked = self._looked, True
        if not looked or self._ending or not self._lock.held:
            return False
        if self._sweeps is None:
            # Not at the top: it brings in half of the S3 front, which an agent without the lock never needs.
            from controlplane.wiring.lifecycle_sweeps import LifecycleSweeps

            self._sweeps = LifecycleSweeps(self._settings, self._writes, self._lock, self._clock, self.tally)
        return await self._sweeps.duty.once()

    async def end(self) -> None:
        """After the runners were told to stop: the request under way is finished, and the lock is free at once."""
        self._ending = True
        if self._sweeps is not None:
            self._sweeps.duty.stop()
        await asyncio.gather(*self._tasks)
        if self._sweeps is not None:
            await self._sweeps.end()
        else:
            await self._lock.give_back()
            self.tally.held = False
