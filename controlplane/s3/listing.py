"""Answers of ListObjects, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from controlplane.s3.dates import MalformedDate, parse_timestamp
from controlplane.s3.etag import unquote_etag
from controlplane.s3.riakcs.ill_formed import parse_riakcs
from controlplane.s3.xml import Element, MalformedXml, parse_xml

_ENCODED: Final = b"<EncodingType>url<"


class MalformedListing(ValueError):
    """The document is no listing, or not a consistent one."""


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    size: int
    etag: str
    """Without quotes."""
    modified_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One page, in the server's order."""

    entries: tuple[Entry, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    next_marker: str | None
    """Version 1, truncated: where the next page begins. Servers give it only with a delimiter (Riak CS, AWS);
    without one it is the last key of the page."""
    next_token: str | None
    """Version 2: NextContinuationToken, None when the server sent none (Riak CS never does)."""


def _required(element: Element, name: str) -> str:
    text = element.text_of(name)
    if text is None:
        raise MalformedListing(f"<{element.name}> without <{name}>")
    return text


def _entry(element: Element, url_encoded: bool) -> Entry:
    # One walk over the children: a page has a thousand entries.
    key, size, etag, modified_at = object_of({child.name: child.text for child in element.children})
    return Entry(unquote_plus(key) if url_encoded else key, size, etag, modified_at)


def object_of(fields: Mapping[str, str]) -> tuple[str, int, str, float]:
    """By the texts of an entry's elements: the key as it stands there, and as in Entry. Raises MalformedListing."""
    try:
        key, size = fields["Key"], int(fields["Size"])
        modified_at = parse_timestamp(fields["LastModified"])
    except KeyError as error:
        raise MalformedListing(f"an entry without <{error.args[0]}>") from error
    except (ValueError, MalformedDate) as error:
        raise MalformedListing(f"an entry with a field that cannot be read: {error}") from error
    if size < 0 or not key:
        raise MalformedListing("an entry with an empty key or a negative size")
    return key, size, unquote_etag(fields.get("ETag", "")), modified_at


def parse_listing(document: bytes) -> Listing:
    """Keys are decoded when the answer says EncodingType url: Riak CS ignores that request. Raises MalformedListing."""
    try:
        # Riak CS gives control characters raw; who encodes keys has none, and is spared the look.
        root = (parse_xml if _ENCODED in document else parse_riakcs)(document)
    except MalformedXml as error:
        raise MalformedListing(str(error)) from error
    if root.name != "ListBucketResult":
        raise MalformedListing(f"expected <ListBucketResult>, not <{root.name[:80]}>")
    truncated = _required(root, "IsTruncated").strip().lower()
    if truncated not in ("true", "false"):
        raise MalformedListing(f"IsTruncated is {truncated[:80]!r}")
    url_encoded = (root.text_of("EncodingType") or "").strip().lower() == "url"
    entries = tuple(_entry(child, url_encoded) for child in root.children if child.name == "Contents")
    prefixes = tuple(_required(child, "Prefix") for child in root.children if child.name == "CommonPrefixes")
    marker = root.text_of("NextMarker") or None
    if url_encoded:
        prefixes = tuple(unquote_plus(prefix) for prefix in prefixes)
        marker = unquote_plus(marker) if marker else None
    if truncated == "true" and marker is None:
        last = max((entries[-1].key if entries else "", prefixes[-1] if prefixes else ""), key=str.encode)
        marker = last or None
    return Listing(entries, prefixes, truncated == "true", marker, root.text_of("NextContinuationToken") or None)
