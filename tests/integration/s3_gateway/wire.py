"""S3 requests as bytes in the test's hand, signed by the code that replays the recordings, none of it the gateway's."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import email.utils
import hashlib
import hmac
import http.client
import io
import socket
import weakref
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import quote, urlsplit

from tests.hosts.replay import signing
from tests.support.riak_cs import User

UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256().hexdigest()
Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    """Names in lower case."""
    body: bytes
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def xml(self) -> ET.Element:
        """The document, without its namespace."""
        root = ET.fromstring(self.body)
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root

    @property
    def code(self) -> str:
        """Of the error document; "" when there is none."""
        return self.text("Code") if self.body.lstrip()[:1] == b"<" else ""

    def text(self, path: str) -> str:
        return self.xml.findtext(path) or ""

    def texts(self, path: str) -> list[str]:
        return [found.text or "" for found in self.xml.findall(path)]

    @property
    def outcome(self) -> tuple[int, str]:
        return self.status, self.code


class Wire:
    """Requests to one address as one user. `user` None: anonymous."""

    def __init__(self, url: str, user: User | None) -> None:
        self.url = url
        self.user = user
        self.host = urlsplit(url).netloc

    def as_(self, user: User | None) -> Wire:
        return Wire(self.url, user)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Headers | None = None,
        *,
        sign: str = "v4",
        sha256: str = "",
        skew: dt.timedelta = dt.timedelta(),
        length: bool = True,
        host: str = "",
    ) -> Answer:
        """`target` is path and query as on the wire. `sign`: v4, v2, or "" for headers that are complete already.

        `sha256`: x-amz-content-sha256, by default that of the body; "-" for none. `length` False: no Content-Length.
        """
        path, _, query = target.partition("?")
        sent = {"Host": host or self.host, **(headers or {})}
        if self.user is not None and sign:
            moment = dt.datetime.now(dt.UTC) + skew
            if sign == "v4":
                if sha256 != "-":
                    sent["x-amz-content-sha256"] = sha256 or hashlib.sha256(body).hexdigest()
                sent |= signing.v4(method, path, query, sent, self.user.key, self.user.secret, moment, literal=False)
            else:
                sent |= signing.v2(method, path, query, sent, self.user.key, self.user.secret, moment)
        if length and (body or method in ("PUT", "POST")) and "Transfer-Encoding" not in sent:
            sent.setdefault("Content-Length", str(len(body)))
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return self.raw(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body, method)

    def raw(self, request: bytes, method: str = "GET", timeout_s: float = 30) -> Answer:
        """These bytes and their answer. Raises ConnectionError when the connection ends without one."""
        with self.connected(timeout_s) as sock:
            # A server that refuses early may reset while the body is on its way: its answer is there all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(request)
            return read_answer(sock, method)

    @contextlib.contextmanager
    def connected(self, timeout_s: float = 30) -> Iterator[socket.socket]:
        where = urlsplit(self.url)
        with socket.create_connection((where.hostname or "", where.port or 80), timeout_s) as sock:
            yield sock

    def presigned(
        self,
        method: str,
        path: str,
        query: str = "",
        expires_s: int = 300,
        skew: dt.timedelta = dt.timedelta(),
        signed_headers: Headers | None = None,
    ) -> str:
        """The target of a SigV4 URL."""
        assert self.user is not None
        stamp = signing.amz_date(dt.datetime.now(dt.UTC) + skew)
        scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
        signed = {"host": self.host, **{k.lower(): v for k, v in (signed_headers or {}).items()}}
        names = ";".join(sorted(signed))
        added = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{self.user.key}/{scope}",
            "X-Amz-Date": stamp, "X-Amz-Expires": str(expires_s), "X-Amz-SignedHeaders": names,
        }  # fmt: skip
        pairs = [pair for pair in query.split("&") if pair]
        pairs += [f"{name}={quote(value, safe='-_.~')}" for name, value in added.items()]
        canonical_query = "&".join(sorted(pair if "=" in pair else f"{pair}=" for pair in pairs))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        text = f"{method}\n{path}\n{canonical_query}\n{lines}\n{names}\n{UNSIGNED}"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
        signature = hmac.new(signing_key(self.user.secret, scope), to_sign.encode(), hashlib.sha256).hexdigest()
        return f"{path}?{'&'.join(pairs)}&X-Amz-Signature={signature}"

    def presigned_v2(self, method: str, path: str, query: str = "", expires: int = 0) -> str:
        """The target of a SigV2 URL; `expires` in seconds since the epoch."""
        assert self.user is not None
        until = str(expires or int(dt.datetime.now(dt.UTC).timestamp()) + 300)
        signature = signing.v2_signature(method, path, query, {}, self.user.secret, until)
        added = f"AWSAccessKeyId={quote(self.user.key)}&Expires={until}&Signature={quote(signature, safe='')}"
        return f"{path}?{query + '&' if query else ''}{added}"

    def put_chunked(
        self,
        path: str,
        chunks: Sequence[bytes],
        *,
        payload: str = STREAMING,
        trailer: tuple[str, str] | None = None,
        headers: Headers | None = None,
        spoil: str = "",
        decoded_length: int | None = None,
        query: str = "",
    ) -> Answer:
        """PUT of an aws-chunked body. `spoil`: "chunk" forges the last chunk's signature, "trailer" the trailer's."""
        assert self.user is not None
        total = sum(map(len, chunks))
        sent = {
            "Host": self.host, "x-amz-content-sha256": payload, "Content-Encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(total if decoded_length is None else decoded_length), **(headers or {}),
        }  # fmt: skip
        if trailer is not None:
            sent["x-amz-trailer"] = trailer[0]
        sent |= signing.v4("PUT", path, query, sent, self.user.key, self.user.secret, dt.datetime.now(dt.UTC))
        seed = sent["Authorization"].rpartition("=")[2]
        signer = _ChunkSigner(self.user.secret, sent["x-amz-date"], seed) if payload != UNSIGNED_TRAILER else None
        body = b""
        for at, chunk in enumerate([*chunks, b""]):
            extension = b""
            if signer is not None:
                forged = spoil == "chunk" and at == len(chunks) - 1
                extension = b";chunk-signature=" + (b"0" * 64 if forged else signer.chunk(chunk).encode())
            body += b"%x%b\r\n" % (len(chunk), extension)
            body += chunk + b"\r\n" if chunk else b""
        if trailer is not None:
            body += f"{trailer[0]}:{trailer[1]}\r\n".encode()
            if signer is not None:
                signature = "0" * 64 if spoil == "trailer" else signer.trailer(f"{trailer[0]}:{trailer[1]}\n".encode())
                body += f"x-amz-trailer-signature:{signature}\r\n".encode()
        body += b"\r\n"
        sent["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        target = f"{path}?{query}" if query else path
        return self.raw(f"PUT {target} HTTP/1.1\r\n{lines}\r\n".encode() + body, "PUT")


def signing_key(secret: str, scope: str) -> bytes:
    derived = f"AWS4{secret}".encode()
    for piece in scope.split("/"):
        derived = hmac.new(derived, piece.encode(), hashlib.sha256).digest()
    return derived


class _ChunkSigner:
    """The chain of chunk signatures. Source: AWS, Signature calculations for streaming uploads."""

    def __init__(self, secret: str, stamp: str, seed: str) -> None:
        self._scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
        self._key, self._stamp, self._last = signing_key(secret, self._scope), stamp, seed

    def chunk(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        return self._next("AWS4-HMAC-SHA256-PAYLOAD", f"{EMPTY_SHA256}\n{digest}")

    def trailer(self, lines: bytes) -> str:
        return self._next("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(lines).hexdigest())

    def _next(self, algorithm: str, rest: str) -> str:
        text = f"{algorithm}\n{self._stamp}\n{self._scope}\n{self._last}\n{rest}"
        self._last = hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
        return self._last


class _Reader(io.BufferedReader):
    """Stays when an answer is read: it may hold the beginning of the next one."""

    def close(self) -> None:
        pass


class _Kept:
    """A socket as HTTPResponse wants it, with one reader for all answers of the connection."""

    readers: ClassVar[weakref.WeakKeyDictionary[socket.socket, _Reader]] = weakref.WeakKeyDictionary()

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> _Reader:
        known = self.readers.get(self._sock)
        if known is None:
            known = self.readers[self._sock] = _Reader(socket.SocketIO(self._sock, "r"))
        return known


def read_answer(sock: socket.socket, method: str = "GET") -> Answer:
    """The next final answer on this connection. Raises ConnectionError when it ends without one."""
    response = http.client.HTTPResponse(_Kept(sock), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read()
    except http.client.BadStatusLine as error:
        raise ConnectionResetError("the connection ended without an answer") from error
    finally:
        response.close()
    fields = tuple((name.lower(), value) for name, value in response.getheaders())
    return Answer(response.status, dict(fields), body, fields)


def content_md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def http_date(moment: dt.datetime) -> str:
    return email.utils.format_datetime(moment, usegmt=True)


def post_form(fields: dict[str, str], file: bytes, name: str = "file") -> tuple[bytes, str]:
    """The body of a browser's form and its Content-Type."""
    boundary = "a-boundary-of-the-tests"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{each}"\r\n\r\n{value}\r\n'
        for each, value in fields.items()
    ]
    last = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="f.txt"\r\n'
    body = "".join([*parts, last, "Content-Type: text/plain\r\n\r\n"]).encode() + file
    return body + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
