"""What the commands over the mirror's stores need: opened in one place, closed in the right order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from controlplane.adapters.filesystem.documents import FileDocuments
from controlplane.adapters.riak_cs import RiakCsClient
from controlplane.adapters.riak_cs.private_bucket import PrivateBucket
from controlplane.adapters.spool import DiskSpool
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Bucket
from controlplane.model.tally import ScanTally
from controlplane.ports.accounts import Accounts
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import NotFound, Rejected
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.upstream import KeyPair
from controlplane.services.fetch_sharing import FetchSharing
from controlplane.services.fill_fence import FillFence
from controlplane.services.object_read_through import ObjectReadThrough
from controlplane.services.restoring import Restorer
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.subresources import Subresources
from controlplane.services.scan_maker import ScanMaker
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_run import ScanRun
from controlplane.services.scan_tags import TagScan
from controlplane.services.scan_unit import Sink
from controlplane.settings.tree import Settings
from controlplane.wiring.adapters import PRIMARY, build_directory, build_store, open_catalog, open_journal
from controlplane.wiring.admin_keys import admin_keys
from controlplane.wiring.node_lock import hold_node_lock
from controlplane.wiring.riak_cs import build_accounts, riak_cs_options
from controlplane.wiring.s3_mirror import S3Mirror, open_s3_mirror
from controlplane.wiring.scan import SourceBuckets, build_deletes, build_queue, calm_collector


class BucketOwners:
    """Whose keys write into a bucket. The users are asked for once."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._known: dict[str, KeyPair] | None = None

    async def __call__(self, bucket: Bucket) -> KeyPair:
        """Raises NotFound, Unavailable, Rejected."""
        if self._known is None:
            accounts = await self._accounts.all()
            self._known = {name: account.keys for account in accounts if account.enabled for name in account.buckets}
        owner = self._known.get(bucket)
        if owner is None:
            raise NotFound(f"no user of Riak CS owns a bucket {bucket}: create it as its owner first")
        return owner


@dataclass(frozen=True, slots=True)
class MirrorTools:
    settings: Settings
    clock: Clock
    mirror: S3Mirror
    primary: ObjectStore
    journal: Journal
    catalog: Catalog
    buckets: SourceBuckets
    owners: BucketOwners
    _closing: AsyncExitStack

    def restorer(
        self, *, up_to_seq: int | None, moved: Callable[[int], None], only_read_through: bool, also_deleted: bool
    ) -> Restorer:
        """What it makes is closed with the tools. Raises Rejected when fills cannot be kept apart from clients' writes.

        Gateways and this process keep apart by marks in etcd. Without it there is one gateway, and it must be down.
        Under rules that do not read through gateways look for marks only when they were told to, some seconds before.
        """
        settings, mirror = self.settings, self.mirror
        directory = None
        if settings.directory.etcd.endpoints:
            directory = build_directory(settings, self.clock)
            self._closing.push_async_callback(directory.aclose)
        else:
            self._closing.enter_context(hold_node_lock(settings.node.data_dir, "gateway"))
        spool = DiskSpool(settings.node.data_dir / "restore-spool", memory_bytes=settings.gateway.spool_memory_bytes)
        spool.prepare()
        self._closing.callback(spool.close)
        jitter = random.Random()  # noqa: S311 - jitter, not a secret
        options, admin = riak_cs_options(settings, settings.s3.endpoints), admin_keys(settings, self.clock)
        upstream = RiakCsClient(options, self.clock, jitter)
        self._closing.push_async_callback(upstream.aclose)
        private = PrivateBucket(options, admin, settings.s3.private_bucket, self.clock, jitter)
        self._closing.push_async_callback(private.aclose)
        records = ObjectRecords(upstream, Subresources(private, self.clock, settings.s3.access_cache_s), admin)
        fence = FillFence(self.clock, mirror.source, directory)

        async def tell_gateways() -> None:
            await self._closing.enter_async_context(fence.everywhere())

        through = ObjectReadThrough(
            [replace(rule, read_through=True) for rule in mirror.rules],
            targets=mirror.targets,
            tombstones=mirror.tombstones,
            upstream=upstream,
            fence=fence,
            spool=spool,
            records=records,
            sharing=FetchSharing(self.clock),
        )
        return Restorer(
            through,
            targets=mirror.targets,
            owner=self.owners,
            journal=None if also_deleted else self.journal,
            rules=[rule.name for rule in mirror.rules],
            up_to_seq=up_to_seq,
            moved=moved,
            begin=None if only_read_through or all(rule.read_through for rule in mirror.rules) else tell_gateways,
        )

    def queue(self) -> JournalSink:
        return build_queue(self.settings, self.journal, self.clock)

    def scan(
        self,
        sink: Sink,
        *,
        on_keys: Callable[[int], None],
        trust_catalog: bool = True,
        read: bool = False,
        allowed_deletes: int | None = None,
        resumable_as: str = "",
    ) -> ScanRun:
        """`allowed_deletes`: None reports what is extra. `resumable_as`: what is asked for, in words: a scan of the
        same that was broken off is taken up."""
        deletes = None
        if allowed_deletes is not None:
            deletes = build_deletes(
                self.settings, self.mirror, self.catalog, self.queue(), self.clock, allowed=allowed_deletes
            )
        checkpoints = None
        if resumable_as:
            name = hashlib.sha256(resumable_as.encode()).hexdigest()[:16]
            checkpoints = FileDocuments(self.settings.node.data_dir / "scans" / name)
        scans = ScanMaker(
            self.mirror.rules,
            source=self.mirror.source,
            targets=self.mirror.targets,
            catalog=self.catalog,
            buckets=self.buckets,
            sink=sink,
            clock=self.clock,
            workers=self.settings.mirror.scan.workers,
            tags=TagScan(self.mirror.tags, self.catalog, self.mirror.rules),
        )
        return ScanRun(
            scans,
            ScanTally(),
            deletes=deletes,
            checkpoints=checkpoints,
            trust_catalog=trust_catalog,
            read=read,
            on_keys=on_keys,
        )


@asynccontextmanager
async def open_mirror_tools(settings: Settings, *, alone: str = "") -> AsyncIterator[MirrorTools]:
    """`alone`: a name under which one command at a time may run on this node. Raises Rejected when no rule is set, and
    what opening a store may raise."""
    calm_collector()
    clock = SystemClock()
    async with AsyncExitStack() as closing:
        if alone:
            closing.enter_context(hold_node_lock(settings.node.data_dir, alone))
        primary = await build_store(PRIMARY, settings.primary, clock)
        closing.push_async_callback(primary.aclose)
        mirror = await open_s3_mirror(settings, primary, clock)
        if mirror is None:
            raise Rejected("no mirror rule is set: [[mirror.rules]] say which buckets are mirrored where")
        closing.push_async_callback(mirror.aclose)
        journal = await open_journal(settings)
        closing.push_async_callback(journal.aclose)
        catalog = await open_catalog(settings)
        closing.push_async_callback(catalog.aclose)
        accounts = build_accounts(settings, clock)
        closing.push_async_callback(accounts.aclose)
        buckets, owners = SourceBuckets(settings, accounts), BucketOwners(accounts)
        yield MirrorTools(settings, clock, mirror, primary, journal, catalog, buckets, owners, closing)
