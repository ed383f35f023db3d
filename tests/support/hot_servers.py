"""Redis and Memcached from Debian, started and ended by tests, on free ports of loopback."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.ports import free_port
from tests.support.waiting import end

START_TIMEOUT_S = 60


class ServerFailed(Exception):
    """It is not installed, or did not start."""


@contextlib.contextmanager
def redis_server(folder: Path, password: str = "", port: int = 0) -> Iterator[str]:
    """Its host:port."""
    port = port or free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    options += ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]
    options += ["--requirepass", password] if password else []
    with _running("redis-server", options, port, folder):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def memcached_server(folder: Path, port: int = 0) -> Iterator[str]:
    """Its host:port."""
    port = port or free_port()
    with _running("memcached", ["-l", "127.0.0.1", "-p", str(port), "-m", "64", "-u", "nobody"], port, folder):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: str, options: list[str], port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    found = shutil.which(command)
    if found is None:
        raise ServerFailed(f"{command} is not installed: .ci/system-packages, as `make test` does it, installs it")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{command}.log"
    with log.open("ab") as output:
        process = subprocess.Popen([found, *options], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"{command} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield process
    finally:
        end(process)
