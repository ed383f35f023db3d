"""One HTTP/1.1 client connection: an asyncio protocol over httptools' parser, one request at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

import httptools

from controlplane.adapters.peer_host import TcpSocket, have_it_probed, is_silent
from controlplane.adapters.s3.exchange_failed import ExchangeFailed
from controlplane.adapters.s3.head_shapes import NotInStep
from controlplane.adapters.s3.last_words import last_words
from controlplane.adapters.s3.pipeline import Replies
from controlplane.adapters.s3.plain_head import lower_name, plain_head
from controlplane.http.block_reads import LEAST_BLOCK, BlockReader, Blocks
from controlplane.http.file_send import FileTransfer
from controlplane.http.message import FileBody
from controlplane.http.prompt_task import Waiter, waiter

MAX_HEAD_BYTES: Final = 64 * 1024
LOOK_EVERY_S: Final = 1.0
"""While somebody waits, the connection looks so often whether he has waited too long."""
_PAUSE_ABOVE: Final = 512 * 1024
_RESUME_BELOW: Final = 128 * 1024


class Connection(asyncio.Protocol):
    """Life of a request: begin(), write() and drain() for the request, head(), read() until b"" for the answer.

    After that `reusable` says whether another request may follow. Every wait raises ExchangeFailed when the connection
    is lost, when the other side pauses for longer than read_timeout_s, when its host acknowledges nothing for
    silence_s, and when it sends what is not HTTP. The time that the caller takes between calls does not count; a second
    more may pass. Memory: about 512 KiB of an answer that is not read yet.
    """

    __slots__ = (
        "_blocks",
        "_chunks",
        "_complete",
        "_failure",
        "_head_by",
        "_head_bytes",
        "_head_only",
        "_hung",
        "_left",
        "_loop",
        "_parser",
        "_paused",
        "_pending_write",
        "_progress_at",
        "_read_timeout_s",
        "_replies",
        "_silence_s",
        "_socket",
        "_status",
        "_timer",
        "_transfer",
        "_transport",
        "_unread",
        "_waiter",
        "_writable",
        "answered",
        "busy",
        "headers",
        "idle_since",
        "keep_alive",
        "requests",
        "status",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, read_timeout_s: float, silence_s: float) -> None:
        self._loop = loop
        self._read_timeout_s = read_timeout_s
        self._silence_s = silence_s
        self._socket: TcpSocket | None = None
        self._head_by = 0.0
        """When the head of the answer has to be there, on the loop's clock; 0: no time is set."""
        self._hung = False
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        """A cycle, for it has this connection: it goes when the transport does, and the collector is not waited for."""
        self._chunks: deque[bytes | memoryview] = deque()
        self._blocks: BlockReader | None = None
        """Stands in for this connection at the transport."""
        self._unread = 0
        self._paused = False
        self._writable = True
        self._waiter: Waiter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._progress_at = 0.0
        self._pending_write = 0
        self._failure: str | None = None
        self._head_bytes = 0
        self._head_only = False
        self._left = 0
        """Bytes still to come of a body that goes past the parser."""
        self._status = 0
        self._complete = True
        self._replies: Replies | None = None
        self._transfer: FileTransfer | None = None
        self.headers: dict[str, str] = {}
        self.status = 0
        """Of the final answer, 0 until its head is there."""
        self.keep_alive = True
        self.answered = False
        self.busy = False
        self.requests = 0
        self.idle_since = 0.0

    # What the pool asks

    @property
    def closed(self) -> bool:
        return self._failure is not None or self._transport is None or self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        return self._complete and self.keep_alive and self._writable and not self.closed

    def abort(self) -> None:
        """Nobody reads any more: what came and was not read, up to 512 KiB, is let go of at once."""
        self._fail("closed on this side")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._chunks:
            self._chunks.clear()
            self._unread = 0
            self._complete = False  # who reads all the same meets the failure, not an early end

    # What an exchange does

    def begin(self, *, head_only: bool) -> None:
        """Make ready for one request; `head_only`: the answer has no body whatever its length says (HEAD)."""
        if self._head_only:
            # The parser of a HEAD answer still waits for the body that its length announced.
            self._parser = None
        if self._chunks:
            self._chunks.clear()
            self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        self._head_only = head_only
        self._complete = False
        self._head_bytes = self._status = self.status = self._left = 0
        self.headers = {}
        self.answered = False
        self.busy = True
        self.requests += 1

    async def pipeline(self, requests: bytes, replies: Replies) -> None:
        """Send what are several requests, and wait until `replies` has all it expects, or the connection ends.

        In place of begin() to read(). Raises ExchangeFailed; what `replies` got until then stands."""
        self.begin(head_only=False)
        self._replies = replies
        try:
            self.write(requests)
            while not self._complete:
                await self._wait()
        finally:
            self._replies = None

    def finish(self, now: float) -> None:
        """The answer was read: wait for the next request."""
        self.busy = False
        self.idle_since = now

    def write(self, data: bytes | memoryview) -> None:
        if self._failure is None and self._transport is not None:
            self._transport.write(data)
        elif not self.status:  # else the answer is there, and the rest of the request of no interest
            raise self._failed()

    @property
    def takes_files(self) -> bool:
        """Whether send_file() can be used for the request that begins now."""
        transport = self._transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return False
        return not transport.get_write_buffer_size()

    async def send_file(self, head: bytes, file: FileBody) -> bool:
        """The request's head and then the file, past the transport: by sendfile. False: the server answered before it
        had all of it, and the rest was not sent. Releases the file."""
        transfer: FileTransfer | None = None
        try:
            if self._failure is not None or self._transport is None:
                raise self._failed()
            fd = self._transport.get_extra_info("socket").fileno()
            transfer = FileTransfer(self._loop, fd, head, file, self._loop.time)
        except OSError as error:
            raise ExchangeFailed(f"the file cannot be sent ({error})") from error
        finally:
            if transfer is None:
                file.release()
        transfer.on_end = self._wake
        self._transfer = transfer
        try:
            transfer.step()
            while transfer.whole is None and not self.status:
                await self._wait()
        finally:
            self._transfer = None
            transfer.cancel()
        if not transfer.whole:
            self._hear_out()
        if not transfer.whole and not self.status:
            raise ExchangeFailed("the connection was lost while the file was sent, or the file became shorter")
        return bool(transfer.whole)

    async def drain(self) -> None:
        """Wait until little of what was written is still on this side; return early when the answer's head is there."""
        while not self._writable and not self.status:
            await self._wait()

    async def head(self, within_s: float = 0.0) -> None:
        """Wait for `status` and `headers`, at most so long; 0: as long as for anything."""
        self._head_by = self._loop.time() + within_s if within_s else 0.0
        try:
            while not self.status:
                await self._wait()
        finally:
            self._head_by = 0.0

    def whole(self, limit: int) -> bytes | None:
        """The whole body, when it is there and nothing of it was read; None also for one of more than `limit` bytes."""
        if not self._complete or self._unread > limit or len(self._chunks) != 1:
            return None
        self._unread = 0
        return bytes(self._chunks.popleft())

    def in_blocks(self, blocks: Blocks) -> None:
        """For who calls read_piece(): what is still to come of a large body is read into memory that is used again. Not
        over TLS."""
        transport = self._transport
        if self._left <= LEAST_BLOCK or self._blocks is not None or transport is None or transport.is_closing():
            return
        if transport.get_extra_info("sslcontext") is None:
            self._blocks = BlockReader(self, blocks)
            transport.set_protocol(self._blocks)

    async def read(self) -> bytes:
        """Some bytes of the body; b"" at its end. A body that ends short raises."""
        return bytes(await self.read_piece())  # which is itself where it is bytes

    async def read_piece(self) -> bytes | memoryview:
        """The same, without a copy."""
        while not self._chunks:
            if self._complete:
                return b""
            await self._wait()
        chunk = self._chunks.popleft()
        self._unread -= len(chunk)
        if self._paused and self._unread < _RESUME_BELOW and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    def _wait(self) -> Waiter:
        """To be awaited at once: until something has changed."""
        if self._failure is not None:
            raise self._failed()
        loop = self._loop
        self._progress_at = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(min(self._read_timeout_s, LOOK_EVERY_S), self._tick)
        self._waiter = waiting = waiter(loop)
        return waiting

    def _wake(self) -> None:
        """Comes last: whoever waits may go on before this returns."""
        waiting, self._waiter = self._waiter, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _tick(self) -> None:
        """The timer is set once and looks back, so that a request costs no timer of its own."""
        self._timer = None
        if self._waiter is None or self._transport is None:
            return
        now = self._loop.time()
        pending = self._transport.get_write_buffer_size()
        if self._transfer is not None:
            pending += self._transfer.left
            self._progress_at = max(self._progress_at, self._transfer.moved_at)
        if pending < self._pending_write:
            self._progress_at = now
        self._pending_write = pending
        waited = now - self._progress_at
        if waited >= self._read_timeout_s:
            doing = "took no more of the request" if pending else "sent nothing"
            self._hang(f"the server {doing} for {self._read_timeout_s:g} s")
        elif self._head_by and now >= self._head_by:
            self._hang(f"the server did not begin to answer for {waited:.1f} s")
        elif waited >= self._silence_s and self._socket is not None and is_silent(self._socket, self._silence_s):
            self._hang(f"its host has acknowledged nothing for {self._silence_s:g} s")
        else:
            left = self._read_timeout_s - waited
            if self._head_by:
                left = min(left, self._head_by - now)
            self._timer = self._loop.call_later(min(left, LOOK_EVERY_S), self._tick)

    def _hang(self, reason: str) -> None:
        self._hung = True
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = reason
        self.keep_alive = False
        if self._transport is not None:
            self._transport.abort()
        self._loop.call_soon(self._wake)

    def _failed(self) -> ExchangeFailed:
        reason = self._failure or "not connected"
        return ExchangeFailed(reason, answered=self.answered, reused=self.requests > 1, hung=self._hung)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            self._socket = sock
            have_it_probed(sock, self._silence_s)

    def data_received(self, data: bytes) -> None:
        if not self.busy or self._complete:
            self._fail("the server sent bytes that nobody had asked for")
            return
        self.answered = True
        self._progress_at = self._loop.time()
        if self._replies is not None:
            self._reply(self._replies, data)
            return
        if self._left:
            self._take_body(data)
            return
        if not self.status:
            if not self._head_bytes and (plain := plain_head(data)) is not None:
                self._take_plain(data, *plain)
                return
            self._head_bytes += len(data)
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"the server's answer is not HTTP ({error})")
            return
        if not self.status and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(f"the head of the answer is larger than {MAX_HEAD_BYTES} bytes")
        self._hold_back()
        self._wake()

    def _take_plain(self, data: bytes, status: int, headers: dict[str, str], at: int, length: int) -> None:
        """A head of the usual kind; its body is passed on as it comes, without a parser."""
        self.headers = headers
        self.status = self._status = status
        if self._head_only:
            self._complete = True
            if len(data) > at:
                self._fail("the server sent a body in answer to HEAD")
        else:
            self._left = length
            if len(data) > at:
                self._take_body(data[at:])
                return
            self._complete = not length
        self._wake()

    @property
    def body_left(self) -> int:
        return self._left

    def body_came(self, data: memoryview) -> None:
        self._progress_at = self._loop.time()
        if len(data) == self._left:
            self._leave_blocks()
        self._take_body(data)

    def _leave_blocks(self) -> None:
        reader, self._blocks = self._blocks, None
        if reader is not None:
            reader.leave()
            if self._transport is not None:
                self._transport.set_protocol(self)

    def _take_body(self, data: bytes | memoryview) -> None:
        if len(data) > self._left:
            self._fail("the server sent more than it had announced")
            return
        self._chunks.append(data)
        self._unread += len(data)
        self._left -= len(data)
        self._complete = not self._left
        self._hold_back()
        self._wake()

    def _hold_back(self) -> None:
        if self._unread > _PAUSE_ABOVE and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _reply(self, replies: Replies, data: bytes) -> None:
        try:
            replies.feed(data)
        except NotInStep as error:
            self._fail(f"the server's answers are out of step ({error})")
            return
        if replies.complete:
            self._complete = True
            self.keep_alive = not replies.last
            self._wake()
        elif replies.last:
            self._fail("the server closed the connection after some of the answers")

    def eof_received(self) -> bool:
        return False

    def _hear_out(self) -> None:
        """Before a request is given up whose sending failed."""
        if self.busy and not self.status and self._replies is None and (said := last_words(self._transport)):
            self.data_received(said)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ConnectionError):
            self._hear_out()
        if self._ends_with_the_connection(exc):
            self._complete = True
            self.keep_alive = False
        self._socket = None
        if self._failure is None:
            self._hung = isinstance(exc, TimeoutError)  # the kernel's probes went unanswered
            what = "in the middle of its answer" if self.answered else "before it answered"
            self._failure = f"the connection was lost {what} ({exc or 'closed by the server'})"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport = None
        self._parser = None
        self._leave_blocks()
        self._wake()

    def _ends_with_the_connection(self, exc: Exception | None) -> bool:
        """A body without a length ends where the connection ends: error pages of old proxies do that."""
        measured = "content-length" in self.headers or "transfer-encoding" in self.headers
        return exc is None and self._failure is None and self.status != 0 and not measured

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    # httptools

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[lower_name(name)] = value.decode("utf-8", "replace")

    def on_headers_complete(self) -> None:
        assert self._parser is not None  # which calls this
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        self.status = self._status
        if self._head_only:
            # should_keep_alive() speaks of the body that will not come.
            closing = self.headers.get("connection", "").lower() == "close"
            self.keep_alive = self._parser.get_http_version() == "1.1" and not closing
            self._complete = True

    def on_body(self, body: bytes) -> None:
        if self._head_only:
            self._fail("the server sent a body in answer to HEAD")
            return
        self._chunks.append(body)
        self._unread += len(body)

    def on_message_complete(self) -> None:
        if self._status < 200:
            self.headers = {}
            return
        if not self._head_only:
            assert self._parser is not None
            self.keep_alive = self._parser.should_keep_alive()
        self._complete = True
