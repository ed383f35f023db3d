"""The output side of a connection: one response at a time, whole or visibly broken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

from controlplane.http.engine import close_chunks
from controlplane.http.faults import ClientFault, ClientGone, HeadRefused
from controlplane.http.file_send import INLINE_BYTES, FileReader, FileTransfer, read_cached, release
from controlplane.http.flow import DRAIN_BYTES, Flow
from controlplane.http.message import FileBody, Request, Response, StreamBody
from controlplane.http.prompt_task import PromptTask

if TYPE_CHECKING:
    from controlplane.http.connection import Connection

logger: Final = logging.getLogger(__name__)

_END_KEEP: Final = b"\r\n\r\n"
_END_KEEP_1_0: Final = b"\r\nConnection: keep-alive\r\n\r\n"
_END_CLOSE: Final = b"\r\nConnection: close\r\n\r\n"
_GONE_STATUS: Final = 499


class Answering(Flow):
    """The methods that send."""

    __slots__ = ()

    # Answers

    def _answer(self, request: Request, response: Response) -> bool:
        """Send, or begin to send. True when all is done and the connection is ready for the next request.

        When `_stream` is set afterwards, the caller sees to it that `_pump` runs.
        """
        if response.close or self._engine.stopping or (request.has_body and not self._keeps_after_body()):
            self._keep = False
        body = response.body
        if request.has_body:
            self._end_body(request)
        self._status = status = response.status
        if body.__class__ is bytes and request.method != "HEAD" and status not in (204, 304):
            tail = b"\r\nContent-Length: %d%b" % (len(body), self._end())
        else:
            tail = self._framing(request, response) + self._end()
            body = response.body
        try:
            head = self._engine.heads.head(self._started, status, response.headers, tail)
        except (ValueError, TypeError, AttributeError) as exc:
            self._engine.dispose(response)
            return self._answer_fault(request, exc)
        if body.__class__ is bytes:
            self._transport.write(head + body)
            return self._complete(request, len(body), whole=True)
        if isinstance(body, FileBody):
            return self._answer_file(request, head, body)
        self._transport.write(head)
        if isinstance(body, StreamBody):
            self._stream = body
            return False
        return self._complete(request, 0, whole=True)

    def _end(self) -> bytes:
        """The end of the head, with the Connection field it needs."""
        if self._keep:
            return _END_KEEP if self._is_1_1 else _END_KEEP_1_0
        return _END_CLOSE

    def _answer_fault(self, request: Request, exc: Exception) -> bool:
        response = self._engine.fault(request, exc)
        self._status = status = response.status
        body = response.body if isinstance(response.body, bytes) and request.method != "HEAD" else b""
        self._engine.dispose(response)
        self._keep = False
        tail = b"\r\nContent-Length: %d%b" % (len(body), _END_CLOSE)
        try:
            head = self._engine.heads.head(self._started, status, response.headers, tail)
        except (ValueError, TypeError, AttributeError):
            self._status = 500
            body = b""
            head = self._engine.heads.head(self._started, 500, (), b"\r\nContent-Length: 0" + _END_CLOSE)
        self._transport.write(head + body)
        return self._complete(request, len(body), whole=True)

    def _framing(self, request: Request, response: Response) -> bytes:
        """The framing fields; disposes of a body that is not to be sent."""
        body = response.body
        length: int | None = response.head_length
        if length is None or body is not None:
            length = None if body is None else len(body) if isinstance(body, bytes) else body.length
        bodiless = request.method == "HEAD" or response.status in (204, 304)
        if bodiless:
            self._engine.dispose(response)
            response.body = None
            return b"" if length is None or response.status == 204 else b"\r\nContent-Length: %d" % length
        if body is None:
            return b"\r\nContent-Length: 0"
        if length is not None:
            return b"\r\nContent-Length: %d" % length
        if self._is_1_1:
            return b"\r\nTransfer-Encoding: chunked"
        self._keep = False  # HTTP/1.0: the end of the connection is the end of the body
        return b""

    def _end_body(self, request: Request) -> None:
        """What the handler has not read by now is dropped, as is what still comes."""
        request.body.discard()
        self._resume_reading()
        if not self._eof:
            self.deadline = inf

    def _keeps_after_body(self) -> bool:
        """Whether the next request can be found behind this one's body."""
        if self._broken or self._decoder is not None:
            return False
        return not self._left or (self._left <= DRAIN_BYTES and not self._continue_due)

    def _refuse(self, refused: HeadRefused) -> None:
        """Answer instead of the handler, and end the connection."""
        response = self._engine.refusal(refused.status, str(refused))
        self._held.clear()
        body = response.body if isinstance(response.body, bytes) else b""
        self._engine.dispose(response)
        tail = b"\r\nContent-Length: %d%b" % (len(body), _END_CLOSE)
        now = self._engine.now()
        try:
            head = self._engine.heads.head(now, response.status, response.headers, tail)
        except (ValueError, TypeError, AttributeError):
            logger.exception("the answer to a refused request is malformed")
            body = b""
            head = self._engine.heads.head(now, refused.status, (), b"\r\nContent-Length: 0" + _END_CLOSE)
        self._transport.write(head + body)
        self._linger()

    # Files

    def _answer_file(self, request: Request, head: bytes, body: FileBody) -> bool:
        if body.length <= INLINE_BYTES:
            data = read_cached(body)
            if data is not None:
                release(body)
                self._transport.write(b"".join((head, data)))
                return self._complete(request, body.length, whole=True)
        elif not self._tls:
            if self._transport.get_write_buffer_size():
                self._file_due = (head, body)
                self._transport.set_write_buffer_limits(high=0)  # resume_writing then means: all is written
                return False
            return self._begin_file(request, head, body)
        self._transport.write(head)
        self._stream = StreamBody(FileReader(body), body.length)
        return False

    def _begin_file(self, request: Request, head: bytes, body: FileBody) -> bool:
        try:
            fd = self._transport.get_extra_info("socket").fileno()
            transfer = FileTransfer(self._engine.loop, fd, head, body, self._engine.now)
        except OSError:  # no free descriptor
            self._transport.write(head)
            self._stream = StreamBody(FileReader(body), body.length)
            return False
        transfer.step()
        if transfer.whole is not None:
            return self._complete(request, transfer.sent, whole=transfer.whole)
        self._file = transfer
        transfer.on_end = self._file_ended
        self.deadline = transfer.moved_at + self._engine.limits.body_timeout_s
        return False

    def _file_ended(self) -> None:
        transfer, self._file = self._file, None
        if transfer is not None and self._request is not None:
            self._complete_later(self._request, transfer.sent, whole=bool(transfer.whole))

    def _file_now(self) -> None:
        """The transport has written all that stood before the file."""
        due, self._file_due = self._file_due, None
        if due is None or self._request is None:
            return
        self._transport.set_write_buffer_limits()
        if self._begin_file(self._request, *due):
            self._become_idle()
        elif self._stream is not None:
            self._begin(self._pump_alone())

    # Tasks

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """It may be over when this returns."""
        self._task = task = PromptTask(work, self._engine.loop)
        task.step()

    async def _run(self, request: Request, answer: Awaitable[Response]) -> None:
        """A handler that is not done at once."""
        response: Response | None = None
        try:
            response = await answer
            if not isinstance(response, Response):
                raise TypeError(f"the handler returned {type(response).__name__}, not a Response")
        except ClientGone:
            self._status = _GONE_STATUS
        except ClientFault as fault:
            response = self._engine.refusal(fault.status, str(fault))
        except Exception as exc:  # noqa: BLE001 - becomes the answer; on_fault reports it
            response = self._engine.fault(request, exc)
        except asyncio.CancelledError:
            self._status = _GONE_STATUS
            self._complete_later(request, 0, whole=False)
            self._task_over()
            raise
        if self._lost or response is None:
            self._status = _GONE_STATUS
            if response is not None:
                self._engine.dispose(response)
            self._complete_later(request, 0, whole=False)
        else:
            if self._answer(request, response):
                self._become_idle()
            if self._stream is not None:
                await self._pump()
        self._task_over()

    async def _pump_alone(self) -> None:
        await self._pump()
        self._task_over()

    async def _pump(self) -> None:
        """Send a stream; break the connection when it does not come as promised."""
        stream, request = self._stream, self._request
        if stream is None or request is None:
            return
        self._stream_sent = 0
        whole = False
        try:
            if not self._lost:
                whole = await self._send_chunks(stream)
        except asyncio.CancelledError:
            if not self._is_lost():
                raise
        except Exception:
            logger.exception("sending the body of %s failed; the connection is broken off", request)
        finally:
            await close_chunks(stream)
            self._stream = None
            self._complete_later(request, self._stream_sent, whole=whole)

    async def _send_chunks(self, stream: StreamBody) -> bool:
        """True when all was given to the transport, False when the client went away."""
        length = stream.length
        chunked = length is None and self._is_1_1
        async for chunk in stream.chunks:
            if not chunk:
                continue
            sent = self._stream_sent + len(chunk)
            if length is not None and sent > length:
                raise ValueError(f"a stream body yielded more than its {length} bytes")
            if chunked:
                self._transport.writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n"))
            else:
                self._transport.write(chunk)
            self._stream_sent = sent
            if self._write_paused:
                await self._until_flushed()
            if self._lost:
                return False
        if length is not None and self._stream_sent != length:
            raise ValueError(f"a stream body ended after {self._stream_sent} of {length} bytes")
        if chunked:
            self._transport.write(b"0\r\n\r\n")
        return True

    def _task_over(self) -> None:
        self._task = None
        if self._lost:
            self._engine.ended(cast("Connection", self))

    def _abandon_answer(self) -> None:
        """The transport is gone: give back what is being sent. A handler goes on; a stream is cancelled."""
        if self._file is not None:
            self._file.cancel()
        elif self._file_due is not None:
            release(self._file_due[1])
            self._file_due = None
            if self._request is not None:
                self._complete(self._request, 0, whole=False)
        elif self._stream is not None and self._task is not None:
            self._task.cancel()
        self._wake_flushed()
