"""Bytes of a file to a client: read at once when small and in the page cache, by sendfile, or by a thread."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Final

from controlplane.http.message import FileBody

logger: Final = logging.getLogger(__name__)

INLINE_BYTES: Final = 32 * 1024  # up to this, reading and one write are cheaper than sendfile
TURN_BYTES: Final = 4 * 1024 * 1024  # most that one connection sends in one turn of the event loop: under 1 ms
_READ_BYTES: Final = 256 * 1024

# Linux: read only what is in the page cache, so that a cold disk does not hold up the event loop.
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", 0)
_MORE: Final = getattr(socket, "MSG_MORE", 0)
_NO_NOWAIT_HERE: Final = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


def read_cached(body: FileBody) -> bytearray | None:
    """All bytes of a small body; None when they are not in memory, or the file has become shorter."""
    out = bytearray(body.length)
    try:
        got = os.preadv(body.fd, [out], body.offset, _NOWAIT)
    except BlockingIOError:
        return None
    except OSError as exc:
        if exc.errno not in _NO_NOWAIT_HERE:
            return None
        try:
            got = os.preadv(body.fd, [out], body.offset)
        except OSError:
            return None
    return out if got == body.length else None


def release(body: FileBody) -> None:
    """Give the file back; a fault of the owner's must not stop the connection's own clean-up."""
    try:
        body.release()
    except Exception:
        logger.exception("releasing a file body failed")


class FileReader:
    """The chunks of a file body, read by a thread. Closing releases it, but not under a thread that still reads."""

    __slots__ = ("_body", "_end", "_offset", "_open", "_reading")

    def __init__(self, body: FileBody) -> None:
        self._body = body
        self._offset = body.offset
        self._end = body.offset + body.length
        self._reading: asyncio.Future[bytes] | None = None
        self._open = True

    def __aiter__(self) -> FileReader:
        return self

    async def __anext__(self) -> bytes:
        size = min(_READ_BYTES, self._end - self._offset)
        if not size:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        self._reading = loop.run_in_executor(None, os.pread, self._body.fd, size, self._offset)
        chunk = await asyncio.shield(self._reading)
        if not chunk:
            raise OSError(errno.EIO, "the file became shorter while it was sent")
        self._offset += len(chunk)
        return chunk

    async def aclose(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._reading is None or self._reading.done():
            release(self._body)
        else:
            self._reading.add_done_callback(self._released_late)

    def _released_late(self, reading: asyncio.Future[bytes]) -> None:
        if not reading.cancelled():
            reading.exception()  # nobody waits for it any more
        release(self._body)


class FileTransfer:
    """One response by sendfile, on a duplicate of the connection's descriptor.

    The transport must have nothing to write meanwhile. When it ends, the body is released, `whole` says whether all
    of it was sent, and `on_end` is called, once.
    """

    __slots__ = (
        "_body",
        "_head",
        "_left",
        "_loop",
        "_now",
        "_offset",
        "_socket",
        "_watching",
        "moved_at",
        "on_end",
        "whole",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        head: bytes,
        body: FileBody,
        now: Callable[[], float],
    ) -> None:
        """Takes the body over; raises OSError when there is no free descriptor (the body stays the caller's)."""
        self._socket: socket.socket | None = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, os.dup(fd))
        self._loop = loop
        self._now = now
        self._head = head
        self._body = body
        self._offset = body.offset
        self._left = body.length
        self._watching = False
        self.whole: bool | None = None
        self.on_end: Callable[[], None] | None = None
        self.moved_at = self._now()

    @property
    def sent(self) -> int:
        """Bytes of the body."""
        return self._body.length - self._left

    @property
    def left(self) -> int:
        """Bytes of the body that the kernel has not taken yet."""
        return self._left

    def step(self) -> None:
        """Send up to TURN_BYTES, then come back with the next turn in which the socket is writable."""
        out = self._socket
        if out is None:
            return
        budget = TURN_BYTES
        try:
            if self._head:
                self._head = self._head[out.send(self._head, _MORE) :]
                self.moved_at = self._now()
            while self._left and budget and not self._head:
                asked = min(self._left, budget)
                moved = os.sendfile(out.fileno(), self._body.fd, self._offset, asked)
                if not moved:
                    self._end(whole=False)  # the file became shorter
                    return
                self._offset += moved
                self._left -= moved
                budget -= moved
                if moved < asked:
                    break  # the socket is full: another call would only say so
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._end(whole=False)
            return
        if budget < TURN_BYTES:
            self.moved_at = self._now()
        if not self._left and not self._head:
            self._end(whole=True)
        elif not self._watching:
            self._watching = True
            self._loop.add_writer(out.fileno(), self.step)

    def cancel(self) -> None:
        self._end(whole=False)

    def _end(self, *, whole: bool) -> None:
        out, self._socket = self._socket, None
        if out is None:
            return
        if self._watching:
            self._loop.remove_writer(out.fileno())
        out.close()
        self.whole = whole
        release(self._body)
        if self.on_end is not None:
            self.on_end()
