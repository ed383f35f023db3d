"""The documents of multipart uploads. Keys with control characters stand in them raw, where Riak CS writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.s3.error_xml import ErrorDocument, error_of
from controlplane.s3.etag import unquote_etag
from controlplane.s3.riakcs.ill_formed import parse_riakcs
from controlplane.s3.xml import MalformedXml, escape


def parse_initiated(document: bytes) -> str:
    """The upload id. Raises MalformedXml."""
    root = parse_riakcs(document)
    upload_id = root.text_of("UploadId")
    if root.name != "InitiateMultipartUploadResult" or not upload_id:
        raise MalformedXml(f"no upload id in <{root.name[:80]}>")
    return upload_id


def render_complete(etags: Sequence[str]) -> bytes:
    """The request that makes an object of parts 1..n with these ETags (without quotes)."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(etag)}&quot;</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    return f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>'.encode()


def parse_completed(document: bytes) -> str | ErrorDocument:
    """The new object's ETag, or the error that S3 may send under status 200. Raises MalformedXml."""
    # S3 may keep the connection alive with blanks while it works.
    root = parse_riakcs(document.strip())
    error = error_of(root)
    if error is not None:
        return error
    etag = root.text_of("ETag")
    if root.name != "CompleteMultipartUploadResult" or not etag:
        raise MalformedXml(f"no ETag in <{root.name[:80]}>")
    return unquote_etag(etag)


def parse_copied(document: bytes) -> str | ErrorDocument:
    """The ETag that a CopyObject or an UploadPartCopy made, or the error that S3 may send under status 200. Raises
    MalformedXml."""
    root = parse_riakcs(document.strip())
    error = error_of(root)
    if error is not None:
        return error
    etag = root.text_of("ETag")
    if root.name not in ("CopyObjectResult", "CopyPartResult") or not etag:
        raise MalformedXml(f"no ETag in <{root.name[:80]}>")
    return unquote_etag(etag)


@dataclass(frozen=True, slots=True)
class PartsPage:
    parts: tuple[tuple[int, str, int], ...]
    """Number, ETag (without quotes), size. Riak CS lists parts that were sent twice twice: the last one counts."""
    truncated: bool


@dataclass(frozen=True, slots=True)
class UploadsPage:
    uploads: tuple[tuple[str, str], ...]
    """Key and upload id."""
    truncated: bool
    next_key: str
    next_upload_id: str


def parse_parts(document: bytes) -> PartsPage:
    """An answer of ListParts. Raises MalformedXml."""
    root = parse_riakcs(document)
    if root.name not in ("ListPartsResult", "ListPartsResponse"):  # the latter is moto's
        raise MalformedXml(f"<{root.name[:80]}> is no list of parts")
    parts: list[tuple[int, str, int]] = []
    for child in root.children:
        if child.name == "Part":
            number, size = child.text_of("PartNumber") or "", child.text_of("Size") or ""
            if not (number.isascii() and number.isdigit() and size.isascii() and size.isdigit()):
                raise MalformedXml("a part without a number or a size")
            parts.append((int(number), unquote_etag(child.text_of("ETag") or ""), int(size)))
    return PartsPage(tuple(parts), root.text_of("IsTruncated") == "true")


def parse_uploads(document: bytes) -> UploadsPage:
    """An answer of ListMultipartUploads, asked for without encoding-type. Raises MalformedXml."""
    root = parse_riakcs(document)
    if root.name != "ListMultipartUploadsResult":
        raise MalformedXml(f"<{root.name[:80]}> is no list of uploads")
    uploads = tuple(
        (child.text_of("Key") or "", child.text_of("UploadId") or "")
        for child in root.children
        if child.name == "Upload"
    )
    return UploadsPage(
        uploads,
        root.text_of("IsTruncated") == "true",
        root.text_of("NextKeyMarker") or "",
        root.text_of("NextUploadIdMarker") or "",
    )
