"""Scans, from the settings: what the agent's duty and the commands share."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from controlplane.adapters.filesystem.documents import FileDocuments
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_guard import GuardLimits
from controlplane.model.tally import ScanTally
from controlplane.ports.accounts import Accounts
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.journal import Journal
from controlplane.services.held_lock import HeldLock
from controlplane.services.lanes import Lanes
from controlplane.services.runner import Runner
from controlplane.services.scan_deletes import ScanDeletes
from controlplane.services.scan_duty import ScanDuty, tell_unit
from controlplane.services.scan_maker import ScanMaker
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_run import ScanRun
from controlplane.services.scan_seat import ScanSeat
from controlplane.services.scan_stretches import StretchRecords
from controlplane.services.scan_tags import TagScan
from controlplane.services.shared_documents import SharedDocuments
from controlplane.services.shared_scan import SharedScan
from controlplane.services.shared_scan_duty import SharedScanDuty
from controlplane.settings.tree import Settings
from controlplane.wiring.adapters import etcd_options
from controlplane.wiring.riak_cs import build_accounts
from controlplane.wiring.s3_mirror import S3Mirror
from controlplane.wiring.scan_places import SHARED_DOCUMENTS, scan_folder

if TYPE_CHECKING:
    from controlplane.adapters.etcd.scan_board import EtcdScanBoards

log = logging.getLogger(__name__)

LOCK = "locks/mirror-scan"
"""Without etcd, in a directory that nobody else sees."""

LOCK_TTL_S = 30.0
LOCK_ROUND_S = 5.0
LOOK_S = 5.0
"""How soon an agent begins whose time for a scan has come, or takes part in one that others began."""

_WILD = frozenset("*?")


class SourceBuckets:
    """The buckets that a rule is about: the one that it names, or those of all users of Riak CS that match."""

    def __init__(self, settings: Settings, accounts: Accounts) -> None:
        self._private = settings.s3.private_bucket
        self._accounts = accounts

    async def __call__(self, rule: MirrorRule) -> Sequence[Bucket]:
        """Raises Unavailable, Rejected."""
        if not _WILD & set(rule.buckets):
            return [Bucket(rule.buckets)]
        accounts = await self._accounts.all()
        names = {Bucket(name) for account in accounts for name in account.buckets if name != self._private}
        return sorted(name for name in names if rule.covers(name, Key(rule.prefix)))


def build_queue(settings: Settings, journal: Journal, clock: Clock) -> JournalSink:
    return JournalSink(journal, clock, share=settings.mirror.scan.journal_share)


def build_deletes(
    settings: Settings,
    mirror: S3Mirror,
    catalog: Catalog,
    queue: JournalSink,
    clock: Clock,
    *,
    allowed: int | None = None,
) -> ScanDeletes | None:
    """None: deletions are off. `allowed`: so many are allowed in this run, whatever the guard's settings."""
    scan = settings.mirror.scan
    if not scan.deletes and allowed is None:
        return None
    limits = GuardLimits(scan.most_deletes, scan.most_share) if allowed is None else GuardLimits(allowed, 1.0)
    return ScanDeletes(
        rules=mirror.rules,
        source=mirror.source,
        catalog=catalog,
        queue=queue,
        clock=clock,
        limits=limits,
        grace_s=scan.grace_s,
    )


class ScanPart:
    """The scan in the agent: the duty, and what it talks to. With etcd all agents share a scan; without, this one has
    it for itself. `run` starts a loop and gives its task."""

    def __init__(
        self,
        settings: Settings,
        mirror: S3Mirror,
        journal: Journal,
        catalog: Catalog,
        directory: Directory,
        clock: Clock,
        lanes: Lanes,
    ) -> None:
        """`lanes`: those of the mirror, whose limits hold for scans too."""
        calm_collector()
        self._settings = settings
        self._mirror = mirror
        self._catalog = catalog
        self._clock = clock
        self._lanes = lanes
        self.tally = ScanTally(interval_s=settings.mirror.scan.interval_s)
        self._accounts = build_accounts(settings, clock)
        self._queue = build_queue(settings, journal, clock)
        self._scans = ScanMaker(
            mirror.rules,
            source=mirror.source,
            targets=mirror.targets,
            catalog=catalog,
            buckets=SourceBuckets(settings, self._accounts),
            sink=self._queue,
            clock=clock,
            workers=settings.mirror.scan.workers,
            tags=TagScan(mirror.tags, catalog, mirror.rules),
            admit=self._admit,
            nodes=lambda: self.tally.nodes,
        )
        self._boards: EtcdScanBoards | None = None
        self._lock: HeldLock | None = None
        self._duty: ScanDuty | SharedScanDuty
        if settings.directory.etcd.endpoints:
            self._duty = self._shared(directory)
        else:
            self._lock = HeldLock(LOCK, settings.node.name, directory, clock, ttl_s=LOCK_TTL_S)
            self._duty = self._alone(self._lock)
        self._tasks: list[asyncio.Task[None]] = []

    def _alone(self, lock: HeldLock) -> ScanDuty:
        every_s = self._settings.mirror.scan.interval_s
        checkpoints = FileDocuments(scan_folder(self._settings))

        def new_run(on_keys: Callable[[int], None]) -> ScanRun:
            return ScanRun(
                self._scans,
                self.tally,
                deletes=self._deletes(),
                checkpoints=checkpoints,
                on_keys=on_keys,
                on_unit=tell_unit,
            )

        return ScanDuty(new_run, lock, checkpoints, self._clock, every_s=every_s, tally=self.tally)

    def _shared(self, directory: Directory) -> SharedScanDuty:
        settings, clock = self._settings, self._clock
        every_s, ttl_s = settings.mirror.scan.interval_s, settings.cluster.lease_ttl_s
        from controlplane.adapters.etcd.scan_board import EtcdScanBoards

        # So that a member that says nothing leaves time for the others within the lease.
        options = replace(etcd_options(settings), timeout_s=min(settings.directory.etcd.timeout_s, ttl_s / 8))
        self._boards = EtcdScanBoards(options, settings.node.cluster)
        documents = SharedDocuments(directory, SHARED_DOCUMENTS)
        seat = ScanSeat(self._boards, settings.node.name, clock, self.tally, ttl_s=ttl_s)

        def new_scan() -> SharedScan:
            return SharedScan(
                self._scans,
                self.tally,
                node=settings.node.name,
                seat=seat,
                stretches=StretchRecords(documents),
                catalog_is_shared=settings.catalog.kind == "riak_kv",
                deletes=self._deletes(),
            )

        return SharedScanDuty(new_scan, seat, documents, clock, self.tally, every_s=every_s)

    def _deletes(self) -> ScanDeletes | None:
        return build_deletes(self._settings, self._mirror, self._catalog, self._queue, self._clock)

    async def _admit(self, rule: MirrorRule, requests: int) -> bool:
        return await self._lanes.admit(rule.name, requests, 0)

    def start(self, run: Callable[[Runner], asyncio.Task[None]]) -> None:
        self._tasks = [run(Runner("scan", self._duty.once, self._clock, every_s=LOOK_S, most_s=300.0))]
        if self._lock is not None:
            lock = Runner("scan lock", self._lock.once, self._clock, every_s=LOCK_ROUND_S, most_s=LOCK_ROUND_S)
            self._tasks.append(run(lock))

    async def end(self) -> None:
        """After the runners were told to stop."""
        self._duty.stop()
        await asyncio.gather(*self._tasks)
        if isinstance(self._duty, ScanDuty):
            await self._duty.end()
        if self._boards is not None:
            await self._boards.aclose()
        await self._accounts.aclose()


def calm_collector() -> None:
    """A scan makes millions of tuples and no cycles: at the default thresholds a fifth of its time went into looking
    for some. What was loaded by now stays, and is not walked through again."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
