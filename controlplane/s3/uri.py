"""How S3 writes paths and query strings: each byte outside of A-Z a-z 0-9 - . _ ~ is percent-encoded, once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes

Query: TypeAlias = tuple[tuple[str, str], ...]
"""Decoded names and values, in any order. An empty value is a bare name on the wire (`?uploads`)."""


_PLAIN = re.compile(r"[A-Za-z0-9/._~-]*\Z", re.ASCII)


def encode_path(path: str) -> str:
    """`path` (decoded) as it is sent and signed: slashes stay, nothing is normalised, nothing is encoded twice."""
    return path if _PLAIN.match(path) else quote(path, safe="/~")


def encode_value(text: str) -> str:
    return quote(text, safe="~")


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The query as SigV4 signs it: encoded, sorted by encoded name and then value, `=` also after a bare name."""
    if not pairs:
        return ""
    encoded = sorted((encode_value(name), encode_value(value)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def wire_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The query as it is sent: in the given order, a bare name where the value is empty."""
    return "&".join(
        f"{encode_value(name)}={encode_value(value)}" if value else encode_value(name) for name, value in pairs
    )


def form_decoded(text: str) -> str:
    """A name or value of a query as its bytes (Latin-1): a plus is a blank."""
    return unquote_to_bytes(text.replace("+", " ")).decode("latin-1")
