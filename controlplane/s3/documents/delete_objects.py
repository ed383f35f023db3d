"""DeleteObjects: its request and its result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from controlplane.s3.documents.request_xml import boolean, malformed, only, request_root, text
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml_text import document, element, optional

MAX_KEYS: Final = 1000


@dataclass(frozen=True, slots=True)
class Deletion:
    key: str
    version_id: str | None = None
    etag: str | None = None
    """Without quotes: delete only an object that has it."""


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    deletions: tuple[Deletion, ...]
    quiet: bool
    """Tell only what failed."""


@dataclass(frozen=True, slots=True)
class Deleted:
    key: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class NotDeleted:
    key: str
    fault: S3Fault
    version_id: str | None = None


def parse_delete(body: bytes) -> DeleteRequest:
    """At most 1000 keys, at least one (Riak CS takes none: recording multi-delete-empty). Raises MalformedXML,
    NotImplemented for conditions that only directory buckets know."""
    root = request_root(body, "Delete")
    deletions = []
    for child in root.children:
        if child.name == "Quiet":
            continue
        if child.name != "Object":
            raise malformed(f"Delete has an unexpected {child.name[:80]}.")
        if child.find("LastModifiedTime") is not None or child.find("Size") is not None:
            raise S3Fault(Code.NOT_IMPLEMENTED, "Deleting by LastModifiedTime or Size is not supported.")
        only(child, ("Key", "VersionId", "ETag"))
        key, etag = text(child, "Key"), child.text_of("ETag")
        if not key:
            raise malformed("A key is empty.")
        deletions.append(Deletion(key, child.text_of("VersionId") or None, unquote_etag(etag) if etag else None))
    if not 1 <= len(deletions) <= MAX_KEYS:
        raise malformed(f"One request deletes 1 to {MAX_KEYS} keys.")
    return DeleteRequest(tuple(deletions), boolean(root, "Quiet"))


def render_delete_result(quiet: bool, outcomes: Iterable[Deleted | NotDeleted]) -> bytes:
    """In the order of the request. Quiet, which Riak CS does not honour (recording multi-delete-quiet), leaves out what
    was deleted."""
    written = []
    for one in outcomes:
        key = f"{element('Key', one.key)}{optional('VersionId', one.version_id)}"
        if isinstance(one, NotDeleted):
            code, message = one.fault.code.text, one.fault.message
            written.append(f"<Error>{key}{element('Code', code)}{element('Message', message)}</Error>")
        elif not quiet:
            written.append(f"<Deleted>{key}</Deleted>")
    return document("DeleteResult", "".join(written))
