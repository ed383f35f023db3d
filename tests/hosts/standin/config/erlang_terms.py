"""Reads Erlang terms as advanced.config holds them: lists, tuples, atoms, strings, binaries, numbers, comments."""

import re
from typing import Any


class Binary(bytes):
    """<<"text">>; a string is `str`, an atom `AtomText`, a tuple `tuple`."""


class AtomText(str):
    """An atom, told from a string by its type."""

    __slots__ = ()


class TermFailure(ValueError):
    """Text that is no term."""


_TOKEN = re.compile(
    r"""\s+|%[^\n]*|(?P<binary><<\s*"(?:[^"\\]|\\.)*"\s*>>|<<\s*>>)|(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<quoted>'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<atom>[a-z][A-Za-z0-9_@]*)|(?P<mark>[\[\]{},.])""",
    re.VERBOSE,
)


def _tokens(text: str) -> list[tuple[str, str]]:
    position, found = 0, []
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            raise TermFailure(f"line {line}: illegal characters")
        if match.lastgroup:
            found.append((match.lastgroup, match[0]))
        position = match.end()
    return found


def parse(text: str) -> Any:
    """The one term of a file, which ends with a dot. Raises TermFailure."""
    tokens = _tokens(text)
    term, rest = _term(tokens, 0)
    if tokens[rest:] != [("mark", ".")]:
        raise TermFailure("syntax error before the end: a closing bracket or the final dot is missing")
    return term


def _term(tokens: list[tuple[str, str]], at: int) -> tuple[Any, int]:
    if at >= len(tokens):
        raise TermFailure("the file ends within a term")
    kind, text = tokens[at]
    match kind:
        case "binary":
            inner = text[2:-2].strip()
            return Binary(inner[1:-1].encode()), at + 1
        case "string":
            return text[1:-1], at + 1
        case "number":
            return float(text) if "." in text else int(text), at + 1
        case "atom" | "quoted":
            return AtomText(text.strip("'")), at + 1
    if text in "[{":
        items, at = _items(tokens, at + 1, "]" if text == "[" else "}")
        return (items if text == "[" else tuple(items)), at
    raise TermFailure(f"syntax error before: {text!r}")


def _items(tokens: list[tuple[str, str]], at: int, end: str) -> tuple[list[Any], int]:
    items: list[Any] = []
    while True:
        if at < len(tokens) and tokens[at] == ("mark", end):
            return items, at + 1
        if items:
            if at >= len(tokens) or tokens[at] != ("mark", ","):
                raise TermFailure("a comma or a closing bracket is missing")
            at += 1
        item, at = _term(tokens, at)
        items.append(item)


def lookup(terms: Any, application: str, key: str) -> Any:
    """The value of `{application, [{key, Value}]}` in an advanced.config, or None."""
    for section in terms or []:
        if isinstance(section, tuple) and len(section) == 2 and section[0] == application:
            for pair in section[1]:
                if isinstance(pair, tuple) and len(pair) == 2 and pair[0] == key:
                    return pair[1]
    return None
