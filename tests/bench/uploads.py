"""POST of large blobs beside the time that hashing them takes; and the memory of a gateway that a huge one passes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.cheap_client import answer_body, answer_head, send_file
from tests.bench.processes import CannotRun, cpu_s, peak_rss_bytes
from tests.bench.table import Row
from tests.support.millrace_node import TOKEN, Node

MIB = 1 << 20
LARGE = 64 * MIB
MOST_RSS_BYTES = 150_000_000
_PIECE = 64 * MIB


def large(folder: Path, rounds: int) -> list[Row]:
    """64 MiB, durable as in production, against MD5 plus SHA-256 of the same bytes, one after the other in one thread.

    What the disk alone takes for these bytes is said too: no durable upload can be faster."""
    body = bytearray(os.urandom(LARGE))
    file = folder / "body"
    file.write_bytes(body)
    walls: list[float] = []
    cpus: list[float] = []
    hashes: list[float] = []
    node = Node(folder / "node")
    try:
        gateway = node.start("gateway")
        with file.open("r+b") as source:
            for turn in range(rounds + 1):
                body[:8] = turn.to_bytes(8, "big")  # a new blob each time: a known one would not be stored
                os.pwrite(source.fileno(), body[:8], 0)
                os.fsync(source.fileno())
                hashing = _hashing_s(body)
                before = cpu_s(gateway.pid)
                with _connected(node.port) as client:
                    began = time.perf_counter()
                    _post(client, LARGE, lambda client: send_file(client, source.fileno(), LARGE))
                    wall = time.perf_counter() - began
                if turn:  # the first one opens files and imports modules
                    walls.append(wall)
                    cpus.append(cpu_s(gateway.pid) - before)
                    hashes.append(hashing)
    finally:
        node.stop()
    # Afterwards, for it would leave the disk busy.
    disks = [_writing_s(folder / "written", body) for _ in range(rounds)]
    wall, cpu, hashing, writing = map(statistics.median, (walls, cpus, hashes, disks))

    def took(seconds: float) -> str:
        return f"{seconds * 1000:.0f} ms"

    return [
        Row("PUT 64 MiB; MD5 + SHA-256 on one core", took(wall), took(hashing), wall / hashing, "<= 1.3"),
        Row("  the same; this disk: write and fsync alone", took(wall), took(writing), wall / writing),
        Row("  CPU of the gateway; MD5 + SHA-256", took(cpu), took(hashing), cpu / hashing),
    ]


def huge(folder: Path, pieces: int) -> list[Row]:
    """A blob of `pieces` x 64 MiB in and out over the embedded primary: the gateway's peak memory."""
    node = Node(folder / "node")
    try:
        gateway = node.start("gateway")
        seen = passed_through(node, folder, pieces, gateway.pid)
    finally:
        node.stop()
    return [rss_row(f"peak RSS, {pieces * _PIECE / 2**30:.3g} GiB in and out; embedded primary", seen)]


def rss_row(what: str, seen: int) -> Row:
    limit = f"{MOST_RSS_BYTES / 1e6:.0f} MB allowed"
    return Row(what, f"{seen / 1e6:.0f} MB", limit, seen / MOST_RSS_BYTES, "<= 1.0")


def passed_through(node: Node, folder: Path, pieces: int, pid: int) -> int:
    """POST and GET; the process's peak resident bytes. The GET's bytes are hashed and must be those that were sent."""
    block = os.urandom(_PIECE)
    (folder / "piece").write_bytes(block)
    size = pieces * _PIECE
    expected = hashlib.sha256()
    for _ in range(pieces):
        expected.update(block)
    with (folder / "piece").open("rb") as source, _connected(node.port) as client:

        def send(client: socket.socket) -> None:
            for _ in range(pieces):
                send_file(client, source.fileno(), _PIECE)

        location = _post(client, size, send)
    with _connected(node.port) as client:
        client.sendall(_head("GET", location))
        found = hashlib.sha256()
        for chunk in answer_body(client, size):
            found.update(chunk)
    if found.digest() != expected.digest():
        raise CannotRun(f"GET {location} gave other bytes than were sent")
    return peak_rss_bytes(pid)


# -- a client that costs little ---------------------------------------------------------------------------------


def _hashing_s(body: bytearray) -> float:
    began = time.perf_counter()
    for hashed in (hashlib.md5(usedforsecurity=False), hashlib.sha256()):
        for at in range(0, len(body), MIB):
            hashed.update(memoryview(body)[at : at + MIB])
        hashed.hexdigest()
    return time.perf_counter() - began


def _writing_s(path: Path, body: bytearray) -> float:
    began = time.perf_counter()
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    spent = time.perf_counter() - began
    path.unlink()
    return spent


@contextlib.contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 600) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


def _head(method: str, path: str, fields: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n{fields}\r\n".encode()


def _post(client: socket.socket, size: int, send: Callable[[socket.socket], None]) -> str:
    """The path of the new blob."""
    client.sendall(_head("POST", "/blobs", f"Content-Length: {size}\r\n"))
    send(client)
    head, _ = answer_head(client)
    if not head.startswith(b"HTTP/1.1 201 "):
        raise CannotRun(f"POST /blobs: {head[:400]!r}")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    return fields[b"location"].decode()
