"""The agent: drains the journal and keeps this node's endpoint in the directory."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from controlplane.adapters.endpoint_probe import EndpointProbe
from controlplane.adapters.no_write_log import NoWriteLog
from controlplane.model.endpoints import Endpoint
from controlplane.model.tally import GcTally, PublishTally
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Announcer, Directory
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.upload_ledger import UploadLedger
from controlplane.ports.write_log import WriteLog
from controlplane.services.cycle_collection import EVERY_S, CycleCollection
from controlplane.services.fill_fence import FillFence
from controlplane.services.object_write_log import ObjectWriteLog
from controlplane.services.publish import Publisher
from controlplane.services.runner import Runner
from controlplane.settings.tree import Settings
from controlplane.status.admin_api import Check
from controlplane.status.sources import Sources
from controlplane.version import VERSION
from controlplane.wiring.adapters import build_v2_publisher
from controlplane.wiring.admin_port import build_labels
from controlplane.wiring.mirror_part import MirrorPart
from controlplane.wiring.probe_token import probe_token
from controlplane.wiring.s3_mirror import S3Mirror

if TYPE_CHECKING:
    from controlplane.services.gc_duty import GcDuty
    from controlplane.services.held_lock import HeldLock
    from controlplane.wiring.lifecycle import LifecyclePart
    from controlplane.wiring.scan import ScanPart
    from controlplane.wiring.shards_part import ShardsPart

log = logging.getLogger(__name__)

SERVICE = "blobs"
"""The name under which gateways are published."""

GC_LOCK = "locks/riak-cs-gc"
"""In the directory: whose Riak CS collects the garbage."""

LOCK_ROUNDS = 6
"""Rounds of a lock within its TTL: a few may fail before what it guards must end."""


class AgentProcess:
    """Mirror and publisher over stores, journal, catalog, ledger and directory that its owner opened and will close."""

    def __init__(
        self,
        settings: Settings,
        *,
        primary: ObjectStore,
        persistent: ObjectStore | None,
        s3_mirror: S3Mirror | None,
        journal: Journal,
        catalog: Catalog,
        uploads: UploadLedger,
        directory: Directory,
        gateway_url: str,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._persistent = persistent
        self._directory = directory
        self._clock = clock
        self._closing = AsyncExitStack()
        self._runners: list[Runner] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._gc_tasks: list[asyncio.Task[None]] = []
        self.sources = Sources(publish=PublishTally(), labels=build_labels(settings))
        self._s3_mirror = s3_mirror
        self._shards = self._build_shards(journal)
        self._mirror: MirrorPart | None = None
        if persistent is not None or s3_mirror is not None:
            self._mirror = MirrorPart(
                settings,
                primary=primary,
                persistent=persistent,
                s3_mirror=s3_mirror,
                journal=journal,
                catalog=catalog,
                uploads=uploads,
                shards=self._shards,
                directory=directory,
                clock=clock,
            )
            self.sources.mirror = self._mirror.tally
        self._publisher = self._build_publisher(gateway_url)
        self._gc = self._build_gc()
        self._lifecycle = self._build_lifecycle(journal)
        self._scan = self._build_scan(journal, catalog)

    def start(self) -> None:
        """Begin the loops."""
        if self._shards is not None:
            self._shards.start()
        if self._mirror is not None:
            self._mirror.start(self._run)
        interval = self._settings.directory.probe_interval_s
        self._run(Runner("publish", self._publisher.once, self._clock, every_s=interval))
        if self._gc is not None:
            duty, lock = self._gc
            pace_s = self._settings.gc.lease_ttl_s / LOCK_ROUNDS
            self._gc_tasks = [
                self._run(Runner("gc lock", lock.once, self._clock, every_s=pace_s, most_s=pace_s)),
                self._run(Runner("gc", duty.once, self._clock, every_s=1.0, most_s=1.0)),
            ]

        self._run(Runner("cycle collection", CycleCollection().once, self._clock, every_s=EVERY_S))
        if self._lifecycle is not None:
            self._lifecycle.start(self._run)
        if self._scan is not None:
            self._scan.start(self._run)

    async def stop(self) -> None:
        """Withdraw the endpoint at once, then finish the copies under way; the rest stays in the journal."""
        for runner in self._runners:
            runner.stop()
        # Copies under way may take longer than the lease of the duty: garbage collection ends at once.
        await asyncio.gather(self._publisher.withdraw(), self._end_gc(), self._end_lifecycle(), self._end_scan())
        await asyncio.gather(*self._tasks)
        # A round that was in progress may have announced once more.
        await self._publisher.withdraw()
        if self._mirror is not None:
            await self._mirror.aclose()
        if self._shards is not None:
            await self._shards.end()
        await self._closing.aclose()

    def checks(self) -> dict[str, Check]:
        checks = {"directory": Check(self._directory.check, needed=False)}
        if self._persistent is not None:
            checks["persistent"] = Check(self._persistent.check, needed=False)
        if self._s3_mirror is not None:
            for name, target in self._s3_mirror.targets.items():
                checks[name] = Check(target.check, needed=False)
        return checks

    def _run(self, runner: Runner) -> asyncio.Task[None]:
        task = asyncio.ensure_future(runner.run())
        self._runners.append(runner)
        self._tasks.append(task)
        return task

    async def _end_gc(self) -> None:
        await asyncio.gather(*self._gc_tasks)
        if self._gc is not None:
            await self._gc[0].end()

    async def _end_lifecycle(self) -> None:
        if self._lifecycle is not None:
            await self._lifecycle.end()

    async def _end_scan(self) -> None:
        if self._scan is not None:
            await self._scan.end()

    def _build_scan(self, journal: Journal, catalog: Catalog) -> ScanPart | None:
        if self._s3_mirror is None or not self._settings.mirror.scan.interval_s:
            return None
        cluster = self._settings.cluster
        if cluster.mode == "on" and not cluster.weight:
            return None  # it leaves the work to others
        # Not at the top: most agents do not scan.
        from controlplane.wiring.scan import ScanPart

        assert self._mirror is not None  # there is one where there are rules
        lanes = self._mirror.lanes
        part = ScanPart(self._settings, self._s3_mirror, journal, catalog, self._directory, self._clock, lanes)
        self.sources.scan = part.tally
        return part

    def _build_lifecycle(self, journal: Journal) -> LifecyclePart | None:
        if not self._settings.s3.endpoints:
            return None
        # Not at the top: most agents have no S3 front beside them.
        from controlplane.wiring.lifecycle import LifecyclePart

        part = LifecyclePart(self._settings, self._directory, self._write_log(journal), self._clock)
        self.sources.lifecycle = part.tally
        return part

    def _write_log(self, journal: Journal) -> WriteLog:
        """What expires is reported like what clients delete."""
        mirror = self._s3_mirror
        if mirror is None or not self._settings.s3.journal:
            return NoWriteLog()
        return ObjectWriteLog(
            mirror.rules,
            journal=journal,
            tombstones=mirror.tombstones,
            fence=FillFence(self._clock, mirror.source),
            clock=self._clock,
        )

    def _build_shards(self, journal: Journal) -> ShardsPart | None:
        if self._settings.cluster.mode == "off":
            if journal.is_shared:
                log.warning("cluster.mode is off, and the journal is shared: right for a single agent, not for several")
            return None
        # Not at the top: etcd brings in aiohttp.
        from controlplane.wiring.shards_part import ShardsPart

        part = ShardsPart(self._settings, self._clock)
        self.sources.shards = part.tally
        return part

    def _build_gc(self) -> tuple[GcDuty, HeldLock] | None:
        settings = self._settings.gc
        if settings.socket is None:
            return None
        # Not at the top: most agents have no Riak CS beside them that leaves its garbage to them.
        from controlplane.adapters.riak_cs_gc import RiakCsCollector
        from controlplane.model.gc_plan import Times
        from controlplane.services.gc_duty import GcDuty
        from controlplane.services.held_lock import HeldLock

        if not self._settings.directory.etcd.endpoints:
            log.warning("gc.socket without directory.etcd: right for a single Riak CS node, wrong for several")
        lock = HeldLock(GC_LOCK, self._settings.node.name, self._directory, self._clock, ttl_s=settings.lease_ttl_s)
        times = Times(settings.interval_s, settings.check_s, settings.command_timeout_s)
        self.sources.gc = GcTally()
        collector = RiakCsCollector(settings.socket, self._clock)
        return GcDuty(collector, lock, self._clock, times, tally=self.sources.gc), lock

    def _build_publisher(self, gateway_url: str) -> Publisher:
        settings = self._settings
        node = settings.node
        announcers: list[Announcer] = [self._directory]
        v2 = build_v2_publisher(settings)
        if v2 is not None:
            announcers.append(v2)
            self._closing.push_async_callback(v2.aclose)
        probe = EndpointProbe(
            gateway_url,
            node.name,
            probe_token(node.data_dir),
            timeout_s=min(settings.directory.probe_interval_s, settings.directory.lease_ttl_s / 3),
            tls=_own_certificate(settings),
        )
        assert self.sources.publish is not None
        return Publisher(
            Endpoint(SERVICE, node.name, node.public_url or gateway_url, node.zone, VERSION),
            probe,
            announcers,
            ttl_s=settings.directory.lease_ttl_s,
            failures_allowed=settings.directory.probe_failures,
            tally=self.sources.publish,
        )


def _own_certificate(settings: Settings) -> ssl.SSLContext | None:
    """The probe goes to this node's own address, so it trusts exactly this node's own certificate."""
    cert_file = settings.gateway.tls.cert_file
    if cert_file is None:
        return None
    context = ssl.create_default_context(cafile=str(cert_file))
    context.check_hostname = False
    return context
