"""Writing XML: elements with escaped text, whole documents with S3's namespace."""

from __future__ import annotations

from typing import Final

from controlplane.s3.xml import escape

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>'


def element(name: str, value: str | int) -> str:
    """An element with this text; booleans as true and false."""
    if isinstance(value, bool):
        return f"<{name}>{'true' if value else 'false'}</{name}>"
    return f"<{name}>{value if isinstance(value, int) else escape(value)}</{name}>"


def optional(name: str, value: str | int | None) -> str:
    """The same, and nothing for None."""
    return "" if value is None else element(name, value)


def document(root: str, inner: str) -> bytes:
    """A whole document in S3's namespace."""
    return f'{DECLARATION}\n<{root} xmlns="{NAMESPACE}">{inner}</{root}>'.encode()
