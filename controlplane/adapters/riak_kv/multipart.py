"""The parts of a multipart/mixed body, as Riak KV sends siblings."""

from __future__ import annotations

import re
from collections.abc import Mapping

_BOUNDARY = re.compile(r';\s*boundary="?([^";]+)"?', re.IGNORECASE)


class MalformedParts(ValueError):
    """Not multipart, or cut off."""


def split_parts(content_type: str, body: bytes) -> list[tuple[Mapping[str, str], bytes]]:
    """(headers by lower-case name, content) of each part, byte by byte as it was sent. Raises MalformedParts."""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/") or found is None:
        raise MalformedParts(f"its content type is {content_type[:80]!r}")
    mark = b"\r\n--" + found[1].encode("latin-1")
    pieces = (b"\r\n" + body if body.startswith(b"--") else body).split(mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise MalformedParts("it has no end")
    parts: list[tuple[Mapping[str, str], bytes]] = []
    for piece in pieces[1:-1]:
        head, end, content = piece.partition(b"\r\n\r\n")
        if not end or not head.startswith(b"\r\n"):
            raise MalformedParts("a part has no headers")
        lines = (line.partition(b":") for line in head[2:].split(b"\r\n"))
        headers = {name.decode("latin-1").strip().lower(): value.decode("latin-1").strip() for name, _, value in lines}
        parts.append((headers, content))
    return parts
