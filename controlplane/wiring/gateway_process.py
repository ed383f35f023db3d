"""The gateway: HTTP server, blob services, admin port; from settings to sockets and back."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from controlplane.adapters.no_read_through import NoReadThrough
from controlplane.adapters.no_write_log import NoWriteLog
from controlplane.gateway.auth import Authorizer, Grant, Right
from controlplane.gateway.blob_api import BlobApi
from controlplane.gateway.probe_api import ProbeApi
from controlplane.http import HttpServer, Limits
from controlplane.model.tally import BlobTally, RequestTally
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.errors import Rejected
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.read_through import ReadThrough
from controlplane.ports.spool import Spool
from controlplane.ports.upstream import Upstream
from controlplane.ports.write_log import WriteLog
from controlplane.services.blobs import BlobWriter
from controlplane.services.filling import BlobFiller
from controlplane.services.guid_locks import GuidLocks
from controlplane.services.reading import BlobReader
from controlplane.settings.tls import Tls
from controlplane.settings.tree import Settings
from controlplane.status.admin_api import AdminApi, Check
from controlplane.status.exposition import Sources
from controlplane.version import VERSION
from controlplane.wiring.adapters import is_local, open_hot_cache, open_spool
from controlplane.wiring.probe_token import probe_token

if TYPE_CHECKING:
    from controlplane.services.fill_fence import FillFence
    from controlplane.wiring.s3_front import S3FrontParts
    from controlplane.wiring.s3_mirror import S3Mirror

log = logging.getLogger(__name__)


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
    ) -> None:
        self._settings = settings
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
        settings = self._settings
        hot = await open_hot_cache(settings, self._clock)
        self._closing.push_async_callback(hot.aclose)
        spool = open_spool(settings)
        self._closing.callback(spool.close)
        self.sources.hot = hot
        assert self.sources.blobs is not None
        assert self.sources.requests is not None
        locks = GuidLocks()
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
        filler = BlobFiller(
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
        api = BlobApi(
            writer=writer,
            reader=reader,
            probes=ProbeApi(self._primary),
            authorizer=_authorizer(settings),
            max_blob_bytes=settings.gateway.max_blob_bytes,
            public=settings.gateway.anonymous_read,
            tally=self.sources.requests,
            log_access=settings.log.access,
        )
        self.url = await self._listen(api)
        if settings.s3.endpoints:
            self.s3_url = await self._listen_s3(spool)

    async def stop(self) -> None:
        """Stop accepting, let requests in progress finish within the grace, close what start() opened."""
        await self._closing.aclose()

    def checks(self) -> dict[str, Check]:
        """What readiness looks at."""
        checks = {
            "primary": Check(self._primary.check, needed=True),
            "journal": Check(self._journal.stats, needed=True),
        }
        if self._persistent is not None:
            checks["persistent"] = Check(self._persistent.check, needed=False)
        if self._s3 is not None:
            checks["riak_cs"] = Check(self._s3.upstream.check, needed=True)
        return checks

    async def _listen(self, api: BlobApi) -> str:
        gateway = self._settings.gateway
        limits = Limits(
            max_body_bytes=gateway.max_blob_bytes,
            header_timeout_s=gateway.header_timeout_s,
            body_timeout_s=gateway.body_timeout_s,
            idle_timeout_s=gateway.idle_timeout_s,
            min_body_rate=gateway.min_body_rate,
            max_connections=gateway.max_connections,
        )
        context = _tls_context(gateway.tls)
        server = HttpServer(
            api, limits, ssl_context=context, refuse=api.refuse, on_fault=api.on_fault, observe=api.observe
        )
        host, port = await _started(server, gateway.host, gateway.port, "gateway.port")
        self._closing.push_async_callback(server.stop, gateway.shutdown_grace_s)
        url = f"{'https' if context else 'http'}://{_in_url(host)}:{port}"
        log.info("gateway listens on %s", url)
        return url

    async def _listen_s3(self, spool: Spool) -> str:
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
            mirror=self._read_through(spool) if self._s3_mirror is not None else None,
            clock=self._clock,
            closing=self._closing,
            tally=tally,
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
        host, port = await _started(server, s3.host, s3.port, "s3.port")
        self._closing.push_async_callback(server.stop, settings.gateway.shutdown_grace_s)
        url = f"{'https' if context else 'http'}://{_in_url(host)}:{port}"
        log.info("S3 front listens on %s", url)
        return url

    def _write_log(self, directory: Directory | None) -> WriteLog:
        mirror = self._s3_mirror
        if mirror is None or not self._settings.s3.journal:
            return NoWriteLog()
        from controlplane.services.fill_fence import FillFence
        from controlplane.services.object_write_log import ObjectWriteLog

        self._fence = FillFence(self._clock, mirror.source, directory)

        return ObjectWriteLog(
            mirror.rules,
            journal=self._journal,
            tombstones=mirror.tombstones,
            fence=self._fence,
            clock=self._clock,
        )

    def _read_through(self, spool: Spool) -> Callable[[Upstream], ReadThrough]:
        from controlplane.services.object_read_through import ObjectReadThrough

        def build(upstream: Upstream) -> ReadThrough:
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
            )
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


async def start_admin(
    settings: Settings, port: int, checks: dict[str, Check], sources: Sources, journal: Journal, clock: Clock
) -> HttpServer:
    """The admin port of a process."""
    api = AdminApi(checks, sources, journal, clock)
    server = HttpServer(api, Limits(max_body_bytes=0))
    host, port = await _started(server, settings.admin.host, port, "admin.port and admin.agent_port")
    log.info("admin port listens on http://%s:%d", _in_url(host), port)
    return server


async def _started(server: HttpServer, host: str, port: int, setting: str) -> tuple[str, int]:
    try:
        return await server.start(host, port)
    except OSError as error:
        raise Rejected(
            f"cannot listen on {host} port {port}: {error.strerror}; `ss -ltnp` shows who holds it, or change {setting}"
        ) from error


def build_labels(settings: Settings) -> dict[str, str]:
    return {"version": VERSION, "cluster": settings.node.cluster, "node": settings.node.name}


def _authorizer(settings: Settings) -> Authorizer:
    grants = [
        Grant.of(token.name, token.secret.reveal(), frozenset(Right(scope.value) for scope in token.scopes))
        for token in settings.tokens
    ]
    grants.append(Grant.of("probe", probe_token(settings.node.data_dir), frozenset({Right.PROBE})))
    return Authorizer(grants, anonymous_read=settings.gateway.anonymous_read)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
