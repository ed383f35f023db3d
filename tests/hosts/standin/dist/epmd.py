"""The port mapper daemon of a host: node names to ports on 4369, as Erlang's epmd does it.

One text line each way: `register NAME PORT` keeps the name for as long as the connection lives, `port NAME` answers
the port or `0`, `names` lists all. Nodes start it when nobody listens and register again when it went away.
"""

import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.hosts.standin.dist.link import NotReachable

PORT = 4369


class _Session(socketserver.StreamRequestHandler):
    server: "Daemon"

    def handle(self) -> None:
        mine: list[str] = []
        try:
            for line in self.rfile:
                self.wfile.write(self._reply(line.decode().split(), mine).encode() + b"\n")
        except OSError:
            pass
        finally:
            for name in mine:
                self.server.names.pop(name, None)

    def _reply(self, words: list[str], mine: list[str]) -> str:
        names = self.server.names
        match words:
            case ["register", name, port]:
                if name in names:
                    return "taken"
                names[name] = int(port)
                mine.append(name)
                return "ok"
            case ["port", name]:
                return str(names.get(name, 0))
            case ["names"]:
                return " ".join(f"{name}:{port}" for name, port in sorted(names.items()))
            case _:
                return "what"


class Daemon(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: str, names: dict[str, int], port: int = PORT) -> None:
        self.names = names
        super().__init__((address, port), _Session)


def ask(host: str, line: str, timeout: float = 2.0) -> str:
    try:
        with socket.create_connection((host, PORT), timeout) as sock, sock.makefile("rw") as stream:
            stream.write(line + "\n")
            stream.flush()
            return stream.readline().strip()
    except OSError as error:
        raise NotReachable(f"epmd of {host}: {error}") from error


def locate(node: str) -> tuple[str, int]:
    """The address of `name@host` by the epmd of that host. Raises NotReachable."""
    name, _, host = node.partition("@")
    port = int(ask(host, f"port {name}") or 0)
    if not port:
        raise NotReachable(f"{host} has no node called {name}")
    return host, port


class Registration:
    """Keeps a node's name at the local epmd, which it starts when nobody listens."""

    def __init__(self, name: str, port: int) -> None:
        self._line = f"register {name} {port}\n"
        self._stop = threading.Event()
        self._sock: socket.socket | None = None
        for _ in range(5):
            if self._register() == "ok":
                break
            time.sleep(0.3)
        else:
            raise OSError(f"the name {name} seems to be in use by another Erlang node")
        threading.Thread(target=self._keep, daemon=True, name="epmd").start()

    def _register(self) -> str:
        for attempt in range(50):
            try:
                self._sock = socket.create_connection(("127.0.0.1", PORT), 2)
                self._sock.sendall(self._line.encode())
                return self._sock.recv(16).decode().strip()
            except OSError:
                if attempt == 0:
                    start_daemon()
                time.sleep(0.1)
        raise OSError("no epmd on port 4369, and none could be started")

    def _keep(self) -> None:
        while not self._stop.is_set():
            try:
                assert self._sock is not None
                self._sock.settimeout(None)
                if self._sock.recv(16) == b"":
                    raise OSError("closed")
            except OSError:
                if not self._stop.wait(0.2):
                    self._register()

    def close(self) -> None:
        self._stop.set()
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._sock.close()


def start_daemon() -> None:
    package = __package__.rpartition(".")[0]
    root = Path(__file__).resolve().parents[1 + len(package.split("."))]
    subprocess.Popen(
        [sys.executable, "-m", f"{package}.dist.epmd"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def addresses() -> list[str]:
    """Those of ERL_EPMD_ADDRESS and always loopback; all, when it is not set."""
    named = os.environ.get("ERL_EPMD_ADDRESS", "")
    return ["127.0.0.1", *(address for address in named.split(",") if address != "127.0.0.1")] if named else ["0.0.0.0"]


def serve() -> None:
    names: dict[str, int] = {}
    first, *others = [Daemon(address, names) for address in addresses()]
    for daemon in others:
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
    first.serve_forever()


if __name__ == "__main__":
    try:
        serve()
    except OSError:
        sys.exit(1)
