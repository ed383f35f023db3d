"""One connection to one gateway: a request with a streamed body, and its answer as soon as there is one."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from controlplane.cli.exit_codes import UsageError
from controlplane.ports.errors import Rejected, Unavailable

BLOCK = 1024 * 1024
"""Bytes that are read, hashed and sent at once."""
_MOST_JSON = 256 * 1024
_CONNECT_S = 10.0


class Broken(Unavailable):
    """The connection could not be made, or it broke; the outcome is unknown."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=1.0)


class Answer(Protocol):
    """Status and headers, and a body to be read."""

    @property
    def status(self) -> int: ...

    @property
    def whole_body_sent(self) -> bool:
        """False when the answer came before the request's body had ended."""
        ...

    def header(self, name: str) -> str | None: ...

    def read(self, most: int) -> bytes:
        """Up to `most` bytes, none at the end. Raises Broken."""
        ...


class Connection(Protocol):
    @property
    def url(self) -> str: ...

    @property
    def used(self) -> bool:
        """Whether an earlier exchange left it open: its server may have closed it meanwhile."""
        ...

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: Iterator[bytes] | None, size: int | None
    ) -> Answer:
        """Send the request, with `body` in chunks when its size is None. Raises Broken, Rejected
        (a certificate that is not trusted), and what `body` raises."""
        ...

    def close(self) -> None: ...


def read_json(answer: Answer) -> dict[str, object] | None:
    """The JSON object that the answer's body is; None when it is none."""
    data = bytearray()
    while len(data) <= _MOST_JSON and (block := answer.read(_MOST_JSON)):
        data += block
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class _HttpAnswer:
    response: http.client.HTTPResponse
    url: str
    whole_body_sent: bool

    @property
    def status(self) -> int:
        return self.response.status

    def header(self, name: str) -> str | None:
        return self.response.headers.get(name)

    def read(self, most: int) -> bytes:
        try:
            return self.response.read(most)
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"{self.url}: the answer broke off: {_reason(error)}") from error


class HttpConnection:
    """Implements Connection with http.client. Connects when it is first used, and again after close()."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None, silence_s: float) -> None:
        parts = _split(url)
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._silence_s = silence_s
        self._response: http.client.HTTPResponse | None = None
        self._spent = False
        """The server still expects the rest of a body: nothing else can follow on this connection."""
        host, timeout = parts.hostname or "", min(_CONNECT_S, silence_s)
        self._http = (
            http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=tls)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=timeout)
        )

    @property
    def used(self) -> bool:
        return self._response is not None and self._http.sock is not None and not self._spent

    def close(self) -> None:
        self._spent = False
        if self._response is not None:
            self._response.close()
            self._response = None
        self._http.close()

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: Iterator[bytes] | None, size: int | None
    ) -> Answer:
        self._open()
        try:
            self._http.putrequest(method, self._prefix + path, skip_accept_encoding=True)
            for name, value in headers.items():
                self._http.putheader(name, value)
            if body is not None:
                self._http.putheader(
                    *(("transfer-encoding", "chunked") if size is None else ("content-length", str(size)))
                )
            self._http.endheaders()
        except OSError as error:
            raise self._broken(error) from error
        try:
            sent, failure = (True, None) if body is None else self._send(body, chunked=size is None)
        except BaseException:
            self.close()
            raise
        try:
            # Also after a send that failed: a server that refuses a body answers before it closes.
            self._response = self._http.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(failure or error) from error
        self._spent = not sent
        return _HttpAnswer(self._response, self.url, sent)

    def _open(self) -> None:
        # Unread bytes, an unsent body, or a server that has closed.
        if self._response is not None and (not self._response.isclosed() or self._spent or _readable(self._http)):
            self.close()
        if self._http.sock is None:
            try:
                self._http.connect()
            except ssl.SSLCertVerificationError as error:
                self.close()
                what = f"the certificate of {self.url} is not trusted ({error.verify_message})"
                raise Rejected(f"{what}: give its authority with --ca-file") from error
            except OSError as error:
                self.close()
                raise Broken(f"cannot connect to {self.url}: {_reason(error)}") from error
            sock: socket.socket | None = self._http.sock
            assert sock is not None
            sock.settimeout(self._silence_s)

    def _send(self, body: Iterator[bytes], *, chunked: bool) -> tuple[bool, OSError | None]:
        """Send all blocks. False when the server answered before, or the connection broke (with the error)."""
        plain_text = not isinstance(self._http, http.client.HTTPSConnection)
        for block in body:
            # Over TLS, readable may only mean a session ticket.
            if plain_text and _readable(self._http):
                return False, None
            try:
                if not chunked:
                    self._http.send(block)
                elif len(block) < BLOCK // 16:
                    self._http.send(b"%x\r\n%b\r\n" % (len(block), block))
                else:
                    self._http.send(b"%x\r\n" % len(block))
                    self._http.send(block)
                    self._http.send(b"\r\n")
            except OSError as error:
                return False, error
        if chunked:
            try:
                self._http.send(b"0\r\n\r\n")
            except OSError as error:
                return False, error
        return True, None

    def _broken(self, error: Exception) -> Broken:
        self.close()
        return Broken(f"the connection to {self.url} broke: {_reason(error)}")


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Trust in `ca_file`, or in the system's authorities. Raises UsageError."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise UsageError(f"certificate authority {ca_file}: {_reason(error)}: give a PEM file") from error


def check_url(url: str) -> str:
    """Return `url` when it can be one of a gateway's; raise UsageError otherwise."""
    _split(url)
    return url


def _split(url: str) -> SplitResult:
    # The text is not repeated where it may hold a password.
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url or "?" in url or "#" in url:
        raise UsageError("the gateway's URL must be http://host:port or https://host:port, without query or fragment")
    if parts.username is not None or parts.password is not None:
        raise UsageError("the gateway's URL must not hold a user or password: give MILLRACE_TOKEN or --token-file")
    return parts


def _readable(connection: http.client.HTTPConnection) -> bool:
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
