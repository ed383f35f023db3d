"""Names in Azure's own form: blobs, whose names have fewer forms than S3's keys, and metadata.

Source: Azure's reference, "Naming and referencing containers, blobs, and metadata".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from controlplane.ports.errors import Rejected

MOST_CHARACTERS: Final = 1024
MOST_SEGMENTS: Final = 254
_UNUSABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ue000-\uf8ff\ufffe\uffff]")
_PLAIN: Final = re.compile(r"[a-z0-9]")
_ESCAPE: Final = re.compile(r"__|_([0-9a-f]{2})")
_CARRIED: Final = frozenset("!#$%&'*+.^_`|~0123456789")


def blob_name(full: str) -> str:
    """The key, prefix included, as a blob's name. Raises Rejected for what Azure refuses, or takes for another name: it
    reads a backslash as a slash, and drops dots at the end of a segment."""
    try:
        encoded = len(full.encode("utf-16-le")) // 2
    except UnicodeEncodeError as error:
        raise Rejected(f"the key {full[:80]!r} is not Unicode text") from error
    if not full:
        raise Rejected("an object has a key of at least one character")
    segments = full.split("/")
    unusable = _UNUSABLE.search(full)
    if encoded > MOST_CHARACTERS:
        why = f"longer than {MOST_CHARACTERS} characters"
    elif len(segments) > MOST_SEGMENTS:
        why = f"made of more than {MOST_SEGMENTS} segments"
    elif unusable is not None:
        why = f"with the character U+{ord(unusable[0]):04X}"
    elif any(segment.endswith(".") for segment in segments):
        why = "with a segment that ends in a dot"
    else:
        return full
    raise Rejected(f"Azure cannot hold a blob whose name is {why}: {full[:80]!r}")


def metadata_names(notes: Mapping[str, str]) -> dict[str, str]:
    """Notes under names that are C# identifiers, as Azure wants them: `-` is `__`, everything else that is no letter,
    and a digit in front, `_` and its code in hex."""
    return {_identifier(name): value for name, value in notes.items()}


def plain_names(metadata: Mapping[str, str]) -> dict[str, str]:
    """What metadata_names() was given. Names that others gave stay as they are, in lower case."""
    return {_ESCAPE.sub(_unescaped, name.lower()): value for name, value in metadata.items()}


def _identifier(name: str) -> str:
    escaped = "".join(_escaped(char) for char in name)
    return f"_{ord(name[0]):02x}{escaped[1:]}" if name[:1].isdigit() else escaped


def _escaped(char: str) -> str:
    if _PLAIN.match(char):
        return char
    return "__" if char == "-" else f"_{ord(char):02x}"


def _unescaped(match: re.Match[str]) -> str:
    if match[1] is None:
        return "-"
    char = chr(int(match[1], 16))
    return char if char in _CARRIED else match[0]
