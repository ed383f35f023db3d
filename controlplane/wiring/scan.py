"""Scans, from the settings: what the agent's duty and the commands share."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

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
from controlplane.ports.scan_checkpoints import ScanCheckpoints
from controlplane.services.held_lock import HeldLock
from controlplane.services.runner import Runner
from controlplane.services.scan_deletes import ScanDeletes
from controlplane.services.scan_duty import ScanDuty
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_run import SAVE_EVERY_S, SPLITS, ScanRun
from controlplane.services.scan_tags import TagScan
from controlplane.services.shared_documents import SharedDocuments, SplitDocuments
from controlplane.settings.tree import Settings
from controlplane.wiring.riak_cs import build_accounts
from controlplane.wiring.s3_mirror import S3Mirror

log = logging.getLogger(__name__)

LOCK = "locks/mirror-scan"
"""In the directory: whose agent scans."""

SHARED_CHECKPOINTS = "scan"
"""In the directory: how far the agents' scan has come, and when the last one ended."""

SHARED_SAVE_EVERY_S = 10.0
"""Every value of a key stays in etcd until it is compacted."""

LOCK_TTL_S = 30.0
LOCK_ROUND_S = 5.0
LOOK_S = 5.0
"""How soon an agent begins that has got the lock, or whose time for a scan has come."""

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


def scan_folder(settings: Settings) -> Path:
    """Where the agent's scan keeps how far it has come."""
    return settings.node.data_dir / "scan"


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
    """The scan in the agent: the duty, its lock, and what they talk to. `run` starts a loop and gives its task."""

    def __init__(
        self,
        settings: Settings,
        mirror: S3Mirror,
        journal: Journal,
        catalog: Catalog,
        directory: Directory,
        clock: Clock,
    ) -> None:
        calm_collector()
        scan = settings.mirror.scan
        self.tally = ScanTally(interval_s=scan.interval_s)
        self._clock = clock
        self._accounts = build_accounts(settings, clock)
        buckets: Callable[[MirrorRule], Awaitable[Sequence[Bucket]]] = SourceBuckets(settings, self._accounts)
        queue = build_queue(settings, journal, clock)
        checkpoints: ScanCheckpoints = FileDocuments(scan_folder(settings))
        save_every_s = SAVE_EVERY_S
        if settings.directory.etcd.endpoints:
            # Whoever scans next, on whichever node, goes on where this one was.
            shared = SharedDocuments(directory, SHARED_CHECKPOINTS)
            checkpoints = SplitDocuments(shared, checkpoints, here=frozenset({SPLITS}))
            save_every_s = SHARED_SAVE_EVERY_S

        def new_run(on_keys: Callable[[int], None]) -> ScanRun:
            return ScanRun(
                mirror.rules,
                source=mirror.source,
                targets=mirror.targets,
                catalog=catalog,
                buckets=buckets,
                sink=queue,
                clock=clock,
                tally=self.tally,
                workers=scan.workers,
                deletes=build_deletes(settings, mirror, catalog, queue, clock),
                checkpoints=checkpoints,
                on_keys=on_keys,
                save_every_s=save_every_s,
                tags=TagScan(mirror.tags, catalog, mirror.rules),
            )

        self._lock = HeldLock(LOCK, settings.node.name, directory, clock, ttl_s=LOCK_TTL_S)
        self._duty = ScanDuty(new_run, self._lock, checkpoints, clock, every_s=scan.interval_s)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, run: Callable[[Runner], asyncio.Task[None]]) -> None:
        lock = Runner("scan lock", self._lock.once, self._clock, every_s=LOCK_ROUND_S, most_s=LOCK_ROUND_S)
        duty = Runner("scan", self._duty.once, self._clock, every_s=LOOK_S, most_s=300.0)
        self._tasks = [run(lock), run(duty)]

    async def end(self) -> None:
        """After the runners were told to stop."""
        self._duty.stop()
        await asyncio.gather(*self._tasks)
        await self._duty.end()
        await self._accounts.aclose()


def calm_collector() -> None:
    """A scan makes millions of tuples and no cycles: at the default thresholds a fifth of its time went into looking
    for some. What was loaded by now stays, and is not walked through again."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
