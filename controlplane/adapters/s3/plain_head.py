"""The head of an answer as nearly all answers have it, read in one step: whole, with one Content-Length.

What is not exactly that is left to the general parser, which also finds what is wrong with it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_PERMITTED: Final = bytes({0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)})
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_BODILESS: Final = frozenset({204, 304})
_MOST_DIGITS: Final = 18
_KEPT_BYTES: Final = 1024
"""Fields of larger heads are not remembered."""


def plain_head(data: bytes) -> tuple[int, dict[str, str], int, int] | None:
    """Status, headers (lower-case names), where the body begins, and its length; None: not such a head."""
    matched = _STATUS.match(data)
    if matched is None:
        return None
    end = data.find(b"\r\n\r\n", matched.end() - 2)
    status = int(matched[1])
    if end < 0 or status in _BODILESS:
        return None
    raw = data[matched.end() : end]
    lines = raw.split(b"\r\n")
    if raw.translate(None, _PERMITTED) or raw.count(b"\r") + 1 != len(lines) or raw.count(b"\n") + 1 != len(lines):
        return None
    headers = dict(map(_known_field if len(raw) <= _KEPT_BYTES else _field, lines))
    if len(headers) != len(lines) or "" in headers:
        return None  # a name that is there twice, or a line that is no field
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or len(length) > _MOST_DIGITS:
        return None
    if "transfer-encoding" in headers or "connection" in headers or "upgrade" in headers:
        return None
    return status, headers, end + 4, int(length)


def _field(line: bytes) -> tuple[str, str]:
    """Without a name when the line is no field."""
    name, colon, value = line.partition(b":")
    return _lower(name) if colon else "", value.strip(b" \t").decode("utf-8", "replace")


_known_field: Final = lru_cache(maxsize=1024)(_field)
"""Most lines of an answer were in the one before: server, date, content type."""


@lru_cache(maxsize=512)
def _lower(name: bytes) -> str:
    """Empty for what is no name."""
    return name.decode("ascii").lower() if _TOKEN.match(name) else ""


@lru_cache(maxsize=512)
def lower_name(name: bytes) -> str:
    """Of a field that a parser has proved to be one."""
    return name.decode("latin-1").lower()
