"""GET from a warm gateway beside nginx serving the same file: many small ones (wrk), and large ones."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import CannotRun, cpu_s, need, running
from tests.bench.table import Row
from tests.support.millrace_node import TOKEN, Node
from tests.support.ports import free_port

SMALL, LARGE = 4096, 64 * 1024 * 1024
_RECEIVE_BYTES = 1 << 20


@dataclass(frozen=True)
class Server:
    pid: int
    port: int
    path: str


def small(folder: Path, rounds: int, seconds: int) -> list[Row]:
    """4 KiB, hot, over 32 kept connections: requests per CPU second of the server."""
    wrk = need("wrk")
    with _servers(folder, SMALL) as (ours, tuned, plain):

        def measure(server: Server) -> float:
            return _requests_per_cpu_s(wrk, server, seconds)

        mine, best, stock = _alternated(rounds, measure, ours, tuned, plain)
    rate = "{:,.0f} requests/CPU-s".format
    return [
        Row("GET 4 KiB, hot, one worker; nginx, static file", rate(mine), rate(stock), mine / stock, ">= 0.7"),
        Row("  the same; nginx with open_file_cache", rate(mine), rate(best), mine / best),
    ]


def large(folder: Path, rounds: int, transfers: int) -> list[Row]:
    """64 MiB: CPU of the server per GB, to a client that throws the bytes away."""
    with _servers(folder, LARGE) as (ours, tuned, _):

        def measure(server: Server) -> float:
            before = cpu_s(server.pid)
            _download(server, transfers)
            return (cpu_s(server.pid) - before) / (transfers * LARGE / 1e9)

        mine, best = _alternated(rounds, measure, ours, tuned)
    cost = "{:.3f} CPU-s/GB".format
    return [Row("GET 64 MiB; nginx with sendfile", cost(mine), cost(best), mine / best, "<= 1.0")]


def _alternated(rounds: int, measure: Callable[[Server], float], *servers: Server) -> list[float]:
    """The median for each server; they take turns, so that the noise of the machine meets all alike."""
    for server in servers:
        measure(server)
    found: list[list[float]] = [[] for _ in servers]
    for turn in range(rounds):
        order = list(zip(servers, found, strict=True))
        for server, values in order if turn % 2 else reversed(order):
            values.append(measure(server))
    return [statistics.median(values) for values in found]


def _requests_per_cpu_s(wrk: str, server: Server, seconds: int) -> float:
    command = [
        wrk, "-t1", "-c32", f"-d{seconds}s", "-H", f"Authorization: Bearer {TOKEN}",
        f"http://127.0.0.1:{server.port}{server.path}",
    ]  # fmt: skip
    before = cpu_s(server.pid)
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = cpu_s(server.pid) - before
    match = re.search(r"(\d+) requests in", out)
    if match is None or "Non-2xx" in out or "Socket errors" in out or not used:
        raise CannotRun(f"wrk on {server.path}:\n{out}")
    return int(match[1]) / used


def _download(server: Server, transfers: int) -> None:
    """On one kept connection, without looking at the bytes: what is measured is the server."""
    buffer = bytearray(_RECEIVE_BYTES)
    head = f"GET {server.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), 60) as client:
        for _ in range(transfers):
            client.sendall(head)
            got = b""
            while b"\r\n\r\n" not in got:
                got += client.recv(16 * 1024) or _ended()
            answer, _, body = got.partition(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200 ") or b"content-length: %d" % LARGE not in answer.lower():
                raise CannotRun(f"GET {server.path}: {answer!r}")
            left = LARGE - len(body)
            while left:
                left -= client.recv_into(buffer, min(left, _RECEIVE_BYTES)) or len(_ended())


def _ended() -> bytes:
    raise CannotRun("the server closed the connection within an answer")


@contextlib.contextmanager
def _servers(folder: Path, size: int) -> Iterator[tuple[Server, Server, Server]]:
    """A gateway and two nginx (with and without open_file_cache) that hold the same bytes."""
    files = folder / "files"
    files.mkdir()
    body = os.urandom(size)
    node = Node(folder / "node", extra={"gateway": {"tombstone_recheck_s": 3600}})
    try:
        gateway = node.start("gateway")
        status, headers, _ = node.request("POST", "/blobs", body)
        if status != 201:
            raise CannotRun(f"POST was answered with {status}")
        path = headers["location"]
        # The very same file, so that it lies in the page cache in the same way; the path is as long as the gateway's.
        name = "b" * (len(path) - 1)
        stored = next((folder / "node/primary").rglob(path.rpartition("/")[2]))
        os.link(stored, files / name)
        for _ in range(3):  # the first brings it into the hot cache
            if node.request("GET", path)[2] != body:
                raise CannotRun(f"GET {path} gave other bytes")
        with (
            _nginx(folder / "tuned", files, cached=True) as tuned,
            _nginx(folder / "plain", files, cached=False) as plain,
        ):
            url = f"/{name}"
            yield Server(gateway.pid, node.port, path), Server(tuned[0], tuned[1], url), Server(plain[0], plain[1], url)
    finally:
        node.stop()


@contextlib.contextmanager
def _nginx(room: Path, files: Path, *, cached: bool) -> Iterator[tuple[int, int]]:
    """(process id of the one worker, port)."""
    room.mkdir()
    for folder in (room, room.parent, files):
        folder.chmod(0o755)
    port = free_port()
    conf = room / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    cache = "open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s;" if cached else ""
    temp = " ".join(f"{kind}_temp_path {room}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf.write_text(
        f"{user} daemon off; worker_processes 1; pid {room}/nginx.pid; error_log {room}/error.log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; {cache}\n"
        f"  {temp} default_type application/octet-stream;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {files}; }} }}\n"
    )
    with running([need("nginx", "nginx-light"), "-p", str(room), "-c", str(conf)], port) as master:
        children = Path(f"/proc/{master.pid}/task/{master.pid}/children")
        deadline = time.monotonic() + 10
        while not (workers := children.read_text().split()):
            if time.monotonic() > deadline:
                raise CannotRun("nginx has no worker")
            time.sleep(0.02)
        yield int(workers[0]), port
