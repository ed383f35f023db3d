"""A Millrace node of real processes: gateway and agent, started, killed and restarted by tests and the demo."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.interpreter import PYTHON
from tests.support.ports import free_port
from tests.support.secret_file import secret_file

TOKEN = "a-token-of-the-tests"


@dataclass
class Node:
    """Settings in `folder`, and the processes that run by them. Always end it with stop()."""

    folder: Path
    primary: dict[str, Any] | None = None
    """Table of the primary store; None: files below the folder."""
    persistent: dict[str, Any] | None = None
    """Table of the persistent store; None: files below the folder."""
    etcd: tuple[str, ...] = ()
    name: str = "node1"
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further tables, merged into those written here: {"mirror": {"concurrency": 4}}."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = self.folder / "data"
        self.config = self.folder / "millrace.toml"
        self.port, self.admin_port, self.agent_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        token = secret_file(self.folder / "token", TOKEN + "\n")
        self._write_config(token)

    def start(self, role: str, *, fault: str = "", wait: bool = True) -> subprocess.Popen[bytes]:
        """Start `gateway` or `agent`; `fault` is MILLRACE_FAULT of the new process."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
        if fault:
            environ["MILLRACE_FAULT"] = fault
        with (self.folder / f"{role}.log").open("ab") as log:
            started = subprocess.Popen(
                [PYTHON, "-m", "controlplane.cli.main", role, "--config", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, start_new_session=True,
            )  # fmt: skip
        self.processes[role] = started
        if wait:
            port = self.admin_port if role == "gateway" else self.agent_port
            self._wait_for(role, started, port)
        return started

    def kill(self, role: str) -> None:
        """SIGKILL: no goodbye."""
        self._end(role, signal.SIGKILL)

    def stop(self, *roles: str) -> None:
        """SIGTERM, and SIGKILL after 30 seconds; all when no role is named."""
        for role in roles or tuple(self.processes):
            self._end(role, signal.SIGTERM)

    def cli(self, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run `millrace ...` against this node."""
        environ = dict(os.environ, MILLRACE_TOKEN=TOKEN, MILLRACE_CONFIG=str(self.config), NO_COLOR="1")
        return subprocess.run(
            [PYTHON, "-m", "controlplane.cli.main", *arguments],
            input=data, capture_output=True, env=environ, timeout=120, check=False,
        )  # fmt: skip

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request with the token on a connection of its own: status, headers (lower-case), body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def metrics(self, role: str) -> dict[str, float]:
        """What /metrics of that process says now, by name and labels as printed."""
        port = self.admin_port if role == "gateway" else self.agent_port
        lines = _get(port, "/metrics").decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def ready(self, role: str) -> dict[str, Any]:
        port = self.admin_port if role == "gateway" else self.agent_port
        found: dict[str, Any] = json.loads(_get(port, "/readyz"))
        return found

    def log(self, role: str) -> str:
        path = self.folder / f"{role}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _end(self, role: str, number: signal.Signals) -> None:
        process = self.processes.pop(role, None)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{role} did not stop within 30 s: {self.log(role)[-3000:]}") from None

    def _wait_for(self, role: str, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                _get(port, "/healthz")
                return
            time.sleep(0.02)
        raise AssertionError(f"{role} did not start (exit code {process.poll()}): {self.log(role)[-3000:]}")

    def _write_config(self, token: Path) -> None:
        tables: dict[str, dict[str, Any]] = {
            "node": {"cluster": "test", "name": self.name, "data_dir": str(self.data_dir)},
            "gateway": {"port": self.port},
            "admin": {"port": self.admin_port, "agent_port": self.agent_port},
            "primary": self.primary or {"kind": "filesystem", "path": str(self.folder / "primary")},
            "persistent": self.persistent or {"kind": "filesystem", "path": str(self.folder / "persistent")},
            "directory": {"lease_ttl_s": 5, "probe_interval_s": 1},
            "directory.etcd": {"endpoints": list(self.etcd)},
        }
        for name, table in self.extra.items():
            tables[name] = {**tables.get(name, {}), **table}
        lines = [
            f"tokens = [{{ name = 'tests', secret = {{ file = '{token}' }}, scopes = ['read', 'write', 'delete'] }}]"
        ]
        for name, table in tables.items():
            lines.append(f"\n[{name}]")
            lines.extend(f"{key} = {_toml(value)}" for key, value in table.items())
        self.config.write_text("\n".join(lines) + "\n")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()
