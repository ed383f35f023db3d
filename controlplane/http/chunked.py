"""The chunked transfer coding, read strictly (RFC 9112, 7.1)."""

from __future__ import annotations

import re
from typing import Final

from controlplane.http.faults import BodyMalformed, BodyTooLarge

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\t\x20-\x7e\x80-\xff]{0,255})?\r\n")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_SIZE_LINE_BYTES: Final = 16 + 256 + 2
_EXTENSION_BYTES: Final = 16 * 1024  # of one body: extensions and trailers are bytes that carry nothing
_TRAILER_BYTES: Final = 8 * 1024

_SIZE, _DATA, _DATA_END, _TRAILERS, _END = range(5)


class ChunkDecoder:
    """Feed it what came from the socket. Extensions and trailers are checked, bounded and dropped."""

    __slots__ = ("_extension", "_left", "_most", "_part", "_state", "_trailer", "received")

    def __init__(self, most: int) -> None:
        self._most = most
        self._state = _SIZE
        self._left = 0  # bytes of the current chunk still to come
        self._part = b""  # a line that is not whole yet
        self._extension = 0
        self._trailer = 0
        self.received = 0

    @property
    def ended(self) -> bool:
        return self._state == _END

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(payload, what follows the body: only once it ended). Raises BodyMalformed, BodyTooLarge."""
        if self._part:
            data = self._part + data
            self._part = b""
        pos, size = 0, len(data)
        payload: list[bytes] = []
        while pos < size and self._state != _END:
            if self._state == _DATA:
                chunk = data[pos : pos + self._left] if pos or size > self._left else data
                pos += len(chunk)
                self._left -= len(chunk)
                payload.append(chunk)
                if not self._left:
                    self._state = _DATA_END
                continue
            line_end = self._line(data, pos, size)
            if line_end < 0:
                self._part = data[pos:]
                pos = size
            else:
                pos = line_end
        out = payload[0] if len(payload) == 1 else b"".join(payload)
        return out, data[pos:]

    def _line(self, data: bytes, pos: int, size: int) -> int:
        """Take the line at pos; where the next thing begins, or -1 when the line is not whole yet."""
        if self._state == _SIZE:
            match = _SIZE_LINE.match(data, pos)
            if match is None:
                return self._incomplete(data, pos, size, _SIZE_LINE_BYTES)
            self._size(int(match[1], 16), len(match[2] or b""))
            return match.end()
        if data.startswith(b"\r\n", pos):
            self._state = _SIZE if self._state == _DATA_END else _END
            return pos + 2
        if self._state == _DATA_END:
            if size - pos == 1 and data[pos] == 0x0D:
                return -1
            raise BodyMalformed("a chunk does not end in CR LF")
        match = _TRAILER.match(data, pos)
        if match is None:
            return self._incomplete(data, pos, size, _TRAILER_BYTES)
        self._trailer += match.end() - pos
        if self._trailer > _TRAILER_BYTES:
            raise BodyMalformed("the trailer fields are too large")
        return match.end()

    def _size(self, size: int, extension: int) -> None:
        self._extension += extension
        if self._extension > _EXTENSION_BYTES:
            raise BodyMalformed("the chunk extensions are too large")
        self.received += size
        if self.received > self._most:
            raise BodyTooLarge(f"the body is larger than {self._most} bytes")
        self._left = size
        self._state = _DATA if size else _TRAILERS

    @staticmethod
    def _incomplete(data: bytes, pos: int, size: int, most: int) -> int:
        if size - pos > most or data.find(b"\n", pos) >= 0:
            raise BodyMalformed("the chunked framing is broken")
        return -1
