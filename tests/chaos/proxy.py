"""Stands between Millrace and a store: passes bytes on, or does what broken servers and networks do."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from contextlib import suppress
from enum import Enum
from typing import Self
from urllib.parse import urlsplit

_CHUNK = 64 * 1024
_VERBS = (b"PUT /", b"GET /", b"HEAD /", b"DELETE /", b"POST /")


class Way(Enum):
    PASS = "pass"
    CUT = "cut"
    """Every connection is closed, and new ones are as soon as they are made."""
    ERROR_500 = "500"
    ERROR_503 = "503"
    """Half of the connections get this answer to whatever they ask."""
    TRUNCATED = "truncated"
    """Half of the connections break off somewhere in an answer."""
    SLOW = "slow"


class Proxy:
    """A context manager with an event loop in a thread of its own. Set `way` whenever you like."""

    def __init__(self, upstream: str, seed: int) -> None:
        self._upstream = urlsplit(upstream)
        self._rng = random.Random(seed)
        self._way = Way.PASS
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self.requests: Counter[str] = Counter()
        """By method, of all that was passed on."""
        self.answered_bytes = 0
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *exc: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def set_way(self, way: Way) -> None:
        """Connections that exist are closed: what follows is of the new way."""
        self._loop.call_soon_threadsafe(self._change, way)

    def _change(self, way: Way) -> None:
        self._way = way
        if way is not Way.PASS:
            for writer in self._writers:
                writer.transport.abort()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._change(Way.CUT)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        way = self._way if self._way in (Way.CUT, Way.SLOW) or self._rng.random() < 0.5 else Way.PASS
        try:
            if way is Way.CUT:
                return
            if way in (Way.ERROR_500, Way.ERROR_503):
                await self._refuse(reader, writer, way)
                return
            with suppress(OSError):
                await self._pass(reader, writer, way)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        await reader.read(_CHUNK)
        code = "InternalError" if way is Way.ERROR_500 else "SlowDown"
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
        head = f"HTTP/1.1 {way.value} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{body}".encode())
        await writer.drain()
        # Whoever is still sending a body would get a reset instead of the answer.
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while await reader.read(_CHUNK):
                    pass

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        self._writers.add(up_writer)
        left = self._rng.randrange(1, 20_000) if way is Way.TRUNCATED else None
        pause_s = 0.15 if way is Way.SLOW else 0.0
        try:
            sending = asyncio.ensure_future(self._send(reader, up_writer, pause_s))
            answering = asyncio.ensure_future(self._answer(up_reader, writer, left, pause_s))
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
        finally:
            self._writers.discard(up_writer)
            up_writer.transport.abort()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause_s: float) -> None:
        while data := await reader.read(_CHUNK):
            for verb in _VERBS:
                self.requests[verb[:-2].decode()] += data.count(verb)
            if pause_s:
                await asyncio.sleep(pause_s * self._rng.random())
            writer.write(data)
            await writer.drain()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None, pause_s: float
    ) -> None:
        while data := await reader.read(_CHUNK):
            if pause_s:
                await asyncio.sleep(pause_s * self._rng.random())
            if left is not None and len(data) >= left:
                writer.write(data[:left])
                await writer.drain()
                return
            self.answered_bytes += len(data)
            left = None if left is None else left - len(data)
            writer.write(data)
            await writer.drain()
