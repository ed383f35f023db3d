"""Patterns of policies: `*` stands for any characters (slashes too), `?` for one, `${key}` for a value of the request.

Matching takes at most (length of the text) x (length of the pattern) steps: a policy is written by its bucket's owner,
who is not trusted with the gateway's time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

Pattern: TypeAlias = tuple[str, ...]
"""Characters, and MANY and ONE for the wildcards. A substituted value is characters only: its `*` is a star."""

MANY: Final = "**"
ONE: Final = "??"

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_DEFAULTED = re.compile(r"([^,]*?)\s*,\s*'([^']*)'\s*\Z")


class UnknownVariable(LookupError):
    """The request has no single value for a variable, and the pattern gives no default: nothing matches."""


def _tokens(text: str) -> Pattern:
    return tuple(MANY if char == "*" else ONE if char == "?" else char for char in text)


@lru_cache(maxsize=4096)
def pattern_of(text: str) -> Pattern:
    """A pattern without variables."""
    return _tokens(text)


def substituted(text: str, value_of: Callable[[str], str | None]) -> Pattern:
    """A pattern with its variables replaced; `value_of` takes a lower-case key. Raises UnknownVariable.

    `${*}`, `${?}` and `${$}` are these characters themselves; `${key, 'default'}` has a default.
    """
    if "${" not in text:
        return pattern_of(text)
    found: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        found += _tokens(text[end : match.start()])
        end = match.end()
        name = match[1].strip()
        if name in ("*", "?", "$"):
            found.append(name)
            continue
        defaulted = _DEFAULTED.match(name)
        value = value_of((defaulted[1] if defaulted else name).lower())
        if value is None:
            if defaulted is None:
                raise UnknownVariable(name)
            value = defaulted[2]
        found += value
    found += _tokens(text[end:])
    return tuple(found)


def matches(pattern: Pattern, text: str) -> bool:
    """Whether the whole text matches."""
    at = star = mark = 0
    star = -1
    position = 0
    size, length = len(pattern), len(text)
    while position < length:
        token = pattern[at] if at < size else ""
        if token == MANY:
            star, mark = at, position
            at += 1
        elif token and (token == ONE or token == text[position]):
            at += 1
            position += 1
        elif star >= 0:
            mark += 1
            at, position = star + 1, mark
        else:
            return False
    while at < size and pattern[at] == MANY:
        at += 1
    return at == size


def may_continue(pattern: Pattern, prefix: str) -> bool:
    """Whether some text matches that begins with the prefix and is longer."""
    states = {0}
    for char in prefix:
        reached = set()
        for at in states:
            while at < len(pattern) and pattern[at] == MANY:
                reached.add(at)
                at += 1
            if at < len(pattern) and pattern[at] in (ONE, char):
                reached.add(at + 1)
        states = reached
    return any(at < len(pattern) for at in states)
