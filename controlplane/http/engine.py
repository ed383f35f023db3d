"""What all connections of one server share."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from controlplane.http.block_reads import Blocks
from controlplane.http.file_send import release
from controlplane.http.message import FileBody, Response, StreamBody
from controlplane.http.wire import HeadWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from controlplane.http.connection import Connection
    from controlplane.http.limits import Limits
    from controlplane.http.message import Handler, Observe, OnFault, Refuse, Request

logger: Final = logging.getLogger(__name__)


class Engine:
    """The handler, the limits, the set of connections, and the application's four callbacks made safe to call."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        refuse: Refuse,
        on_fault: OnFault,
        observe: Observe | None,
        connection_ended: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], float],
    ) -> None:
        self.loop = loop
        self.now = now  # monotonic seconds
        self.handler = handler
        self.limits = limits
        self.heads = HeadWriter()
        self.blocks = Blocks()
        self.connections: set[Connection] = set()
        self.stopping = False
        self.observe = observe
        self._refuse = refuse
        self._on_fault = on_fault
        self._connection_ended = connection_ended
        self._closing: set[asyncio.Task[None]] = set()

    def refusal(self, status: int, detail: str) -> Response:
        try:
            return self._refuse(status, detail)
        except Exception:
            logger.exception("making the answer %d failed: %s", status, detail)
            return Response(status)

    def fault(self, request: Request, exc: Exception) -> Response:
        """The answer for a handler that failed."""
        try:
            return self._on_fault(request, exc)
        except Exception:
            logger.exception("making the answer for a failed %s failed", request)
            return Response(500)

    def observed(self, request: Request, status: int, sent: int, started: float) -> None:
        if self.observe is not None:
            try:
                self.observe(request, status, sent, self.now() - started)
            except Exception:
                logger.exception("observing %s failed", request)

    def dispose(self, response: Response) -> None:
        """Give back a body that will not be sent."""
        body, response.body = response.body, None
        if isinstance(body, FileBody):
            release(body)
        elif isinstance(body, StreamBody):
            task = self.loop.create_task(close_chunks(body))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def closed(self) -> None:
        """All bodies given to `dispose` are closed."""
        if self._closing:
            await asyncio.wait(self._closing)

    def ended(self, connection: Connection) -> None:
        """The transport is gone and no task of the connection runs."""
        self.connections.discard(connection)
        self._connection_ended()


async def close_chunks(body: StreamBody) -> None:
    aclose = getattr(body.chunks, "aclose", None)
    if aclose is not None:
        try:
            await aclose()
        except Exception:
            logger.exception("closing a stream body failed")
