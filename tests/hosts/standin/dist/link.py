"""Calls between nodes: a challenge proves the cookie, then one call after the other on a connection.

As with Erlang, who has the cookie and reaches the port may do everything. A wrong cookie closes the connection, so
the caller sees the node as not reachable, which is what the real commands print.
"""

import hashlib
import hmac
import os
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Any

from tests.hosts.standin.dist import wire
from tests.hosts.standin.threaded_server import ThreadedServer

Handler = Callable[[str, dict[str, Any], bytes], tuple[Any, bytes]]


class NotReachable(ConnectionError):
    """No connection, a wrong cookie, or no answer in time."""


class RemoteError(RuntimeError):
    """The other side answered with an error; args: its kind and its text."""

    @property
    def kind(self) -> str:
        return str(self.args[0])


def _proof(cookie: str, nonce: bytes) -> bytes:
    return hmac.new(cookie.encode(), nonce, hashlib.sha256).digest()


class _Connection(socketserver.BaseRequestHandler):
    server: "LinkServer"

    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connections.add(sock)
        try:
            sock.settimeout(10)
            nonce = os.urandom(16)
            sock.sendall(nonce)
            if not hmac.compare_digest(wire.receive_exactly(sock, 32), _proof(self.server.cookie, nonce)):
                return
            sock.sendall(b"ok")
            sock.settimeout(None)
            while True:
                _, payload = wire.receive_raw(sock)
                wire.send_raw(sock, *answer(self.server.handler, payload))
        except OSError:
            return
        finally:
            self.server.connections.discard(sock)


def answer(handler: Handler, payload: bytes) -> tuple[int, bytes]:
    message, blob = wire.unpack(payload)
    try:
        result, data = handler(message["op"], message.get("args", {}), blob)
    except RemoteError as error:
        return wire.FAILURE, wire.pack(list(error.args))
    except Exception as error:
        return wire.FAILURE, wire.pack(["crash", f"{type(error).__name__}: {error}"])
    return wire.REPLY, wire.pack(result, data)


class LinkServer(ThreadedServer):
    """Serves calls of nodes and commands that know the cookie."""

    def __init__(self, address: tuple[str, int], cookie: str, handler: Handler) -> None:
        self.cookie, self.handler = cookie, handler
        super().__init__(address, _Connection)


class Link:
    """One connection to a node; calls take turns on it."""

    def __init__(self, address: tuple[str, int], cookie: str, timeout: float) -> None:
        try:
            self._sock = socket.create_connection(address, timeout)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.sendall(_proof(cookie, wire.receive_exactly(self._sock, 16)))
            wire.receive_exactly(self._sock, 2)
        except OSError as error:
            raise NotReachable(f"{address[0]}:{address[1]}: {error}") from error
        self.lock = threading.Lock()

    def call(self, op: str, args: dict[str, Any], blob: bytes, timeout: float) -> tuple[Any, bytes]:
        try:
            self._sock.settimeout(timeout)
            wire.send_raw(self._sock, wire.CALL, wire.pack({"op": op, "args": args}, blob))
            code, payload = wire.receive_raw(self._sock)
        except OSError as error:
            self.close()
            raise NotReachable(str(error)) from error
        message, data = wire.unpack(payload)
        if code == wire.FAILURE:
            raise RemoteError(*message)
        return message, data

    def close(self) -> None:
        self._sock.close()


class Peers:
    """Connections to other nodes by name, a small pool for each."""

    def __init__(self, cookie: str, locate: Callable[[str], tuple[str, int]]) -> None:
        self.cookie, self._locate = cookie, locate
        self._idle: dict[str, list[Link]] = {}
        self._lock = threading.Lock()

    def call(
        self, node: str, op: str, args: dict[str, Any] | None = None, blob: bytes = b"", timeout: float = 3.0
    ) -> tuple[Any, bytes]:
        """Raises NotReachable or RemoteError; a connection that went stale while idle is replaced once."""
        link, reused = self._take(node, timeout)
        try:
            result = link.call(op, args or {}, blob, timeout)
        except NotReachable:
            self.forget(node)
            if not reused:
                raise
            link = Link(self._locate(node), self.cookie, timeout)
            result = link.call(op, args or {}, blob, timeout)
        except RemoteError:
            self._give(node, link)
            raise
        self._give(node, link)
        return result

    def forget(self, node: str) -> None:
        with self._lock:
            for link in self._idle.pop(node, []):
                link.close()

    def close(self) -> None:
        for node in list(self._idle):
            self.forget(node)

    def _take(self, node: str, timeout: float) -> tuple[Link, bool]:
        with self._lock:
            idle = self._idle.get(node)
            if idle:
                return idle.pop(), True
        return Link(self._locate(node), self.cookie, timeout), False

    def _give(self, node: str, link: Link) -> None:
        with self._lock:
            idle = self._idle.setdefault(node, [])
            if len(idle) < 32:
                idle.append(link)
                return
        link.close()
