"""Listings of Riak CS: objects (version 1), uploads, parts, buckets."""

from __future__ import annotations

from controlplane.s3.access.principals import User
from controlplane.s3.dates import MalformedDate, parse_timestamp
from controlplane.s3.documents.bucket_documents import ListedBucket
from controlplane.s3.documents.multipart_listing import Part, Upload
from controlplane.s3.documents.object_listing import ListedObject, ObjectPage
from controlplane.s3.etag import unquote_etag
from controlplane.s3.listing import MalformedListing, object_of
from controlplane.s3.riakcs.ill_formed import parse_riakcs
from controlplane.s3.uri import Query
from controlplane.s3.xml import Element, MalformedXml


def list_query(prefix: str, delimiter: str, after: str, max_keys: int) -> Query:
    """The query of version 1 that asks for the page after a key or common prefix (recording list-v1-delimiter-marker).

    `max_keys` is 1 to 1000: a page of 0 is not asked for. An empty delimiter, which Riak CS does not survive
    (list-v1-delimiter-empty), is left out.
    """
    given = (("prefix", prefix), ("delimiter", delimiter), ("marker", after), ("max-keys", str(max_keys)))
    return tuple((name, value) for name, value in given if value)


def _root(document: bytes, name: str) -> Element:
    try:
        root = parse_riakcs(document)
    except MalformedXml as error:
        raise MalformedListing(str(error)) from error
    if root.name != name:
        raise MalformedListing(f"expected <{name}>, not <{root.name[:80]}>")
    return root


def _owner(element: Element | None) -> User | None:
    if element is None:
        return None
    return User(element.text_of("ID") or "", element.text_of("DisplayName") or "")


def _truncated(root: Element) -> bool:
    text = root.text_of("IsTruncated")
    if text not in ("true", "false"):
        raise MalformedListing(f"IsTruncated is {str(text)[:40]!r}")
    return text == "true"


def _object(element: Element) -> ListedObject:
    # One walk over the children: a page has a thousand entries.
    owner = None
    fields: dict[str, str] = {}
    for child in element.children:
        if child.name == "Owner":
            owner = _owner(child)
        else:
            fields[child.name] = child.text
    return ListedObject(*object_of(fields), fields.get("StorageClass", "STANDARD"), owner)


def parse_objects(document: bytes) -> ObjectPage:
    """A page of ListObjects version 1. A key that is listed several times, which happens where versioning was enabled
    behind the gateway's back (recording ver-list), stands once, with its newest entry. Raises MalformedListing."""
    root = _root(document, "ListBucketResult")
    objects: list[ListedObject] = []
    for element in root.children:
        if element.name != "Contents":
            continue
        listed = _object(element)
        if objects and objects[-1].key == listed.key:
            if listed.modified_at >= objects[-1].modified_at:
                objects[-1] = listed
        else:
            objects.append(listed)
    prefixes = tuple(child.text_of("Prefix") or "" for child in root.children if child.name == "CommonPrefixes")
    truncated = _truncated(root)
    after = ""
    if truncated:
        # NextMarker comes only with a delimiter (list-v1-all, list-v1-delimiter-max-keys-2).
        last = (objects[-1].key if objects else "", prefixes[-1] if prefixes else "")
        after = root.text_of("NextMarker") or max(last, key=str.encode)
        if not after:
            raise MalformedListing("a truncated page from which there is no way on")
    return ObjectPage(tuple(objects), prefixes, truncated, after)


def parse_uploads(document: bytes) -> tuple[Upload, ...]:
    """Every upload in progress that the caller sees: all to the bucket's owner, to others their own (recording
    mp-list-uploads-bob). There are no pages (mp-list-uploads-prefix). The owner's id is an access key, not the
    canonical id. Raises MalformedListing."""
    root = _root(document, "ListMultipartUploadsResult")
    if _truncated(root):
        raise MalformedListing("a truncated list of uploads, which Riak CS is not known to send")
    uploads = []
    for element in root.children:
        if element.name != "Upload":
            continue
        key, upload_id = element.text_of("Key"), element.text_of("UploadId")
        if not key or not upload_id:
            raise MalformedListing("an upload without a key or an id")
        try:
            initiated_at = parse_timestamp(element.text_of("Initiated") or "")
        except MalformedDate as error:
            raise MalformedListing(str(error)) from error
        owner = _owner(element.find("Owner")) or User("")
        uploads.append(Upload(key, upload_id, initiated_at, owner, element.text_of("StorageClass") or "STANDARD"))
    return tuple(uploads)


def parse_parts(document: bytes) -> tuple[Part, ...]:
    """Every part of an upload as Riak CS lists them: all at once, doubles twice, dates in milliseconds (recordings
    mp-list-parts, mp4-list-parts, mp-list-parts-max). Raises MalformedListing."""
    root = _root(document, "ListPartsResult")
    if _truncated(root):
        raise MalformedListing("a truncated list of parts, which Riak CS is not known to send")
    try:
        return tuple(
            Part(
                int(element.text_of("PartNumber") or ""),
                int(element.text_of("Size") or ""),
                unquote_etag(element.text_of("ETag") or ""),
                int(element.text_of("LastModified") or "") / 1000,
            )
            for element in root.children
            if element.name == "Part"
        )
    except ValueError as error:
        raise MalformedListing(f"a part with a field that cannot be read: {error}") from error


def parse_buckets(document: bytes) -> tuple[User, tuple[ListedBucket, ...]]:
    """The caller and his buckets (recording service-list). Raises MalformedListing."""
    root = _root(document, "ListAllMyBucketsResult")
    owner = _owner(root.find("Owner"))
    if owner is None:
        raise MalformedListing("a list of buckets without an owner")
    found = []
    for element in (root.find("Buckets") or Element("Buckets")).children:
        name = element.text_of("Name")
        try:
            created_at = parse_timestamp(element.text_of("CreationDate") or "")
        except MalformedDate as error:
            raise MalformedListing(str(error)) from error
        if not name:
            raise MalformedListing("a bucket without a name")
        found.append(ListedBucket(name, created_at))
    return owner, tuple(found)
