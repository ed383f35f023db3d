"""One client connection: requests in, answers out, in order.

At most one request is in progress. What arrives after it is held back, bounded, and read on when it has been
answered; this alone gives pipelining its order. Input (this module) and output (answering.py) meet in `_complete`.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, Final, cast

from controlplane.http.answering import Answering
from controlplane.http.block_reads import LEAST_BLOCK, BlockReader
from controlplane.http.body import HIGH_WATER, NO_BODY, RequestBody
from controlplane.http.chunked import ChunkDecoder
from controlplane.http.faults import ClientFault, ClientGone, ClientTooSlow, HeadRefused
from controlplane.http.flow import BUSY, CLOSING, DRAIN, IDLE, LINGER
from controlplane.http.head import HeaderBlock, read_head, refuse_broken_part
from controlplane.http.message import Request, Response

_BLOCK_KEPT_BYTES: Final = 4096  # a larger block of fields is not remembered
_HELD_BYTES: Final = 64 * 1024  # pipelined input that may wait; one read of the socket more is possible


class Connection(Answering, asyncio.Protocol):
    """The input side: heads, bodies, time."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._engine.connections.add(self)
        self._tls = self._transport.get_extra_info("sslcontext") is not None
        peer: Any = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "local"
        self.deadline = self._engine.now() + self._engine.limits.idle_timeout_s
        if self._engine.stopping:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._left or self._decoder is not None:
            data = self._receive(data)
            if not data:
                return
        state = self._state
        if state == IDLE:
            if self._held:
                self._continue_head(data)
            else:
                self._serve(data)
        elif state == BUSY and not self._broken:
            self._held += data
            if len(self._held) > _HELD_BYTES:
                self._pause_reading()

    def eof_received(self) -> bool:
        """A client may close its side and still read the answer of a request that is whole; not over TLS."""
        if self._left or self._decoder is not None:
            self._fail_body(ClientGone("the client disconnected within the body"))
            return False
        if self._state != BUSY or self._tls:
            return False
        self._eof = True
        if self.deadline == inf:
            self.deadline = self._engine.now() + self._engine.limits.body_timeout_s
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._lost = True
        self._state = CLOSING
        self.deadline = inf
        self._held.clear()
        self._leave_blocks()
        if self._left or self._decoder is not None:
            self._fail_body(ClientGone("the client disconnected within the body"))
        self._abandon_answer()
        if self._task is None:
            self._engine.ended(self)

    # Heads

    def _continue_head(self, data: bytes) -> None:
        held = self._held
        start = max(0, len(held) - 3)
        held += data
        if held.find(b"\r\n\r\n", start) < 0:
            try:
                refuse_broken_part(held, start, self._engine.limits)
            except HeadRefused as refused:
                self._refuse(refused)
            return
        whole = bytes(held)
        held.clear()
        self._serve(whole)

    def _begin_head(self, data: bytes) -> None:
        """The first part of a head has come."""
        self._state = IDLE
        self._held += data
        self.deadline = self._engine.now() + self._engine.limits.header_timeout_s
        try:
            refuse_broken_part(self._held, 0, self._engine.limits)
        except HeadRefused as refused:
            self._refuse(refused)

    def _serve(self, data: bytes) -> None:
        """Answer the requests in `data`, until one is in progress or the rest is no whole head."""
        engine = self._engine
        limits = engine.limits
        turns = limits.max_pipelined
        pos = 0
        while pos < len(data):
            if data[pos] == 0x0D and data.startswith(b"\r\n", pos):
                pos += 2  # RFC 9112, 2.2: empty lines before a request
                continue
            end = data.find(b"\r\n\r\n", pos)
            if end < 0:
                self._begin_head(data[pos:])
                return
            if not turns or self._write_paused:
                self._wait_turn(data[pos:])
                return
            turns -= 1
            try:
                method, target, is_1_1, block = read_head(data, pos, end, self._block, limits)
            except HeadRefused as refused:
                self._refuse(refused)
                return
            self._block = block if len(block.raw) <= _BLOCK_KEPT_BYTES else None
            pos = end + 4
            self._is_1_1 = is_1_1
            self._keep = (is_1_1 and block.plain) or block.keeps(is_1_1)
            self._state = BUSY
            self.deadline = inf
            self._started = now = engine.now()
            self._status = 0
            if block.has_body:
                request = self._request = Request(method, target, block, self._peer, RequestBody(self))
                self._begin_body(block, now)
                data = self._receive(data[pos:]) if pos < len(data) else b""
                pos = 0
            else:
                request = self._request = Request(method, target, block, self._peer, NO_BODY)
            if not self._handle(request):
                if pos < len(data) and self._state == BUSY and not self._broken:
                    self._held += data[pos:]
                return

    def _handle(self, request: Request) -> bool:
        """True when the request was answered at once and the connection is ready for the next."""
        try:
            result = self._engine.handler(request)
        except ClientFault as fault:
            result = self._engine.refusal(fault.status, str(fault))
        except Exception as exc:  # noqa: BLE001 - becomes the answer; on_fault reports it
            result = self._engine.fault(request, exc)
        if isinstance(result, Response):
            if self._answer(request, result):
                return True
            if self._stream is not None:
                self._begin(self._pump_alone())
        else:
            self._begin(self._run(request, result))
        return self._state == IDLE

    def _wait_turn(self, rest: bytes) -> None:
        """Let other connections go first, or the client read what it asked for."""
        self._state = BUSY
        self._request = None
        self._held += rest
        if len(self._held) > _HELD_BYTES:
            self._pause_reading()
        if self._write_paused:
            self._serve_when_drained = True
            self.deadline = self._engine.now() + self._engine.limits.body_timeout_s
        else:
            self._engine.loop.call_soon(self._resume)

    def _resume(self) -> None:
        """Go on with what was held back."""
        if self._lost or self._state != BUSY:
            return
        data = bytes(self._held)
        self._held.clear()
        self._state = IDLE
        self.deadline = self._engine.now() + self._engine.limits.idle_timeout_s
        self._resume_reading()
        self._serve(data)
        if self._eof and self._state == IDLE:
            self._close()

    # Bodies

    def _begin_body(self, block: HeaderBlock, now: float) -> None:
        self._body_bytes = 0
        self._body_since = now
        self._continue_due = block.expect and self._is_1_1
        if not self._continue_due:
            self.deadline = now + self._engine.limits.body_timeout_s
        if block.chunked:
            self._decoder = ChunkDecoder(self._engine.limits.max_body_bytes)
        else:
            self._left = block.content_length or 0

    def _receive(self, data: bytes | memoryview) -> bytes:
        """Take body bytes; what follows the body."""
        rest = b""
        if self._decoder is None:
            if len(data) > self._left:
                rest = bytes(data[self._left :])
                data = data[: self._left]
            self._left -= len(data)
            ended = not self._left
        else:
            try:
                data, rest = self._decoder.feed(bytes(data))
            except ClientFault as fault:
                self._fail_body(fault)
                return b""
            ended = self._decoder.ended
            if ended:
                self._decoder = None
        self._continue_due = False
        request = self._request
        if request is None or self._status:  # answered, or being answered
            if ended and self._state == DRAIN:
                self._become_idle()
            return rest
        self._body_bytes += len(data)
        if self._blocks is None:
            full = request.body.feed(data) if data else False
        else:  # one block waits at most
            full = request.body.feed(data, min(HIGH_WATER, self._engine.blocks.block_bytes))
        if ended:
            self.deadline = inf
            request.body.end()
            return rest
        now = self._engine.now()
        limits = self._engine.limits
        if full:
            self._paused_at = now
            self.deadline = inf
            self._pause_reading()
        else:
            self.deadline = now + limits.body_timeout_s
            active = now - self._body_since
            if active > limits.body_timeout_s and self._body_bytes < active * limits.min_body_rate:
                self._fail_body(ClientTooSlow("the body came too slowly"))
        return rest

    def _fail_body(self, fault: ClientFault) -> None:
        """The rest of the input cannot be understood any more, or will not come."""
        self._left = 0
        self._decoder = None
        self._leave_blocks()
        self._broken = True
        self.deadline = inf
        if self._request is not None:
            self._request.body.fail(fault)
        elif self._state == DRAIN:
            self._transport.abort()

    def body_in_blocks(self) -> None:
        """From here on the body comes in views of memory that is used again. Not over TLS, whose records are small."""
        if self._left > LEAST_BLOCK and self._blocks is None and not (self._tls or self._lost or self._broken):
            self._blocks = BlockReader(self, self._engine.blocks)
            self._transport.set_protocol(self._blocks)

    @property
    def body_left(self) -> int:
        return self._left

    def body_came(self, data: memoryview) -> None:
        self._receive(data)
        if not self._left:
            self._leave_blocks()

    def _leave_blocks(self) -> None:
        reader, self._blocks = self._blocks, None
        if reader is not None:
            reader.leave()
            if not self._lost:
                self._transport.set_protocol(self)

    def body_wanted(self) -> None:
        if self._continue_due and not self._lost:
            self._continue_due = False
            self._write_continue()
            self._body_since = self._engine.now()
            self.deadline = self._body_since + self._engine.limits.body_timeout_s

    def body_drained(self) -> None:
        if self._reading_paused and self._state == BUSY and (self._left or self._decoder is not None):
            now = self._engine.now()
            self._body_since += now - self._paused_at  # the handler's pause is not the client's
            self.deadline = now + self._engine.limits.body_timeout_s
            self._resume_reading()

    # Time

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        state = self._state
        if self._lost:
            self.deadline = inf
        elif self._file is not None or self._transport.get_write_buffer_size():
            self._expire_write(now)
        elif state in (LINGER, CLOSING, DRAIN):
            self._transport.abort()
        elif state == IDLE:
            if self._held:
                self._refuse(HeadRefused(408, "the head of the request was not complete in time"))
            else:
                self._close()
        elif self._left or self._decoder is not None:
            self._fail_body(ClientTooSlow("the client paused within the body"))
        elif self._eof:
            self._transport.abort()  # half closed for long: it has gone
        else:
            self.deadline = inf

    def close_when_idle(self) -> None:
        """The server is stopping."""
        if self._state == IDLE and not self._held and not self._lost:
            self._close()
