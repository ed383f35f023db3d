"""ListMultipartUploads and ListParts: requests, pages and answers.

Riak CS ignores max-uploads and max-parts and gives all at once, parts sent twice twice, dates as milliseconds
(recordings mp-list-uploads-prefix, mp-list-parts-max, mp4-list-parts): the pages are made here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.s3.access.principals import User
from controlplane.s3.dates import iso_timestamp
from controlplane.s3.documents.checksum_elements import StoredChecksum, checksum_element
from controlplane.s3.documents.object_listing import written_owner, written_prefixes
from controlplane.s3.documents.parameters import number, page_size, parameters_of, url_encoded, written
from controlplane.s3.multipart_checksums import Kind
from controlplane.s3.uri import Query
from controlplane.s3.xml_text import document, element, optional


@dataclass(frozen=True, slots=True)
class Upload:
    key: str
    upload_id: str
    initiated_at: float
    """Unix seconds."""
    owner: User
    """Who began it. Riak CS names users by their access key here; the gateway puts the canonical id."""
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    size: int
    etag: str
    """Without quotes."""
    modified_at: float
    """Unix seconds."""
    checksum: StoredChecksum | None = None
    """Riak CS knows none; the gateway keeps them."""


@dataclass(frozen=True, slots=True)
class ListUploads:
    bucket: str
    prefix: str
    delimiter: str
    max_uploads: int
    url: bool
    key_marker: str
    upload_id_marker: str
    """Ignored without a key marker."""


@dataclass(frozen=True, slots=True)
class UploadPage:
    uploads: tuple[Upload, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    next_key: str = ""
    next_upload_id: str = ""


@dataclass(frozen=True, slots=True)
class ListParts:
    bucket: str
    key: str
    upload_id: str
    after: int
    """part-number-marker."""
    max_parts: int
    url: bool


def parse_list_uploads(bucket: str, query: Query) -> ListUploads:
    """`query` is decoded. Raises InvalidArgument."""
    given = parameters_of(query)
    return ListUploads(
        bucket, given.get("prefix", ""), given.get("delimiter", ""), page_size(given, "max-uploads"),
        url_encoded(given), given.get("key-marker", ""), given.get("upload-id-marker", ""),
    )  # fmt: skip


def parse_list_parts(bucket: str, key: str, query: Query) -> ListParts:
    """`query` is decoded. Raises InvalidArgument."""
    given = parameters_of(query)
    return ListParts(
        bucket, key, given.get("uploadId", ""), number(given, "part-number-marker"), page_size(given, "max-parts"),
        url_encoded(given),
    )  # fmt: skip


def _follows(upload: Upload, request: ListUploads) -> bool:
    if not request.key_marker:
        return True
    key, marker = upload.key.encode(), request.key_marker.encode()
    return key > marker or (
        key == marker and request.upload_id_marker != "" and upload.upload_id > request.upload_id_marker
    )


def page_of_uploads(uploads: Iterable[Upload], request: ListUploads) -> UploadPage:
    """The page of all uploads of a bucket, in any order: by key, then upload id; common prefixes count as one each."""
    wanted = sorted(
        (one for one in uploads if one.key.startswith(request.prefix) and _follows(one, request)),
        key=lambda one: (one.key.encode(), one.upload_id),
    )
    listed: list[Upload] = []
    prefixes: list[str] = []
    marker = ("", "")
    for upload in wanted:
        rest = upload.key[len(request.prefix) :]
        common = ""
        if request.delimiter and request.delimiter in rest:
            common = request.prefix + rest[: rest.index(request.delimiter)] + request.delimiter
            if (prefixes and prefixes[-1] == common) or common == request.key_marker:
                continue  # already told, on this page or on the one before
        if len(listed) + len(prefixes) == request.max_uploads:
            return UploadPage(tuple(listed), tuple(prefixes), request.max_uploads > 0, *marker)
        if common:
            prefixes.append(common)
            marker = (common, "")
        else:
            listed.append(upload)
            marker = (upload.key, upload.upload_id)
    return UploadPage(tuple(listed), tuple(prefixes), truncated=False)


def render_uploads(request: ListUploads, page: UploadPage) -> bytes:
    url = request.url
    uploads = "".join(
        f"<Upload>{element('Key', written(one.key, url))}{element('UploadId', one.upload_id)}"
        f"{written_owner('Initiator', one.owner)}{written_owner('Owner', one.owner)}"
        f"{element('StorageClass', one.storage_class)}<Initiated>{iso_timestamp(one.initiated_at)}</Initiated></Upload>"
        for one in page.uploads
    )
    follow = ""
    if page.truncated:
        follow = element("NextKeyMarker", written(page.next_key, url)) + element(
            "NextUploadIdMarker", page.next_upload_id
        )
    return document(
        "ListMultipartUploadsResult",
        f"{element('Bucket', request.bucket)}{element('KeyMarker', written(request.key_marker, url))}"
        f"{element('UploadIdMarker', request.upload_id_marker)}{follow}"
        f"{optional('Delimiter', written(request.delimiter, url) or None)}"
        f"{element('Prefix', written(request.prefix, url))}<MaxUploads>{request.max_uploads}</MaxUploads>"
        f"{element('IsTruncated', page.truncated)}{'<EncodingType>url</EncodingType>' if url else ''}"
        f"{uploads}{written_prefixes(page.prefixes, url)}",
    )


def distinct_parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """By number, of each the one sent last: what S3 keeps."""
    latest: dict[int, Part] = {}
    for part in parts:
        known = latest.get(part.number)
        if known is None or part.modified_at >= known.modified_at:
            latest[part.number] = part
    return tuple(latest[at] for at in sorted(latest))


def render_parts(request: ListParts, parts: Iterable[Part], owner: User, kind: Kind | None = None) -> bytes:
    """The page of all parts of an upload, in any order and with doubles. `owner` began the upload, with checksums of
    this kind."""
    wanted = [part for part in distinct_parts(parts) if part.number > request.after]
    page = wanted[: request.max_parts]
    truncated = len(wanted) > len(page) > 0
    listed = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><LastModified>{iso_timestamp(part.modified_at)}</LastModified>"
        f"<ETag>&quot;{part.etag}&quot;</ETag><Size>{part.size}</Size>{checksum_element(part.checksum)}</Part>"
        for part in page
    )
    asked = ""
    if kind is not None:
        asked = element("ChecksumAlgorithm", kind.algorithm.value) + element("ChecksumType", kind.type.value)
    return document(
        "ListPartsResult",
        f"{element('Bucket', request.bucket)}{element('Key', written(request.key, request.url))}"
        f"{element('UploadId', request.upload_id)}{written_owner('Initiator', owner)}{written_owner('Owner', owner)}"
        f"{asked}{element('StorageClass', 'STANDARD')}<PartNumberMarker>{request.after}</PartNumberMarker>"
        f"<NextPartNumberMarker>{page[-1].number if page else 0}</NextPartNumberMarker>"
        f"<MaxParts>{request.max_parts}</MaxParts>{element('IsTruncated', truncated)}"
        f"{'<EncodingType>url</EncodingType>' if request.url else ''}{listed}",
    )
