"""A real `millrace dev`, a gateway that misbehaves on request, and the command as a user runs it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.millrace_node import TOKEN, Node

COMMAND = [sys.executable, "-m", "controlplane.cli.main"]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("dev"))
    try:
        node.start("dev")
        yield node
    finally:
        node.stop()


def environ(url: str | None = None, **more: str) -> dict[str, str]:
    """The caller's environment without anything of Millrace's own, but for a token and `url`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    return {**clean, "MILLRACE_TOKEN": TOKEN, **({"MILLRACE_URL": url} if url else {}), **more}


def run(
    *arguments: str, url: str | None = None, data: bytes | None = None, **more: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *arguments], input=data, capture_output=True, env=environ(url, **more), timeout=100, check=False
    )


class Misbehaving:
    """Accepts connections on loopback and hands each to `serve` after the request's head, until it is closed."""

    def __init__(self, serve: Callable[[socket.socket, bytes], None], tls: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.heads: list[bytes] = []
        self.released = threading.Event()
        """Set when the test is over: whatever stalls may end."""
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._talk, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                data = b""
                while b"\r\n\r\n" not in data:
                    chunk = connection.recv(65536)
                    if not chunk:
                        return
                    data += chunk
                self.heads.append(data.partition(b"\r\n\r\n")[0])
                self._serve(connection, data)


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    """Settings of a node that was never started, below tmp_path/data."""
    file = tmp_path / "millrace.toml"
    file.write_text(
        f"[node]\ndata_dir = '{tmp_path / 'data'}'\n"
        f"[persistent]\nkind = 'filesystem'\npath = '{tmp_path / 'persistent'}'\n"
    )
    return file
