"""Answers of writes: CreateMultipartUpload, CompleteMultipartUpload with its request, CopyObject, UploadPartCopy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controlplane.s3.dates import iso_timestamp
from controlplane.s3.documents.checksum_elements import (
    StoredChecksum,
    checksum_element,
    checksum_elements,
    checksum_in,
)
from controlplane.s3.documents.request_xml import integer, malformed, request_root, text
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml_text import document, element

MAX_PARTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part as CompleteMultipartUpload names it."""

    number: int
    etag: str
    """Without quotes."""
    checksum: StoredChecksum | None = None


def parse_complete(body: bytes) -> tuple[NamedPart, ...]:
    """The parts, by ascending number. Raises MalformedXML (Riak CS answers status 477 there, recording
    mp-complete-malformed), InvalidPartOrder, InvalidArgument for a number that no part can have."""
    root = request_root(body, "CompleteMultipartUpload")
    if not root.children:
        raise malformed("The list of parts is empty.")
    if len(root.children) > MAX_PARTS:
        raise malformed(f"An upload has at most {MAX_PARTS} parts.")
    parts: list[NamedPart] = []
    for child in root.children:
        if child.name != "Part":
            raise malformed(f"CompleteMultipartUpload has an unexpected {child.name[:80]}.")
        number = integer(child, "PartNumber")
        if not 1 <= number <= MAX_PARTS:
            raise S3Fault(Code.INVALID_ARGUMENT, f"Part numbers are 1 to {MAX_PARTS}.")
        if parts and number <= parts[-1].number:
            raise S3Fault(Code.INVALID_PART_ORDER)
        parts.append(NamedPart(number, unquote_etag(text(child, "ETag")), checksum_in(child)))
    return tuple(parts)


def render_initiated(bucket: str, key: str, upload_id: str) -> bytes:
    return document(
        "InitiateMultipartUploadResult",
        f"{element('Bucket', bucket)}{element('Key', key)}{element('UploadId', upload_id)}",
    )


def render_completed(location: str, bucket: str, key: str, etag: str, checksum: StoredChecksum | None = None) -> bytes:
    """`location` is the object's URL as the client addressed it, `etag` without quotes."""
    return document(
        "CompleteMultipartUploadResult",
        f"{element('Location', location)}{element('Bucket', bucket)}{element('Key', key)}"
        f"{_etag(etag)}{checksum_elements(checksum)}",
    )


def render_copied(etag: str, modified_at: float, checksum: StoredChecksum | None = None) -> bytes:
    """CopyObject. Riak CS writes its date without dashes (recording copy-object)."""
    return document("CopyObjectResult", f"{_copied(etag, modified_at)}{checksum_elements(checksum)}")


def render_part_copied(etag: str, modified_at: float, checksum: StoredChecksum | None = None) -> bytes:
    """UploadPartCopy."""
    return document("CopyPartResult", f"{_copied(etag, modified_at)}{checksum_element(checksum)}")


def render_posted(location: str, bucket: str, key: str, etag: str) -> bytes:
    """A form upload with success_action_status 201."""
    return document(
        "PostResponse",
        f"{element('Location', location)}{element('Bucket', bucket)}{element('Key', key)}{_etag(etag)}",
    )


def _etag(etag: str) -> str:
    return element("ETag", f'"{etag}"')


def _copied(etag: str, modified_at: float) -> str:
    return f"<LastModified>{iso_timestamp(modified_at)}</LastModified>{_etag(etag)}"
