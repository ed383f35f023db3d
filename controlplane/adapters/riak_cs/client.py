"""Requests to the nodes of one Riak CS: a node chosen, signed, sent, answered, tried again where that is safe."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from random import Random
from typing import Any, Final, TypeAlias

from controlplane.adapters.riak_cs.kept_bodies import KeptBodies
from controlplane.adapters.riak_cs.options import RiakCsOptions
from controlplane.adapters.riak_cs.permitted import require_permitted
from controlplane.adapters.riak_cs.resumption import continues, rest_of
from controlplane.adapters.riak_cs.wire import head_of, target_of
from controlplane.adapters.s3.connection import Connection
from controlplane.adapters.s3.exchange_failed import ExchangeFailed
from controlplane.adapters.s3.options import Endpoint
from controlplane.adapters.s3.pool import FRESH_IDLE_S, IDLE_S, ConnectionPool, Lease, Site
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import REFUSED, Ask, RenewableKeyPair, Renewal, Reply

BACKOFF_FIRST_S: Final = 0.05
BACKOFF_MOST_S: Final = 1.0
_JOIN_BELOW: Final = 64 * 1024
_RETRYABLE: Final = frozenset({500, 502, 503, 504})
_HTML: Final = "text/html"
_CHECK_S: Final = 3.0
"""The time of a node for GET /, when it is asked to see whether any works: readiness is waiting."""
_FACTS: Final = frozenset({"acl", "policy", "location", "versioning"})
Again: TypeAlias = Callable[[Ask, Site | None], Awaitable["RiakCsReply"]]
"""Sends a request, if it can be to another node than that one."""


class RiakCsReply:
    """Implements ports.upstream.Reply.

    An answer that breaks off is finished by another node: an object from the byte where it ended, and what is read all
    at once (listings, ACLs) by asking again.
    """

    __slots__ = ("_again", "_ask", "_broken", "_lease", "_left", "_pool", "_taken", "headers", "status")

    def __init__(self, pool: ConnectionPool, lease: Lease, ask: Ask, again: Again, tries: int) -> None:
        self._pool = pool
        self._lease: Lease | None = lease
        self._ask = ask
        self._again = again
        self._left = tries - 1
        self._broken: Site | None = None
        """Where it broke off last."""
        self._taken = 0
        self.status = lease.connection.status
        self.headers: Mapping[str, str] = lease.connection.headers

    async def read(self) -> bytes:
        lease = self._lease
        if lease is None:
            return b""
        try:
            chunk = await lease.connection.read()
        except ExchangeFailed as error:
            self._pool.failed(lease.site, at_once=error.hung)
            self._broken = lease.site
            self.close()
            rest = rest_of(self._ask, self.status, self.headers, self._taken)
            if rest is None or not self._left:
                raise Unavailable(f"{_what(self._ask)} at {lease.site.endpoint.url}: {error}") from error
            await self._go_on(rest)
            return await self.read()
        if not chunk:
            self.close()
        self._taken += len(chunk)
        return chunk

    async def _go_on(self, rest: Ask) -> None:
        self._left -= 1
        reply = await self._again(rest, self._broken)
        if not continues(reply.headers, reply.status, rest):
            reply.close()
            raise Unavailable(f"{_what(rest)}: the object changed while it was read, or its rest cannot be had")
        self._lease, reply._lease = reply._lease, None

    async def read_all(self, limit: int) -> bytes:
        lease = self._lease
        if lease is not None and (there := lease.connection.whole(limit)) is not None:
            self._taken += len(there)
            self.close()
            return there
        while True:
            whole = not self._taken
            try:
                return await self._collected(limit)
            except Unavailable:
                if not whole or self._taken > limit or not await self._began_anew():
                    raise

    async def _began_anew(self) -> bool:
        """Whether the same is answered once more. An object is not: its rest was asked for, under its ETag."""
        if self._ask.method != "GET" or not self._left or "etag" in self.headers:
            return False
        self._left -= 1
        reply = await self._again(self._ask, self._broken)
        if reply.status != self.status:
            reply.close()
            return False
        self._lease, reply._lease = reply._lease, None
        self.headers = reply.headers
        self._taken = 0
        return True

    async def _collected(self, limit: int) -> bytes:
        first = await self.read()
        if not first:
            return b""
        parts = [first]
        size = len(first)
        while chunk := await self.read():
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                self.close()
                raise Unavailable(f"{_what(self._ask)}: the answer of Riak CS is larger than {limit} bytes")
        return b"".join(parts) if len(parts) > 1 else first

    def close(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._pool.release(lease)


class RiakCsClient:
    """Implements ports.upstream.Upstream.

    Nodes: the least busy one that is not ejected (adapters.s3.pool). A connection that could not be opened is tried at
    another node for every request: nothing was sent. A request that was sent and not answered, and an answer of 5xx,
    are tried again only when the request is repeatable and its body still there: that of a streamed one is while it is
    small enough and there is room to keep it (kept_bodies.py).
    A node whose host is silent, or that does not begin to answer a look-up, is left alone at once, until it answers
    GET / by itself.

    Signed with a renewable pair and refused, it is sent once more when there is another secret by now: whether it is
    repeatable does not matter, since who is refused has done nothing.
    """

    def __init__(self, options: RiakCsOptions, clock: Clock, random: Random) -> None:
        self._options = options
        self._clock = clock
        self._random = random
        self._pool = ConnectionPool(options, clock, random, _proof)
        self._kept = KeptBodies(options.kept_body_bytes, options.kept_bytes)
        self._where = ", ".join(options.endpoints)

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def check(self) -> None:
        """GET / without credentials: 403 from a Riak CS that can look up users, 503 when its Riak is away."""
        reply = await self._send(Ask("GET", None), soon_s=min(_CHECK_S, self._options.first_answer_s))
        reply.close()
        if reply.status >= 500:
            raise Unavailable(f"Riak CS at {self._where} answers {reply.status}: is its Riak node up?")

    def send(self, ask: Ask) -> Coroutine[Any, Any, Reply]:
        signer = ask.signer
        if isinstance(signer, RenewableKeyPair):
            return self._send_renewably(ask, signer.renewal)
        return self._send(ask) if isinstance(ask.body, bytes) else self._send_streamed(ask)

    async def _send_renewably(self, ask: Ask, renewal: Renewal) -> Reply:
        used = renewal.current
        reply = await self.send(replace(ask, signer=used))
        if reply.status not in REFUSED or not isinstance(ask.body, bytes) or not renewal.renewed(used):
            return reply
        reply.close()
        return await self._send(replace(ask, signer=renewal.current))

    async def _send_streamed(self, ask: Ask) -> RiakCsReply:
        kept = self._kept.begin(ask)
        if kept is None:
            return await self._send(ask, once=True)
        try:
            return await self._send(replace(ask, body=kept))
        finally:
            kept.end()

    async def _send(
        self, ask: Ask, avoid: Site | None = None, *, once: bool = False, soon_s: float = 0.0
    ) -> RiakCsReply:
        """`once`: the body cannot be sent again when it has begun. `soon_s`: how long each node may take to begin its
        answer, while another one can be asked; 0: as long as it is due to such a request."""
        require_permitted(ask)
        attempt = 0
        stale = False
        while True:
            attempt += 1
            lease: Lease | None = None
            begun = False
            try:
                idle_s = -1.0 if stale else (IDLE_S if ask.repeatable and not once else FRESH_IDLE_S)
                lease = self._pool.take_idle(idle_s, avoid)
                if lease is None:
                    lease = await self._pool.acquire(max_idle_s=idle_s, avoid=avoid)
                begun = True
                others = attempt < self._options.attempts and len(self._options.endpoints) > 1
                due_s = soon_s or (self._options.first_answer_s if is_look_up(ask) else 0.0)
                reply = await self._exchange(ask, lease, due_s if others else 0.0)
            except ExchangeFailed as error:
                site = error.site if isinstance(error.site, Site) else (lease.site if lease else None)
                again = not begun or (ask.repeatable and not once)
                if begun and again and not stale and error.reused and not error.answered and not error.hung:
                    # The node had closed the idle connection: no attempt is counted.
                    stale = True
                    attempt -= 1
                    continue
                if begun and lease is not None:
                    self._pool.failed(lease.site, at_once=error.hung)
                if not again or attempt >= self._options.attempts or site is None:
                    where = site.endpoint.url if site else self._where
                    raise Unavailable(
                        f"{_what(ask)} at {where}: {error}; check that Riak CS is up and reachable"
                    ) from error
                avoid = site
            else:
                if once or not self._worth_another(ask, reply, attempt):
                    return reply
                avoid = lease.site
                reply.close()
            await self._clock.sleep(self._random.random() * min(BACKOFF_FIRST_S * 2**attempt, BACKOFF_MOST_S))

    def _worth_another(self, ask: Ask, reply: RiakCsReply, attempt: int) -> bool:
        """A page of the web server under 500 tells of a crash on this very request, which would come again."""
        if reply.status not in _RETRYABLE or not ask.repeatable or attempt >= self._options.attempts:
            return False
        return not (reply.status == 500 and reply.headers.get("content-type", "").startswith(_HTML))

    async def _exchange(self, ask: Ask, lease: Lease, within_s: float) -> RiakCsReply:
        """`within_s`: the longest wait for the head of the answer, when that is shorter than for anything else."""
        connection = lease.connection
        cut_short = False
        try:
            connection.begin(head_only=ask.method == "HEAD")
            head = head_of(ask, lease.site.endpoint.host_header, self._clock.now())
            body = ask.body
            if isinstance(body, bytes):
                if len(body) <= _JOIN_BELOW:
                    connection.write(head + body)
                else:
                    connection.write(head)
                    connection.write(body)
                    await connection.drain()
            else:
                connection.write(head)
                cut_short = await _send_stream(body, connection)
            if not connection.status:
                await connection.head(within_s)
            if cut_short:
                # Refused before the body was whole: the rest is not sent, so the connection cannot be used again.
                connection.keep_alive = False
                if connection.status < 300:
                    raise ExchangeFailed("Riak CS called it done before it had the whole body", answered=True)
        except BaseException:
            connection.abort()
            self._pool.release(lease)
            raise
        if connection.status < 500:
            self._pool.succeeded(lease.site)
        elif connection.status in (502, 503, 504):
            self._pool.failed(lease.site)
        return RiakCsReply(self._pool, lease, ask, self._send, self._options.attempts)


def is_look_up(ask: Ask) -> bool:
    """What takes a node that works a moment only: not a listing, which may be long in coming, and nothing that changes
    anything, since a node that hangs may do it later."""
    if ask.method == "HEAD":
        return True
    return ask.method == "GET" and (bool(ask.key) or any(name in _FACTS for name, _ in ask.query))


def _proof(endpoint: Endpoint) -> bytes:
    """403 from a node that works, 503 when its Riak is away; also at the admin port it is a refusal."""
    return b"GET / HTTP/1.1\r\nhost: " + endpoint.host_header.encode() + b"\r\n\r\n"


async def _send_stream(body: AsyncIterable[bytes | memoryview], connection: Connection) -> bool:
    """Whether the node answered before it had the whole body."""
    async for piece in body:
        connection.write(piece)
        await connection.drain()
        if connection.status:
            return True
    return False


def _what(ask: Ask) -> str:
    return f"{ask.method} {target_of(ask)}"
