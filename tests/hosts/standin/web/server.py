"""Reads requests from connections, one thread each, and writes responses with headers in mochiweb's order."""

import re
import socket
import socketserver
import sys
import traceback
from collections.abc import Callable

from tests.hosts.standin.threaded_server import ThreadedServer
from tests.hosts.standin.web.messages import REASONS, Hangup, Request, Response, ShortBody, crash, http_date

App = Callable[[Request], Response]
_HEAD_LIMIT = 64 << 10
_REQUEST_LINE = re.compile(r"^([A-Za-z]+) (\S+) HTTP/1\.([01])$")


class _Connection(socketserver.BaseRequestHandler):
    server: "WebServer"

    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connections.add(sock)
        rest = bytearray()
        try:
            while True:
                head = _read_head(sock, rest)
                if head is None:
                    return
                request = _parse(head, sock, rest, self.client_address[0])
                if request is None:
                    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                if not self._answer(request):
                    return
        except (OSError, Hangup):
            return
        finally:
            self.server.connections.discard(sock)

    def _answer(self, request: Request) -> bool:
        """True when the connection stays open."""
        try:
            response = self.server.app(request)
        except (Hangup, ShortBody):
            raise
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            response = crash(f"{{error,{type(error).__name__},{error}}}")
        keep = not response.close and request.remaining == 0
        keep = keep and (request.header("connection") or "").lower() != "close"
        keep = keep and "old" not in request.context  # also where it asks for keep-alive: conn-http10-keepalive
        _send(request, response, self.server.software, keep=keep)
        return keep


def _read_head(sock: socket.socket, rest: bytearray) -> str | None:
    while b"\r\n\r\n" not in rest:
        if len(rest) > _HEAD_LIMIT:
            return ""
        data = sock.recv(65536)
        if not data:
            return None
        rest += data
    end = rest.index(b"\r\n\r\n")
    head = rest[:end].decode("latin-1")
    del rest[: end + 4]
    return head


def _parse(head: str, sock: socket.socket, rest: bytearray, peer: str) -> Request | None:
    lines = head.lstrip("\r\n").split("\r\n")
    first = _REQUEST_LINE.match(lines[0])
    if first is None:
        return None
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return None
        headers.append((name, value.strip()))
    request = Request(first[1], first[2], headers, peer, sock, rest)
    if first[3] == "0":
        request.context["old"] = True
    if first[2].startswith("http://"):
        request.target = "/" + first[2].split("/", 3)[-1] if first[2].count("/") > 2 else "/"
    length = request.header("content-length")
    if length is not None:
        if not length.isdigit():
            return None
        request.remaining = int(length)
    if request.has("transfer-encoding"):
        request.context["chunked"] = True
        request.remaining = 1 << 62
    request.expects_continue = (request.header("expect") or "").lower() == "100-continue"
    return request


def _send(request: Request, response: Response, software: str, *, keep: bool) -> None:
    headers = {"Server": software, "Date": http_date()} | response.headers
    streamed = not isinstance(response.body, bytes)
    length = response.length if response.length is not None else None if streamed else len(response.body)
    if response.status in (204, 304):
        length = None
    elif length is None:
        headers["Transfer-Encoding"] = "chunked"
    if length is not None:
        headers["Content-Length"] = str(length)
    if not keep and not request.remaining and response.close:
        headers["Connection"] = "close"
    reason = REASONS.get(response.status, "") if response.reason is None else response.reason
    lines = [f"HTTP/1.1 {response.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in sorted(headers.items(), key=lambda h: h[0].lower(), reverse=True)]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    if request.method == "HEAD" or response.status in (204, 304):
        request.sock.sendall(head)
        return
    if isinstance(response.body, bytes):
        request.sock.sendall(head + response.body)
        return
    request.sock.sendall(head)
    for piece in response.body:
        if length is not None:
            request.sock.sendall(piece)
        elif piece:
            request.sock.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    if length is None:
        request.sock.sendall(b"0\r\n\r\n")


class WebServer(ThreadedServer):
    """Serves `app` on an address; port 0 takes a free one."""

    def __init__(self, address: tuple[str, int], app: App, software: str) -> None:
        self.app, self.software = app, software
        super().__init__(address, _Connection)

    def handle_error(self, request: object, client_address: object) -> None:
        traceback.print_exc(file=sys.stderr)


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
