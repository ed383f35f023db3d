"""Lifecycle of S3 buckets in the agent: the sweeps, and what they talk to."""

from __future__ import annotations

import random

from controlplane.adapters.riak_cs import RiakCsClient
from controlplane.adapters.riak_cs.private_bucket import PrivateBucket
from controlplane.model.tally import LifecycleTally
from controlplane.ports.clock import Clock
from controlplane.ports.write_log import WriteLog
from controlplane.services.held_lock import HeldLock
from controlplane.services.s3.lifecycle import LifecycleDuty
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.part_records import PartRecords
from controlplane.services.s3.subresources import Subresources
from controlplane.settings.tree import Settings
from controlplane.wiring.admin_keys import admin_keys
from controlplane.wiring.riak_cs import build_accounts, riak_cs_options


class LifecycleSweeps:
    """Under a lock that its owner holds."""

    def __init__(
        self, settings: Settings, writes: WriteLog, lock: HeldLock, clock: Clock, tally: LifecycleTally
    ) -> None:
        s3 = settings.s3
        admin, jitter = admin_keys(settings, clock), random.Random()  # noqa: S311 - jitter, not a secret
        options = riak_cs_options(settings, s3.endpoints)
        self._upstream = RiakCsClient(options, clock, jitter)
        self._accounts = build_accounts(settings, clock)
        self._private = PrivateBucket(options, admin, s3.private_bucket, clock, jitter)
        subresources = Subresources(self._private, clock, keep_s=0)
        self.duty = LifecycleDuty(
            self._upstream,
            self._accounts,
            subresources,
            ObjectRecords(self._upstream, subresources, admin),
            PartRecords(self._private),
            writes,
            admin,
            lock,
            clock,
            every_s=s3.lifecycle_interval_s,
            tally=tally,
        )

    async def end(self) -> None:
        """After the last round: the lock is free at once."""
        await self.duty.end()
        for part in (self._upstream, self._accounts, self._private):
            await part.aclose()
