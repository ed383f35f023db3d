"""Two gateways and the tier behind their caches, on its real server: what it gives, and that nobody needs it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.memcached_tier import MemcachedTier
from controlplane.adapters.redis_tier import RedisTier
from controlplane.adapters.riak_kv import RiakHttp, RiakKvOptions
from controlplane.adapters.riak_kv.hot_tier import RiakHotTier
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.hot_tier import HotTier
from tests.support import riak_kv
from tests.support.hot_servers import memcached_server, redis_server
from tests.support.millrace_node import Node
from tests.support.ports import free_port
from tests.support.waiting import until

CLUSTER = "hot"
TIMEOUT_S = 2.0
MOST = 100_000
"""Bytes of a blob that the tier keeps."""


@dataclass
class Tier:
    """The server, which can be killed and started anew, empty; and a handle of one's own into it."""

    kind: str
    start: Callable[[], contextlib.AbstractContextManager[Any]]
    open: Callable[[], HotTier]
    tables: dict[str, dict[str, Any]]
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def up(self) -> None:
        self._running.enter_context(self.start())

    def down(self) -> None:
        self._running.close()

    def get(self, name: str) -> bytes | None:
        async def get() -> bytes | None:
            tier = self.open()
            try:
                return await tier.get(name)
            finally:
                await tier.aclose()

        return asyncio.run(get())

    def put(self, name: str, value: bytes) -> None:
        async def put() -> None:
            tier = self.open()
            try:
                await tier.put(name, value)
            finally:
                await tier.aclose()

        asyncio.run(put())


@dataclass
class Two:
    tier: Tier
    folder: Path
    writer: Node
    reader: Node

    def written(self, size: int) -> tuple[str, bytes]:
        body = os.urandom(size)
        guid = hashlib.md5(body).hexdigest()
        assert self.writer.request("PUT", f"/blobs/{guid}", body)[0] == 201
        assert self.writer.request("GET", f"/blobs/{guid}")[2] == body
        return guid, body

    def lose(self, guid: str) -> None:
        """Behind the gateways' backs: no store has its bytes any more."""
        for store in ("primary", "persistent"):
            for path in (self.folder / store).rglob(f"*{guid}*"):
                path.unlink()

    def recalled(self) -> float:
        return self.reader.metrics("gateway")["millrace_hot_tier_recalled_total"]


@contextlib.contextmanager
def one_tier(kind: str, folder: Path) -> Iterator[Tier]:
    port = free_port()
    address = f"127.0.0.1:{port}"
    options: dict[str, Any] = {"prefix": CLUSTER, "ttl_s": 60, "timeout_s": 10.0}
    tables: dict[str, dict[str, Any]] = {
        "hot_cache": {"kind": kind},
        "hot_cache.tier": {"prefix": CLUSTER, "timeout_s": TIMEOUT_S, "max_blob_bytes": MOST, "servers": [address]},
    }
    match kind:
        case "redis":
            tier = Tier(kind, lambda: redis_server(folder, port=port), lambda: RedisTier(address, **options), tables)
        case "memcached":
            tier = Tier(
                kind, lambda: memcached_server(folder, port=port), lambda: MemcachedTier((address,), **options), tables
            )
        case _:
            url = f"http://{address}"
            tables["hot_cache.tier"]["servers"] = []
            tables["riak_kv"] = {
                "endpoints": [url], "bucket_type": riak_kv.BUCKET_TYPE, "hot_bucket_type": riak_kv.CACHE_TYPE,
            }  # fmt: skip

            def opened() -> HotTier:
                kv = RiakHttp(RiakKvOptions((url,), riak_kv.CACHE_TYPE), SystemClock())
                return RiakHotTier(kv, f"{CLUSTER}.hot", timeout_s=10.0)

            tier = Tier(kind, lambda: riak_kv.standin(folder / "riak", port=port), opened, tables)
    tier.up()
    try:
        yield tier
    finally:
        tier.down()


@pytest.fixture(scope="module", params=["redis", "memcached", "riak_kv"])
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp(f"hot-{request.param}")
    with one_tier(request.param, folder) as tier:
        stores = {name: {"kind": "filesystem", "path": str(folder / name)} for name in ("primary", "persistent")}
        nodes = [
            Node(
                folder / name, stores["primary"], stores["persistent"], name=name,
                extra={"node": {"cluster": CLUSTER}, **tier.tables},
            )
            for name in ("writer", "reader")
        ]  # fmt: skip
        try:
            for node in nodes:
                node.start("gateway")
            yield Two(tier, folder, *nodes)
        finally:
            for node in nodes:
                node.stop()


def test_what_one_gateway_read_another_has_from_the_tier(two: Two) -> None:
    guid, body = two.written(5000)
    until(lambda: two.tier.get(guid) is not None)
    two.lose(guid)
    before = two.recalled()
    assert two.reader.request("GET", f"/blobs/{guid}")[2] == body
    assert two.recalled() == before + 1
    assert two.reader.request("GET", f"/blobs/{guid}")[2] == body  # its own by now
    assert two.recalled() == before + 1


def test_a_large_blob_is_read_from_the_store(two: Two) -> None:
    guid, body = two.written(MOST + 1)
    before = two.recalled()
    assert two.reader.request("GET", f"/blobs/{guid}")[2] == body
    assert two.recalled() == before
    assert two.tier.get(guid) is None


def test_i2_wrong_bytes_in_the_tier_are_not_served_and_do_not_stay(two: Two) -> None:
    guid, body = two.written(3000)
    until(lambda: two.tier.get(guid) is not None)
    value = two.tier.get(guid)
    assert value is not None
    wrong = value[:-1] + bytes([value[-1] ^ 1])
    two.tier.put(guid, wrong)
    before = two.recalled()
    assert two.reader.request("GET", f"/blobs/{guid}")[2] == body
    assert two.recalled() == before
    until(lambda: two.tier.get(guid) not in (wrong, None))  # what the store gave has taken its place


def test_i4_what_is_deleted_leaves_the_tier(two: Two) -> None:
    guid, _ = two.written(3000)
    until(lambda: two.tier.get(guid) is not None)
    assert two.writer.request("DELETE", f"/blobs/{guid}")[0] == 204
    until(lambda: two.tier.get(guid) is None)
    assert two.reader.request("GET", f"/blobs/{guid}")[0] == 404


def test_a_tier_that_dies_and_comes_back_empty_fails_nobody(two: Two) -> None:
    guid, body = two.written(3000)
    until(lambda: two.tier.get(guid) is not None)
    two.tier.down()
    try:
        for _ in range(3):
            other, other_body = two.written(2000)
            began = time.monotonic()
            assert two.reader.request("GET", f"/blobs/{other}")[2] == other_body
            assert time.monotonic() - began < TIMEOUT_S + 5  # 5 s: a busy machine
        assert two.reader.request("GET", f"/blobs/{guid}")[2] == body
        assert two.reader.metrics("gateway")["millrace_hot_tier_away"] == 1
    finally:
        shutil.rmtree(two.folder / "riak", ignore_errors=True)  # a memory backend forgets
        two.tier.up()

    # It is asked again after a pause of some seconds, and takes what is read.
    def is_used() -> bool:
        again, _ = two.written(1000)
        time.sleep(0.2)
        return two.tier.get(again) is not None

    until(is_used)
    until(lambda: two.writer.metrics("gateway")["millrace_hot_tier_away"] == 0)
