"""What a source says of its objects, and what may be believed of it."""

from __future__ import annotations

from base64 import b64decode
from typing import Final

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.copies import Copy, Noted
from controlplane.model.copy_record import Tags
from controlplane.model.keys import Bucket, StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.ports.errors import Corrupt
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.etag import is_md5
from controlplane.services.s3.subresources import record_key
from controlplane.services.scan_tags import note_of_copy

_CHECKSUM: Final = "millrace-s3-checksum-sha256"
"""Metadata of the S3 front's own (s3/own_metadata.py)."""


def noted(rule: MirrorRule, bucket: Bucket, seen: ObjectInfo, target_etag: str, tags: Tags) -> tuple[Noted, ...]:
    """The catalog's rows for a copy of the version `seen` at the source, which the target has proved to hold."""
    copy = Copy(seen.key, seen.etag, seen.size, round(seen.modified_at), target_etag)
    row = Noted(StoreName(rule.target), bucket, copy)
    return (row, note_of_copy(rule, bucket, record_key(bucket, seen.key), seen.key)) if tags else (row,)


def known_content(info: ObjectInfo) -> Content | None:
    """The digests of an object that can be had without its bytes: its ETag is their MD5, and the S3 front has verified
    their SHA-256 when they came in. What clients say of themselves in metadata proves nothing."""
    if not is_md5(info.etag):
        return None
    try:
        sha256 = b64decode(info.metadata.get(_CHECKSUM, ""), validate=True)
    except ValueError:
        return None
    return Content(Md5(info.etag), Sha256(sha256.hex()), info.size) if len(sha256) == 32 else None


def require_claimed(info: ObjectInfo, content: Content, source: StoreName) -> None:
    """Raise Corrupt unless the bytes that were read are what the source says that it has."""
    if content.size != info.size or (is_md5(info.etag) and content.md5 != info.etag):
        raise Corrupt(
            f"{info.key} of {source} has ETag {info.etag} and {info.size} bytes, but its bytes have MD5 "
            f"{content.md5} and are {content.size}: it was not copied; compare it with its copies"
        )
