"""The hot tier in a memory backend of Riak KV. Its bound and its time to live are the backend's (roles/riak,
riak_hot_memory_per_vnode and riak_hot_ttl)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from controlplane.adapters.riak_kv.kv import CACHE, CACHE_EVERYWHERE, RiakKv
from controlplane.ports.errors import MillraceError, Unavailable

T = TypeVar("T")


class RiakHotTier:
    """See the port. The bucket type must keep one value (last_write_wins)."""

    def __init__(self, kv: RiakKv, bucket: str, *, timeout_s: float) -> None:
        self._kv = kv
        self._bucket = bucket
        self._timeout_s = timeout_s

    async def get(self, name: str) -> bytes | None:
        fetched = await self._answer(self._kv.fetch(self._bucket, name, CACHE))
        return fetched.values[0] if fetched.values else None

    async def put(self, name: str, value: bytes) -> None:
        await self._answer(self._kv.store(self._bucket, name, value, quorum=CACHE))

    async def forget(self, name: str) -> None:
        """By all replicas: a read asks one, which must not be the one that has not heard of it."""
        await self._answer(self._kv.delete(self._bucket, name, b"", CACHE_EVERYWHERE))

    async def aclose(self) -> None:
        await self._kv.aclose()

    async def _answer(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await work
        except TimeoutError as error:
            raise Unavailable(f"the hot tier in Riak KV did not answer within {self._timeout_s:g} s") from error
        except Unavailable:
            raise
        except MillraceError as error:  # whatever is wrong with a cache, its users go on without
            raise Unavailable(f"the hot tier in Riak KV: {error}") from error
