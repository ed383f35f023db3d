"""HTTP over a socket by a client that costs little beside the server that is measured."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from tests.bench.processes import CannotRun

_MIB = 1 << 20


def send_file(client: socket.socket, fd: int, size: int) -> None:
    """From its beginning."""
    client.settimeout(None)  # sendfile of a socket with a timeout is EAGAIN
    offset = 0
    while offset < size:
        offset += os.sendfile(client.fileno(), fd, offset, size - offset)


def answer_head(client: socket.socket) -> tuple[bytes, bytes]:
    """The head, and what came of the body with it."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = client.recv(64 * 1024)
        if not more:
            raise CannotRun(f"the connection was closed: {got[:400]!r}")
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    return head, body


def answer_body(client: socket.socket, size: int) -> Iterator[memoryview | bytes]:
    """Of a 200 with so many bytes."""
    head, body = answer_head(client)
    if not head.startswith(b"HTTP/1.1 200 ") or b"content-length: %d" % size not in head.lower():
        raise CannotRun(f"GET: {head[:400]!r}")
    yield body
    left = size - len(body)
    buffer = memoryview(bytearray(_MIB))
    while left:
        got = client.recv_into(buffer, min(left, _MIB))
        if not got:
            raise CannotRun(f"GET: the connection ended {left} bytes early")
        left -= got
        yield buffer[:got]
