"""DeleteObjects: its request and its result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from controlplane.s3.conditions import WriteCondition
from controlplane.s3.dates import MalformedDate, parse_http_date, parse_timestamp
from controlplane.s3.documents.request_xml import boolean, malformed, only, request_root, text
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import S3Fault
from controlplane.s3.xml import Element
from controlplane.s3.xml_text import document, element, optional

MAX_KEYS: Final = 1000


@dataclass(frozen=True, slots=True)
class Deletion:
    key: str
    version_id: str | None = None
    condition: WriteCondition | None = None
    """Delete only an object of which it holds."""


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
    """At most 1000 keys, at least one (Riak CS takes none: recording multi-delete-empty). Raises MalformedXML."""
    root = request_root(body, "Delete")
    deletions = []
    for child in root.children:
        if child.name == "Quiet":
            continue
        if child.name != "Object":
            raise malformed(f"Delete has an unexpected {child.name[:80]}.")
        only(child, ("Key", "VersionId", "ETag", "LastModifiedTime", "Size"))
        key = text(child, "Key")
        if not key:
            raise malformed("A key is empty.")
        deletions.append(Deletion(key, child.text_of("VersionId") or None, _condition(child)))
    if not 1 <= len(deletions) <= MAX_KEYS:
        raise malformed(f"One request deletes 1 to {MAX_KEYS} keys.")
    return DeleteRequest(tuple(deletions), boolean(root, "Quiet"))


def _condition(element_: Element) -> WriteCondition | None:
    etag, size, date = (element_.text_of(name) or None for name in ("ETag", "Size", "LastModifiedTime"))
    if etag is None and size is None and date is None:
        return None
    if size is not None and not (size.isascii() and size.isdigit() and len(size) < 19):
        raise malformed("Size is a number of bytes.")
    return WriteCondition(
        etag=None if etag is None else unquote_etag(etag),
        size=None if size is None else int(size),
        modified_at=None if date is None else _date(date),
        deletes=True,
    )


def _date(given: str) -> float:
    """SDKs write it as in headers, S3's documents have ISO 8601."""
    try:
        return parse_timestamp(given) if given[:1].isdigit() else parse_http_date(given)
    except MalformedDate as error:
        raise malformed("LastModifiedTime is no date.") from error


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
