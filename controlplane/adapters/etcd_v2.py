"""The endpoint set in the etcd v2 keyspace, for old consumers, by the python-etcd library.

The same keys and JSON as in v3, each with a TTL. Servers need --enable-v2 (etcd 3.4 and 3.5; gone in 3.6).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controlplane.adapters.etcd.options import EtcdOptions
from controlplane.adapters.etcd.schema import KeySchema, write_endpoint
from controlplane.model.endpoints import Endpoint
from controlplane.ports.errors import Rejected, Unavailable

_DEFAULT_PORT = {"http": 80, "https": 443}
_NOT_JSON = "Bad response"
"""What python-etcd says of an answer that is not JSON, such as that of an etcd without the v2 keyspace."""


class EtcdV2Publisher:
    """Implements ports.directory.Announcer. python-etcd blocks and is not thread-safe: one thread of its own calls it.

    Members are failed over by python-etcd; after a failure of all, the next call starts anew with the whole list.
    """

    def __init__(
        self,
        endpoints: tuple[str, ...],
        cluster: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        timeout_s: float = 3.0,
    ) -> None:
        self._options = EtcdOptions(endpoints, username, password, ca_file, cert_file, key_file, timeout_s)
        if len({urlsplit(url).scheme for url in self._options.endpoints}) > 1:
            raise Rejected("the etcd v2 endpoints mix http and https: use one of them")
        self._schema = KeySchema(cluster)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="etcd-v2")
        self._client: Any = None
        """An etcd.Client; used in the thread only."""
        self._hosts = [_host(url) for url in self._options.endpoints]
        self._closed = False

    async def announce(self, endpoint: Endpoint, ttl_s: float) -> None:
        """Write the endpoint with a TTL; one that is there already is only refreshed, unseen by watchers."""
        key, value, ttl = self._schema.endpoint(endpoint), write_endpoint(endpoint), max(1, math.ceil(ttl_s))

        def write(client: Any) -> None:
            import etcd

            try:
                client.write(key, None, ttl=ttl, refresh=True, prevExist=True, prevValue=value)
            except (etcd.EtcdKeyNotFound, etcd.EtcdCompareFailed):
                client.write(key, value, ttl=ttl)

        await self._in_thread(write)

    async def withdraw(self, endpoint: Endpoint) -> None:
        key = self._schema.endpoint(endpoint)

        def delete(client: Any) -> None:
            import etcd

            try:
                client.delete(key)
            except etcd.EtcdKeyNotFound:
                pass

        await self._in_thread(delete)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._executor, self._disconnect)
            self._executor.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[Any], None]) -> None:
        if self._closed:
            raise Unavailable("the etcd v2 publisher was closed")
        try:
            import etcd  # noqa: F401 - imported here once, so that a missing library has a message of its own
        except ImportError as error:
            raise Rejected("directory.v2 needs the library python-etcd: pip install 'millrace[etcd-v2]'") from error
        await asyncio.get_running_loop().run_in_executor(self._executor, self._try_members, work)

    def _try_members(self, work: Callable[[Any], None]) -> None:
        """Runs in the thread. The work is safe to repeat."""
        import etcd

        for chances_left in reversed(range(len(self._hosts) + 1)):
            fresh = self._client is None
            try:
                if self._client is None:
                    self._client = self._connect()
                work(self._client)
                return
            except (
                etcd.EtcdInsufficientPermissions,
                etcd.EtcdNotFile,
                etcd.EtcdNotDir,
                etcd.EtcdRootReadOnly,
            ) as error:
                raise Rejected(f"etcd v2 refused the request: {error}: correct the credentials or that key") from error
            except (etcd.EtcdException, OSError, ValueError) as error:
                self._disconnect()
                # A client forgets hosts that failed once: only a new one has really asked them all.
                if not chances_left or (fresh and isinstance(error, etcd.EtcdConnectionFailed)):
                    raise _unavailable(self._options.endpoints, error) from error
                self._hosts.append(self._hosts.pop(0))

    def _connect(self) -> Any:
        import etcd
        import urllib3

        options = self._options
        first = urlsplit(options.endpoints[0])
        client = etcd.Client(
            host=tuple(self._hosts),
            protocol=first.scheme,
            allow_reconnect=True,
            # Only the configured members: what a cluster advertises need not be reachable from here.
            use_proxies=True,
            read_timeout=options.timeout_s,
            cert=(str(options.cert_file), str(options.key_file)) if options.cert_file else None,
            ca_cert=str(options.ca_file) if options.ca_file else None,
            username=options.username or None,
            password=options.password or None,
        )
        # urllib3 would try a dead member four times before python-etcd turns to the next.
        client.http.connection_pool_kw["retries"] = urllib3.Retry(total=2, connect=0, read=0, other=0)
        return client

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.http.clear()


def _host(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    name = parts.hostname or ""
    return (f"[{name}]" if ":" in name else name), parts.port or _DEFAULT_PORT[parts.scheme]


def _unavailable(endpoints: tuple[str, ...], error: Exception) -> Unavailable:
    hint = ": start etcd with --enable-v2 (3.4, 3.5)" if _NOT_JSON in str(error) else ""
    return Unavailable(f"etcd v2 at {', '.join(endpoints)} failed: {error}{hint}")
