"""Each adapter from its part of the settings. Nothing else in Millrace constructs one."""

from __future__ import annotations

import logging
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.adapters.spool import DiskSpool
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.adapters.sqlite.upload_ledger import SqliteUploadLedger
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import StoreName
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Announcer, Directory
from controlplane.ports.errors import Unavailable
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import ObjectStore
from controlplane.settings.cloud_stores import AzureStore, GcsStore
from controlplane.settings.stores import FilesystemStore as FilesystemSettings
from controlplane.settings.stores import MemoryStore, S3Store, Store
from controlplane.settings.tree import Settings
from controlplane.wiring.cloud_stores import build_cloud_store
from controlplane.wiring.cluster_stores import open_riak_catalog, open_riak_journal, with_tier

if TYPE_CHECKING:
    from controlplane.adapters.etcd import EtcdOptions
    from controlplane.adapters.s3 import S3Options
    from controlplane.ports.hot_cache import HotCache

log = logging.getLogger(__name__)

PRIMARY = StoreName("primary")
PERSISTENT = StoreName("persistent")

_WORKER = "worker-"
_MOST_DIGESTING = 8
"""Threads."""


async def build_store(name: StoreName, store: Store, clock: Clock) -> ObjectStore:
    """The store, ready for use: an embedded one is opened, a bucket that may be created is. Raises what a port may."""
    match store:
        case FilesystemSettings():
            embedded = FilesystemStore(name, store.path, clock=clock, fsync=store.fsync)
            try:
                await embedded.open()
            except Unavailable as error:
                if name != PERSISTENT:
                    raise
                # It starts and serves without (I10): once opened in the past, the store works as soon as it is back.
                log.warning("the persistent store is away: %s", error)
            return embedded
        case MemoryStore():
            from controlplane.adapters.memory.object_store import MemoryObjectStore

            return MemoryObjectStore(name, clock=clock)
        case S3Store():
            return await _build_s3(name, store, clock)
        case AzureStore() | GcsStore():
            return await build_cloud_store(name, store)
        case _:
            assert_never(store)


async def _build_s3(name: StoreName, store: S3Store, clock: Clock) -> ObjectStore:
    from controlplane.adapters.s3 import S3ObjectStore

    options = s3_options(store)
    bucket = S3ObjectStore(name, options, clock=clock, random=random.Random())  # noqa: S311 - jitter, not a secret
    if store.create_bucket:
        try:
            await bucket.create_bucket()
        except Unavailable as error:
            # It starts and serves without (I10); readiness says so, and the next start creates the bucket.
            log.warning("bucket %s could not be looked for: %s", options.bucket, error)
    return bucket


def s3_options(store: S3Store) -> S3Options:
    from controlplane.adapters.s3 import S3Options

    return S3Options(
        endpoints=store.endpoints,
        bucket=store.bucket,
        prefix=store.prefix,
        region=store.region,
        access_key=store.access_key,
        secret_key=store.secret_key.reveal() if store.secret_key is not None else "",
        signature=store.signature,
        list_version=store.list_version,
        conditional_put=store.conditional_put,
        ca_file=store.ca_file,
        connections=store.connections,
        pipeline=store.pipeline,
        connect_timeout_s=store.connect_timeout_s,
        read_timeout_s=store.read_timeout_s,
        attempts=store.attempts,
        part_bytes=store.part_bytes,
        part_concurrency=store.part_concurrency,
    )


def is_local(store: Store) -> bool:
    """Whether its objects are files of this machine, which can be sent as they are."""
    return isinstance(store, FilesystemSettings)


async def open_journal(settings: Settings) -> Journal:
    """The gateway and the agent may have it open at once; one in Riak KV all nodes."""
    if settings.journal.kind == "riak_kv":
        return await open_riak_journal(settings, SystemClock())
    journal = SqliteJournal(settings.node.data_dir / "journal.db", limit=settings.journal.limit)
    await journal.open()
    return journal


async def open_catalog(settings: Settings) -> Catalog:
    if settings.catalog.kind == "riak_kv":
        return await open_riak_catalog(settings, SystemClock())
    catalog = SqliteCatalog(settings.node.data_dir / "catalog.db")
    await catalog.open()
    return catalog


async def open_upload_ledger(settings: Settings) -> SqliteUploadLedger:
    """The agent's own."""
    ledger = SqliteUploadLedger(settings.node.data_dir / "uploads.db")
    await ledger.open()
    return ledger


async def open_hot_cache(settings: Settings, clock: Clock, worker: int = 0) -> HotCache:
    """Each worker's own, with its part of the bound."""
    # Not at the top: the agent has none.
    from controlplane.adapters.disk_cache import DiskHotCache
    from controlplane.adapters.memory.hot_cache import MemoryHotCache, NoHotCache

    cache = settings.hot_cache
    limit_bytes = cache.limit_bytes // settings.gateway.workers
    match cache.kind:
        case "none":
            return NoHotCache()
        case "memory":
            return MemoryHotCache(limit_bytes=limit_bytes, max_blob_bytes=cache.max_blob_bytes)
        case _:
            disk = DiskHotCache(
                worker_folder(_hot_folder(settings), worker),
                limit_bytes=limit_bytes,
                max_blob_bytes=cache.max_blob_bytes,
                open_files=cache.open_files,
                clock=clock,
            )
            await disk.open()
            return disk if cache.kind == "disk" else with_tier(settings, disk, clock)


def open_spool(settings: Settings, worker: int = 0) -> DiskSpool:
    """Beside an embedded primary, so that it can link what was received instead of copying it."""
    folder = worker_folder(_spool_folder(settings), worker)
    spool = DiskSpool(folder, memory_bytes=settings.gateway.spool_memory_bytes)
    spool.prepare()
    return spool


def worker_folder(folder: Path, worker: int) -> Path:
    """The first worker has the folder that a gateway of one process has; the others have theirs in it."""
    return folder / f"{_WORKER}{worker}" if worker else folder


def remove_surplus_folders(settings: Settings) -> None:
    """What a gateway with more workers left behind. Only for who holds the node's lock. Raises OSError."""
    for folder in (_spool_folder(settings), _hot_folder(settings)):
        for left in folder.glob(f"{_WORKER}*"):
            number = left.name.removeprefix(_WORKER)
            if not number.isdecimal() or int(number) >= settings.gateway.workers:
                shutil.rmtree(left)


def _spool_folder(settings: Settings) -> Path:
    return settings.node.data_dir / "spool"


def _hot_folder(settings: Settings) -> Path:
    return settings.hot_cache.path or settings.node.data_dir / "hot"


def open_agent_spool(settings: Settings) -> DiskSpool:
    """The agent's own: opening one removes what an earlier process left in it.

    Its digests take half of the CPUs at most. With all of them they are done soon, and then wait for what they kept
    from its work: the services at both ends and the gateway, where those are on this host, and this process's own loop.
    """
    folder = settings.node.data_dir / "agent-spool"
    threads = min(_MOST_DIGESTING, max(1, len(os.sched_getaffinity(0)) // 2))
    spool = DiskSpool(folder, memory_bytes=settings.gateway.spool_memory_bytes, threads=threads, stays=False)
    spool.prepare()
    return spool


def build_directory(settings: Settings, clock: Clock) -> Directory:
    """etcd when its endpoints are configured, else an in-process directory that nobody else sees."""
    if not settings.directory.etcd.endpoints:
        from controlplane.adapters.memory.directory import InProcessDirectory

        return InProcessDirectory(clock)
    from controlplane.adapters.etcd import EtcdDirectory

    return EtcdDirectory(etcd_options(settings), settings.node.cluster, clock)


def etcd_options(settings: Settings) -> EtcdOptions:
    from controlplane.adapters.etcd import EtcdOptions

    etcd = settings.directory.etcd
    return EtcdOptions(
        endpoints=etcd.endpoints,
        username=etcd.username,
        password=etcd.password.reveal() if etcd.password is not None else "",
        ca_file=etcd.ca_file,
        cert_file=etcd.cert_file,
        key_file=etcd.key_file,
        timeout_s=etcd.timeout_s,
    )


def build_v2_publisher(settings: Settings) -> Announcer | None:
    """The same endpoint set in the etcd v2 keyspace, when it is asked for."""
    directory = settings.directory
    if not directory.v2:
        return None
    from controlplane.adapters.etcd_v2 import EtcdV2Publisher

    etcd = directory.etcd
    return EtcdV2Publisher(
        directory.v2_endpoints or etcd.endpoints,
        settings.node.cluster,
        username=etcd.username,
        password=etcd.password.reveal() if etcd.password is not None else "",
        ca_file=etcd.ca_file,
        cert_file=etcd.cert_file,
        key_file=etcd.key_file,
        timeout_s=etcd.timeout_s,
    )
