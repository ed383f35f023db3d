"""The S3 front beside HAProxy as a plain proxy to the same upstream, and beside the upstream itself.

The upstream is a look-alike of Riak CS that answers at once (riak_cs_sink.py): what is measured is the proxy. All
requests are signed; the gateway verifies them, decides, and signs anew, and proves every body that passes.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from awscrt import checksums

from tests.bench.cheap_client import answer_body, answer_head, send_file
from tests.bench.processes import CannotRun, cpu_s, need, peak_rss_bytes, running
from tests.bench.riak_cs_sink import ADMIN_KEY, ADMIN_SECRET, KEY, SECRET
from tests.bench.s3_sink import body_of
from tests.bench.table import Row
from tests.hosts.replay import signing
from tests.support import s3_gateway
from tests.support.ports import free_port
from tests.support.riak_cs import RiakCs

MIB = 1 << 20
SMALL, LARGE = 4096, 64 * MIB
UPLOADS_AT_ONCE = 64
MOST_RSS_BYTES = 200_000_000
BUCKET = "bench"


@dataclass(frozen=True)
class Place:
    """Where requests go, and the process whose CPU counts."""

    port: int
    pid: int


@dataclass(frozen=True)
class Places:
    gateway: Place
    haproxy: Place
    upstream: Place


@contextlib.contextmanager
def places(folder: Path) -> Iterator[Places]:
    """A gateway of one process and an HAProxy of one thread before the same upstream."""
    port = free_port()
    with running([sys.executable, "-m", "tests.bench.riak_cs_sink", str(port)], port) as upstream:
        url = f"http://127.0.0.1:{port}"
        store = RiakCs(url, url, ADMIN_KEY, ADMIN_SECRET)
        quiet = {"log": {"access": False}}
        with _haproxy(folder, port) as proxy, s3_gateway.running(folder / "gateway", store, extra=quiet) as gateway:
            process = gateway.node.processes["gateway"]
            own = Place(int(gateway.url.rpartition(":")[2]), process.pid)
            yield Places(own, proxy, Place(port, upstream.pid))


@contextlib.contextmanager
def _haproxy(folder: Path, upstream: int) -> Iterator[Place]:
    port = free_port()
    conf = folder / "haproxy.cfg"
    conf.write_text(
        "global\n  nbthread 1\n  maxconn 2000\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
        "  http-reuse always\n"
        f"frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n"
        f"backend b\n  server s 127.0.0.1:{upstream}\n"
    )
    with running([need("haproxy"), "-f", str(conf)], port) as process:
        yield Place(port, process.pid)


def signed(method: str, path: str, port: int, sha256: str, **more: str) -> dict[str, str]:
    """Headers of a request that holds for the next quarter of an hour."""
    headers = {"Host": f"127.0.0.1:{port}", "x-amz-content-sha256": sha256, **more}
    return headers | signing.v4(method, path, "", headers, KEY, SECRET, dt.datetime.now(dt.UTC))


def small(folder: Path, rounds: int, seconds: int) -> list[Row]:
    """4 KiB over 32 kept connections: CPU of the proxy for a request."""
    rows: list[Row] = []
    body = body_of(SMALL)
    (folder / "body").write_bytes(body)
    with places(folder) as found:
        for method in ("GET", "PUT"):
            costs = {name: [] for name in ("gateway", "haproxy")}  # type: dict[str, list[float]]
            rates = {name: [] for name in ("gateway", "haproxy", "upstream")}  # type: dict[str, list[float]]
            for turn in range(rounds + 1):
                for name, values in rates.items():
                    place: Place = getattr(found, name)
                    cpu, rate = wrk(folder, method, place, seconds)
                    if turn:  # the first one imports and connects
                        values.append(rate)
                        if name in costs:
                            costs[name].append(cpu)
            mine, peer = statistics.median(costs["gateway"]), statistics.median(costs["haproxy"])
            us = "{:.0f} us CPU/request".format
            rows.append(
                Row(f"signed {method} 4 KiB through the S3 front; HAProxy as a plain proxy", us(mine * 1e6),
                    us(peer * 1e6), mine / peer, "<= 3.0" if method == "GET" else "")
            )  # fmt: skip
            speed = {name: statistics.median(values) for name, values in rates.items()}
            per_second = "{:,.0f} requests/s".format
            rows.append(
                Row("  the same; the upstream asked directly", per_second(speed["gateway"]),
                    per_second(speed["upstream"]), speed["gateway"] / speed["upstream"])
            )  # fmt: skip
    return rows


def wrk(folder: Path, method: str, place: Place, seconds: int) -> tuple[float, float]:
    """(CPU seconds for a request, requests a second)."""
    path = f"/{BUCKET}/{SMALL}/k"
    body = body_of(SMALL)
    sha256 = hashlib.sha256(body if method == "PUT" else b"").hexdigest()
    headers = signed(method, path, place.port, sha256)
    command = [need("wrk"), "-t1", "-c32", f"-d{seconds}s"]
    if method == "PUT":
        script = folder / "put.lua"
        script.write_text(
            f'local f = io.open("{folder}/body", "rb")\nwrk.body = f:read("*all")\nf:close()\nwrk.method = "PUT"\n'
        )
        command += ["-s", str(script)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    before = cpu_s(place.pid)
    out = subprocess.run(
        [*command, f"http://127.0.0.1:{place.port}{path}"], check=True, capture_output=True, text=True
    ).stdout
    used = cpu_s(place.pid) - before
    done, rate = re.search(r"(\d+) requests in", out), re.search(r"Requests/sec: +([0-9.]+)", out)
    if done is None or rate is None or "Non-2xx" in out or not int(done[1]):
        raise CannotRun(f"wrk, {method} {path}:\n{out}")
    return used / int(done[1]), float(rate[1])


def large(folder: Path, rounds: int, transfers: int) -> list[Row]:
    """64 MiB, on one kept connection: CPU of the proxy per GB; and the speed of a PUT beside the hashes it verifies."""
    body = body_of(LARGE)
    file = folder / "large"
    file.write_bytes(body)
    proofs = {
        "Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode(),
        "x-amz-checksum-crc64nvme": base64.b64encode(checksums.crc64nvme(body).to_bytes(8, "big")).decode(),
    }
    gets: dict[str, list[float]] = {name: [] for name in ("gateway", "haproxy")}
    puts: dict[str, list[float]] = {name: [] for name in ("gateway", "haproxy")}
    walls: dict[str, list[float]] = {name: [] for name in ("gateway", "upstream")}
    hashes: list[float] = []
    per_gb = transfers * LARGE / 1e9
    with places(folder) as found:
        for turn in range(rounds + 1):
            hashing = _hashing_s(body)
            for name in ("gateway", "haproxy", "upstream"):
                place: Place = getattr(found, name)
                got = _cpu(place, lambda place=place: _gets(place, transfers))  # type: ignore[misc]
                began = time.perf_counter()
                sent = _cpu(place, lambda place=place: _puts(place, file, proofs, transfers))  # type: ignore[misc]
                wall = (time.perf_counter() - began) / transfers
                if not turn:
                    continue
                if name in gets:
                    gets[name].append(got / per_gb)
                    puts[name].append(sent / per_gb)
                if name in walls:
                    walls[name].append(wall)
            if turn:
                hashes.append(hashing)
    cost = "{:.2f} CPU-s/GB".format
    rows = []
    for method, values, aim in (("GET", gets, "<= 1.2"), ("PUT", puts, "")):
        mine, peer = (statistics.median(values[name]) for name in ("gateway", "haproxy"))
        what = f"{method} 64 MiB through the S3 front; HAProxy as a plain proxy"
        rows.append(Row(what, cost(mine), cost(peer), mine / peer, aim))
    limit, wall, alone = (statistics.median(each) for each in (hashes, walls["gateway"], walls["upstream"]))
    speed = "{:,.0f} MB/s".format
    rows += [
        Row("PUT 64 MiB, MD5 + CRC64NVME verified; both hashes on one core", speed(LARGE / wall / 1e6),
            speed(LARGE / limit / 1e6), limit / wall, ">= 0.8"),
        Row("  the same; the upstream asked directly", speed(LARGE / wall / 1e6), speed(LARGE / alone / 1e6),
            alone / wall),
    ]  # fmt: skip
    return rows


def memory(folder: Path, at_once: int = UPLOADS_AT_ONCE) -> list[Row]:
    """64 uploads of 64 MiB beside one another: the gateway's peak memory."""
    body = body_of(LARGE)
    file = folder / "large"
    file.write_bytes(body)
    proofs = {"x-amz-checksum-crc64nvme": base64.b64encode(checksums.crc64nvme(body).to_bytes(8, "big")).decode()}
    failed: list[BaseException] = []
    with places(folder) as found:

        def send() -> None:
            try:
                _puts(found.gateway, file, proofs, 1)
            except (CannotRun, OSError) as error:
                failed.append(error)

        senders = [threading.Thread(target=send) for _ in range(at_once)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        if failed:
            raise CannotRun(f"{len(failed)} of {at_once} uploads failed: {failed[0]}")
        seen = peak_rss_bytes(found.gateway.pid)
    limit = f"{MOST_RSS_BYTES / 1e6:.0f} MB allowed"
    what = f"peak RSS of the S3 front, {at_once} uploads of 64 MiB at once"
    return [Row(what, f"{seen / 1e6:.0f} MB", limit, seen / MOST_RSS_BYTES, "<= 1.0")]


def _cpu(place: Place, work: Callable[[], object]) -> float:
    before = cpu_s(place.pid)
    work()
    return cpu_s(place.pid) - before


def _hashing_s(body: bytes) -> float:
    began = time.perf_counter()
    md5, crc = hashlib.md5(usedforsecurity=False), 0
    for at in range(0, len(body), MIB):
        piece = body[at : at + MIB]
        md5.update(piece)
        crc = checksums.crc64nvme(piece, crc)
    md5.hexdigest()
    return time.perf_counter() - began


def _gets(place: Place, transfers: int) -> None:
    for _ in range(transfers):
        _get(place)


def _get(place: Place) -> None:
    path = f"/{BUCKET}/{LARGE}/k"
    headers = signed("GET", path, place.port, hashlib.sha256().hexdigest())
    with socket.create_connection(("127.0.0.1", place.port), 60) as client:
        client.sendall(_head("GET", path, headers))
        for _ in answer_body(client, LARGE):
            pass


def _puts(place: Place, file: Path, proofs: dict[str, str], times: int) -> None:
    path = f"/{BUCKET}/{LARGE}/k"
    with socket.create_connection(("127.0.0.1", place.port), 600) as client, file.open("rb") as source:
        for _ in range(times):
            length = {"Content-Length": str(LARGE)}
            headers = signed("PUT", path, place.port, "UNSIGNED-PAYLOAD", **proofs) | length
            client.sendall(_head("PUT", path, headers))
            send_file(client, source.fileno(), LARGE)
            client.settimeout(600)
            head, _ = answer_head(client)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise CannotRun(f"PUT {path}: {head[:400]!r}")


def _head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()
