"""The hot tier in Redis (or Valkey), by the extra millrace[redis]."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from controlplane.ports.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
_CONNECTIONS = 64


class RedisTier:
    """See the port. Give the server a bound and an eviction of its own (maxmemory, maxmemory-policy allkeys-lru)."""

    def __init__(
        self, server: str, *, prefix: str, ttl_s: float, timeout_s: float, username: str = "", password: str = ""
    ) -> None:
        """`server`: host:port, or rediss://host:port. Raises Rejected when the library is not installed."""
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError as error:
            raise Rejected("hot_cache.kind redis needs the redis library: pip install 'millrace[redis]'") from error
        self._server = server
        self._prefix = prefix
        self._ttl_ms = max(int(ttl_s * 1000), 1)
        self._timeout_s = timeout_s
        pool = BlockingConnectionPool.from_url(
            server if "://" in server else f"redis://{server}",
            max_connections=_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            username=username or None,
            password=password or None,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis(connection_pool=pool)

    async def get(self, name: str) -> bytes | None:
        found = await self._answer(self._redis.get(self._key(name)))
        return found.encode() if isinstance(found, str) else found

    async def put(self, name: str, value: bytes) -> None:
        await self._answer(self._redis.set(self._key(name), value, px=self._ttl_ms))

    async def forget(self, name: str) -> None:
        await self._answer(self._redis.delete(self._key(name)))

    async def aclose(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    async def _answer(self, work: Awaitable[T]) -> T:
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(self._timeout_s):
                return await work
        except (RedisError, OSError, TimeoutError) as error:
            said = str(error) or f"no answer within {self._timeout_s:g} s"
            raise Unavailable(f"the hot tier, Redis {self._server}: {said}: see hot_cache.tier") from error
