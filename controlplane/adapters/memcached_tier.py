"""The hot tier in Memcached, by the extra millrace[memcached]. Names are spread over the servers by their hash."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from controlplane.ports.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from emcache import Client

T = TypeVar("T")
_CONNECTIONS: Final = 16
_LONGEST_RELATIVE_S: Final = 30 * 24 * 3600
"""What is longer Memcached takes for a date."""


class MemcachedTier:
    """See the port. A value larger than the server's item size (-I, 1 MiB) is dropped."""

    def __init__(self, servers: Sequence[str], *, prefix: str, ttl_s: float, timeout_s: float) -> None:
        """`servers`: host:port each. Raises Rejected when the library is not installed."""
        try:
            import emcache
        except ImportError as error:
            raise Rejected(
                "hot_cache.kind memcached needs the emcache library: pip install 'millrace[memcached]'"
            ) from error
        places = [server.rpartition(":") for server in servers]
        self._servers = ", ".join(servers)
        self._addresses = [emcache.MemcachedHostAddress(host.strip("[]"), int(port)) for host, _, port in places]
        self._prefix = prefix
        self._ttl_s = min(max(int(ttl_s), 1), _LONGEST_RELATIVE_S)
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    async def get(self, name: str) -> bytes | None:
        async def get() -> bytes | None:
            item = await (await self._connected()).get(self._key(name))
            return None if item is None else bytes(item.value)

        return await self._answer(get())

    async def put(self, name: str, value: bytes) -> None:
        async def put() -> None:
            from emcache.client_errors import StorageCommandError

            client = await self._connected()
            try:
                await client.set(self._key(name), value, exptime=self._ttl_s)
            except StorageCommandError:
                # Too large. What was there before must not stay: it may say an older time.
                await self._forget(name)

        await self._answer(put())

    async def forget(self, name: str) -> None:
        await self._answer(self._forget(name))

    async def _forget(self, name: str) -> None:
        from emcache.client_errors import NotFoundCommandError

        with contextlib.suppress(NotFoundCommandError):
            await (await self._connected()).delete(self._key(name))

    async def aclose(self) -> None:
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._closed:
                raise Unavailable("the hot tier is closed: this process is stopping")
            if self._client is None:
                import emcache

                self._client = await emcache.create_client(
                    self._addresses,
                    timeout=self._timeout_s,
                    connection_timeout=self._timeout_s,
                    max_connections=_CONNECTIONS,
                )
            return self._client

    def _key(self, name: str) -> bytes:
        return f"{self._prefix}:{name}".encode("ascii")

    async def _answer(self, work: Awaitable[T]) -> T:
        from emcache.client_errors import ClusterNoAvailableNodes, CommandError

        try:
            async with asyncio.timeout(self._timeout_s):
                return await work
        except (CommandError, ClusterNoAvailableNodes, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            said = str(error) or f"no answer within {self._timeout_s:g} s"
            raise Unavailable(f"the hot tier, Memcached {self._servers}: {said}: see hot_cache.tier") from error
