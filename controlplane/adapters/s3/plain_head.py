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
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        lower = _lower(name)
        if not colon or not lower or lower in headers:
            return None
        headers[lower] = value.strip(b" \t").decode("utf-8", "replace")
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or len(length) > _MOST_DIGITS:
        return None
    if "transfer-encoding" in headers or "connection" in headers or "upgrade" in headers:
        return None
    return status, headers, end + 4, int(length)


@lru_cache(maxsize=512)
def _lower(name: bytes) -> str:
    """Empty for what is no name."""
    return name.decode("ascii").lower() if _TOKEN.match(name) else ""
