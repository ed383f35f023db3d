"""The listening server: accepting up to a bound, the sweep of deadlines, the graceful stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from typing import TYPE_CHECKING, Final

from controlplane.http.connection import Connection
from controlplane.http.engine import Engine
from controlplane.http.limits import Limits
from controlplane.http.message import Handler, Observe, OnFault, Refuse, Request, Response

if TYPE_CHECKING:
    import ssl

logger: Final = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_ACCEPTS_A_TURN: Final = 64
_SHARED_ACCEPTS_A_TURN: Final = 1  # what one process leaves in a shared queue wakes the others
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EXHAUSTED_PAUSE_S: Final = 0.5
_LEAVE_S: Final = 10.0  # for the clean-up of cancelled handlers
_SWEEP_MOST_S: Final = 1.0
_SWEEP_LEAST_S: Final = 0.02


def _refuse_plainly(status: int, detail: str) -> Response:
    return Response(status, [(b"content-type", b"text/plain; charset=utf-8")], f"{detail}\n".encode())


def _fault_plainly(request: Request, exc: BaseException) -> Response:
    logger.error("the handler failed on %s", request, exc_info=exc)
    return Response(500, [(b"content-type", b"text/plain; charset=utf-8")], b"the server failed on this request\n")


async def bound(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket for start_on(). Port 0 takes a free one. Raises OSError."""
    info = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = info[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


class HttpServer:
    """An HTTP/1.1 server for one handler; `refuse` and `on_fault` make the answers that no handler makes.

    A handler that returns a Response itself is the fast path; one that returns an awaitable runs as a task. It is
    not cancelled when its client disconnects: a request that came whole is carried out. (Its StreamBody is
    cancelled then.) Its connection counts as open until it is done.
    """

    def __init__(
        self,
        handler: Handler,
        limits: Limits | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        refuse: Refuse = _refuse_plainly,
        on_fault: OnFault = _fault_plainly,
        observe: Observe | None = None,
    ) -> None:
        self._handler = handler
        self._limits = limits or Limits()
        self._ssl_context = ssl_context
        self._refuse = refuse
        self._on_fault = on_fault
        self._observe = observe
        self._engine: Engine | None = None
        self._socket: socket.socket | None = None
        self._accepting = False
        self._accepts_a_turn = _ACCEPTS_A_TURN
        self._opening: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._none_left: asyncio.Event | None = None

    @property
    def connections(self) -> int:
        """Open connections, those in their TLS handshake, and those whose handler still runs."""
        return len(self._opening) + (len(self._engine.connections) if self._engine is not None else 0)

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> tuple[str, int]:
        """Listen, and return where. Port 0 takes a free one. Raises OSError."""
        listener = await bound(host, port, reuse_port=reuse_port)
        try:
            return await self.start_on(listener)
        except BaseException:
            listener.close()
            raise

    async def start_on(self, listener: socket.socket, *, shared: bool = False) -> tuple[str, int]:
        """Listen on a bound socket, which the server owns from now on. `shared`: other processes accept from it too."""
        if shared:
            self._accepts_a_turn = _SHARED_ACCEPTS_A_TURN
        if self._engine is not None:
            raise RuntimeError("this server was started before")
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._none_left = asyncio.Event()
        self._engine = Engine(
            self._handler,
            self._limits,
            self._refuse,
            self._on_fault,
            self._observe,
            self._connection_ended,
            loop,
            time.monotonic,
        )
        self._socket = listener
        self._accept_on()
        self._sweep()
        name = listener.getsockname()
        return (name[0], name[1]) if isinstance(name, tuple) else (str(name), 0)

    async def stop(self, grace_s: float) -> None:
        """Stop accepting, let the requests in progress finish within the grace, then abort. Again: does nothing."""
        engine, none_left = self._engine, self._none_left
        if engine is None or none_left is None:
            return
        engine.stopping = True
        self._accept_off()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for connection in tuple(engine.connections):
            connection.close_when_idle()
        deadline = time.monotonic() + grace_s
        while self.connections and (left := deadline - time.monotonic()) > 0:
            none_left.clear()
            try:
                await asyncio.wait_for(none_left.wait(), left)
            except TimeoutError:
                break
        deadline = time.monotonic() + _LEAVE_S
        while self.connections and time.monotonic() < deadline:
            for task in tuple(self._opening):
                task.cancel()
            for connection in tuple(engine.connections):
                connection.abort()
            none_left.clear()
            try:
                await asyncio.wait_for(none_left.wait(), 0.05)
            except TimeoutError:
                pass
        if self.connections:
            logger.error("%d handlers have not left %s s after they were cancelled", self.connections, _LEAVE_S)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await engine.closed()

    # Accepting

    def _accept_on(self) -> None:
        if self._socket is not None and not self._accepting and self._engine is not None and not self._engine.stopping:
            self._accepting = True
            self._engine.loop.add_reader(self._socket.fileno(), self._accept)

    def _accept_again(self) -> None:
        self._timers.pop("accept", None)
        self._accept_on()

    def _accept_off(self) -> None:
        if self._socket is not None and self._accepting and self._engine is not None:
            self._engine.loop.remove_reader(self._socket.fileno())
        self._accepting = False

    def _accept(self) -> None:
        engine, listener = self._engine, self._socket
        if engine is None or listener is None:
            return
        for _ in range(self._accepts_a_turn):
            if self.connections >= self._limits.max_connections:
                self._accept_off()
                return
            try:
                accepted, _address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    raise
                logger.warning("accepting connections pauses: %s; raise the limit of open files", exc)
                self._accept_off()
                self._timers["accept"] = engine.loop.call_later(_EXHAUSTED_PAUSE_S, self._accept_again)
                return
            accepted.setblocking(False)
            task = engine.loop.create_task(self._open(engine, accepted))
            self._opening.add(task)
            task.add_done_callback(self._opened)

    async def _open(self, engine: Engine, accepted: socket.socket) -> None:
        try:
            await engine.loop.connect_accepted_socket(
                lambda: Connection(engine),
                accepted,
                ssl=self._ssl_context,
                ssl_handshake_timeout=self._limits.header_timeout_s if self._ssl_context is not None else None,
            )
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
            logger.debug("a connection did not come about: %s", exc)
            accepted.close()
        except BaseException:
            accepted.close()
            raise

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            logger.error("opening a connection failed", exc_info=fault)
        self._connection_ended()

    def _connection_ended(self) -> None:
        if not self._accepting and "accept" not in self._timers:
            self._accept_on()
        if not self.connections and self._none_left is not None:
            self._none_left.set()

    # Time

    def _sweep(self) -> None:
        engine = self._engine
        if engine is None:
            return
        now = time.monotonic()
        for connection in tuple(engine.connections):
            if connection.deadline <= now:
                connection.expire(now)
        limits = self._limits
        least = min(limits.header_timeout_s, limits.body_timeout_s, limits.idle_timeout_s)
        pause = min(max(least / 8, _SWEEP_LEAST_S), _SWEEP_MOST_S)
        self._timers["sweep"] = engine.loop.call_later(pause, self._sweep)
