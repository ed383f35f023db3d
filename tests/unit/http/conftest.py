"""A connection on a transport without a socket."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from controlplane.http import Limits, Request, Response
from controlplane.http.connection import Connection
from controlplane.http.engine import Engine


class FakeTransport(asyncio.Transport):
    """Records what is written. `stalled` makes it keep its writes in a buffer, as a client that does not read would."""

    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.buffered = 0
        self.stalled = False
        self.reading = True
        self.closed = self.aborted = self.eof_written = self.gone = False
        self.high = 64 * 1024
        self.protocol: Any = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 5000) if name == "peername" else default

    def write(self, data: Any) -> None:
        assert not self.eof_written, "write after write_eof"
        if self.gone:
            return
        self.out += data
        if self.stalled:
            self.buffered += len(data)
            if self.buffered > self.high:
                self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def flush(self) -> None:
        """The client has read all."""
        paused = self.buffered > self.high
        self.buffered = 0
        if paused:
            self.protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = 64 * 1024 if high is None else high

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self._end()

    def abort(self) -> None:
        self.aborted = True
        self._end()

    def _end(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.lose)

    def lose(self) -> None:
        """The connection is gone."""
        if not self.gone:
            self.closed = self.gone = True
            self.protocol.connection_lost(None)


class Client:
    """Drives one connection; `calls` are the requests that reached the handler, `observed` what was reported."""

    def __init__(self, handler: Any, limits: Limits | None = None) -> None:
        self.now = 1000.0
        self.calls: list[Request] = []
        self.observed: list[tuple[str, int, int]] = []
        self.faults: list[BaseException] = []

        def handle(request: Request) -> Any:
            self.calls.append(request)
            return handler(request)

        def fault(request: Request, exc: BaseException) -> Response:
            self.faults.append(exc)
            return Response(500, [], b"fault")

        self.engine = Engine(
            handle,
            limits or Limits(),
            lambda status, detail: Response(status, [], detail.encode()),
            fault,
            lambda request, status, sent, seconds: self.observed.append((request.path, status, sent)),
            lambda: None,
            asyncio.get_running_loop(),
            lambda: self.now,
        )
        self.transport = FakeTransport()
        self.connection = Connection(self.engine)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        if not self.transport.gone and self.transport.reading:
            self.connection.data_received(data)
        elif not self.transport.gone:
            raise AssertionError("the connection does not read")

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    def wait(self, seconds: float) -> None:
        """Let time pass; the server's sweep looks."""
        self.now += seconds
        if self.connection.deadline <= self.now:
            self.connection.expire(self.now)

    def take(self) -> bytes:
        out = bytes(self.transport.out)
        self.transport.out.clear()
        return out

    @property
    def statuses(self) -> list[int]:
        """Of the answers so far; the bodies in these tests hold no status lines."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) \w", self.transport.out)]


@pytest.fixture
def client() -> type[Client]:
    return Client
