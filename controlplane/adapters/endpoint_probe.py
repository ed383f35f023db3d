"""The probe of a node's own endpoint: PUT, GET, DELETE over HTTP, end to end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from typing import Final
from urllib.parse import quote

from controlplane.adapters.s3.connection import Connection
from controlplane.adapters.s3.exchange_failed import ExchangeFailed
from controlplane.adapters.s3.options import Endpoint
from controlplane.ports.errors import Corrupt, Unavailable

_SIZE: Final = 1024
_MOST_BYTES: Final = 64 * 1024
"""Of an answer."""


class EndpointProbe:
    """Writes fresh random bytes through `<url>/probes/<node>`, has them read back, and deletes them.

    Each step has a connection of its own: an endpoint that takes no new ones is of no use to anybody."""

    def __init__(self, url: str, node: str, token: str, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._endpoint = Endpoint.parse(url.rstrip("/"))
        self._target = f"/probes/{quote(node, safe='')}"
        self._url = self._endpoint.url + self._target
        self._fields = f"host: {self._endpoint.host_header}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n"
        self._timeout_s = timeout_s
        self._tls = tls

    async def __call__(self) -> None:
        """One probe. Raises Unavailable when a step fails, Corrupt when other bytes come back."""
        body = os.urandom(_SIZE)
        await self._step("PUT", body)
        found = await self._step("GET")
        expected = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if found.decode("latin-1") != expected:
            raise Corrupt(f"probe {self._url}: wrote content with MD5 {expected}, read back {found[:64]!r}")
        await self._step("DELETE")

    async def _step(self, method: str, body: bytes = b"") -> bytes:
        length = f"content-length: {len(body)}\r\n" if body else ""
        head = f"{method} {self._target} HTTP/1.1\r\n{self._fields}{length}\r\n"
        try:
            async with asyncio.timeout(self._timeout_s):
                status, data = await self._exchange(head.encode() + body)
        except TimeoutError as error:
            raise Unavailable(f"probe {method} {self._url}: no answer within {self._timeout_s:g} s") from error
        except (ExchangeFailed, OSError) as error:
            raise Unavailable(f"probe {method} {self._url}: {type(error).__name__}: {error}") from error
        if status >= 300:
            raise Unavailable(f"probe {method} {self._url}: status {status}: {data[:200].decode('latin-1')}")
        return data

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        endpoint = self._endpoint
        tls = (self._tls or ssl.create_default_context()) if endpoint.tls else None
        _, connection = await loop.create_connection(
            lambda: Connection(loop, self._timeout_s, self._timeout_s), endpoint.host, endpoint.port, ssl=tls
        )
        try:
            connection.begin(head_only=False)
            connection.write(request)
            await connection.head()
            data = b""
            while len(data) <= _MOST_BYTES and (chunk := await connection.read()):
                data += chunk
            return connection.status, data
        finally:
            connection.abort()
