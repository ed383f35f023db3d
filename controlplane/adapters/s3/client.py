"""Signed requests to one bucket: sent, answered, tried again where that is safe, failures translated."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache, partial
from random import Random
from typing import Final, Protocol, TypeAlias

from controlplane.adapters.s3.connection import Connection
from controlplane.adapters.s3.exchange_failed import ExchangeFailed
from controlplane.adapters.s3.failures import Failure, error_of, failure_of
from controlplane.adapters.s3.head_shapes import HeadShapes, SeenHeads
from controlplane.adapters.s3.options import S3Options
from controlplane.adapters.s3.pipeline import Replies, Reply
from controlplane.adapters.s3.pool import FRESH_IDLE_S, IDLE_S, ConnectionPool, Lease, Site
from controlplane.adapters.s3.sources import ProvedFile
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import REFUSED, KeyPair, Renewal, read_whole
from controlplane.s3.sigv2 import SignerV2
from controlplane.s3.sigv4 import EMPTY_SHA256, SignerV4
from controlplane.s3.uri import Query, encode_path, wire_query

log = logging.getLogger(__name__)

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 5.0
MOST_RETRY_AFTER_S: Final = 10.0
"""A server that wants to be left alone for longer is not waited for: the caller learns when to come again."""
MAX_ERROR_BYTES: Final = 256 * 1024
_JOIN_BELOW: Final = 64 * 1024
_PLAIN: Final = frozenset({"GET", "HEAD", "DELETE"})
_WRITE_BYTES: Final = 1024 * 1024
_PLACES: Final = frozenset({"prefix", "marker", "key-marker"})
"""Parameters of listings that are keys or begin them."""
_PASSES: Final = re.compile(r"[A-Za-z0-9/ ._~-]*\Z", re.ASCII)

Chunks: TypeAlias = Callable[[], AsyncGenerator[bytes, None]]
"""Makes the body anew for every attempt."""


class Signer(Protocol):
    def sign(
        self, method: str, path: str, query: Query, headers: dict[str, str], payload_sha256: str, now: float
    ) -> dict[str, str]: ...


@dataclass(slots=True)
class Request:
    """One request. `key` is the full key, prefix included; None addresses the bucket."""

    method: str
    key: str | None = None
    query: Query = ()
    headers: dict[str, str] = field(default_factory=dict)
    """Lower-case names."""
    body: bytes | memoryview | Chunks | ProvedFile = b""
    length: int = 0
    """Bytes of the body."""
    payload_sha256: str = EMPTY_SHA256
    attempts: int | None = None
    """1 for what must not be sent twice; None: as the options say."""


class Answer:
    """A successful answer whose body is to be read; close() it always."""

    __slots__ = ("_lease", "_name", "_pool", "headers", "retried", "status", "url")

    def __init__(self, pool: ConnectionPool, lease: Lease, name: Callable[[], str], retried: bool) -> None:
        self._pool = pool
        self._lease: Lease | None = lease
        self.status = lease.connection.status
        self.headers = lease.connection.headers
        self._name = name
        self.url = lease.site.endpoint.url
        self.retried = retried
        """An earlier attempt may have had its effect without an answer."""

    @property
    def what(self) -> str:
        """The request, for messages."""
        return self._name()

    def in_blocks(self) -> None:
        """For who calls read_piece()."""
        if self._lease is not None:
            self._lease.connection.in_blocks(self._pool.blocks)

    async def read(self) -> bytes:
        """Some bytes of the body, b"" at its end. Raises Unavailable when it breaks off."""
        return bytes(await self.read_piece())  # which is itself where it is bytes

    async def read_piece(self) -> bytes | memoryview:
        """The same, without a copy."""
        if self._lease is None:
            return b""
        try:
            chunk = await self._lease.connection.read_piece()
        except ExchangeFailed as error:
            self._pool.failed(self._lease.site, at_once=error.hung)
            raise Unavailable(f"{self.what}: {error}") from error
        if not chunk:
            self.close()
        return chunk

    async def read_all(self, limit: int) -> bytes:
        return await read_whole(self, limit, self.what)

    def close(self) -> None:
        """Give the connection back; an answer that is still on its way closes it."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self._pool.release(lease)


class S3Client:
    def __init__(self, options: S3Options, clock: Clock, random: Random, pool: ConnectionPool | None = None) -> None:
        """`pool`: connections that several clients of one service share, and that somebody else closes."""
        self._options = options
        self._clock = clock
        self._random = random
        self._owns_pool = pool is None
        self._pool = pool or ConnectionPool(options, clock, random)
        self.where = ", ".join(options.endpoints)
        self._bucket_path = f"/{options.bucket}"
        self._signer: Signer | None = None
        self._v4: SignerV4 | None = None
        self._v2: SignerV2 | None = None
        """For what Riak CS verifies wrongly by version 4; None elsewhere."""
        self._keys = KeyPair(options.access_key, options.secret_key)
        self._sign_as(self._keys)
        self._shapes: dict[str, HeadShapes] = {}
        """Of pipelined answers, by method."""
        self._seen = SeenHeads()

    async def aclose(self) -> None:
        if self._owns_pool:
            await self._pool.aclose()

    async def send(self, request: Request) -> Answer:
        """The answer, with a status of 200 to 299. Raises an error of controlplane.ports for every other outcome.

        Tried again, up to `attempts` in all with full jitter, when the connection failed, the server paused too long,
        or it answered 5xx, 429 or a code that means the same. The caller sees to it that sending twice does no harm.
        """
        outcome = await self.try_to_send(request)
        if isinstance(outcome, Answer):
            return outcome
        raise error_of(outcome, self.describe(request))

    async def try_to_send(self, request: Request) -> Answer | Failure:
        """Like send(), but hands back an S3 answer that is an error and not worth another attempt.

        A request that is refused is sent once more when there is another secret by now: what is refused has done
        nothing. Not so a body that can be made only once.
        """
        renewal = self._options.renewal
        if renewal is None:
            return await self._try_to_send(request)
        used = self._follow(renewal)
        outcome = await self._try_to_send(request)
        once = callable(request.body) and request.attempts == 1
        if isinstance(outcome, Answer) or outcome.status not in REFUSED or not renewal.renewed(used) or once:
            return outcome
        self._follow(renewal)
        return await self._try_to_send(request)

    def _follow(self, renewal: Renewal) -> KeyPair:
        """Sign with the pair of now, which is returned."""
        current = renewal.current
        if current != self._keys:
            self._keys = current
            self._sign_as(current)
        return current

    def _sign_as(self, keys: KeyPair) -> None:
        if keys.access_key and self._options.signature == "v4":
            self._signer = self._v4 = SignerV4(keys.access_key, keys.secret_key, self._options.region)
            if self._options.list_version == 1:
                self._v2 = SignerV2(keys.access_key, keys.secret_key)
        elif keys.access_key:
            self._signer = SignerV2(keys.access_key, keys.secret_key)

    async def _try_to_send(self, request: Request) -> Answer | Failure:
        attempts = request.attempts or self._options.attempts
        attempt = 0
        stale = 0
        retried = False
        avoid: Site | None = None
        while True:
            attempt += 1
            lease: Lease | None = None
            wait_s = 0.0
            try:
                max_idle_s = -1.0 if stale else (IDLE_S if attempts > 1 else FRESH_IDLE_S)
                lease = self._pool.take_idle(max_idle_s, avoid)
                if lease is None:
                    lease = await self._pool.acquire(max_idle_s=max_idle_s, avoid=avoid)
                outcome = await self._exchange(request, lease, retried)
            except ExchangeFailed as error:
                site = error.site if isinstance(error.site, Site) else (lease.site if lease else None)
                closed_idle = error.reused and not error.answered and not error.hung
                if attempts > 1 and stale == 0 and lease is not None and closed_idle:
                    # The server closed the idle connection while the request was under way: no attempt is counted.
                    stale += 1
                    attempt -= 1
                    retried = True
                    continue
                if lease is not None:
                    self._pool.failed(lease.site, at_once=error.hung)
                    retried = True
                if attempt >= attempts or site is None:
                    # Without a site there was no place in the pool: waiting again would only make the line longer.
                    where = site.endpoint.url if site else self.where
                    tried = f" ({attempt} attempts)" if attempt > 1 else ""
                    what = f"{request.method} {self._name(request)} at {where}: {error}{tried}"
                    raise Unavailable(f"{what}; check that the server is up and reachable") from error
                avoid = site
            else:
                if isinstance(outcome, Answer):
                    return outcome
                wait_s = outcome.retry_after_s or 0.0
                if not outcome.retryable or attempt >= attempts or wait_s > MOST_RETRY_AFTER_S:
                    return outcome
                retried = True
                avoid = lease.site
            await self._clock.sleep(max(wait_s, self._backoff_s(attempt)))

    async def pipelined_plain(self, method: str, keys: Sequence[str], body_limit: int) -> list[Reply | None]:
        """The same for requests of one method (GET or HEAD) that have nothing but a key. Where HEAD is answered as an
        earlier GET was, byte by byte, the headers are those of that reply themselves."""

        def wire(site: Site) -> bytes:
            if self._v4 is None:
                return b"".join([self._head(Request(method, key), site) for key in keys])
            targets = [encode_path(f"{self._bucket_path}/{key}") for key in keys]
            return self._v4.plain(method, targets, site.endpoint.host_header, self._clock.now()).encode()

        return await self._pipelined(method, len(keys), wire, body_limit)

    async def pipelined(self, requests: Sequence[Request], body_limit: int) -> list[Reply | None]:
        """All requests on one connection, none waiting for the answer to another; one attempt, never raises but when
        cancelled. None: no answer that can be relied on, and for a PUT an unknown outcome.

        They have bodies of bytes, and are of one method. Answers that are not a success come back as they are, without
        retry; refused ones are a reason to look for another secret, for those that follow.
        """

        def wire(site: Site) -> bytes:
            pieces: list[bytes] = []
            for request in requests:
                pieces.append(self._head(request, site))
                if isinstance(request.body, bytes):
                    pieces.append(request.body)
            return b"".join(pieces)

        return await self._pipelined(requests[0].method, len(requests), wire, body_limit)

    async def _pipelined(
        self, method: str, count: int, wire: Callable[[Site], bytes], body_limit: int
    ) -> list[Reply | None]:
        renewal = self._options.renewal
        used = self._follow(renewal) if renewal is not None else self._keys
        shapes = self._shapes.get(method) or self._shapes.setdefault(method, HeadShapes())
        seen = self._seen if method in ("GET", "HEAD") else None
        replies = Replies(
            count, shapes, head_only=method == "HEAD", body_limit=body_limit, seen=seen, keeps=method == "GET"
        )
        lease: Lease | None = None
        try:
            lease = self._pool.take_idle(IDLE_S, None) or await self._pool.acquire()
            await lease.connection.pipeline(wire(lease.site), replies)
            self._pool.succeeded(lease.site)
        except ExchangeFailed as error:
            if error.hung and lease is not None:
                self._pool.failed(lease.site, at_once=True)
            log.debug("%d of %d pipelined answers from %s: %s", len(replies.got), count, self.where, error)
        finally:
            if lease is not None:
                self._pool.release(lease)
        if renewal is not None and any(reply.status in REFUSED for reply in replies.got):
            renewal.renewed(used)
        return [*replies.got, *[None] * (count - len(replies.got))]

    def describe(self, request: Request) -> str:
        return f"{request.method} {self._name(request)} at {self.where}"

    def _name(self, request: Request) -> str:
        return f"s3://{self._options.bucket}" + ("" if request.key is None else f"/{request.key}")

    def may_try_again(self, attempt: int) -> bool:
        """For protocols above one request: whether attempt number `attempt` (from 1) was not the last."""
        return attempt < self._options.attempts

    async def back_off(self, attempt: int) -> None:
        await self._clock.sleep(self._backoff_s(attempt))

    def _backoff_s(self, attempt: int) -> float:
        longest: float = min(BACKOFF_FIRST_S * 2.0 ** min(attempt - 1, 16), BACKOFF_MOST_S)
        return self._random.random() * longest

    async def _exchange(self, request: Request, lease: Lease, retried: bool) -> Answer | Failure:
        """One attempt. The lease is given back unless an Answer takes it over."""
        connection = lease.connection
        cut_short = False
        try:
            connection.begin(head_only=request.method == "HEAD")
            head = self._head(request, lease.site)
            if isinstance(request.body, bytes) and len(request.body) <= _JOIN_BELOW:
                connection.write(head + request.body)
            elif isinstance(request.body, ProvedFile) and connection.takes_files:
                cut_short = not await connection.send_file(head, request.body.opened())
            else:
                connection.write(head)
                cut_short = await self._send_body(request.body, connection)
            await connection.head()
            status = connection.status
            if 200 <= status < 300:
                if cut_short:
                    raise ExchangeFailed("the server called it done before it had the whole body", answered=True)
                self._pool.succeeded(lease.site)
                return Answer(self._pool, lease, partial(self.describe, request), retried)
            body = await self._error_body(lease)
            if cut_short:
                connection.abort()
        except BaseException:
            connection.abort()
            self._pool.release(lease)
            raise
        failure = failure_of(status, connection.headers, body, has_body=request.method != "HEAD", retried=retried)
        if status >= 500 and failure.document is None:
            self._pool.failed(lease.site)
        elif status < 500:
            self._pool.succeeded(lease.site)
        self._pool.release(lease)
        return failure

    async def _send_body(self, body: bytes | memoryview | Chunks | ProvedFile, connection: Connection) -> bool:
        """Whether the server answered before it had the whole body: then the rest is not sent."""
        made = body.pieces if isinstance(body, ProvedFile) else body
        async with aclosing(made() if callable(made) else _in_pieces(made)) as pieces:
            async for piece in pieces:
                connection.write(piece)
                await connection.drain()
                if connection.status:
                    return True
        return False

    async def _error_body(self, lease: Lease) -> bytes:
        """The body of an error; what is larger than any S3 error is cut, and its connection not used again."""
        parts: list[bytes] = []
        size = 0
        while size <= MAX_ERROR_BYTES and (chunk := await lease.connection.read()):
            parts.append(chunk)
            size += len(chunk)
        return b"".join(parts)

    def _head(self, request: Request, site: Site) -> bytes:
        path = self._bucket_path if request.key is None else f"{self._bucket_path}/{request.key}"
        host = site.endpoint.host_header
        signer = self._signer
        if self._v2 is not None and is_misread(request):
            signer = self._v2
        elif self._v4 is not None and not request.query:
            now, target = self._clock.now(), encode_path(path)
            if request.method == "PUT":
                return self._v4.head(
                    "PUT", target, host, request.headers, request.payload_sha256, request.length, now
                ).encode()
            if request.method in _PLAIN and not request.headers:
                return self._v4.plain(request.method, (target,), host, now).encode()
        headers = {"host": host, **request.headers}
        if signer is not None:
            headers = signer.sign(
                request.method, path, request.query, headers, request.payload_sha256, self._clock.now()
            )
        target = encode_path(path)
        if request.query:
            target = f"{target}?{wire_query(request.query)}"
        lines = _lines_of(tuple(headers)) % tuple(headers.values())
        length = f"content-length: {request.length}\r\n" if request.method in ("PUT", "POST") else ""
        return f"{request.method} {target} HTTP/1.1\r\n{lines}{length}\r\n".encode()


def is_misread(request: Request) -> bool:
    """Whether Riak CS takes the right signature of version 4 for a wrong one, or might: a plus in a place of a listing
    (key-list-prefix-plus), and what else has not been seen to pass there (list-v1-marker, list-marker-space-v4); two
    blanks in a header (auth-v4-double-space). By version 2 it reads them (list-prefix-plus-v2), which does not sign
    those places."""
    return any(name in _PLACES and not _PASSES.match(value) for name, value in request.query) or any(
        "  " in value for value in request.headers.values()
    )


@lru_cache(maxsize=256)
def _lines_of(names: tuple[str, ...]) -> str:
    """Header lines with %s for the values."""
    return "".join([f"{name.replace('%', '%%')}: %s\r\n" for name in names])


async def _in_pieces(data: bytes | memoryview) -> AsyncGenerator[memoryview, None]:
    view = memoryview(data)
    for at in range(0, len(view), _WRITE_BYTES):
        yield view[at : at + _WRITE_BYTES]
