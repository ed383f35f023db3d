"""Stands between a store and a cloud's server: passes requests on, or does with one what a fault says."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

_HOPS = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "date", "server"})


@dataclass
class Fault:
    """What goes wrong with one request. Without any field set, nothing does."""

    method: str = ""
    """Only this method; empty: any."""
    query: str = ""
    """Only where this is part of the query."""
    skip: int = 0
    """So many fitting requests pass unharmed first."""
    status: int = 0
    """Answer this instead of passing the request on."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    """The answer breaks off in the middle of its body."""
    flip_answer: bool = False
    """One byte of the answer's body is another."""
    flip_request: bool = False
    """One byte of the request's body is another: its last but two hundred, which is in what is stored."""


class FaultyProxy:
    """An asynchronous context manager in the test's own loop."""

    def __init__(self, upstream: str) -> None:
        self._upstream = URL(upstream).origin()
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        """Method and path with query, of every request."""
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        body = await request.read()
        target = request.raw_path
        self.seen.append(f"{request.method} {target}")
        fault = self._fault_for(request.method, target)
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers, body=fault.body)
        if fault.flip_request and len(body) > 200:
            body = body[:-200] + bytes([body[-200] ^ 1]) + body[-199:]
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOPS]
        url = URL(f"{self._upstream}{target}", encoded=True)
        # A type that the client would add is no part of what was signed.
        sent = self._session.request(
            request.method,
            url,
            headers=headers,
            data=io.BytesIO(body) if body else None,
            skip_auto_headers=("content-type",),
        )
        async with sent as answer:
            data = await answer.read()
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOPS]
        if fault.flip_answer:
            data = bytes([data[0] ^ 1]) + data[1:]
        if request.method == "HEAD":
            kept.append(("Content-Length", answer.headers.get("content-length", "0")))
            return web.Response(status=answer.status, headers=dict(kept))
        if not fault.cut:
            return web.Response(status=answer.status, headers=dict(kept), body=data)
        response = web.StreamResponse(status=answer.status, headers=dict(kept))
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        await asyncio.sleep(0)
        if request.transport is not None:
            request.transport.close()
        return response

    def _fault_for(self, method: str, target: str) -> Fault:
        for fault in self.faults:
            if fault.method in ("", method) and fault.query in target:
                if fault.skip:
                    fault.skip -= 1
                    return Fault()
                self.faults.remove(fault)
                return fault
        return Fault()
