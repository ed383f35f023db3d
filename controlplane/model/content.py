"""What a blob is: its name (an MD5 GUID) and the proof of its bytes (SHA-256 and size)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from controlplane.model.made_often import made_often

Md5 = NewType("Md5", str)
"""MD5 of some bytes: 32 lower-case hex digits. The MD5 of a blob is its GUID."""

Guid = Md5

Sha256 = NewType("Sha256", str)
"""SHA-256 of some bytes: 64 lower-case hex digits."""

_MD5 = re.compile(r"[0-9a-f]{32}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class MalformedDigest(ValueError):
    """The text is not the lower-case hex digest that it should be."""


def parse_guid(text: str) -> Guid:
    """Return `text` as a GUID; raise MalformedDigest unless it is 32 lower-case hex digits."""
    if not _MD5.match(text):
        raise MalformedDigest(f"a GUID is the MD5 of the content in 32 lower-case hex digits, not {text[:80]!r}")
    return Guid(text)


def parse_sha256(text: str) -> Sha256:
    """Return `text` as a SHA-256; raise MalformedDigest unless it is 64 lower-case hex digits."""
    if not _SHA256.match(text):
        raise MalformedDigest(f"a SHA-256 is 64 lower-case hex digits, not {text[:80]!r}")
    return Sha256(text)


@made_often
@dataclass(frozen=True, slots=True)
class Content:
    """The identity of some bytes. Two contents with one MD5 that differ here are a collision (I3)."""

    md5: Md5
    sha256: Sha256
    size: int
    """Bytes."""

    def collides_with(self, other: Content) -> bool:
        return self.md5 == other.md5 and (self.sha256 != other.sha256 or self.size != other.size)
