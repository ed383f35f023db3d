"""Services over memory adapters whose every step can be made to fail, to lie, or to take (virtual) time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.adapters.memory.catalog import MemoryCatalog
from controlplane.adapters.memory.hot_cache import MemoryHotCache
from controlplane.adapters.memory.journal import MemoryJournal
from controlplane.adapters.memory.object_store import MemoryObjectStore
from controlplane.adapters.spool import DiskSpool
from controlplane.model.content import Content, Guid, Md5, Sha256
from controlplane.model.copies import Copy
from controlplane.model.endpoints import Endpoint
from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, Key, StoreName, blob_key
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.retry import RetrySchedule
from controlplane.model.tally import BlobTally, MirrorTally
from controlplane.model.task import Draft, Task
from controlplane.ports.bulk_store import SmallObject, SmallPut
from controlplane.ports.catalog import Quarantined
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError, Unavailable
from controlplane.ports.object_store import Body, ByteRange, ObjectInfo, ObjectStore
from controlplane.ports.server_copy import ServerCopy
from controlplane.services.blobs import BlobWriter, Stored
from controlplane.services.bulk_copying import BulkCopier
from controlplane.services.copying import Copier
from controlplane.services.fetch_sharing import FetchSharing
from controlplane.services.filling import BlobFiller
from controlplane.services.guid_locks import GuidLocks
from controlplane.services.lanes import LanePlan, Lanes
from controlplane.services.mirror import Mirror
from controlplane.services.open_blob import OpenBlob
from controlplane.services.reading import BlobReader

PRIMARY = StoreName("primary")
PERSISTENT = StoreName("persistent")

T = TypeVar("T")
Fault = Callable[[str, Key], None]


def content_of(data: bytes) -> Content:
    """The identity of these bytes."""
    return Content(
        Md5(hashlib.md5(data, usedforsecurity=False).hexdigest()), Sha256(hashlib.sha256(data).hexdigest()), len(data)
    )


async def in_chunks(data: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    """A body as it comes from a client."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


def failing(*ops: str, error: Callable[[], MillraceError] = lambda: Unavailable("told to"), key: str = "") -> Fault:
    """A fault for MemoryObjectStore: these operations fail on keys that contain `key`; without names: all do."""

    def fault(op: str, at: Key) -> None:
        if (not ops or op in ops) and key in at:
            raise error()

    return fault


class FakeStore(MemoryObjectStore):
    """Counts what it is asked, and may lie: see `lie`."""

    def __init__(self, name: StoreName, *, clock: Clock, limit_bytes: int | None = None) -> None:
        super().__init__(name, clock=clock, limit_bytes=limit_bytes)
        self.calls: dict[str, int] = {}
        self.under_way = 0
        self.most_under_way = 0
        self.lie: str | None = None
        """What a put of a blob really does: "nothing" keeps nothing, "damage" keeps one byte wrong, "short" keeps half,
        "etag" answers another ETag at every look."""
        self._looks = 0

    async def _begin(self, op: str, key: str) -> None:
        self.calls[op] = self.calls.get(op, 0) + 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await super()._begin(op, key)
        finally:
            self.under_way -= 1

    async def put(
        self,
        key: Key,
        body: Body,
        *,
        size: int | None = None,
        content: Content | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        info = await super().put(
            key,
            body,
            size=size,
            content=content,
            content_type=content_type,
            metadata=metadata,
            if_absent=if_absent,
            if_match=if_match,
        )
        if self.lie == "nothing":
            await super().delete(key)
        elif self.lie == "damage":
            damage(self, key)
        elif self.lie == "short":
            shorten(self, key)
        return info

    async def head(self, key: Key) -> ObjectInfo:
        info = await super().head(key)
        if self.lie == "etag":
            self._looks += 1
            return replace(info, etag=f"another-{self._looks}")
        return info

    def has(self, key: str) -> bool:
        """Whether the object is there; never fails, counts as no call."""
        return key.encode() in self._objects

    @property
    def names(self) -> list[str]:
        return [raw.decode() for raw in self._sorted]

    def data(self, key: str) -> bytes:
        return self._objects[key.encode()].data

    def lose(self, key: str) -> None:
        """The object is gone, and nobody deleted it."""
        raw = key.encode()
        self._objects.pop(raw)
        self._sorted.remove(raw)

    def replace_bytes(self, key: str, data: bytes, *, honest_etag: bool) -> None:
        """Other bytes under the same claims, as a rotten disk or a bad proxy leaves them."""
        kept = self._objects[key.encode()]
        etag = content_of(data).md5 if honest_etag else kept.info.etag
        self._objects[key.encode()] = replace(kept, data=data, info=replace(kept.info, size=len(data), etag=etag))


def damage(store: FakeStore, key: str, *, honest_etag: bool = True) -> None:
    """Turn one bit of an object over; its metadata claims what it claimed."""
    data = bytearray(store.data(key))
    data[len(data) // 2] ^= 1
    store.replace_bytes(key, bytes(data), honest_etag=honest_etag)


def shorten(store: FakeStore, key: str) -> None:
    store.replace_bytes(key, store.data(key)[: store._objects[key.encode()].info.size // 2], honest_etag=False)


class OneByOne:
    """BulkStore over a fake, whose faults and lies it shares: what fails is None. `drop` makes more of that; with
    `after` the operation has its effect and only its answer is lost."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.drop: Callable[[str, Key], bool] = lambda op, key: False
        self.after = False
        self.batches: list[tuple[str, int]] = []

    async def _each(self, op: str, keys: Sequence[Key], ask: Callable[[int], Awaitable[T]]) -> list[T | None]:
        self.batches.append((op, len(keys)))
        answers: list[T | None] = []
        for place, key in enumerate(keys):
            answer = None
            lost = self.drop(op, key)
            if not lost or self.after:
                with contextlib.suppress(MillraceError):
                    answer = await ask(place)
            answers.append(None if lost else answer)
        return answers

    async def get_small(self, keys: Sequence[Key]) -> list[SmallObject | None]:
        async def ask(place: int) -> SmallObject:
            reader = await self._store.get(keys[place])
            return SmallObject(reader.info, b"".join([chunk async for chunk in reader]))

        return await self._each("get", keys, ask)

    async def put_small(self, puts: Sequence[SmallPut]) -> list[ObjectInfo | None]:
        async def ask(place: int) -> ObjectInfo:
            put = puts[place]
            return await self._store.put(
                put.key,
                put.body,
                content=put.content,
                content_type=put.content_type,
                metadata=put.metadata,
                if_absent=put.if_absent,
                if_match=put.if_match,
            )

        return await self._each("put", [put.key for put in puts], ask)

    async def head_many(self, keys: Sequence[Key]) -> list[ObjectInfo | None]:
        return await self._each("head", keys, lambda place: self._store.head(keys[place]))


@dataclass(slots=True)
class Faults:
    """Operations of a journal or a catalog that are to fail."""

    ops: set[str] = field(default_factory=set)
    error: Callable[[], MillraceError] = lambda: Unavailable("told to")
    latency: float = 0.0

    async def meet(self, op: str) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        if op in self.ops:
            raise self.error()


class FakeJournal(MemoryJournal):
    """Everything ever appended stays in `history`."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.faults = Faults()
        self.history: list[Task] = []

    async def append(self, draft: Draft, now: float) -> Task:
        await self.faults.meet("append")
        task = await super().append(draft, now)
        self.history.append(task)
        return task

    async def close(
        self, seqs: Sequence[int], *, copied: Mapping[int, int] | None = None, now: float = 0.0
    ) -> Sequence[Task]:
        await self.faults.meet("close")
        return await super().close(seqs, copied=copied, now=now)

    async def postpone(
        self, seq: int, *, attempts: int, due_at: float, error: str, failure: Failure | None = None
    ) -> None:
        await self.faults.meet("postpone")
        await super().postpone(seq, attempts=attempts, due_at=due_at, error=error, failure=failure)

    async def bury(self, seq: int, *, attempts: int, error: str, failure: Failure | None = None) -> None:
        await self.faults.meet("bury")
        await super().bury(seq, attempts=attempts, error=error, failure=failure)

    @property
    def open_tasks(self) -> list[Task]:
        return list(self._tasks.values())


class FakeCatalog(MemoryCatalog):
    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()

    async def get(self, guid: Guid) -> Manifest | None:
        await self.faults.meet("get")
        return await super().get(guid)

    async def record(self, manifest: Manifest) -> None:
        await self.faults.meet("record")
        await super().record(manifest)

    async def entomb(self, guid: Guid, at: float) -> None:
        await self.faults.meet("entomb")
        await super().entomb(guid, at)

    async def set_locations(self, updates: Sequence[tuple[Guid, Location]]) -> None:
        await self.faults.meet("set_locations")
        await super().set_locations(updates)

    async def record_copies(self, store: StoreName, bucket: Bucket, copies: Sequence[Copy]) -> None:
        await self.faults.meet("record_copies")
        await super().record_copies(store, bucket, copies)

    async def quarantine(self, entry: Quarantined) -> None:
        await self.faults.meet("quarantine")
        await super().quarantine(entry)


class Node:
    """One Millrace node: writer, reader and mirror over its own journal, catalog and cache. Nodes may share stores."""

    def __init__(
        self,
        clock: Clock,
        spool_path: Path,
        *,
        primary: FakeStore | None = None,
        local_primary: FilesystemStore | None = None,
        persistent: FakeStore | None = None,
        mirrored: bool = True,
        journal_limit: int = 10_000,
        memory_bytes: int = 1 << 20,
        hot_bytes: int = 8 << 20,
        hot_max_bytes: int = 4 << 20,
        recheck_s: float = 5.0,
        quarantine_limit: int = 2,
        read_back: bool = False,
        schedule: RetrySchedule = RetrySchedule(),  # noqa: B008 - frozen
        concurrency: int = 16,
        batch: int = 256,
        bulk: bool = False,
    ) -> None:
        self.clock = clock
        self.primary = primary or FakeStore(PRIMARY, clock=clock)
        self.near: ObjectStore = local_primary or self.primary
        """What the services use: `primary`, or files in its place."""
        self.persistent = persistent or FakeStore(PERSISTENT, clock=clock)
        self.journal = FakeJournal(journal_limit)
        self.catalog = FakeCatalog()
        self.hot = MemoryHotCache(hot_bytes, hot_max_bytes)
        self.spool_path = spool_path
        self.spool = DiskSpool(spool_path, memory_bytes=memory_bytes, reserve_bytes=0, threads=2)
        self.spool.prepare()
        self.tally = BlobTally()
        self.mirror_tally = MirrorTally()
        self.schedule = schedule
        self.bulk_primary = OneByOne(self.primary) if bulk else None
        self.bulk_persistent = OneByOne(self.persistent) if bulk else None
        self._concurrency = concurrency
        self._batch = batch
        self._read_back = read_back
        locks = GuidLocks()
        far = self.persistent if mirrored else None
        self.writer = BlobWriter(
            primary=self.near,
            persistent=far,
            catalog=self.catalog,
            journal=self.journal,
            hot=self.hot,
            spool=self.spool,
            clock=clock,
            tally=self.tally,
            quarantine_limit=quarantine_limit,
            locks=locks,
        )
        self.sharing = FetchSharing(clock)
        self.filler = BlobFiller(
            sharing=self.sharing,
            primary_is_local=local_primary is not None,
            primary=self.near,
            persistent=far,
            catalog=self.catalog,
            hot=self.hot,
            hot_max_bytes=hot_max_bytes,
            spool=self.spool,
            clock=clock,
            tally=self.tally,
            locks=locks,
        )
        self.reader = BlobReader(
            primary=self.near,
            primary_is_local=local_primary is not None,
            persistent=far,
            catalog=self.catalog,
            hot=self.hot,
            filler=self.filler,
            clock=clock,
            recheck_s=recheck_s,
            locks=locks,
        )
        self.at_service: ServerCopy | None = None
        self.mirror = self.new_mirror()

    def new_mirror(self) -> Mirror:
        """A mirror as a fresh process has it: it knows nothing but the journal."""
        copier = Copier(
            primary=self.near,
            persistent=self.persistent,
            catalog=self.catalog,
            journal=self.journal,
            clock=self.clock,
            read_back=self._read_back,
            at_service=self.at_service,
        )
        bulk = None
        if self.bulk_primary is not None and self.bulk_persistent is not None:
            bulk = BulkCopier(copier, primary=self.bulk_primary, persistent=self.bulk_persistent)
        return Mirror(
            copier.work,
            journal=self.journal,
            catalog=self.catalog,
            lanes=Lanes(self.clock, {"": LanePlan((self.near, self.persistent))}, concurrency=self._concurrency),
            clock=self.clock,
            schedule=self.schedule,
            jitter=lambda: 1.0,
            tally=self.mirror_tally,
            batch=self._batch,
            together=bulk,
        )

    async def store(self, data: bytes, *, expected: Guid | None = None, chunk: int = 64 * 1024) -> Stored:
        return await self.writer.store(
            in_chunks(data, chunk), size=len(data), content_type="text/plain", expected=expected
        )

    async def read(self, guid: Guid) -> bytes:
        return await read_all(await self.reader.open(guid))

    async def drain(self, mirror: Mirror | None = None, *, most_s: float = 86_400.0) -> None:
        mirror = mirror or self.mirror
        await drain(self.journal, mirror, self.clock, most_s)
        await mirror.aclose()

    def spool_files(self) -> list[Path]:
        return list(self.spool_path.iterdir())

    async def state_at_persistent(self, guid: Guid) -> LocationState | None:
        known = await self.catalog.get(guid)
        at = None if known is None else known.location(self.persistent.name)
        return None if at is None else at.state

    def keep_far_only(self, data: bytes) -> Guid:
        """A mirrored blob that the primary lost: nothing but the persistent store has it."""
        guid = content_of(data).md5
        self.primary.lose(blob_key(guid))
        return guid


async def drain(journal: FakeJournal, mirror: Mirror, clock: Clock, most_s: float) -> None:
    """Run the mirror until nothing is pending; virtual time passes."""
    until = clock.monotonic() + most_s
    while (await journal.stats()).pending:
        if not await mirror.once():
            await clock.sleep(0.1)
        assert clock.monotonic() < until, f"still pending: {journal.open_tasks}"


async def read_all(blob: OpenBlob) -> bytes:
    try:
        return b"".join([chunk async for chunk in blob.chunks(ByteRange(0, blob.content.size - 1))])
    finally:
        blob.release()


class FakeAnnouncer:
    """An endpoint directory with leases on the test's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.error: MillraceError | None = None
        self.announced: list[float] = []
        self.withdrawn: list[float] = []
        self._until = float("-inf")

    @property
    def visible(self) -> bool:
        return self._clock.now() < self._until

    async def announce(self, endpoint: Endpoint, ttl_s: float) -> None:
        if self.error is not None:
            raise self.error
        self.announced.append(self._clock.now())
        self._until = self._clock.now() + ttl_s

    async def withdraw(self, endpoint: Endpoint) -> None:
        if self.error is not None:
            raise self.error
        self.withdrawn.append(self._clock.now())
        self._until = float("-inf")

    async def aclose(self) -> None:
        """Nothing to close."""
