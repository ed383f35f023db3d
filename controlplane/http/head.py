"""The head of a request: a strict reading of RFC 9112, so that no proxy in front can understand it otherwise.

Everything is a whitelist: what the grammar does not name is refused. Line ends are CR LF only; there is no folding,
no white space around names, no second Content-Length (not even an equal one), no Transfer-Encoding but `chunked`.
"""

from __future__ import annotations

import re
from typing import Final

from controlplane.http.faults import HeadRefused
from controlplane.http.limits import Limits

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])\r\n")
_OTHER_VERSION: Final = re.compile(rb"(" + _TOKEN + rb") [\x21-\x7e]+ HTTP/(?!1\.[01]\r)[0-9]\.[0-9]\r\n")
_NAME: Final = re.compile(_TOKEN)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z\-._~%!$&'()*+,;=]+)(?::[0-9]{0,5})?")
# Visible characters, space, tab, obs-text; CR and LF are counted apart.
_PERMITTED: Final = bytes({*range(0x20, 0x7F), *range(0x80, 0x100), 0x09, 0x0A, 0x0D})
_BROKEN_PART: Final = re.compile(rb"(?<!\r)\n|\r[^\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_METHODS: Final = {m.encode(): m for m in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH")}
_REFUSED_METHODS: Final = {b"CONNECT", b"TRACE"}

_names: Final[dict[bytes, bytes]] = {}  # names met before and found well-formed, to lower case
_NAMES_KEPT: Final = 2048
_NAME_KEPT_BYTES: Final = 64


def request_line(data: bytes, pos: int) -> tuple[str, bytes, bool, int]:
    """(method, target, is HTTP/1.1, where the header fields begin)."""
    match = _REQUEST_LINE.match(data, pos)
    if match is None:
        if _OTHER_VERSION.match(data, pos):
            raise HeadRefused(505, "this server speaks HTTP/1.1 and HTTP/1.0")
        raise HeadRefused(400, "the request line is malformed")
    name, target, minor = match.groups()
    method = _METHODS.get(name)
    if method is None:
        if name in _REFUSED_METHODS:
            raise HeadRefused(405, "this method is not served")
        method = name.decode("ascii")
    if target[0] != 0x2F and not (target == b"*" and method == "OPTIONS"):
        raise HeadRefused(400, "the request target must be a path that begins with /")
    return method, target, minor == b"1", match.end()


class HeaderBlock:
    """The header fields of a request and what they say about its framing. Never changes: requests may share it."""

    __slots__ = (
        "chunked",
        "close",
        "content_length",
        "expect",
        "fields",
        "first",
        "has_body",
        "has_host",
        "keep_alive",
        "plain",
        "raw",
    )

    def __init__(self, raw: bytes, limits: Limits) -> None:
        self.raw = raw
        self.fields = _fields(raw, limits)
        self.first: dict[bytes, bytes] = {}
        first = self.first
        connection = transfer = b""
        for name, value in self.fields:
            if name not in first:
                first[name] = value
            elif name in (b"host", b"content-length", b"transfer-encoding", b"expect"):
                raise HeadRefused(400, f"more than one {name.decode()} field")
            if name == b"connection":
                connection = connection + b"," + value if connection else value
        tokens = {t.strip(b" \t").lower() for t in connection.split(b",")} if connection else ()
        self.close = b"close" in tokens
        self.keep_alive = b"keep-alive" in tokens
        self.has_host = b"host" in first
        if self.has_host and _HOST.fullmatch(first[b"host"]) is None:
            raise HeadRefused(400, "the Host field is malformed")
        self.content_length = _content_length(first, limits)
        transfer = first.get(b"transfer-encoding", b"")
        self.chunked = b"transfer-encoding" in first
        if self.chunked:
            if b"content-length" in first:
                raise HeadRefused(400, "both Content-Length and Transfer-Encoding")
            if transfer.lower() != b"chunked":
                raise HeadRefused(501, "no Transfer-Encoding but chunked is known")
        self.has_body = self.chunked or bool(self.content_length)
        expect = first.get(b"expect")
        if expect is not None and expect.lower() != b"100-continue":
            raise HeadRefused(417, "no expectation but 100-continue is known")
        self.expect = expect is not None and self.has_body
        self.plain = self.has_host and not connection and not self.has_body

    def check_version(self, is_1_1: bool) -> None:
        """The rules that depend on the version of the request line."""
        if is_1_1 and not self.has_host:
            raise HeadRefused(400, "no Host field")
        if not is_1_1 and self.chunked:
            raise HeadRefused(400, "Transfer-Encoding in an HTTP/1.0 request")


def refuse_broken_part(part: bytearray, start: int, limits: Limits) -> None:
    """Raise when the part of a head, looked at before `start`, can no longer become acceptable."""
    if _BROKEN_PART.search(part, max(0, start - 1)) and _BROKEN_PART.search(part):
        raise HeadRefused(400, "a line does not end in CR LF, or has a control character")
    if len(part) > limits.max_header_bytes:
        refuse_size(bytes(part[: limits.max_header_bytes]))


def refuse_size(head: bytes) -> None:
    """Raise for a head that is too large, of which the permitted part is given."""
    if b"\r\n" in head:
        raise HeadRefused(431, "the header fields are too large")
    raise HeadRefused(414, "the request target is too long")


def _fields(raw: bytes, limits: Limits) -> tuple[tuple[bytes, bytes], ...]:
    if raw.translate(None, _PERMITTED):
        raise HeadRefused(400, "a header field has a control character")
    lines = raw.split(b"\r\n")
    lines.pop()  # what follows the last line end: nothing
    count = len(lines)
    if raw.count(b"\r") != count or raw.count(b"\n") != count:
        raise HeadRefused(400, "a header line does not end in CR LF")
    if count > limits.max_headers:
        raise HeadRefused(431, "too many header fields")
    fields = []
    known = _names
    for line in lines:
        name, colon, value = line.partition(b":")
        lower = known.get(name)
        if lower is None or not colon:
            lower = _lower_name(name, colon)
        fields.append((lower, value.strip(b" \t")))
    return tuple(fields)


def _lower_name(name: bytes, colon: bytes) -> bytes:
    if not colon or _NAME.fullmatch(name) is None:
        raise HeadRefused(400, "a header field is malformed")
    lower = name.lower()
    if len(_names) < _NAMES_KEPT and len(name) <= _NAME_KEPT_BYTES:
        _names[name] = lower
    return lower


def _content_length(first: dict[bytes, bytes], limits: Limits) -> int | None:
    """None without a body: an absent Content-Length is no body (RFC 9112, 6.3)."""
    value = first.get(b"content-length")
    if value is None:
        return None
    if _LENGTH.fullmatch(value) is None:
        if value.isdigit():
            raise HeadRefused(413, "the body is larger than this server takes")
        raise HeadRefused(400, "the Content-Length is malformed")
    length = int(value)
    if length > limits.max_body_bytes:
        raise HeadRefused(413, f"the body is larger than {limits.max_body_bytes} bytes")
    return length
