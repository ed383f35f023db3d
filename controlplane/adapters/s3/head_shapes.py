"""Heads of answers: read line by line, and faster where they look like those before.

A server gives nearly all answers to one kind of request the same header names in the same order. Such a head is read
by one regular expression, made of a head that was read line by line before; it can only give what that would give.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Final, NamedTuple

_WORTH_IT: Final = 16
"""So many heads of one shape pay for its expression, which takes half a millisecond to make."""
_MOST_SHAPES: Final = 8
_MOST_SEEN: Final = 256
_MOST_HEADS: Final = 1024


class NotInStep(ValueError):
    """Bytes that cannot be the next answer: nothing on this connection can be relied on any more."""


class _Shape(NamedTuple):
    whole: re.Pattern[str]
    status: int
    names: tuple[str, ...]
    """Lower-case, all different."""


class HeadShapes:
    """For answers to requests of one kind. `read` raises NotInStep for what is no head, or has two lengths."""

    __slots__ = ("_made", "_now", "_seen")

    def __init__(self) -> None:
        self._now: _Shape | None = None
        """That of the answer before."""
        self._made: dict[tuple[int, tuple[str, ...]], _Shape] = {}
        self._seen: Counter[tuple[int, tuple[str, ...]]] = Counter()

    def read(self, text: str) -> tuple[int, dict[str, str]]:
        """Status and headers (lower-case names) of a head without its last, empty line."""
        shape = self._now
        if shape is not None:
            matched = shape.whole.match(text)
            if matched is not None:
                return shape.status, dict(zip(shape.names, matched.groups(), strict=True))
        status, headers = read_head(text)
        self._learn(text, status, tuple(headers))
        return status, headers

    def _learn(self, text: str, status: int, names: tuple[str, ...]) -> None:
        kind = status, names
        if kind in self._made:
            self._now = self._made[kind]
            return
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[kind] += 1
        if self._seen[kind] < _WORTH_IT or len(self._made) >= _MOST_SHAPES:
            return
        line, *fields = text.split("\r\n")
        if len(fields) == len(names):  # otherwise a name is there twice
            whole = re.escape(line) + "".join([rf"\r\n{_field(field)}" for field in fields])
            self._now = self._made[kind] = _Shape(re.compile(whole + r"\Z"), status, names)


def _field(text: str) -> str:
    """The expression for lines like this one, with a group for the value without the blanks around it. A value may hold
    anything but the carriage return that ends its line; one with other blanks around it than here does not match."""
    name, _, given = text.partition(":")
    value = given.lstrip()
    if not value:
        return rf"{re.escape(name)}:[^\S\r]*()"
    return rf"{re.escape(name)}:{re.escape(given[: -len(value)])}(?!\s)([^\r]*)(?<!\s)"


class SeenHeads:
    """Heads of answers to GET as they were read, for the HEAD of the same object: Riak CS answers both with the same
    bytes, within the second of their Date. Each is found once, while no more than _MOST_HEADS others came."""

    __slots__ = ("_before", "_now")

    def __init__(self) -> None:
        self._now: dict[bytes, tuple[int, dict[str, str]]] = {}
        self._before: dict[bytes, tuple[int, dict[str, str]]] = {}

    def keep(self, head: bytes, status: int, headers: dict[str, str]) -> None:
        if len(self._now) >= _MOST_HEADS:
            self._before, self._now = self._now, {}
        self._now[head] = status, headers

    def take(self, head: bytes) -> tuple[int, dict[str, str]] | None:
        """The same values as were kept, not equal ones."""
        return self._now.pop(head, None) or self._before.pop(head, None)


@lru_cache(maxsize=512)
def _lower(name: str) -> str:
    return name.strip().lower()


def read_head(text: str) -> tuple[int, dict[str, str]]:
    """Status and headers, whatever they are. Raises NotInStep."""
    line, *lines = text.split("\r\n")
    status = line[9:12]
    if not line.startswith("HTTP/1.1 ") or not (status.isascii() and status.isdigit()) or line[12:13] not in ("", " "):
        raise NotInStep(f"no status line of HTTP/1.1: {line[:80]!r}")
    headers: dict[str, str] = {}
    for each in lines:
        try:
            raw, value = each.split(":", 1)
        except ValueError:
            raise NotInStep(f"no header: {each[:80]!r}") from None
        headers[_lower(raw)] = value.strip()
    if "" in headers:
        raise NotInStep("a header without a name")
    if len(headers) < len(lines) and sum(_lower(each.partition(":")[0]) == "content-length" for each in lines) > 1:
        raise NotInStep("two lengths")
    return int(status), headers
