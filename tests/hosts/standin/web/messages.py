"""Requests and responses, and the HTML that webmachine answers errors with."""

import datetime as dt
import email.utils
import html
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

REASONS = {
    100: "Continue",
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    300: "Multiple Choices",
    301: "Moved Permanently",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Requested Range Not Satisfiable",
    477: "",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
NOT_FOUND_PAGE = (
    b"<HTML><HEAD><TITLE>404 Not Found</TITLE></HEAD><BODY><H1>Not Found</H1>The requested document was not found "
    b"on this server.<P><HR><ADDRESS>mochiweb+webmachine web server</ADDRESS></BODY></HTML>"
)


class Hangup(Exception):
    """Close the connection without an answer."""


class ShortBody(ConnectionError):
    """The client went away before its body was complete."""


@dataclass
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    peer: str
    sock: socket.socket
    rest: bytearray
    """Bytes that were received behind the head."""
    remaining: int = 0
    expects_continue: bool = False
    context: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str, default: str | None = None) -> str | None:
        wanted = name.lower()
        found = [value for key, value in self.headers if key.lower() == wanted]
        return ", ".join(found) if found else default

    def has(self, name: str) -> bool:
        return self.header(name) is not None

    def chunks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """The body in pieces of `size` bytes, the last one shorter. Raises ShortBody."""
        if self.expects_continue and self.remaining:
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expects_continue = False
        while self.remaining:
            wanted = min(size, self.remaining)
            while len(self.rest) < wanted:
                data = self.sock.recv(min(1 << 18, wanted - len(self.rest)))
                if not data:
                    raise ShortBody(f"{self.remaining} bytes of the body are missing")
                self.rest += data
            piece = bytes(self.rest[:wanted])
            del self.rest[:wanted]
            self.remaining -= wanted
            yield piece

    def body(self) -> bytes:
        return b"".join(self.chunks())


@dataclass
class Response:
    """`length` is told in Content-Length when no body is sent (HEAD); a stream without a length goes out chunked."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    reason: str | None = None
    length: int | None = None
    close: bool = False


def http_date(seconds: float | None = None) -> str:
    moment = dt.datetime.now(dt.UTC) if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)
    return email.utils.format_datetime(moment, usegmt=True)


def page(status: int, text: str | None = None, **headers: str) -> Response:
    """The error page of webmachine; `text` is what stands under the heading."""
    title = REASONS[status]
    inner = title if text is None else text
    content = (
        f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1>{inner}<p><hr>"
        "<address>mochiweb+webmachine web server</address></body></html>"
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, {"Content-Type": "text/html"} | named, content.encode())


def crash(reason: str) -> Response:
    """The 500 page, which shows the Erlang term."""
    content = (
        "<html><head><title>500 Internal Server Error</title></head><body><h1>Internal Server Error</h1>"
        "The server encountered an error while processing this request:<br><pre>"
        f"{html.escape(reason, quote=False)}</pre><P><HR>"
        "<ADDRESS>mochiweb+webmachine web server</ADDRESS></body></html>"
    )
    return Response(500, {"Content-Type": "text/html"}, content.encode())


def not_found() -> Response:
    return Response(404, {"Content-Type": "text/html"}, NOT_FOUND_PAGE, "Object Not Found")


def text(status: int, content: str, **headers: str) -> Response:
    reason = "Object Not Found" if status == 404 else None
    return Response(status, {"Content-Type": "text/plain"} | headers, content.encode("latin-1", "replace"), reason)
