"""CPU cost of the HTTP engine beside nginx, on the same files in one run: `python tests/bench/http_engine.py`.

Needs wrk and nginx (Debian packages). CPU is that of the serving process, user and system, from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SMALL, LARGE = 4096, 64 * 1024 * 1024
TICK = os.sysconf("SC_CLK_TCK")


def serve(port: int, files: Path) -> None:
    """The engine with a handler of a few lines (runs in a process of its own)."""
    import uvloop

    from controlplane.http import FileBody, HttpServer, Request, Response

    blob = (files / "small").read_bytes()
    small = os.open(files / "small", os.O_RDONLY)
    large = os.open(files / "large", os.O_RDONLY)
    headers = [(b"content-type", b"application/octet-stream"), (b"etag", b'"0123456789abcdef0123456789abcdef"')]

    def released() -> None:
        pass

    def handler(request: Request) -> Response:
        if request.path == "/memory":
            return Response(200, headers, blob)
        if request.path == "/small":
            return Response(200, headers, FileBody(small, 0, SMALL, released))
        return Response(200, headers, FileBody(large, 0, LARGE, released))

    async def main() -> None:
        server = HttpServer(handler)
        await server.start("127.0.0.1", port)
        await asyncio.Event().wait()

    uvloop.run(main())


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def measure(pid: int, url: str, seconds: int, connections: int) -> tuple[float, float]:
    """(CPU seconds, requests) of one run of wrk."""
    before = cpu_seconds(pid)
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", url], check=True, capture_output=True, text=True
    ).stdout
    used = cpu_seconds(pid) - before
    match = re.search(r"(\d+) requests in", out)
    if match is None or "Non-2xx" in out:
        raise SystemExit(f"wrk failed:\n{out}")
    return used, float(match[1])


def start_nginx(port: int, files: Path) -> tuple[subprocess.Popen[bytes], int]:
    conf = files / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    conf.write_text(
        f"{user} daemon off; master_process on; worker_processes 1;\n"
        f"pid {files}/nginx.pid; error_log {files}/error.log;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n"
        f"  client_body_temp_path {files}/t1; proxy_temp_path {files}/t2; fastcgi_temp_path {files}/t3;\n"
        f"  uwsgi_temp_path {files}/t4; scgi_temp_path {files}/t5;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {files};\n"
        f"    location /cached/ {{ alias {files}/; open_file_cache max=100; }} }} }}\n"
    )
    master = subprocess.Popen(["nginx", "-p", str(files), "-c", str(conf)], stderr=subprocess.DEVNULL)
    wait_for(port)
    children = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
    return master, int(children[0])


def main() -> None:
    from tests.support.interpreter import PYTHON

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.files)
        return
    for tool in ("wrk", "nginx"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is missing: apt-get install {tool}")
    with tempfile.TemporaryDirectory() as name:
        files = Path(name)
        files.chmod(0o755)
        (files / "small").write_bytes(os.urandom(SMALL))
        (files / "large").write_bytes(os.urandom(1024 * 1024) * 64)
        ours_port, nginx_port = free_port(), free_port()
        ours = subprocess.Popen([PYTHON, __file__, "--serve", str(ours_port), "--files", name])
        nginx: subprocess.Popen[bytes] | None = None
        try:
            wait_for(ours_port)
            nginx, worker = start_nginx(nginx_port, files)
            report(options.rounds, options.seconds, (ours.pid, ours_port), (worker, nginx_port))
        finally:
            for process in (ours, nginx):
                if process is not None:
                    process.terminate()
                    process.wait(10)


def report(rounds: int, seconds: int, ours: tuple[int, int], nginx: tuple[int, int]) -> None:
    cases = (
        ("4 KiB from memory", ours, "memory", 32),
        ("4 KiB from a file", ours, "small", 32),
        ("4 KiB, nginx", nginx, "small", 32),
        ("4 KiB, nginx, open_file_cache", nginx, "cached/small", 32),
        ("64 MiB, sendfile", ours, "large", 4),
        ("64 MiB, nginx", nginx, "large", 4),
    )
    results: dict[str, list[float]] = {label: [] for label, *_ in cases}
    rates: dict[str, list[float]] = {label: [] for label, *_ in cases}
    for _ in range(rounds):  # interleaved: the noise of the machine meets all alike
        for label, (pid, port), path, connections in cases:
            used, requests = measure(pid, f"http://127.0.0.1:{port}/{path}", seconds, connections)
            large = path == "large"
            results[label].append(used / (requests * LARGE / 1e9) if large else used / requests * 1e6)
            rates[label].append(requests / seconds)
    for label, values in results.items():
        unit = "CPU-s/GB" if "64 MiB" in label else "us CPU/request"
        print(
            f"{label:30} {statistics.median(values):8.2f} {unit:15} {statistics.median(rates[label]):10.0f} requests/s"
        )


if __name__ == "__main__":
    main()
