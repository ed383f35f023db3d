"""What is left of an answer whose node went away in the middle, as a request for another node.

Riak CS serves ranges under If-Match (recordings range-open, get-if-match-right), so the rest of an object is asked for
by its bytes and its ETag: another object under the key is 412, and never joined to what the client has already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from controlplane.ports.upstream import Ask

_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/\d{1,18}\Z", re.ASCII)


def rest_of(ask: Ask, status: int, headers: Mapping[str, str], taken: int) -> Ask | None:
    """The request for what follows the first `taken` bytes of the answer to a GET of an object. None where the rest
    cannot be named: no object, no ETag, no length, or nothing is left."""
    etag, length = headers.get("etag", ""), headers.get("content-length", "")
    if ask.method != "GET" or not ask.key or not etag or not (length.isascii() and length.isdigit()):
        return None
    first = 0
    if status == 206:
        found = _RANGE.match(headers.get("content-range", ""))
        if found is None:
            return None
        first = int(found[1])
    elif status != 200:
        return None
    if taken >= int(length):
        return None
    given = {name: value for name, value in ask.headers.items() if not name.startswith("if-")}
    wanted = f"bytes={first + taken}-{first + int(length) - 1}"
    return replace(ask, headers={**given, "range": wanted, "if-match": etag})


def continues(headers: Mapping[str, str], status: int, ask: Ask) -> bool:
    """Whether this answer to `rest_of` is the rest: those bytes, of that very object."""
    wanted = ask.headers["range"].replace("=", " ") + "/"
    return (
        status == 206
        and headers.get("content-range", "").startswith(wanted)
        and headers.get("etag") == ask.headers["if-match"]
    )
