"""Hot tiers on their real servers, and the tiered cache on each of them."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from controlplane.adapters.disk_cache import DiskHotCache
from controlplane.adapters.memcached_tier import MemcachedTier
from controlplane.adapters.memory.hot_cache import MemoryHotCache
from controlplane.adapters.redis_tier import RedisTier
from controlplane.adapters.riak_kv.hot_tier import RiakHotTier
from controlplane.adapters.system_clock import SystemClock
from controlplane.adapters.tiered_cache import TieredHotCache
from controlplane.ports.errors import Unavailable
from controlplane.ports.hot_cache import HotCache
from controlplane.ports.hot_tier import HotTier
from tests.contract.hot_cache_suite import HotCacheContract, bytes_of, read
from tests.contract.hot_cache_suite import Make as MakeCache
from tests.contract.hot_tier_suite import HotTierContract, Make
from tests.contract.object_store_suite import content_of
from tests.support.hot_servers import memcached_server, redis_server
from tests.support.ports import free_port
from tests.support.riak_kv import RiakNode

PASSWORD = "not a secret"
PATIENCE_S = 60.0  # the machine that tests run on may be slow

Tiers = Callable[[str], HotTier]
"""A further handle of the tier, by a name that keeps tests apart."""


@pytest.fixture(scope="session")
def redis_tiers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiers]:
    with redis_server(tmp_path_factory.mktemp("redis"), PASSWORD) as server:
        yield lambda name: RedisTier(server, prefix=name, ttl_s=60, timeout_s=PATIENCE_S, password=PASSWORD)


@pytest.fixture(scope="session")
def memcached_tiers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiers]:
    folder = tmp_path_factory.mktemp("memcached")
    with memcached_server(folder / "a") as one, memcached_server(folder / "b") as two:
        yield lambda name: MemcachedTier((one, two), prefix=name, ttl_s=60, timeout_s=PATIENCE_S)


@pytest.fixture(scope="session")
def riak_tiers(riak: RiakNode) -> Tiers:
    def tier(name: str) -> HotTier:
        return RiakHotTier(riak.over_cache(name), name, timeout_s=PATIENCE_S)

    return tier


class HandClock(SystemClock):
    """Stands still until it is advanced."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


class MemoryTier:
    """The tier's promises in a few lines, for what is tested above them."""

    def __init__(self, values: dict[str, bytes]) -> None:
        self.values = values
        self.away = False
        self.asked = 0

    async def get(self, name: str) -> bytes | None:
        self._ask()
        return self.values.get(name)

    async def put(self, name: str, value: bytes) -> None:
        self._ask()
        self.values[name] = value

    async def forget(self, name: str) -> None:
        self._ask()
        self.values.pop(name, None)

    async def aclose(self) -> None:
        """Nothing to close."""

    def _ask(self) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable("away")


@pytest.fixture(params=["redis", "memcached", "riak"])
def tiers(request: pytest.FixtureRequest) -> Tiers:
    found: Tiers = request.getfixturevalue(f"{request.param}_tiers")
    return found


class TestServers(HotTierContract):
    @pytest.fixture
    async def make(self, tiers: Tiers) -> AsyncIterator[Make]:
        name = f"t{secrets.token_hex(6)}"
        made: list[HotTier] = []

        async def make() -> HotTier:
            made.append(tiers(name))
            return made[-1]

        yield make
        for tier in made:
            await tier.aclose()


class TestTieredCache(HotCacheContract):
    """The node's own cache keeps its promises with any tier behind it."""

    @pytest.fixture
    async def make(self, tiers: Tiers, tmp_path: Path) -> AsyncIterator[MakeCache]:
        made: list[HotCache] = []

        async def make(limit_bytes: int, max_blob_bytes: int) -> HotCache:
            clock = SystemClock()
            near = DiskHotCache(
                tmp_path / "cache", limit_bytes=limit_bytes, max_blob_bytes=max_blob_bytes, open_files=10, clock=clock
            )
            await near.open()
            tier = tiers(f"t{secrets.token_hex(6)}")
            made.append(TieredHotCache(near, tier, clock=clock, max_blob_bytes=500_000))
            return made[-1]

        yield make
        for cache in made:
            await cache.aclose()


async def settled(cache: TieredHotCache) -> None:
    while cache._tasks:
        await asyncio.gather(*cache._tasks)


def node(tier: HotTier, clock: SystemClock | None = None) -> TieredHotCache:
    return TieredHotCache(MemoryHotCache(10**6, 10**6), tier, clock=clock or SystemClock(), max_blob_bytes=1000)


async def test_what_one_node_admits_another_recalls_with_its_time(tiers: Tiers) -> None:
    name = f"t{secrets.token_hex(6)}"
    one, two = node(tiers(name)), node(tiers(name))
    data = os.urandom(1000)
    content = content_of(data)
    assert await one.admit(content, "a/b; c=ü", data, 100.5)
    await settled(one)
    assert two.lookup(content.md5) is None
    hit = await two.recall(content.md5)
    assert hit is not None
    assert (hit.content, hit.content_type, hit.validated_at, bytes_of(hit)) == (content, "a/b; c=ü", 100.5, data)
    assert read(two, content.md5) == data  # kept on this node from now on
    two.touch(content.md5, 200.0)
    await settled(two)
    three = node(tiers(name))
    again = await three.recall(content.md5)
    assert again is not None
    assert again.validated_at == 200.0
    one.evict(content.md5)
    await settled(one)
    four = node(tiers(name))
    assert await four.recall(content.md5) is None
    for cache in (one, two, three, four):
        await cache.aclose()


async def test_larger_blobs_stay_on_their_node() -> None:
    tier = MemoryTier({})
    cache = node(tier)
    data = os.urandom(1001)
    assert await cache.admit(content_of(data), "", data, 1.0)
    await settled(cache)
    assert tier.values == {}


@pytest.mark.parametrize("damage", ["byte", "cut", "foreign", "empty", "other blob"])
async def test_i2_what_the_tier_gives_is_proved(damage: str) -> None:
    tier = MemoryTier({})
    cache = node(tier)
    data, other = os.urandom(100), os.urandom(100)
    for each in (data, other):
        await cache.admit(content_of(each), "", each, 1.0)
    await settled(cache)
    guid = content_of(data).md5
    value = tier.values[guid]
    tier.values[guid] = {
        "byte": value[:-1] + bytes([value[-1] ^ 1]),
        "cut": value[:-1],
        "foreign": b"something else",
        "empty": b"",
        "other blob": tier.values[content_of(other).md5],
    }[damage]
    fresh = node(tier)
    assert await fresh.recall(guid) is None
    await settled(fresh)
    assert guid not in tier.values


async def test_i4_what_was_evicted_here_is_not_recalled_while_the_tier_still_has_it() -> None:
    clock = HandClock()
    tier = MemoryTier({})
    cache = node(tier, clock)
    data = os.urandom(100)
    guid = content_of(data).md5
    await cache.admit(content_of(data), "", data, clock.now())
    await settled(cache)
    kept = dict(tier.values)
    cache.evict(guid)
    assert await cache.recall(guid) is None
    await settled(cache)
    tier.values.update(kept)  # as if the removal had failed
    assert await cache.recall(guid) is None
    clock.advance(10)
    await cache.admit(content_of(data), "", data, clock.now())  # written anew
    await settled(cache)
    assert await cache.recall(guid) is not None


async def test_a_tier_that_is_away_costs_one_attempt_in_a_while_and_fails_nobody() -> None:
    clock = HandClock()
    tier = MemoryTier({})
    tier.away = True
    cache = node(tier, clock)
    data = os.urandom(100)
    content = content_of(data)
    assert await cache.recall(content.md5) is None
    assert tier.asked == 1
    for _ in range(50):
        assert await cache.recall(content.md5) is None
        assert await cache.admit(content, "", data, clock.now())
        cache.touch(content.md5, clock.now())
    await settled(cache)
    assert tier.asked == 1
    assert read(cache, content.md5) == data
    tier.away = False
    clock.advance(1.5)
    cache.touch(content.md5, clock.now())
    await settled(cache)
    assert content.md5 in tier.values


@pytest.mark.parametrize("kind", ["redis", "memcached"])
async def test_a_server_that_dies_and_comes_back(kind: str, tmp_path: Path) -> None:
    port = free_port()
    start = redis_server if kind == "redis" else memcached_server
    address = f"127.0.0.1:{port}"
    tier: HotTier = (
        RedisTier(address, prefix="p", ttl_s=60, timeout_s=5.0)
        if kind == "redis"
        else MemcachedTier((address,), prefix="p", ttl_s=60, timeout_s=5.0)
    )
    with pytest.raises(Unavailable):
        await tier.get("name")
    with start(tmp_path, port=port):
        for _ in range(200):
            try:
                await tier.put("name", b"it")
                break
            except Unavailable:
                await asyncio.sleep(0.2)
        assert await tier.get("name") == b"it"
    for call in (lambda: tier.get("name"), lambda: tier.put("name", b""), lambda: tier.forget("name")):
        with pytest.raises(Unavailable):
            await call()
    await tier.aclose()


async def test_memcached_drops_what_is_too_large_and_what_was_there_before(memcached_tiers: Tiers) -> None:
    tier = memcached_tiers(f"t{secrets.token_hex(6)}")
    await tier.put("name", b"old")
    await tier.put("name", bytes(2 << 20))
    assert await tier.get("name") is None
    await tier.aclose()


async def test_a_wrong_password_is_an_outage_of_the_cache(redis_tiers: Tiers) -> None:
    right = redis_tiers("p")
    assert isinstance(right, RedisTier)
    wrong = RedisTier(right._server, prefix="p", ttl_s=60, timeout_s=PATIENCE_S, password="wrong")
    with pytest.raises(Unavailable, match="Redis"):
        await wrong.get("name")
    await wrong.aclose()
    await right.aclose()
