"""What a mirrored S3 object says of itself at the target, beside its MD5, SHA-256 and size (I9).

Its source's ETag, time, and all that a reader of the source would see: so it can be compared, served and restored
without the source.

Metadata of a copy (names without x-amz-meta-):

    <name>                          the source's user metadata, where a header can carry it
    millrace-b64-<name>             the same in base64 of UTF-8, where it cannot, and where <name> begins with millrace-
    millrace-header-<name>          cache-control and its like
    millrace-source-etag            the ETag at the source, any form
    millrace-source-mtime           Unix seconds, by the source's clock
    millrace-seq                    the journal's sequence of the task that made the copy
    millrace-acl                    the object's ACL, under rules that note it: a canned one's name, "grants:" and
                                    PERMISSION=grantee, or "left:" and a digest of them
    millrace-tags                   the object's tags, as x-amz-tagging has them
    millrace-tags-left              instead of them, when there is no room for them: a digest of the tags
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

from controlplane.model.made_often import made_often

_B64: Final = "millrace-b64-"
_HEADER: Final = "millrace-header-"
_ETAG: Final = "millrace-source-etag"
_MTIME: Final = "millrace-source-mtime"
_SEQ: Final = "millrace-seq"
_ACL: Final = "millrace-acl"
_TAGS: Final = "millrace-tags"
_TAGS_LEFT: Final = "millrace-tags-left"
MOST_METADATA_BYTES: Final = 2048
"""User metadata of an object, names and values. Source: Amazon S3 User Guide, "Working with object metadata"."""
_OTHERS_BYTES: Final = 256
"""Kept free for what the target's adapter adds: digests and size, with their prefixes."""
_PREFIX_BYTES: Final = len("x-amz-meta-")
"""Some servers count it with each name."""
Tags: TypeAlias = tuple[tuple[str, str], ...]
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\Z")
_GATEWAY: Final = "millrace-s3-"
"""Metadata in which the S3 front keeps what Riak CS does not. It is carried encoded: a front that is the target takes
none of this name from anyone. Copies of older versions have it by its own name, which is still read."""


@made_often
@dataclass(frozen=True, slots=True)
class CopyRecord:
    """An object as it was at the source."""

    etag: str
    modified_at: float
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    seq: int = 0
    tags: Tags = ()
    tags_left: str = ""
    """Read from a copy whose tags had no room: their digest. Empty where `tags` are all that there were."""
    acl: str = ""
    """As s3/access/acl_note.py notes it; empty where no rule wanted it."""

    @property
    def tags_digest(self) -> str:
        """The same for the same tags in the same order, whether the copy has them or only this; empty without tags."""
        return self.tags_left or _digest_of(self.tags)

    def encoded(self) -> dict[str, str]:
        """As user metadata of the copy."""
        said = {_ETAG: self.etag, _MTIME: f"{self.modified_at:.3f}", _SEQ: str(self.seq)}
        for name, value in self.metadata.items():
            if _PLAIN.match(value) and not name.startswith("millrace-"):
                said[name] = value
            else:
                said[_B64 + name] = _to_base64(value)
        for name, value in self.headers.items():
            if _PLAIN.match(value):
                said[_HEADER + name] = value
        if self.acl:
            said[_ACL] = self.acl
        if self.tags or self.tags_left:
            text = urlencode(self.tags, quote_via=quote, safe="")
            if not self.tags_left and _bytes_of({**said, _TAGS: text}) + _OTHERS_BYTES <= MOST_METADATA_BYTES:
                said[_TAGS] = text
            else:
                said[_TAGS_LEFT] = self.tags_digest
        return said

    def is_same_version(self, other: CopyRecord) -> bool:
        """Whether both say the same of the source; which task copied it does not matter."""
        return (self.etag, round(self.modified_at), self.metadata, self.headers, self.tags_digest, self.acl) == (
            other.etag,
            round(other.modified_at),
            other.metadata,
            other.headers,
            other.tags_digest,
            other.acl,
        )


def decode_copy_record(metadata: Mapping[str, str]) -> CopyRecord | None:
    """None for an object that no mirror has put there, or whose record is damaged."""
    etag, mtime, seq = (metadata.get(name, "") for name in (_ETAG, _MTIME, _SEQ))
    if not etag or not seq.isascii() or not seq.isdigit():
        return None
    kept: dict[str, str] = {}
    headers: dict[str, str] = {}
    try:
        modified_at = float(mtime)
        for name, value in metadata.items():
            if name.startswith(_B64):
                kept[name.removeprefix(_B64)] = b64decode(value, validate=True).decode("utf-8", "surrogateescape")
            elif name.startswith(_HEADER):
                headers[name.removeprefix(_HEADER)] = value
            elif name.startswith(_GATEWAY) or not name.startswith("millrace-"):
                kept[name] = value
        given = metadata.get(_TAGS, "")
        tags = parse_qsl(given, keep_blank_values=True, strict_parsing=True, errors="strict") if given else []
    except ValueError:
        return None
    return CopyRecord(
        etag, modified_at, kept, headers, int(seq), tuple(tags), metadata.get(_TAGS_LEFT, ""), metadata.get(_ACL, "")
    )


def _to_base64(text: str) -> str:
    return b64encode(text.encode("utf-8", "surrogateescape")).decode()


def _digest_of(tags: Tags) -> str:
    text = urlencode(tags, quote_via=quote, safe="")
    return sha256(text.encode()).hexdigest()[:32] if tags else ""


def _bytes_of(metadata: Mapping[str, str]) -> int:
    """All values are ASCII; names come from headers."""
    return sum(_PREFIX_BYTES + len(name) + len(value) for name, value in metadata.items())
