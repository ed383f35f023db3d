"""The probe of a node's own endpoint: PUT, GET, DELETE over HTTP, end to end."""

from __future__ import annotations

import hashlib
import os
import ssl

import aiohttp

from controlplane.ports.errors import Corrupt, Unavailable

_SIZE = 1024


class EndpointProbe:
    """Writes fresh random bytes through `<url>/probes/<node>`, has them read back, and deletes them."""

    def __init__(self, url: str, node: str, token: str, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._url = f"{url.rstrip('/')}/probes/{node}"
        self._headers = {"authorization": f"Bearer {token}"}
        self._timeout_s = timeout_s
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self) -> None:
        """One probe. Raises Unavailable when a step fails, Corrupt when other bytes come back."""
        body = os.urandom(_SIZE)
        await self._step("PUT", body)
        found = await self._step("GET")
        expected = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if found.decode("latin-1") != expected:
            raise Corrupt(f"probe {self._url}: wrote content with MD5 {expected}, read back {found[:64]!r}")
        await self._step("DELETE")

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _step(self, method: str, body: bytes | None = None) -> bytes:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, headers=self._headers)
        try:
            async with self._session.request(method, self._url, data=body) as answer:
                data = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"probe {method} {self._url}: {type(error).__name__}: {error}") from error
        if answer.status >= 300:
            raise Unavailable(f"probe {method} {self._url}: status {answer.status}: {data[:200].decode('latin-1')}")
        return data
