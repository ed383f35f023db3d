"""What an object at a target is, going by all that it says of itself."""

from __future__ import annotations

from controlplane.model.copies import Copy
from controlplane.model.copy_record import decode_copy_record
from controlplane.model.scan_join import Listed
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.etag import is_md5


def copy_of(source: Listed, held: ObjectInfo) -> Copy | None:
    """The catalog's row for a sound copy of exactly this version (`held`, from a HEAD at the target); None: it is no
    copy of it, or a damaged one. Multipart ETags of the source are compared with what the copy recorded."""
    said = decode_copy_record(held.metadata)
    content = held.content
    if said is None or content is None:
        return None
    if said.etag != source.etag or round(said.modified_at) != source.mtime:
        return None
    if held.size != source.size or content.size != source.size:
        return None
    if is_md5(source.etag) and content.md5 != source.etag:
        return None
    if is_md5(held.etag) and held.etag != content.md5:
        return None
    return Copy(source.key, source.etag, source.size, source.mtime, held.etag)


def copy_of_same_bytes(source: Listed, held: ObjectInfo, original: ObjectInfo) -> Copy | None:
    """The same for an object that was written anew with the bytes and the metadata that its copy has, as one is that
    was restored from it: its time is another, and its ETag too when it once came in parts. `original`: from a HEAD at
    the source."""
    said = decode_copy_record(held.metadata)
    content = held.content
    if said is None or content is None or source.etag != content.md5 or original.etag != source.etag:
        return None
    if not held.size == content.size == source.size == original.size:
        return None
    if is_md5(held.etag) and held.etag != content.md5:
        return None
    if (said.metadata, said.headers) != (original.metadata, original.headers):
        return None
    if held.content_type != original.content_type:
        return None
    return Copy(source.key, source.etag, source.size, source.mtime, held.etag)


def is_a_copy(held: ObjectInfo) -> bool:
    """Whether a mirror has put it there. Nothing else is ever deleted at a target."""
    return held.content is not None and decode_copy_record(held.metadata) is not None


def orphan(held: ObjectInfo, since: float) -> Copy | None:
    """The row for a copy whose object the source does not list, first noticed at `since`; None: it is no copy."""
    said = decode_copy_record(held.metadata)
    if said is None or held.content is None:
        return None
    return Copy(held.key, said.etag, held.size, round(said.modified_at), held.etag, since)
