"""What a target says that it holds, judged: is it the copy that is wanted? Pure."""

from __future__ import annotations

from controlplane.model.content import Content
from controlplane.model.copy_record import CopyRecord, decode_copy_record
from controlplane.model.keys import StoreName
from controlplane.ports.errors import Corrupt
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.etag import is_md5


def is_copy_of(info: ObjectInfo, record: CopyRecord, held: ObjectInfo) -> bool:
    """Whether it is one of the version `info` of the source already, with all that `record` says."""
    said = decode_copy_record(held.metadata)
    if said is None or not said.is_same_version(record) or held.size != info.size or held.content is None:
        return False
    if held.content_type != info.content_type:
        return False  # a copy onto itself may change nothing else, and within one second
    if held.content.size != info.size or (is_md5(info.etag) and held.content.md5 != info.etag):
        return False
    return not is_md5(held.etag) or held.etag == held.content.md5


def require_what_was_put(
    put: ObjectInfo, content: Content, record: CopyRecord, held: ObjectInfo, target: StoreName
) -> None:
    """Raise Corrupt unless it is that, word for word."""
    said = decode_copy_record(held.metadata)
    if (
        held.etag != put.etag
        or held.size != content.size
        or held.content != content
        or (is_md5(held.etag) and held.etag != content.md5)
        or said is None
        or not said.is_same_version(record)
    ):
        raise Corrupt(
            f"{target} does not hold what was put under {put.key}: ETag {held.etag}, {held.size} bytes, "
            f"source ETag {said.etag if said else 'unknown'}; put were ETag {put.etag}, {content.size} bytes"
        )
