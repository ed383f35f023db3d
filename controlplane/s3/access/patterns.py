"""Patterns of policies: `*` stands for any characters (slashes too), `?` for one, `${key}` for a value of the request.

A policy is written by its bucket's owner, who is not trusted with the gateway's time: a pattern is cut at its stars,
and the pieces, whose length is fixed, are looked for one after the other by what Python has in C.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

MANY: Final = "**"
ONE: Final = "??"

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_DEFAULTED = re.compile(r"([^,]*?)\s*,\s*'([^']*)'\s*\Z")


class _Piece:
    """What stands between two stars: characters, and ONE for any of them."""

    __slots__ = ("_expression", "_text", "size")

    def __init__(self, tokens: list[str]) -> None:
        self.size = len(tokens)
        self._text = "".join(tokens)
        self._expression: re.Pattern[str] | None = None
        if ONE in tokens:
            expression = "".join("." if token == ONE else re.escape(token) for token in tokens)
            self._expression = re.compile(expression, re.DOTALL)

    def at(self, text: str, position: int) -> bool:
        if self._expression is None:
            return text.startswith(self._text, position)
        return self._expression.match(text, position) is not None

    def find(self, text: str, position: int) -> int:
        """Where it begins first at or behind the position; -1 when nowhere."""
        if self._expression is None:
            return text.find(self._text, position)
        found = self._expression.search(text, position)
        return -1 if found is None else found.start()


class Pattern:
    """Characters, and MANY and ONE for the wildcards. A substituted value is characters only: its `*` is a star."""

    __slots__ = ("_pieces", "tokens")

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = tuple(tokens)
        pieces: list[list[str]] = [[]]
        for token in self.tokens:
            if token == MANY:
                pieces.append([])
            else:
                pieces[-1].append(token)
        self._pieces = [_Piece(piece) for piece in pieces]

    @property
    def text(self) -> str:
        """As it stands there, with its wildcards as characters."""
        return "".join(token[0] for token in self.tokens)

    def matches(self, text: str) -> bool:
        """Whether the whole text does."""
        first, *rest = self._pieces
        if not rest:
            return first.size == len(text) and first.at(text, 0)
        *middle, last = rest
        end = len(text) - last.size
        if first.size > end or not first.at(text, 0) or not last.at(text, end):
            return False
        position = first.size
        for piece in middle:
            found = piece.find(text, position)
            if found < 0:
                return False
            position = found + piece.size
        return position <= end


class UnknownVariable(LookupError):
    """The request has no single value for a variable, and the pattern gives no default: nothing matches."""


def _tokens(text: str) -> list[str]:
    return [MANY if char == "*" else ONE if char == "?" else char for char in text]


@lru_cache(maxsize=4096)
def pattern_of(text: str) -> Pattern:
    """A pattern without variables."""
    return Pattern(_tokens(text))


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
    return Pattern(found)


def matches(pattern: Pattern, text: str) -> bool:
    """Whether the whole text matches."""
    return pattern.matches(text)


def may_continue(pattern: Pattern, prefix: str) -> bool:
    """Whether some text matches that begins with the prefix and is longer."""
    tokens = pattern.tokens
    states = {0}
    for char in prefix:
        reached = set()
        for at in states:
            while at < len(tokens) and tokens[at] == MANY:
                reached.add(at)
                at += 1
            if at < len(tokens) and tokens[at] in (ONE, char):
                reached.add(at + 1)
        states = reached
    return any(at < len(tokens) for at in states)
