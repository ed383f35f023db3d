"""What doctor asks over the network: stores, clocks, etcd, and the processes of this node when they run."""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
import ssl
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from controlplane.cli.doctor import MEMBER, RIAK_NODE, Check, Finding, Health
from controlplane.cli.doctor_conditions import ignored_by, judged
from controlplane.cli.gateways import own_url
from controlplane.ports.errors import Corrupt, NotFound, Unavailable
from controlplane.settings.cloud_stores import AzureStore, GcsStore
from controlplane.settings.stores import S3Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controlplane.settings.stores import Store
    from controlplane.settings.tree import Settings

_SKEW_WARN_S = 30.0
_SKEW_FAIL_S = 300.0
"""S3 servers refuse signatures that are 15 minutes off."""
_PROBE_BYTES = 4096
_LOOKS, _LOOK_S = 10, 0.05
_STORE_ADVICE = "check address, credentials, bucket and network; the service goes on without the persistent store"


def checks(settings: Settings, timeout_s: float) -> list[Check]:
    found: list[Check] = []
    for name, store in (("primary", settings.primary), ("persistent", settings.persistent), *_targets(settings)):
        if store is None:
            continue
        advice = _STORE_ADVICE if name != "primary" else "nothing can be stored before this is right"
        if not isinstance(store, S3Store | AzureStore | GcsStore) or "{bucket}" not in store.bucket:
            found.append(Check(f"{name} store", partial(_store, name, store, timeout_s), advice))
        if isinstance(store, S3Store | AzureStore | GcsStore):
            found += [
                Check(f"clock of {url}", partial(_clock, url, store, timeout_s), "compare the clocks by hand")
                for url in (store.endpoints if store.kind == "s3" else (store.endpoint,))
            ]
    directory = settings.directory
    found += [
        Check(MEMBER + url, partial(_etcd, url, settings, timeout_s), "start it, or check network and credentials")
        for url in directory.etcd.endpoints
    ]
    if directory.v2:
        found += [
            Check(f"etcd v2 {url}", partial(_etcd_v2, url, settings, timeout_s), "start etcd with --enable-v2")
            for url in directory.v2_endpoints or directory.etcd.endpoints
        ]
    if "riak_kv" in (settings.journal.kind, settings.catalog.kind, settings.hot_cache.kind):
        riak = settings.riak_kv
        advice = "start it, or check network and credentials; writes are refused while the journal is away"
        found += [
            Check(RIAK_NODE + url, partial(_riak_kv, url, settings, timeout_s), advice)
            for url in (riak.pb_endpoints if riak.protocol == "pb" else riak.endpoints)
        ]
    if settings.hot_cache.kind in ("redis", "memcached", "riak_kv"):
        advice = "requests go on without it, and ask the stores"
        found.append(Check("hot tier", partial(_hot_tier, settings, timeout_s), advice))
    if settings.gc.socket is not None:
        advice = "look at millrace-riak-cs-gc.socket, Riak CS and etcd; deleted data stays on disk meanwhile"
        found.append(Check("garbage collection", partial(_gc, settings, timeout_s), advice))
    admin = settings.admin
    found += [
        Check("gateway", partial(_gateway, own_url(settings), settings, timeout_s)),
        Check("gateway admin", partial(_ready, "gateway admin", "gateway", admin.host, admin.port, timeout_s)),
        Check("agent admin", partial(_ready, "agent admin", "agent", admin.host, admin.agent_port, timeout_s)),
    ]
    return found


def _targets(settings: Settings) -> list[tuple[str, Store]]:
    """Those of the mirror's rules, as stores that can be tried. Where each bucket has one of its own at the target,
    there is none to try: only the address is."""
    targets: list[tuple[str, Store]] = []
    for rule in settings.mirror.rules:
        store = rule.target
        if isinstance(store, S3Store | AzureStore | GcsStore):
            store = store.model_copy(update={"prefix": store.prefix.replace("{bucket}", "millrace-doctor")})
        # Several rules may be about the same buckets: a check is known by its name.
        about = rule.name or (f"{rule.buckets}/{rule.prefix}" if rule.prefix else rule.buckets)
        targets.append((f"{about} target", store))
    return targets


def _riak_kv(url: str, settings: Settings, timeout_s: float) -> Finding:
    """Whether this node of Riak KV answers, and has the bucket types."""
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.cluster_stores import build_riak_kv

    riak = settings.riak_kv
    kinds = [riak.bucket_type] if "riak_kv" in (settings.journal.kind, settings.catalog.kind) else []
    kinds += [riak.hot_bucket_type] if settings.hot_cache.kind == "riak_kv" else []
    only = riak.model_copy(update={"endpoints": (url,), "pb_endpoints": (url,)})
    alone = settings.model_copy(update={"riak_kv": only})

    async def ask() -> None:
        for kind in kinds:
            kv = build_riak_kv(alone, SystemClock(), kind)
            try:
                await kv.ping()
                await kv.fetch(f"{settings.node.cluster}.doctor", "none")
                if kind == riak.bucket_type:
                    await kv.index(f"{settings.node.cluster}.doctor", "none_bin", "0", "1", limit=1)
                    await kv.require_siblings(f"{settings.node.cluster}.doctor")
            finally:
                await kv.aclose()

    asyncio.run(asyncio.wait_for(ask(), timeout_s))
    return Finding(RIAK_NODE + url, Health.OK, f"answers, and has {', '.join(kinds)}")


def _hot_tier(settings: Settings, timeout_s: float) -> Finding:
    """A value is put, read and removed. Requests go on without the tier: what is wrong with it is a warning."""
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.cluster_stores import build_tier

    name, value = f"doctor-{secrets.token_hex(8)}", secrets.token_bytes(_PROBE_BYTES)

    async def ask() -> bytes | None:
        tier = build_tier(settings, SystemClock())
        try:
            await tier.put(name, value)
            found = None
            for _ in range(_LOOKS):  # of three replicas, the one that answers first may not have it yet
                found = await tier.get(name)
                if found is not None:
                    break
                await asyncio.sleep(_LOOK_S)
            await tier.forget(name)
            return found
        finally:
            await tier.aclose()

    advice = "requests go on without it, and ask the stores"
    try:
        back = asyncio.run(asyncio.wait_for(ask(), timeout_s))
    except Unavailable as error:
        return Finding("hot tier", Health.WARN, str(error), advice)
    if back != value:
        return Finding("hot tier", Health.WARN, "what was put did not come back", advice)
    return Finding("hot tier", Health.OK, f"{settings.hot_cache.kind} keeps what is put")


def _store(name: str, store: Store, timeout_s: float) -> Finding:
    """check(), then PUT, GET and DELETE of an object of doctor's own, and what conditions on them do."""
    from controlplane.adapters.filesystem.store import MARKER
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.model.keys import PROBES, Key, StoreName
    from controlplane.wiring.adapters import build_store

    check = f"{name} store"
    if isinstance(store, S3Store | AzureStore | GcsStore) and store.create_bucket:
        # Looking must not create it; the start of the service will.
        store = store.model_copy(update={"create_bucket": False})
    if store.kind == "filesystem" and not (store.path / MARKER).exists():
        # Opening it would make one, also below a mount point where nothing is mounted.
        advice = "the first start makes one; if there was one, mount its file system"
        return Finding(check, Health.WARN, f"there is no store in {store.path} yet", advice)
    key, body = Key(f"{PROBES}doctor-{secrets.token_hex(8)}"), secrets.token_bytes(_PROBE_BYTES)

    compares = isinstance(store, AzureStore | GcsStore) or (isinstance(store, S3Store) and store.conditional_put)

    async def round_trip() -> Sequence[str]:
        built = await build_store(StoreName(name), store, SystemClock())
        try:
            await built.check()
            try:
                await built.put(key, body)
                reader = await built.get(key)
                try:
                    back = b"".join([chunk async for chunk in reader])
                finally:
                    await reader.aclose()
                if back != body:
                    raise Corrupt(f"{name} store gave back other bytes than were put")
                return await ignored_by(built, key) if compares else ()
            finally:
                await built.delete(key)
        finally:
            await built.aclose()

    async def bounded() -> Sequence[str]:
        async with asyncio.timeout(timeout_s):
            return await round_trip()

    began = time.monotonic()
    try:
        ignored = asyncio.run(bounded())
    except NotFound as error:
        return Finding(check, Health.FAIL, str(error), "create the bucket, or start with create_bucket = true")
    except TimeoutError:
        return Finding(check, Health.FAIL, f"no answer within {timeout_s:g} s", "check address and network")
    spent = time.monotonic() - began
    found = f"{_place(store)}: PUT, GET and DELETE in {spent * 1000:.0f} ms"
    return judged(check, found, ignored) if compares else Finding(check, Health.OK, found)


def _place(store: Store) -> str:
    match store.kind:
        case "s3":
            return f"{', '.join(store.endpoints)} bucket {store.bucket}"
        case "azure" | "gcs":
            return f"{store.endpoint} bucket {store.bucket}"
        case "filesystem":
            return str(store.path)
        case _:
            return "memory"


def _clock(url: str, store: S3Store | AzureStore | GcsStore, timeout_s: float) -> Finding:
    check = f"clock of {url}"
    _, _, headers = _ask(url, "HEAD", "/", timeout_s, _trusting(store.ca_file))
    date = headers.get("date")
    if date is None:
        return Finding(check, Health.OK, "it does not say what time it is")
    # The Date has whole seconds, and half of the way is not ours to judge.
    off = time.time() - parsedate_to_datetime(date).timestamp()
    found = f"this clock is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}"
    if abs(off) > _SKEW_FAIL_S:
        return Finding(check, Health.FAIL, found, "set the clock (chrony, ntp): signatures are refused")
    if abs(off) > _SKEW_WARN_S:
        return Finding(check, Health.WARN, found, "set the clock (chrony, ntp)")
    return Finding(check, Health.OK, found)


def _etcd(url: str, settings: Settings, timeout_s: float) -> Finding:
    """One member by itself, with the credentials of the settings."""
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.adapters import build_directory

    etcd = settings.directory.etcd.model_copy(update={"endpoints": (url,)})
    alone = settings.model_copy(update={"directory": settings.directory.model_copy(update={"etcd": etcd})})

    async def look() -> str:
        directory = build_directory(alone, SystemClock())
        try:
            async with asyncio.timeout(timeout_s):
                return await directory.check()
        finally:
            await directory.aclose()

    found = asyncio.run(look())
    if "(" in found:
        return Finding(MEMBER + url, Health.WARN, found, "see `etcdctl alarm list`")
    return Finding(MEMBER + url, Health.OK, "healthy")


def _etcd_v2(url: str, settings: Settings, timeout_s: float) -> Finding:
    check = f"etcd v2 {url}"
    try:
        import etcd  # noqa: F401 - whether it can be imported is what is asked
    except ImportError:
        return Finding(check, Health.FAIL, "python-etcd is not installed", "pip install 'millrace[etcd-v2]'")
    options = settings.directory.etcd
    tls = _trusting(options.ca_file)
    if options.cert_file is not None and options.key_file is not None:
        tls.load_cert_chain(options.cert_file, options.key_file)
    status, _, headers = _ask(url, "GET", "/v2/keys/", timeout_s, tls)
    if status in (200, 401) and "x-etcd-index" in headers:
        return Finding(check, Health.OK, "the v2 keyspace answers")
    if status in (401, 403):
        return Finding(check, Health.OK, "the v2 keyspace answers, and asks for credentials")
    return Finding(check, Health.FAIL, f"no v2 keyspace (HTTP {status})", "start etcd with --enable-v2 (not in 3.6)")


def _gc(settings: Settings, timeout_s: float) -> Finding:
    from controlplane.cli.gc_commands import look

    facts = asyncio.run(look(settings, timeout_s))
    here = f"{facts['node']} is {'collecting' if facts['collecting'] else 'idle'}"
    if facts["holder"] is None:
        what = f"no node has the duty; {here}"
        return Finding("garbage collection", Health.FAIL, what, "look at the logs of millrace-agent on all nodes")
    what = f"the duty is {facts['holder']}'s; {here}"
    if not facts["healthy"]:
        return Finding("garbage collection", Health.FAIL, what, "run `millrace gc halt` here: one node may collect")
    return Finding("garbage collection", Health.OK, what)


def _gateway(url: str, settings: Settings, timeout_s: float) -> Finding:
    """Any answer of HTTP shows that it listens; what it can do is readiness's to tell."""
    tls = _trusting(None)
    if settings.gateway.tls.cert_file is not None and not settings.node.public_url:
        # By its address this node is asked, whatever names its certificate has: exactly that one is trusted.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        tls.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        tls.load_verify_locations(settings.gateway.tls.cert_file)
    try:
        status, _, _ = _ask(url, "GET", "/healthz", timeout_s, tls)
    except ConnectionRefusedError:
        return Finding("gateway", Health.WARN, f"nothing listens at {url}", "start it: millrace gateway")
    if status >= 500:
        return Finding("gateway", Health.FAIL, f"{url} answers {status}", "see its log")
    return Finding("gateway", Health.OK, f"{url} answers")


def _ready(check: str, role: str, host: str, port: int, timeout_s: float) -> Finding:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if not port:
        return Finding(check, Health.OK, "takes a free port, which only its log tells")
    try:
        status, body, _ = _ask(url, "GET", "/readyz", timeout_s, None)
    except ConnectionRefusedError:
        return Finding(check, Health.WARN, f"nothing listens at {url}", f"start it: millrace {role}")
    try:
        parts = json.loads(body)["checks"]
        errors = [f"{name}: {part['error']}" for name, part in parts.items() if not part["ok"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding(
            check, Health.FAIL, f"{url}/readyz answers {status}, but not as Millrace does", "is the port right?"
        )
    if status != 200:
        return Finding(check, Health.FAIL, f"not ready: {'; '.join(errors)}", "see the checks of these parts")
    if errors:
        return Finding(check, Health.WARN, f"ready, but {'; '.join(errors)}", "see the checks of these parts")
    return Finding(check, Health.OK, f"{url} is ready: {', '.join(parts)}")


def _trusting(ca_file: object) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))


def _ask(
    url: str, method: str, path: str, timeout_s: float, tls: ssl.SSLContext | None
) -> tuple[int, bytes, dict[str, str]]:
    """Status, the first 64 KiB of the body, headers by lower-case name. Raises OSError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=tls)
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    )
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(65_536), {name.lower(): value for name, value in answer.getheaders()}
    except http.client.HTTPException as error:
        raise OSError(f"{url} does not speak HTTP: {error}") from error
    finally:
        connection.close()
