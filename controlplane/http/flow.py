"""The state of a connection, the flow of its transport, and the ways in which a request and a connection end."""

from __future__ import annotations

import asyncio
import socket
import struct
from math import inf
from typing import TYPE_CHECKING, Final

from controlplane.http.message import FileBody, Request, StreamBody
from controlplane.http.wire import CONTINUE

if TYPE_CHECKING:
    from controlplane.http.block_reads import BlockReader
    from controlplane.http.chunked import ChunkDecoder
    from controlplane.http.engine import Engine
    from controlplane.http.file_send import FileTransfer
    from controlplane.http.head import HeaderBlock
    from controlplane.http.prompt_task import PromptTask

# IDLE: waits for a head (a part of it may be held). BUSY: a request is in progress. DRAIN: answered, the small rest
# of its body is dropped. LINGER: answered and done, input is dropped so that the client can read the answer before
# the end. CLOSING: the transport flushes and ends.
IDLE, BUSY, DRAIN, LINGER, CLOSING = range(5)

DRAIN_BYTES: Final = 64 * 1024
LINGER_S: Final = 5.0

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Flow:
    """What input and output share. `deadline` is the monotonic time at which the server's sweep calls `expire`."""

    __slots__ = (
        "__weakref__",
        "_block",
        "_blocks",
        "_body_bytes",
        "_body_since",
        "_broken",
        "_continue_due",
        "_decoder",
        "_engine",
        "_eof",
        "_file",
        "_file_due",
        "_flushed",
        "_held",
        "_is_1_1",
        "_keep",
        "_left",
        "_lost",
        "_paused_at",
        "_peer",
        "_reading_paused",
        "_request",
        "_serve_when_drained",
        "_started",
        "_state",
        "_status",
        "_stream",
        "_stream_sent",
        "_task",
        "_tls",
        "_transport",
        "_write_mark",
        "_write_paused",
        "deadline",
    )

    _transport: asyncio.Transport

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tls = False
        self._peer = ""
        self._state = IDLE
        self._lost = False
        self._eof = False
        self.deadline = inf
        # the request in progress
        self._request: Request | None = None
        self._block: HeaderBlock | None = None
        self._is_1_1 = True
        self._keep = True
        self._started = 0.0
        self._task: PromptTask | None = None
        # input
        self._held = bytearray()
        self._reading_paused = False
        self._left = 0  # bytes of a Content-Length body still to come
        self._decoder: ChunkDecoder | None = None
        self._broken = False
        self._continue_due = False
        self._body_bytes = 0
        self._body_since = 0.0
        self._paused_at = 0.0
        self._blocks: BlockReader | None = None  # stands in for this connection at the transport
        # output
        self._status = 0
        self._write_paused = False
        self._write_mark = 0
        self._serve_when_drained = False
        self._flushed: asyncio.Future[None] | None = None
        self._stream: StreamBody | None = None
        self._stream_sent = 0
        self._file: FileTransfer | None = None
        self._file_due: tuple[bytes, FileBody] | None = None

    def _resume(self) -> None:
        """Go on with what was held back."""
        raise NotImplementedError

    def _leave_blocks(self) -> None:
        """The body has ended, or will not."""
        raise NotImplementedError

    def _file_now(self) -> None:
        """The transport has written all that stood before a file."""
        raise NotImplementedError

    # Ends of a request

    def _complete(self, request: Request, sent: int, *, whole: bool) -> bool:
        """The end of every answer. True when the connection is ready for the next request."""
        self._request = None
        engine = self._engine
        if engine.observe is not None:
            engine.observed(request, self._status, sent, self._started)
        if self._lost:
            return False
        if not whole:
            self._break()
            return False
        if self._keep and not self._broken:
            if self._left:
                self._state = DRAIN
                self.deadline = self._engine.now() + engine.limits.body_timeout_s
                self._resume_reading()
                return False
            self._state = IDLE
            self.deadline = self._started + engine.limits.idle_timeout_s
            return True
        if self._left or self._decoder is not None or self._broken:
            self._linger()
        else:
            self._close()
        return False

    def _complete_later(self, request: Request, sent: int, *, whole: bool) -> None:
        """The same, outside of `_serve`."""
        if self._complete(request, sent, whole=whole):
            self._become_idle()

    def _become_idle(self) -> None:
        self._state = IDLE
        if self._held:
            self._state = BUSY
            self._engine.loop.call_soon(self._resume)
        elif self._eof or self._engine.stopping:
            self._close()
        else:
            self.deadline = self._engine.now() + self._engine.limits.idle_timeout_s

    def abort(self) -> None:
        """The server's grace is over: end the connection and its task."""
        if not self._lost:
            self._break()
        # One that was told may take its time to leave.
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()

    # Flow of the transport

    def _is_lost(self) -> bool:
        """The transport is gone (it may have gone since the last await)."""
        return self._lost

    def pause_writing(self) -> None:
        self._write_paused = True
        self._write_mark = self._transport.get_write_buffer_size()
        self.deadline = self._engine.now() + self._engine.limits.body_timeout_s

    def resume_writing(self) -> None:
        self._write_paused = False
        self._write_mark = 0
        if self._state == BUSY and not self._eof:
            self.deadline = inf
        self._wake_flushed()
        if self._file_due is not None:
            self._file_now()
        elif self._serve_when_drained:
            self._serve_when_drained = False
            self._engine.loop.call_soon(self._resume)

    async def _until_flushed(self) -> None:
        self._flushed = self._engine.loop.create_future()
        try:
            await self._flushed
        finally:
            self._flushed = None

    def _wake_flushed(self) -> None:
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing() and not self._eof:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _write_continue(self) -> None:
        self._transport.write(CONTINUE)

    def _expire_write(self, now: float) -> None:
        """The client has not read for long, unless it has."""
        pause = self._engine.limits.body_timeout_s
        if self._file is not None:
            self.deadline = self._file.moved_at + pause
            if self.deadline > now:
                return
        else:
            size = self._transport.get_write_buffer_size()
            if not self._write_mark or size < self._write_mark:
                self._write_mark = size
                self.deadline = now + pause
                return
        self._break()

    # Ends

    def _close(self) -> None:
        """End after all is written."""
        self._state = CLOSING
        self._held.clear()
        self.deadline = self._engine.now() + self._engine.limits.body_timeout_s
        # Once: asyncio's transport over TLS, closed twice, cannot be aborted any more, and raises (3.11.2).
        if not self._transport.is_closing():
            self._transport.close()

    def _linger(self) -> None:
        """End, but drop input for a while: a reset because of unread input would take the answer from the client."""
        self._state = LINGER
        self._held.clear()
        self._left = 0
        self._decoder = None
        self._leave_blocks()
        self.deadline = self._engine.now() + LINGER_S
        self._resume_reading()
        if self._eof:
            self._close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()

    def _break(self) -> None:
        """End at once, so that the client sees its answer is not whole."""
        self._state = CLOSING
        self.deadline = inf
        if not self._is_1_1 and not self._tls:
            # The body may be one that ends with the connection: only a reset tells it from a whole one.
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
