"""The Range header (RFC 9110, section 14), for one range of bytes."""

from __future__ import annotations

import re

from controlplane.ports.object_store import ByteRange

_ONE = re.compile(r"bytes=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*\Z", re.IGNORECASE)


class Unsatisfiable(ValueError):
    """The range lies wholly outside of the representation: 416."""


def parse_range(header: str, size: int) -> ByteRange | None:
    """The part of `size` bytes that the header asks for; None when it is to be ignored and all is to be sent.

    Ignored are: other units, malformed ranges, and several ranges at once (a server may answer those with the whole).
    Raises Unsatisfiable.
    """
    matched = _ONE.match(header)
    if matched is None:
        return None
    first_text, last_text, suffix_text = matched.groups()
    if suffix_text is not None:
        suffix = int(suffix_text)
        if suffix == 0 or size == 0:
            raise Unsatisfiable(header)
        return ByteRange(max(size - suffix, 0), size - 1)
    first = int(first_text)
    last = min(int(last_text), size - 1) if last_text else size - 1
    if last_text and int(last_text) < first:
        return None
    if first >= size:
        raise Unsatisfiable(header)
    return ByteRange(first, last)
