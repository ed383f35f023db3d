"""The mirror of S3 objects over fakes: a gateway's writes, deletes and reads, an agent, on virtual time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from controlplane.adapters.memory.upload_ledger import MemoryUploadLedger
from controlplane.adapters.spool import DiskSpool
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.retry import RetrySchedule
from controlplane.model.tally import MirrorTally
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ObjectInfo
from controlplane.ports.server_copy import ServerCopies
from controlplane.ports.upload_ledger import UploadLedger
from controlplane.ports.upstream import Ask, KeyPair, Reply
from controlplane.s3.documents.object_extras import ObjectExtras
from controlplane.s3.documents.tagging import Tags
from controlplane.s3.sigv2 import http_date
from controlplane.services.bulk_object_copying import BulkObjectCopier
from controlplane.services.fetch_sharing import FetchSharing
from controlplane.services.fill_fence import FillFence
from controlplane.services.lanes import LanePlan, Lanes
from controlplane.services.large_copying import LargeCopier
from controlplane.services.mirror import Mirror
from controlplane.services.object_acls import ObjectAcls
from controlplane.services.object_copying import ObjectCopier
from controlplane.services.object_read_through import ObjectReadThrough
from controlplane.services.object_replies import Streamed, Told
from controlplane.services.object_tombstones import ObjectTombstones
from controlplane.services.object_write_log import ObjectWriteLog
from controlplane.services.s3.object_records import ObjectRecords, identity_of
from controlplane.services.s3.subresources import Subresources
from controlplane.services.source_tags import SourceTags
from controlplane.services.target_states import TargetStates
from tests.support.fakes import FakeCatalog, FakeJournal, FakeStore, OneByOne, drain
from tests.support.part_store import FakeParts

OWNER = KeyPair("owner", "secret")
B = Bucket("photos")
PRIVATE = Bucket("millrace-s3-documents")


class FakeBuckets:
    """Implements BucketStores: a FakeStore a bucket."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = StoreName(name)
        self._clock = clock
        self.stores: dict[Bucket, FakeStore] = {}
        self.prepared: list[Bucket] = []
        self.gone: set[Bucket] = set()
        self.in_bulk = False
        self.takes_parts = False
        self.part_stores: dict[Bucket, FakeParts] = {}
        self.bulks: dict[Bucket, OneByOne] = {}

    @property
    def name(self) -> StoreName:
        return self._name

    def store(self, bucket: Bucket) -> FakeStore:
        if bucket not in self.stores:
            self.stores[bucket] = FakeStore(StoreName(f"{self._name}-{bucket}"), clock=self._clock)
        return self.stores[bucket]

    def bulk(self, bucket: Bucket) -> OneByOne | None:
        if not self.in_bulk:
            return None
        if bucket not in self.bulks:
            self.bulks[bucket] = OneByOne(self.store(bucket))
        return self.bulks[bucket]

    def parts(self, bucket: Bucket) -> FakeParts | None:
        if not self.takes_parts:
            return None
        if bucket not in self.part_stores:
            self.part_stores[bucket] = FakeParts(self.store(bucket))
        return self.part_stores[bucket]

    async def prepare(self, bucket: Bucket) -> None:
        self.prepared.append(bucket)

    async def has(self, bucket: Bucket) -> bool:
        return bucket not in self.gone

    async def check(self) -> None:
        for store in self.stores.values():
            await store.check()

    async def aclose(self) -> None: ...


class FakeUpstream:
    """Implements Upstream over the source: what the read-through asks of Riak CS."""

    def __init__(self, source: FakeBuckets) -> None:
        self._source = source
        self.asked: list[Ask] = []
        self.before: Callable[[Ask], None] | None = None
        self.lies = ""
        """An ETag that PUT answers instead of its own."""

    async def send(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        store = self._source.store(Bucket(ask.bucket))
        key = Key(ask.key)
        if ask.method == "PUT":
            parts = [ask.body] if isinstance(ask.body, bytes) else [part async for part in ask.body]
            meta = {n.removeprefix("x-amz-meta-"): v for n, v in ask.headers.items() if n.startswith("x-amz-meta-")}
            info = await store.put(key, b"".join(parts), content_type=ask.headers["content-type"], metadata=meta)
            return Told(200, {"etag": f'"{self.lies or info.etag}"'})
        if ask.method == "DELETE":
            await store.delete(key)
            return Told(204, {})
        try:
            info = await store.head(key)
        except NotFound:
            return Told(404, {})
        headers = {"etag": f'"{info.etag}"', "content-length": str(info.size), "last-modified": reply_date(info)}
        if ask.method == "HEAD":
            return Told(200, headers)
        assert ask.method == "GET"
        reader = await store.get(key)
        return Streamed(200, headers, aiter(reader), info.size, lambda: None)

    async def check(self) -> None: ...

    async def aclose(self) -> None: ...


class ObjectNode:
    """One gateway and one agent. Nodes may share source, targets and the store of tombstones."""

    def __init__(
        self,
        clock: Clock,
        spool_path: Path,
        *rules: MirrorRule,
        like: ObjectNode | None = None,
        directory: Directory | None = None,
        schedule: RetrySchedule = RetrySchedule(),  # noqa: B008 - frozen
        journal_limit: int = 10_000,
        read_back: bool = False,
        memory_bytes: int = 1 << 20,
        concurrency: int = 16,
        bulk: bool = False,
        large_bytes: int = 64 << 20,
        takes_parts: bool = False,
        tell_every_s: float = 600.0,
        delete_grace_s: float = 0.0,
        unfenced: Collection[str] = (),
    ) -> None:
        self.clock = clock
        self.uploads: UploadLedger = MemoryUploadLedger()
        self.large_bytes = large_bytes
        self.tell_every_s = tell_every_s
        self.delete_grace_s = delete_grace_s
        self.unfenced = unfenced
        self.rules = rules
        self.source = like.source if like else FakeBuckets("riak-cs", clock)
        self.targets = like.targets if like else {rule.target: FakeBuckets(rule.target, clock) for rule in rules}
        for service in (self.source, *self.targets.values()):
            service.in_bulk = bulk
        for target in self.targets.values():
            target.takes_parts |= takes_parts
        self._concurrency = concurrency
        self.primary = like.primary if like else FakeStore(StoreName("primary"), clock=clock)
        self.journal = FakeJournal(journal_limit)
        self.catalog = FakeCatalog()
        self.tombstones = ObjectTombstones(self.primary, clock)
        self.fence = FillFence(clock, self.source, directory)
        self.log = ObjectWriteLog(
            rules, journal=self.journal, tombstones=self.tombstones, fence=self.fence, clock=clock
        )
        self.spool_path = spool_path
        self.spool = DiskSpool(spool_path, memory_bytes=memory_bytes, reserve_bytes=0, threads=2)
        self.spool.prepare()
        self.upstream = FakeUpstream(self.source)
        self.subresources = Subresources(self.source.store(PRIVATE), clock, keep_s=0)
        self.records = ObjectRecords(self.upstream, self.subresources, OWNER)
        self.through = ObjectReadThrough(
            rules,
            targets=self._targets,
            tombstones=self.tombstones,
            upstream=self.upstream,
            fence=self.fence,
            spool=self.spool,
            records=self.records,
            sharing=FetchSharing(clock),
        )
        self.tally = MirrorTally()
        self.acls: ObjectAcls | None = None
        self.at_service: dict[str, ServerCopies] = {}
        self._schedule = schedule
        self._read_back = read_back
        self.mirror = self.new_mirror()

    @property
    def _targets(self) -> Mapping[str, BucketStores]:
        return dict(self.targets)

    def new_mirror(self) -> Mirror:
        """As a fresh process has it."""
        plans = {rule.name: LanePlan((self.source, self.targets[rule.target])) for rule in self.rules}
        self.lanes = Lanes(self.clock, plans, concurrency=self._concurrency)
        large = LargeCopier(
            self.uploads,
            self.clock,
            above_bytes=self.large_bytes,
            buffers=2,
            admit=self.lanes.go_on,
            moving=self.lanes.moving,
            tell_every_s=self.tell_every_s,
        )
        tags = SourceTags(self.source, PRIVATE, self.clock)
        states = TargetStates(self.catalog, self.clock, unfenced=self.unfenced)
        copier = ObjectCopier(
            self.rules,
            source=self.source,
            targets=self._targets,
            tombstones=self.tombstones,
            journal=self.journal,
            spool=self.spool,
            clock=self.clock,
            read_back=self._read_back,
            tags=tags,
            states=states,
            large=large,
            delete_grace_s=self.delete_grace_s,
            answered=self.lanes.answered,
            moving=self.lanes.moving,
            at_service=self.at_service,
            acls=self.acls,
        )
        return Mirror(
            copier.work,
            journal=self.journal,
            catalog=self.catalog,
            lanes=self.lanes,
            clock=self.clock,
            schedule=self._schedule,
            jitter=lambda: 1.0,
            tally=self.tally,
            batch=256,
            large_bytes=self.large_bytes,
            read_through=[rule.name for rule in self.rules if rule.read_through],
            together=BulkObjectCopier(
                copier,
                self.rules,
                source=self.source,
                targets=self._targets,
                clock=self.clock,
                tags=tags,
                states=states,
            ),
        )

    # A client through the gateway

    async def put(self, key: str, data: bytes, bucket: Bucket = B, metadata: Mapping[str, str] | None = None) -> str:
        await self.log.ready(bucket, key)
        info = await self.source.store(bucket).put(Key(key), data, content_type="text/plain", metadata=metadata)
        await self.log.wrote(bucket, key, info.etag, info.size)
        return info.etag

    async def tag(self, key: str, tags: Tags, bucket: Bucket = B) -> None:
        """As PUT ?tagging does, or DELETE ?tagging with none."""
        await self.log.ready(bucket, key)
        info = await self.source.store(bucket).head(Key(key))
        await self.subresources.keep_extras(bucket, key, _identity(info), ObjectExtras(tags))
        await self.log.wrote(bucket, key, info.etag, info.size)

    async def tags(self, key: str, bucket: Bucket = B) -> Tags:
        """What GET ?tagging answers."""
        info = await self.source.store(bucket).head(Key(key))
        return (await self.subresources.extras(bucket, key, _identity(info), certain=True)).tags

    async def delete(self, key: str, bucket: Bucket = B, *, takes_s: float = 0.0) -> None:
        await self.log.deleting(bucket, key)
        if takes_s:
            await self.clock.sleep(takes_s)
        await self.source.store(bucket).delete(Key(key))
        await self.log.deleted(bucket, key)

    async def read(self, key: str, bucket: Bucket = B, headers: dict[str, str] | None = None) -> bytes | None:
        """None: 404."""
        try:
            reader = await self.source.store(bucket).get(Key(key))
            return b"".join([chunk async for chunk in reader])
        except NotFound:
            reply = await self.through.send(Ask("GET", OWNER, bucket, key, headers=headers or {}), OWNER)
        if reply is None:
            return None
        try:
            return await reply.read_all(1 << 30)
        finally:
            reply.close()

    def lose(self, key: str, bucket: Bucket = B) -> None:
        """Riak CS has lost it; nobody deleted it."""
        self.source.store(bucket).lose(key)

    # The agent

    async def drain(self, mirror: Mirror | None = None, *, most_s: float = 86_400.0) -> None:
        mirror = mirror or self.mirror
        await drain(self.journal, mirror, self.clock, most_s)
        # Not aclose(): what stops does not go on.
        while mirror.workers:
            await mirror.once()

    def copies(self, target: str = "t", bucket: Bucket = B) -> dict[str, bytes]:
        store = self.targets[target].store(bucket)
        return {name: store.data(name) for name in store.names}


@contextlib.contextmanager
def object_nodes(clock: Clock, folder: Path, *rules: MirrorRule, **always: Any) -> Iterator[Callable[..., ObjectNode]]:
    """Makes nodes, with these rules and options unless others are given, and closes them: their spools must be empty
    then."""
    nodes: list[ObjectNode] = []

    def make(*others: MirrorRule, **more: Any) -> ObjectNode:
        node = ObjectNode(clock, folder / f"spool{len(nodes)}", *(others or rules), **{**always, **more})
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.spool.close()
        assert list(node.spool_path.iterdir()) == []


def reply_date(info: ObjectInfo) -> str:
    return http_date(int(info.modified_at))


def _identity(info: ObjectInfo) -> str:
    return identity_of({"etag": f'"{info.etag}"', "last-modified": reply_date(info)})
