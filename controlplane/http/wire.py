"""The head of a response."""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import Final

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ENGINE_NAMES: Final = {b"content-length", b"date", b"connection", b"transfer-encoding", b"keep-alive", b"upgrade"}
_BREAKING: Final = re.compile(rb"[\r\n\0]")
_LINES_KEPT: Final = 4096
_LINE_KEPT_BYTES: Final = 128
_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")

_lines: Final[dict[tuple[bytes, bytes], bytes]] = {}  # fields checked before, as they are written
_PHRASES: Final = {s.value: s.phrase.encode("ascii") for s in HTTPStatus}

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HeadWriter:
    """Makes response heads; the status lines with the date are kept for the second they are true."""

    __slots__ = ("_starts", "_until")

    def __init__(self) -> None:
        self._starts: dict[int, bytes] = {}
        self._until = 0.0

    def head(
        self,
        now: float,
        status: int,
        headers: list[tuple[bytes, bytes]] | tuple[tuple[bytes, bytes], ...] | bytes,
        tail: bytes,
    ) -> bytes:
        """The whole head. `now` is monotonic; `tail` begins with CR LF and ends the head. `headers` as bytes are lines
        of field_lines().

        Raises ValueError for a header that would break the framing.
        """
        if now >= self._until:
            self._starts.clear()
            wall = time.time()
            self._until = now + 1.0 - wall % 1.0
        start = self._starts.get(status)
        if start is None:
            start = self._starts[status] = _status_and_date(status)
        if isinstance(headers, bytes):
            return start + headers + tail
        lines = _lines
        for field in headers:
            start += lines.get(field) or _line(field)
        return start + tail


def field_lines(headers: list[tuple[bytes, bytes]] | tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Checked fields as they are written, to be made once for many answers. Raises ValueError like HeadWriter.head.

    Whoever adds to them sees to it that every line begins with CR LF and holds no other.
    """
    return b"".join([_line(field) for field in headers])


def _status_and_date(status: int) -> bytes:
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is no status of a final response")
    t = time.gmtime()
    return b"HTTP/1.1 %d %b\r\nDate: %b, %02d %b %d %02d:%02d:%02d GMT" % (
        status,
        _PHRASES.get(status, b"Unknown"),
        _DAYS[t.tm_wday],
        t.tm_mday,
        _MONTHS[t.tm_mon - 1],
        t.tm_year,
        t.tm_hour,
        t.tm_min,
        t.tm_sec,
    )


def _line(field: tuple[bytes, bytes]) -> bytes:
    name, value = field
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no header name")
    if name.lower() in _ENGINE_NAMES:
        raise ValueError(f"the header {name.decode()} is made by the engine")
    if _BREAKING.search(value):
        raise ValueError(f"the response header {name.decode()} has CR, LF or NUL in its value")
    line = b"\r\n%b: %b" % field
    if len(line) <= _LINE_KEPT_BYTES:
        if len(_lines) >= _LINES_KEPT:
            _lines.clear()
        _lines[field] = line
    return line
