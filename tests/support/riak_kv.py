"""A Riak KV for tests: the stand-in in this process, or the real one that the environment names.

MILLRACE_RIAK_HTTP_URL and MILLRACE_RIAK_PB (host:port) name a real one; MILLRACE_RIAK_BUCKET_TYPE and
MILLRACE_RIAK_CACHE_TYPE its bucket types when they are not called as here. Tests take buckets with names of their own
there, and leave them behind.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.standin.config import cuttlefish, kv_schema
from tests.hosts.standin.kv.node import Tuning
from tests.hosts.standin.kv.service import KvService
from tests.hosts.standin.loopback import ADVANCED, KV_CONF

BUCKET_TYPE = "millrace"
CACHE_TYPE = "millrace_hot"
TYPES = {
    BUCKET_TYPE: {"allow_mult": True, "dvv_enabled": True, "last_write_wins": False},
    CACHE_TYPE: {"backend": "be_cache", "allow_mult": False, "dvv_enabled": False, "last_write_wins": True},
}


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

    def cluster(self) -> str:
        """A name that no other test has: buckets begin with it."""
        return f"t{secrets.token_hex(6)}"


def real() -> RiakNode | None:
    url, pb = os.environ.get("MILLRACE_RIAK_HTTP_URL", ""), os.environ.get("MILLRACE_RIAK_PB", "")
    if not url and not pb:
        return None
    types = (os.environ.get(f"MILLRACE_RIAK_{name}_TYPE", "") for name in ("BUCKET", "CACHE"))
    bucket_type, cache_type = types
    return RiakNode(url.rstrip("/"), pb, bucket_type or BUCKET_TYPE, cache_type or CACHE_TYPE)


@contextlib.contextmanager
def given_or_standin(folder: Path, *, pb: bool = False) -> Iterator[RiakNode]:
    """The real one when the environment names it by its HTTP URL (`pb`: by its protocol buffers), else the stand-in."""
    found = real()
    if found is not None and (found.pb if pb else found.http_url):
        yield found
        return
    with standin(folder) as node:
        yield node


@contextlib.contextmanager
def standin(folder: Path, *, port: int = 0) -> Iterator[RiakNode]:
    """One node of one copy, with the bucket types made."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "riak.conf"
    conf.write_text(KV_CONF.format(kv=port, pb=0, folder=folder))
    (folder / "advanced.config").write_text(ADVANCED)
    tuning = Tuning(hang_seconds=1.0, replicas=1, use_epmd=False)
    service = KvService(cuttlefish.load(conf, kv_schema.SETTINGS), folder, tuning)
    service.start()
    try:
        for name, properties in TYPES.items():
            if not service.node.properties.exists(name):
                service.node.properties.create_type(name, properties)
                service.node.properties.activate_type(name)
        address = f"http://127.0.0.1:{service.web[0].port}"
        yield RiakNode(address, f"127.0.0.1:{service.pb[0].port}", service=service)
    finally:
        service.stop()
