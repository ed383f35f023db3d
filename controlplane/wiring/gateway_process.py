"""The gateway: HTTP server, blob services, admin port; from settings to sockets and back."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from controlplane.adapters.no_read_through import NoReadThrough
from controlplane.adapters.no_write_log import NoWriteLog
from controlplane.adapters.watched_hot_cache import WatchedHotCache
from controlplane.gateway.auth import Authorizer, Grant, Right
from controlplane.gateway.blob_api import BlobApi
from controlplane.gateway.peer_api import PeerApi
from controlplane.gateway.probe_api import ProbeApi
from controlplane.http import HttpServer, Limits
from controlplane.model.tally import BlobTally, RequestTally
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.peers import Peers
from controlplane.ports.read_through import ReadThrough
from controlplane.ports.spool import Spool
from controlplane.ports.upstream import Upstream
from controlplane.ports.write_log import WriteLog
from controlplane.services.blobs import BlobWriter
from controlplane.services.fetch_sharing import Cluster, FetchSharing
from controlplane.services.filling import BlobFiller
from controlplane.services.guid_locks import GuidLocks
from controlplane.services.providers import Providers
from controlplane.services.reading import BlobReader
from controlplane.services.siblings import Siblings
from controlplane.settings.tls import Tls
from controlplane.settings.tree import Settings
from controlplane.status.admin_api import Check
from controlplane.status.sources import Sources
from controlplane.wiring.adapters import is_local, open_hot_cache, open_spool
from controlplane.wiring.admin_port import build_labels, in_url, started
from controlplane.wiring.probe_token import probe_token
from controlplane.wiring.worker_share import ALONE, WorkerShare

if TYPE_CHECKING:
    from controlplane.services.fill_fence import FillFence
    from controlplane.services.s3.object_records import ObjectRecords
    from controlplane.wiring.s3_front import S3FrontParts
    from controlplane.wiring.s3_mirror import S3Mirror

log = logging.getLogger(__name__)

NEEDED: Final = {"primary": True, "journal": True, "persistent": False, "riak_cs": True}
"""What readiness may look at, and whether the gateway is of use without it."""


def checked_parts(settings: Settings) -> list[str]:
    """Those of NEEDED that these settings have."""
    absent = {"persistent": settings.persistent is None, "riak_cs": not settings.s3.endpoints}
    return [name for name in NEEDED if not absent.get(name)]


class GatewayProcess:
    """The data path over stores, journal and catalog that its owner opened and will close."""

    def __init__(
        self,
        settings: Settings,
        *,
        primary: ObjectStore,
        persistent: ObjectStore | None,
        s3_mirror: S3Mirror | None,
        journal: Journal,
        catalog: Catalog,
        clock: Clock,
        share: WorkerShare = ALONE,
    ) -> None:
        self._settings = settings
        self._share = share
        self._servers: list[HttpServer] = []
        self._primary = primary
        self._persistent = persistent
        self._s3_mirror = s3_mirror
        self._journal = journal
        self._catalog = catalog
        self._clock = clock
        self._fence: FillFence | None = None
        self._closing = AsyncExitStack()
        self.url = ""
        """Where it listens, from start() on."""
        self.s3_url = ""
        """The same of the S3 front; empty when it is off."""
        self._s3: S3FrontParts | None = None
        self.sources = Sources(requests=RequestTally(), blobs=BlobTally(), labels=build_labels(settings))

    async def start(self) -> None:
        """Listen. Raises Rejected when the address is taken, and what opening the cache and the spool may raise."""
        settings, share = self._settings, self._share
        hot = await open_hot_cache(settings, self._clock, share.number)
        self._closing.push_async_callback(hot.aclose)
        if share.evictions is not None:
            hot = WatchedHotCache(hot, share.evictions, self._clock)
        spool = open_spool(settings, share.number)
        self._closing.callback(spool.close)
        self.sources.hot = hot
        assert self.sources.blobs is not None
        assert self.sources.requests is not None
        locks = GuidLocks(share.guids, self._clock)
        writer = BlobWriter(
            primary=self._primary,
            persistent=self._persistent,
            catalog=self._catalog,
            journal=self._journal,
            hot=hot,
            spool=spool,
            clock=self._clock,
            tally=self.sources.blobs,
            quarantine_limit=settings.gateway.quarantine_limit,
            locks=locks,
        )
        sharing = self._sharing()
        filler = BlobFiller(
            sharing=sharing,
            primary_is_local=is_local(settings.primary),
            primary=self._primary,
            persistent=self._persistent,
            catalog=self._catalog,
            hot=hot,
            hot_max_bytes=settings.hot_cache.max_blob_bytes,
            spool=spool,
            clock=self._clock,
            tally=self.sources.blobs,
            locks=locks,
        )
        self._closing.push_async_callback(filler.aclose)
        reader = BlobReader(
            primary=self._primary,
            primary_is_local=is_local(settings.primary),
            persistent=self._persistent,
            catalog=self._catalog,
            hot=hot,
            filler=filler,
            clock=self._clock,
            recheck_s=settings.gateway.tombstone_recheck_s,
            locks=locks,
        )
        peers = PeerApi(reader, sharing)
        api = BlobApi(
            writer=writer,
            reader=reader,
            probes=ProbeApi(self._primary),
            peers=peers,
            authorizer=_authorizer(settings, share),
            max_blob_bytes=settings.gateway.max_blob_bytes,
            public=settings.gateway.anonymous_read,
            tally=self.sources.requests,
            log_access=settings.log.access,
        )
        self.url = await self._listen(api)
        if settings.s3.endpoints:
            self.s3_url = await self._listen_s3(spool, sharing, peers)

    async def stop(self) -> None:
        """Stop accepting, let requests in progress finish within the grace, close what start() opened."""
        grace_s = self._settings.gateway.shutdown_grace_s
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))
        await self._closing.aclose()

    def checks(self) -> dict[str, Check]:
        """What readiness looks at."""
        looks: dict[str, Callable[[], Awaitable[object]]] = {
            "primary": self._primary.check,
            "journal": self._journal.stats,
        }
        if self._persistent is not None:
            looks["persistent"] = self._persistent.check
        if self._s3 is not None:
            looks["riak_cs"] = self._s3.upstream.check
        return {name: Check(look, needed=NEEDED[name]) for name, look in looks.items()}

    def _sharing(self) -> FetchSharing:
        """With the other workers, and with the other gateways when the cluster has a secret."""
        share, cluster = self._share.siblings, self._settings.cluster
        siblings, others = None, None
        if share is not None:
            siblings = Siblings(share.locks, self._peers(share.secret), share.urls, self._clock)
        if cluster.secret is not None and self._settings.directory.etcd.endpoints:
            from controlplane.wiring.adapters import build_directory

            directory = build_directory(self._settings, self._clock)
            self._closing.push_async_callback(directory.aclose)
            url = cluster.peer_url or _own_url(self._settings)
            providers = Providers(directory, self._clock, url=url, node=self._settings.node.name)
            others = Cluster(providers, self._peers(cluster.secret.reveal(), cluster.peer_ca_file))
        return FetchSharing(self._clock, siblings, others)

    def _peers(self, secret: str, ca_file: Path | None = None) -> Peers:
        # Not at the top: it brings in aiohttp.
        from controlplane.adapters.http_peers import HttpPeers

        peers = HttpPeers(secret, ca_file)
        self._closing.push_async_callback(peers.aclose)
        return peers

    async def _listen(self, api: BlobApi) -> str:
        gateway = self._settings.gateway
        limits = Limits(
            max_body_bytes=gateway.max_blob_bytes,
            header_timeout_s=gateway.header_timeout_s,
            body_timeout_s=gateway.body_timeout_s,
            idle_timeout_s=gateway.idle_timeout_s,
            min_body_rate=gateway.min_body_rate,
            max_connections=-(-gateway.max_connections // gateway.workers),
        )
        context = _tls_context(gateway.tls)
        server = HttpServer(
            api, limits, ssl_context=context, refuse=api.refuse, on_fault=api.on_fault, observe=api.observe
        )
        host, port = await self._started(server, self._share.blobs, gateway.host, gateway.port, "gateway.port")
        if self._share.siblings is not None:
            among = HttpServer(api, limits, refuse=api.refuse, on_fault=api.on_fault, observe=api.observe)
            await among.start_on(self._share.siblings.listener)
            self._servers.append(among)
        url = f"{'https' if context else 'http'}://{in_url(host)}:{port}"
        log.info("gateway listens on %s", url)
        return url

    async def _listen_s3(self, spool: Spool, sharing: FetchSharing, peers: PeerApi) -> str:
        # Not at the top: a gateway without the front does not need it.
        from controlplane.wiring.adapters import build_directory
        from controlplane.wiring.s3_front import S3FrontParts

        settings = self._settings
        directory = None
        if settings.directory.etcd.endpoints:
            directory = build_directory(settings, self._clock)
            self._closing.push_async_callback(directory.aclose)
        tally = self.sources.s3 = RequestTally()
        parts = self._s3 = S3FrontParts(
            settings,
            directory=directory,
            spool=spool,
            writes=self._write_log(directory),
            mirror=self._read_through(spool, sharing, peers) if self._s3_mirror is not None else None,
            clock=self._clock,
            closing=self._closing,
            tally=tally,
            changes=self._share.changes,
        )
        s3, front = settings.s3, parts.front
        context = _tls_context(s3.tls)
        server = HttpServer(
            front,
            parts.limits(settings),
            ssl_context=context,
            refuse=front.refuse,
            on_fault=front.on_fault,
            observe=front.observe,
        )
        host, port = await self._started(server, self._share.s3, s3.host, s3.port, "s3.port")
        url = f"{'https' if context else 'http'}://{in_url(host)}:{port}"
        log.info("S3 front listens on %s", url)
        return url

    async def _started(
        self, server: HttpServer, shared: socket.socket | None, host: str, port: int, setting: str
    ) -> tuple[str, int]:
        if shared is None:
            where = await started(server, host, port, setting)
        else:
            where = await server.start_on(shared, shared=True)
        self._servers.append(server)
        return where

    def _write_log(self, directory: Directory | None) -> WriteLog:
        mirror = self._s3_mirror
        if mirror is None or not self._settings.s3.journal:
            return NoWriteLog()
        from controlplane.services.fill_fence import FillFence
        from controlplane.services.object_write_log import ObjectWriteLog

        self._fence = FillFence(self._clock, mirror.source, directory, self._share.fills)

        return ObjectWriteLog(
            mirror.rules,
            journal=self._journal,
            tombstones=mirror.tombstones,
            fence=self._fence,
            clock=self._clock,
        )

    def _read_through(
        self, spool: Spool, sharing: FetchSharing, peers: PeerApi
    ) -> Callable[[Upstream, ObjectRecords], ReadThrough]:
        from controlplane.services.object_read_through import ObjectReadThrough

        def build(upstream: Upstream, records: ObjectRecords) -> ReadThrough:
            mirror, fence = self._s3_mirror, self._fence
            if mirror is None or fence is None:
                return NoReadThrough()
            reading = ObjectReadThrough(
                mirror.rules,
                targets=mirror.targets,
                tombstones=mirror.tombstones,
                upstream=upstream,
                fence=fence,
                spool=spool,
                records=records,
                sharing=sharing,
            )
            peers.objects = reading
            self._closing.push_async_callback(reading.aclose)
            return reading

        return build


def _tls_context(tls: Tls) -> ssl.SSLContext | None:
    if tls.cert_file is None or tls.key_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _authorizer(settings: Settings, share: WorkerShare) -> Authorizer:
    grants = [
        Grant.of(token.name, token.secret.reveal(), frozenset(Right(scope.value) for scope in token.scopes))
        for token in settings.tokens
    ]
    grants.append(Grant.of("probe", probe_token(settings.node.data_dir), frozenset({Right.PROBE})))
    if settings.cluster.secret is not None:
        grants.append(Grant.of("peer", settings.cluster.secret.reveal(), frozenset({Right.PEER})))
    if share.siblings is not None:
        grants.append(Grant.of("sibling", share.siblings.secret, frozenset({Right.PEER})))
    return Authorizer(grants, anonymous_read=settings.gateway.anonymous_read)


def _own_url(settings: Settings) -> str:
    """Where this gateway listens, as the settings say."""
    gateway = settings.gateway
    return f"{'https' if gateway.tls.cert_file else 'http'}://{in_url(gateway.host)}:{gateway.port}"
