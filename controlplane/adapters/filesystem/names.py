"""Keys to relative paths and back: injective for every key, and walkable in the order of the keys' bytes.

A key is cut at its slashes. The last component is a file, those before it are directories, told apart by a sign that
the encoding of a component never contains: `a` is the file of key "a", `a+` the directory of the keys "a/...".

- Bytes outside of [A-Za-z0-9_~.-], and a dot at the beginning, are written %XX; an empty component is `%0`.
- A component whose encoding grows past LONG_NAME continues in a directory `<piece>@`; the cut depends only on the
  bytes before it, so the components that share a piece share its directory.
- Below FANNED the components lie two directories `=<1 byte>/=<2 bytes>` deeper, by their first three bytes:
  4096 directories for GUIDs.

Every directory holds exactly the keys of one prefix, and no such prefix is inside of another's range: sorting each
directory's entries by (prefix or key, file before directory) yields the keys in order.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from controlplane.model.keys import BLOBS, TOMBSTONES, Key
from controlplane.ports.errors import Rejected

LONGEST_KEY = 1024
"""Bytes of UTF-8, as in S3."""
LONG_NAME = 238
"""A name of this many characters or more (at most two more) is not continued but cut; NAME_MAX is 255."""

DIRECTORY, CONTINUED, FAN = "+", "@", "="
FANNED = frozenset({BLOBS, TOMBSTONES})

_PLAIN = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_~.-]*\Z")
_PLAIN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_~-")
_DOT = ord(".")
_EMPTY = "%0"
_ENCODED = re.compile(r"(?:[A-Za-z0-9_~.-]|%[0-9A-F]{2})+\Z")
_HEX_PAIR = re.compile(rb"%([0-9A-F]{2})")
_GUID_KEY = re.compile(f"(?:{'|'.join(sorted(FANNED))})[0-9a-f]{{32}}\\Z")


def path_of(key: Key) -> str:
    """The object's path relative to the objects directory. Raises Rejected for what cannot be a key."""
    if _GUID_KEY.match(key):
        folder, guid = key[:-33], key[-32:]
        return f"{folder}{DIRECTORY}/={guid[0]}/={guid[1:3]}/{guid}"
    try:
        raw = key.encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"the key {key[:80]!r} is not Unicode text: {error.reason}") from error
    if not 0 < len(raw) <= LONGEST_KEY:
        raise Rejected(f"a key has 1 to {LONGEST_KEY} bytes of UTF-8, and {key[:80]!r}... has {len(raw)}")
    *folders, last = raw.split(b"/")
    names: list[str] = []
    fanned = bool(folders) and folders[0].decode() + "/" in FANNED
    for depth, component in enumerate(folders):
        names += _names(component, fan=fanned and depth == 1)
        names[-1] += DIRECTORY
    names += _names(last, fan=fanned and len(folders) == 1)
    return "/".join(names)


def _names(component: bytes, *, fan: bool) -> list[str]:
    """The directories that a component adds, and its own name last (without the sign of a directory)."""
    names: list[str] = []
    if fan:
        names += [FAN + _encode(component[at:end]) for at, end in ((0, 1), (1, 3)) if len(component) >= end]
    while (cut := _cut(component)) is not None:
        names.append(_encode(component[:cut]) + CONTINUED)
        component = component[cut:]
    names.append(_encode(component))
    return names


def _cut(component: bytes) -> int | None:
    """Where the name of a component ends that must be continued; None when it fits."""
    if len(component) * 3 < LONG_NAME:
        return None
    length = 0
    for at, byte in enumerate(component):
        if length >= LONG_NAME:
            return at
        length += 1 if byte in _PLAIN_BYTES or (byte == _DOT and at) else 3
    return None


def _encode(piece: bytes) -> str:
    if not piece:
        return _EMPTY
    if piece.isascii() and _PLAIN.match(text := piece.decode("ascii")):
        return text
    return "".join(
        chr(byte) if byte in _PLAIN_BYTES or (byte == _DOT and at) else f"%{byte:02X}" for at, byte in enumerate(piece)
    )


def _decode(name: str) -> bytes | None:
    """The bytes of a name that _encode wrote; None for any other name."""
    if name == _EMPTY:
        return b""
    if not _ENCODED.match(name):
        return None
    piece = _HEX_PAIR.sub(lambda pair: bytes((int(pair[1], 16),)), name.encode("ascii"))
    return piece if _encode(piece) == name else None


def is_permanent(directory: str) -> bool:
    """Whether a directory's path ends in a fan or in the root of one: they are few, and stay when they are empty."""
    name = os.path.basename(directory)
    return name.startswith(FAN) or name.removesuffix(DIRECTORY) + "/" in FANNED


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """What a name in a directory stands for. Entries of one directory sort in the order of their keys."""

    start: bytes
    """A file: its key. A directory: what the keys in it, and no others beside it, begin with."""
    is_directory: bool
    name: str
    base: bytes
    """A directory: what its names are appended to (shorter than start in a fan, whose names are whole)."""


ROOT = Entry(b"", True, "", b"")


def entry_in(parent: Entry, name: str) -> Entry | None:
    """What `name` is in the directory `parent`; None for a name that path_of never makes."""
    if name.startswith(FAN):
        piece = _decode(name[1:])
        return None if piece is None else Entry(parent.start + piece, True, name, parent.base)
    sign = name[-1]
    piece = _decode(name[:-1] if sign in (DIRECTORY, CONTINUED) else name)
    if piece is None:
        return None
    whole = parent.base + piece
    if sign == DIRECTORY:
        return Entry(whole + b"/", True, name, whole + b"/")
    if sign == CONTINUED:
        return Entry(whole, True, name, whole)
    return Entry(whole, False, name, b"")
