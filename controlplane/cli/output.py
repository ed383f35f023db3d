"""What commands print: lines and tables for people, JSON for programs. Nothing printed can move a terminal's cursor."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def plain(text: str) -> str:
    """`text` without control characters: file names and servers' answers may hold escape sequences."""
    if text.isprintable():
        return text
    # Undecodable bytes of file names are surrogates: they go out again as the bytes they were.
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in text)


def line(text: str) -> None:
    """One line on standard output."""
    _write(plain(text) + "\n")


def error(text: str) -> None:
    """One line on standard error, after the program's name."""
    complain(f"millrace: {text}")


def complain(text: str) -> None:
    """One line on standard error. Nothing is raised when nobody reads it."""
    try:
        sys.stderr.buffer.write((plain(text.replace("\n", " ")) + "\n").encode("utf-8", "surrogateescape"))
        sys.stderr.buffer.flush()
    except OSError:
        pass  # there is nowhere left to say it


def document(value: Any) -> None:
    """One JSON document, for reading and for programs."""
    _write(json.dumps(value, indent=2) + "\n")


def record(value: dict[str, Any]) -> None:
    """One JSON object on one line, at once: the stream of such lines may go on for long."""
    _write(json.dumps(value) + "\n")
    sys.stdout.flush()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns under a header; the last column is as long as it wants to be."""
    cells = [list(header), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        _write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def size(count: int) -> str:
    """Bytes for people: 1.5 GiB."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def span(seconds: float) -> str:
    """A span of time for people: 3 d 4 h, 2 min 5 s, 0.4 s."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = int(seconds)
    for unit, name, rest, rest_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            left = whole % unit // rest
            return f"{whole // unit} {name} {left} {rest_name}" if left else f"{whole // unit} {name}"
    raise AssertionError(whole)


def _write(text: str) -> None:
    # Whatever the locale says: names that are not UTF-8 pass through as the bytes they are.
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
