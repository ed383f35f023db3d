"""Lifecycle of S3 buckets in the agent: the duty, its lock, and what they talk to."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from controlplane.adapters.riak_cs import RiakCsClient
from controlplane.adapters.riak_cs.private_bucket import PrivateBucket
from controlplane.model.tally import LifecycleTally
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.write_log import WriteLog
from controlplane.services.held_lock import HeldLock
from controlplane.services.runner import Runner
from controlplane.services.s3.lifecycle import LifecycleDuty
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.part_records import PartRecords
from controlplane.services.s3.subresources import Subresources
from controlplane.settings.tree import Settings
from controlplane.wiring.riak_cs import admin_keys, build_accounts, riak_cs_options

log = logging.getLogger(__name__)

LOCK = "locks/s3-lifecycle"
"""In the directory: whose agent looks after the lifecycle rules."""

LOCK_TTL_S = 30.0
LOCK_ROUND_S = 5.0
LOOK_S = 5.0
"""How soon an agent begins that has got the lock, or whose time for a sweep has come."""


class LifecyclePart:
    """`run` starts a loop and gives its task."""

    def __init__(self, settings: Settings, directory: Directory, writes: WriteLog, clock: Clock) -> None:
        s3 = settings.s3
        if not settings.directory.etcd.endpoints:
            log.warning("s3.endpoints without directory.etcd: with several agents each looks after lifecycle rules")
        self.tally = LifecycleTally()
        admin, jitter = admin_keys(settings, clock), random.Random()  # noqa: S311 - jitter, not a secret
        options = riak_cs_options(settings, s3.endpoints)
        self._upstream = RiakCsClient(options, clock, jitter)
        self._accounts = build_accounts(settings, clock)
        self._private = PrivateBucket(options, admin, s3.private_bucket, clock, jitter)
        subresources = Subresources(self._private, clock, keep_s=0)
        self._lock = HeldLock(LOCK, settings.node.name, directory, clock, ttl_s=LOCK_TTL_S)
        self._duty = LifecycleDuty(
            self._upstream,
            self._accounts,
            subresources,
            ObjectRecords(self._upstream, subresources, admin),
            PartRecords(self._private),
            writes,
            admin,
            self._lock,
            clock,
            every_s=s3.lifecycle_interval_s,
            tally=self.tally,
        )
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, run: Callable[[Runner], asyncio.Task[None]]) -> None:
        lock = Runner("lifecycle lock", self._lock.once, self._clock, every_s=LOCK_ROUND_S, most_s=LOCK_ROUND_S)
        duty = Runner("lifecycle", self._duty.once, self._clock, every_s=LOOK_S, most_s=300.0)
        self._tasks = [run(lock), run(duty)]

    async def end(self) -> None:
        """After the runners were told to stop: the request under way is finished, and the lock is free at once."""
        self._duty.stop()
        await asyncio.gather(*self._tasks)
        await self._duty.end()
        for part in (self._upstream, self._accounts, self._private):
            await part.aclose()
