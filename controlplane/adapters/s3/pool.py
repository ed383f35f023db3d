"""Connections to the endpoints of one store: bounded, reused, and steered away from endpoints that fail."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from controlplane.adapters.s3.connection import Connection
from controlplane.adapters.s3.exchange_failed import ExchangeFailed
from controlplane.adapters.s3.options import Endpoint, PoolOptions
from controlplane.http.block_reads import Blocks
from controlplane.ports.clock import Clock

IDLE_S: Final = 30.0
"""An idle connection is not used after this: load balancers forget connections silently."""
FRESH_IDLE_S: Final = 2.0
"""The same for requests that cannot be repeated."""
EJECT_FIRST_S: Final = 1.0
EJECT_MOST_S: Final = 15.0
ASK_MOST_S: Final = 4.0
"""The longest pause between two questions whether an endpoint is back, which cost no request anything."""
FAILURES_TO_EJECT: Final = 3
Proof = Callable[[Endpoint], bytes]
"""A request that changes nothing, for an endpoint; who answers it, and not that others are away, can be used."""
_AWAY: Final = frozenset({502, 503, 504})


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies certificates and host names; TLS 1.2 at least. Reads ca_file: raises OSError, ssl.SSLError."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Site:
    """One endpoint: its idle connections, its open count, and how it fared."""

    __slots__ = ("ejected_until", "endpoint", "failures", "idle", "open", "returning")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.idle: deque[Connection] = deque()
        self.open = 0
        """Connections open or opening, idle ones included."""
        self.failures = 0
        self.ejected_until = 0.0
        self.returning: asyncio.Task[None] | None = None
        """Asks an endpoint that is away whether it is back."""

    @property
    def busy(self) -> int:
        return self.open - len(self.idle)


class Lease:
    """The right to use one connection to one site until it is given back."""

    __slots__ = ("connection", "site")

    def __init__(self, site: Site, connection: Connection) -> None:
        self.site = site
        self.connection = connection


class ConnectionPool:
    """At most `connections` to each endpoint; whoever finds all busy waits in line, at most read_timeout_s.

    Endpoints: the least busy one that is not ejected. A failed connect and a wait in vain eject at once, and throw its
    idle connections away; other failures eject after three in a row. For 1 s doubling to 15 s; any answer below 500
    forgives. When all are ejected, the first to return is tried. With a proof, one that was ejected at once is used
    again when it has answered that, so that no request has to wait for whether it is back. Who waits in line is given
    a place where he could begin now: not at an endpoint that is away while others answer, at once at one that is back.
    """

    def __init__(self, options: PoolOptions, clock: Clock, random: Random, proof: Proof | None = None) -> None:
        self._proof = proof if len(options.endpoints) > 1 else None
        self._options = options
        self._clock = clock
        self._random = random
        self._sites = [Site(Endpoint.parse(url)) for url in options.endpoints]
        self._waiting: deque[asyncio.Future[Lease | Site]] = deque()
        self._tls: ssl.SSLContext | None = None
        self._connections: set[Connection] = set()
        self.blocks = Blocks()
        """What large bodies are read into."""
        self._closed = False

    @property
    def open_connections(self) -> int:
        return sum(site.open for site in self._sites)

    def take_idle(self, max_idle_s: float, avoid: Site | None) -> Lease | None:
        """What acquire() would hand out without waiting, if any. Raises ExchangeFailed when closed."""
        site = None if self._waiting else self._choose(avoid)
        connection = None if site is None else self._idle_connection(site, max_idle_s)
        return None if site is None or connection is None else Lease(site, connection)

    async def acquire(self, *, max_idle_s: float = IDLE_S, avoid: Site | None = None) -> Lease:
        """`avoid` is the site that just failed: another one is preferred. Raises ExchangeFailed."""
        if self._waiting:
            self._serve_line()  # an endpoint may be used again whose time is over
        site = None if self._waiting else self._choose(avoid)
        if site is None:
            given = await self._wait_in_line()
            return given if isinstance(given, Lease) else await self._open(given)
        connection = self._idle_connection(site, max_idle_s)
        if connection is not None:
            return Lease(site, connection)
        site.open += 1
        return await self._open(site)

    def release(self, lease: Lease) -> None:
        """Give the connection back; it is kept when its answer was read whole, and closed otherwise."""
        site, connection = lease.site, lease.connection
        if connection.reusable and not self._closed:
            connection.finish(self._clock.monotonic())
            waiter = self._next_waiter()
            if waiter is None:
                site.idle.append(connection)
            else:
                waiter.set_result(Lease(site, connection))
        else:
            self._drop(connection)
            self._vacate(site)

    def failed(self, site: Site, *, at_once: bool = False) -> None:
        site.failures += 1
        if at_once or site.failures >= FAILURES_TO_EJECT:
            site.ejected_until = self._clock.monotonic() + self._span_s(site)
        if at_once:
            while site.idle:
                self._drop(site.idle.pop())
                site.open -= 1
            if self._proof is not None and site.returning is None and not self._closed:
                site.returning = asyncio.get_running_loop().create_task(self._win_back(site, self._proof))

    def _span_s(self, site: Site) -> float:
        most = EJECT_MOST_S if site.returning is None else ASK_MOST_S
        span: float = min(EJECT_FIRST_S * 2.0 ** min(site.failures - 1, 10), most)
        return span * (0.5 + 0.5 * self._random.random())

    def succeeded(self, site: Site) -> None:
        site.failures = 0
        if not site.ejected_until and site.returning is None:
            return
        site.ejected_until = 0.0
        if site.returning is not None:
            site.returning.cancel()
            site.returning = None
        self._serve_line()

    async def _win_back(self, site: Site, proof: Proof) -> None:
        while True:
            await self._clock.sleep(self._span_s(site))
            if await self._answers(site, proof(site.endpoint)):
                site.returning = None
                self.succeeded(site)
                return
            site.failures += 1

    async def _answers(self, site: Site, request: bytes) -> bool:
        """Whether it answers, within twice the time of a connect. Its connection is not kept: others may be waiting."""
        connection: Connection | None = None
        try:
            connection = await self._connect(site.endpoint)
            connection.begin(head_only=False)
            connection.write(request)
            await connection.head(self._options.connect_timeout_s)
        except (OSError, TimeoutError, ExchangeFailed):
            return False
        finally:
            if connection is not None:
                connection.abort()
        return connection.status not in _AWAY

    async def aclose(self) -> None:
        """Close every connection; requests under way fail."""
        self._closed = True
        returning = [site.returning for site in self._sites if site.returning is not None]
        for task in returning:
            task.cancel()
        await asyncio.gather(*returning, return_exceptions=True)
        for connection in list(self._connections):
            connection.abort()
        self._connections.clear()
        for future in self._waiting:
            if not future.done():
                future.set_exception(ExchangeFailed("the store is closed"))
        self._waiting.clear()
        # One turn of the loop, so that transports are closed before it may be.
        await asyncio.sleep(0)

    def _choose(self, avoid: Site | None) -> Site | None:
        """The site to use now; None when every one that may be used is full."""
        if self._closed:
            raise ExchangeFailed("the store is closed")
        if len(self._sites) == 1:
            site = self._sites[0]
            return site if site.idle or site.open < self._options.connections else None
        now = self._clock.monotonic()
        usable = [site for site in self._sites if site.ejected_until <= now and site.returning is None]
        if not usable:
            usable = [min(self._sites, key=lambda site: site.ejected_until)]
        elif len(usable) > 1 and avoid in usable:
            usable.remove(avoid)
        free = [site for site in usable if site.idle or site.open < self._options.connections]
        if not free:
            return None
        least = min(site.busy for site in free)
        return self._random.choice([site for site in free if site.busy == least])

    async def _wait_in_line(self) -> Lease | Site:
        """A connection, or a site with a place for one already counted."""
        future: asyncio.Future[Lease | Site] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout(self._options.read_timeout_s):
                return await future
        except BaseException as error:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._return(future.result())
            elif future in self._waiting:
                self._waiting.remove(future)
            if isinstance(error, TimeoutError):
                span = self._options.read_timeout_s
                raise ExchangeFailed(f"all {self.open_connections} connections were busy for {span:g} s") from error
            raise

    def _return(self, given: Lease | Site) -> None:
        if isinstance(given, Lease):
            self.release(given)
        else:
            self._vacate(given)

    def _next_waiter(self) -> asyncio.Future[Lease | Site] | None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                return future
        return None

    def _vacate(self, site: Site) -> None:
        """A place at `site` became free."""
        site.open -= 1
        self._serve_line()

    def _serve_line(self) -> None:
        """Give places that are free to the first in line, as long as there are both."""
        while self._waiting and not self._closed:
            site = self._choose(None)
            if site is None or (waiter := self._next_waiter()) is None:
                return
            connection = self._idle_connection(site, FRESH_IDLE_S)
            if connection is None:
                site.open += 1
                waiter.set_result(site)
            else:
                waiter.set_result(Lease(site, connection))

    def _drop(self, connection: Connection) -> None:
        connection.abort()
        self._connections.discard(connection)

    async def _open(self, site: Site) -> Lease:
        """Connect, on a place that is already counted."""
        endpoint = site.endpoint
        try:
            connection = await self._connect(endpoint)
        except (OSError, TimeoutError) as error:
            self.failed(site, at_once=True)
            self._vacate(site)
            reason = str(error) or f"no answer for {self._options.connect_timeout_s:g} s"
            raise ExchangeFailed(f"cannot connect ({reason})", site=site) from error
        except BaseException:
            self._vacate(site)
            raise
        self._connections.add(connection)
        return Lease(site, connection)

    async def _connect(self, endpoint: Endpoint) -> Connection:
        loop = asyncio.get_running_loop()
        if endpoint.tls and self._tls is None:
            # Reading the authorities takes some 20 ms: once, and beside the loop.
            self._tls = await asyncio.to_thread(tls_context, self._options.ca_file)
        async with asyncio.timeout(self._options.connect_timeout_s):
            _, connection = await loop.create_connection(
                lambda: Connection(loop, self._options.read_timeout_s, self._options.silence_s),
                endpoint.host,
                endpoint.port,
                ssl=self._tls if endpoint.tls else None,
            )
        if self._closed:
            connection.abort()
            raise ConnectionAbortedError("the store was closed meanwhile")
        return connection

    def _idle_connection(self, site: Site, max_idle_s: float) -> Connection | None:
        """The one used last; those that are closed or too old are dropped on the way."""
        now = self._clock.monotonic()
        while site.idle:
            connection = site.idle.pop()
            if not connection.closed and now - connection.idle_since <= max_idle_s:
                return connection
            self._drop(connection)
            site.open -= 1
        return None
