"""A Riak KV for tests: the stand-in in this process, or the real one that the environment names.

MILLRACE_RIAK_HTTP_URL and MILLRACE_RIAK_PB (host:port) name a real one; MILLRACE_RIAK_BUCKET_TYPE (of journal and
catalog: the default one) and MILLRACE_RIAK_CACHE_TYPE (millrace_hot) its bucket types when they are not called as here.
Tests take buckets with names of their own there, and empty them at the end (tests/support/real_riak_kv.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from controlplane.adapters.riak_kv import RiakHttp, RiakKvOptions
from controlplane.adapters.riak_kv.kv import RiakKv
from controlplane.adapters.riak_pb import RiakPb
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.clock import Clock
from tests.hosts.standin.config import cuttlefish, kv_schema
from tests.hosts.standin.kv.node import Tuning
from tests.hosts.standin.kv.service import KvService
from tests.hosts.standin.loopback import ADVANCED, KV_CONF
from tests.support.real_riak_kv import CACHE_PROPERTIES, Everywhere, RealRiak

BUCKET_TYPE = "default"
CACHE_TYPE = "millrace_hot"


@dataclass(frozen=True)
class RiakNode:
    """One node's addresses, and the bucket types that tests use there."""

    http_url: str = ""
    pb: str = ""
    """host:port"""
    bucket_type: str = BUCKET_TYPE
    cache_type: str = CACHE_TYPE
    service: KvService | None = None
    """The stand-in itself; None when it is a real one."""
    real: RealRiak | None = None

    def cluster(self) -> str:
        """A name that no other test has: buckets begin with it."""
        name = f"t{secrets.token_hex(6)}"
        if self.real is not None:
            self.real.owes(self.bucket_type, name)
            self.cache_bucket(f"{name}.hot")
        return name

    def over_http(self, clock: Clock | None = None, kind: str = "") -> RiakKv:
        """A client whose writes a listing shows at once; see Everywhere."""
        kind = kind or self.bucket_type
        return self._seen(RiakHttp(RiakKvOptions((self.http_url,), kind), clock or SystemClock()), kind)

    def over_pb(self, clock: Clock | None = None) -> RiakKv:
        return self._seen(RiakPb(RiakKvOptions((self.pb,), self.bucket_type), clock or SystemClock()), self.bucket_type)

    def over_cache(self, bucket: str) -> RiakKv:
        """For a bucket of the hot tier."""
        self.cache_bucket(bucket)
        return self.over_http(kind=self.cache_type)

    def cache_bucket(self, name: str) -> None:
        """Where the real one has no type for it: the bucket's own properties say where it is kept."""
        if self.real is not None:
            self.real.owes_cache(self.cache_type, name)

    def _seen(self, kv: RiakKv, kind: str) -> RiakKv:
        real = self.real
        return kv if real is None else Everywhere(kv, lambda bucket: real.owes_one(kind, bucket))


def named() -> RiakNode | None:
    """What the environment names, unseen."""
    url, pb = os.environ.get("MILLRACE_RIAK_HTTP_URL", ""), os.environ.get("MILLRACE_RIAK_PB", "")
    if not url and not pb:
        return None
    types = (os.environ.get(f"MILLRACE_RIAK_{name}_TYPE", "") for name in ("BUCKET", "CACHE"))
    bucket_type, cache_type = types
    url = url.rstrip("/")
    real = RealRiak(url, pb)
    return RiakNode(url, pb, bucket_type or BUCKET_TYPE, cache_type or CACHE_TYPE, real=real)


def looked_at(node: RiakNode) -> RiakNode:
    """With the types that it really has. Raises Lacks, which says what to do."""
    assert node.real is not None
    node.real.require(node.bucket_type)
    return replace(node, cache_type=node.real.cache_type(node.cache_type))


def header() -> str:
    """For the head of a run: which Riak KV tests are about."""
    node = named()
    if node is None:
        return "Riak KV: the stand-in"
    if not node.http_url:
        return f"Riak KV: {node.pb} by protocol buffers, the stand-in by http"
    try:
        node = looked_at(node)
    except AssertionError as error:
        return f"Riak KV: {error}"
    return (
        f"Riak KV: {node.http_url} (http), {node.pb or 'the stand-in'} (protocol buffers); "
        f"bucket type {node.bucket_type}, hot tier in {node.cache_type}"
    )


@contextlib.contextmanager
def given_or_standin(folder: Path, *, pb: bool = False) -> Iterator[RiakNode]:
    """The real one when the environment names it by its HTTP URL (`pb`: by its protocol buffers), else the stand-in."""
    found = named()
    if found is not None and found.real is not None and (found.pb if pb else found.http_url):
        if found.http_url:
            found = looked_at(found)
        try:
            yield found
        finally:
            found.real.settle()
        return
    with standin(folder) as node:
        yield node


@contextlib.contextmanager
def standin(
    folder: Path, *, port: int = 0, allow_mult: bool = True, cache_type: str = CACHE_TYPE
) -> Iterator[RiakNode]:
    """One node of one copy, with the bucket type made."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "riak.conf"
    text = KV_CONF.format(kv=port, pb=0, folder=folder)
    conf.write_text(text if allow_mult else text.replace("allow_mult = true", "allow_mult = false"))
    (folder / "advanced.config").write_text(ADVANCED)
    tuning = Tuning(hang_seconds=1.0, replicas=1, use_epmd=False)
    service = KvService(cuttlefish.load(conf, kv_schema.SETTINGS), folder, tuning)
    service.start()
    try:
        properties = service.node.properties
        if cache_type and not properties.exists(cache_type):
            properties.create_type(cache_type, CACHE_PROPERTIES)
            properties.activate_type(cache_type)
        address = f"http://127.0.0.1:{service.web[0].port}"
        yield RiakNode(address, f"127.0.0.1:{service.pb[0].port}", service=service)
    finally:
        service.stop()
