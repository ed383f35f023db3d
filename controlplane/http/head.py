"""The head of a request: a strict reading of RFC 9112, so that no proxy in front can understand it otherwise.

Everything is a whitelist: what the grammar does not name is refused. Line ends are CR LF only; there is no folding,
no white space around names, no second Content-Length (not even an equal one), no Transfer-Encoding but `chunked`.
"""

from __future__ import annotations

import re
from typing import Any, Final

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

_ONCE: Final = {b"host", b"content-length", b"transfer-encoding", b"expect"}

_names: Final[dict[bytes, bytes]] = {}  # names met before and found well-formed, to lower case
_NAMES_KEPT: Final = 2048
_NAME_KEPT_BYTES: Final = 64


def read_head(
    data: bytes, pos: int, end: int, last: HeaderBlock | None, limits: Limits
) -> tuple[str, bytes, bool, HeaderBlock]:
    """(method, target, is HTTP/1.1, fields) of the head at `pos` whose empty line begins at `end`.

    `last` is what the client sent before: clients repeat their fields, and equal ones are not read again.
    Raises HeadRefused.
    """
    if end - pos > limits.max_header_bytes:
        _refuse_size(data[pos : pos + limits.max_header_bytes])
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
    raw = data[match.end() : end + 2]
    block = last if last is not None and last.raw == raw else HeaderBlock(raw, limits)
    is_1_1 = minor == b"1"
    if not (is_1_1 and block.plain):
        block.check_version(is_1_1)
    return method, target, is_1_1, block


class HeaderBlock:
    """The header fields of a request and what they say about its framing. Never changes: requests may share it.
    `note` is the handler's, see Request.note."""

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
        "note",
        "plain",
        "raw",
    )

    def __init__(self, raw: bytes, limits: Limits) -> None:
        self.raw = raw
        self.note: Any = None
        self.fields = fields = _fields(raw, limits)
        first = dict(fields)
        self.first = first if len(first) == len(fields) else _first_values(fields)
        first = self.first
        host = first.get(b"host")
        self.has_host = host is not None
        if host is not None and _HOST.fullmatch(host) is None:
            raise HeadRefused(400, "the Host field is malformed")
        connection = first.get(b"connection")
        if connection is None:
            self.close = self.keep_alive = False
        else:
            if len(first) != len(fields):
                connection = b",".join([value for name, value in fields if name == b"connection"])
            tokens = [token.strip(b" \t").lower() for token in connection.split(b",")]
            self.close = b"close" in tokens
            self.keep_alive = b"keep-alive" in tokens
        self.content_length = _content_length(first, limits) if b"content-length" in first else None
        self.chunked = b"transfer-encoding" in first and _is_chunked(first)
        self.has_body = self.chunked or bool(self.content_length)
        self.expect = b"expect" in first and _expects_continue(first) and self.has_body
        self.plain = host is not None and connection is None and not self.has_body

    def keeps(self, is_1_1: bool) -> bool:
        """Whether the client wants the connection kept."""
        return not self.close and (is_1_1 or self.keep_alive)

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
        _refuse_size(bytes(part[: limits.max_header_bytes]))


def _refuse_size(head: bytes) -> None:
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


def _first_values(fields: tuple[tuple[bytes, bytes], ...]) -> dict[bytes, bytes]:
    first: dict[bytes, bytes] = {}
    for name, value in fields:
        if name not in first:
            first[name] = value
        elif name in _ONCE:
            raise HeadRefused(400, f"more than one {name.decode()} field")
    return first


def _is_chunked(first: dict[bytes, bytes]) -> bool:
    if b"content-length" in first:
        raise HeadRefused(400, "both Content-Length and Transfer-Encoding")
    if first[b"transfer-encoding"].lower() != b"chunked":
        raise HeadRefused(501, "no Transfer-Encoding but chunked is known")
    return True


def _expects_continue(first: dict[bytes, bytes]) -> bool:
    """What is like 100-continue and is not is refused; any other expectation is nobody's, and ignored as S3 does (RFC
    9110, section 10.1.1, leaves both open)."""
    value = first[b"expect"].lower()
    if value == b"100-continue":
        return True
    if b"continue" in value:
        raise HeadRefused(417, "no expectation but 100-continue is known")
    return False


def _content_length(first: dict[bytes, bytes], limits: Limits) -> int:
    value = first[b"content-length"]
    if _LENGTH.fullmatch(value) is None:
        if value.isdigit():
            raise HeadRefused(413, "the body is larger than this server takes")
        raise HeadRefused(400, "the Content-Length is malformed")
    length = int(value)
    if length > limits.max_body_bytes:
        raise HeadRefused(413, f"the body is larger than {limits.max_body_bytes} bytes")
    return length
