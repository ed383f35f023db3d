"""ListObjects, versions 1 and 2, and ListObjectVersions: requests and answers.

All three come from Riak CS's version 1, asked page by page after a key: it knows no version 2 (recordings list-v2-all,
list-v2-start-after, list-v2-continuation-token), and its version listing has no way to a second page
(list-versions-max-keys, list-versions-marker).
"""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.s3.access.principals import User
from controlplane.s3.dates import iso_timestamp
from controlplane.s3.documents.continuation import made_token, read_token
from controlplane.s3.documents.parameters import invalid_argument, page_size, parameters_of, url_encoded, written
from controlplane.s3.uri import Query
from controlplane.s3.xml_text import document, element, optional


@dataclass(frozen=True, slots=True)
class ListedObject:
    key: str
    size: int
    etag: str
    """Without quotes."""
    modified_at: float
    """Unix seconds."""
    storage_class: str = "STANDARD"
    owner: User | None = None


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """One page, ordered by UTF-8 bytes."""

    objects: tuple[ListedObject, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    next_after: str = ""
    """Truncated: the key or common prefix after which the next page begins."""


@dataclass(frozen=True, slots=True)
class _Scope:
    bucket: str
    prefix: str
    delimiter: str
    """Empty: none, as S3 takes an empty one; Riak CS closes the connection on it (list-v1-delimiter-empty)."""
    max_keys: int
    """At most 1000. With 0 nothing is listed, and nothing needs to be asked."""
    url: bool
    """encoding-type=url, which Riak CS ignores (key-list-encoding-url)."""


@dataclass(frozen=True, slots=True)
class ListV1(_Scope):
    marker: str

    @property
    def after(self) -> str:
        """Where the page begins: after this key."""
        return self.marker


@dataclass(frozen=True, slots=True)
class ListV2(_Scope):
    start_after: str | None
    token: str | None
    """As the client sent it; checked."""
    fetch_owner: bool
    after: str
    """Where the page begins: from the token, else from start-after."""


@dataclass(frozen=True, slots=True)
class ListVersions(_Scope):
    key_marker: str
    version_id_marker: str

    @property
    def after(self) -> str:
        """Each key has one version, whose id is null: the next after it is the next key's."""
        return self.key_marker


def _delimiter(text: str) -> str:
    if len(text.encode(errors="replace")) > 1024:
        raise invalid_argument("delimiter", text, "The delimiter is longer than 1024 bytes.")
    return text


def parse_list_v1(bucket: str, query: Query) -> ListV1:
    """`query` is decoded. Raises InvalidArgument."""
    given = parameters_of(query)
    return ListV1(
        bucket, given.get("prefix", ""), _delimiter(given.get("delimiter", "")), page_size(given, "max-keys"),
        url_encoded(given), given.get("marker", ""),
    )  # fmt: skip


def parse_list_v2(bucket: str, query: Query) -> ListV2:
    """`query` is decoded. Raises InvalidArgument, also for a token of another listing or of another server."""
    given = parameters_of(query)
    prefix, delimiter = given.get("prefix", ""), _delimiter(given.get("delimiter", ""))
    token, start_after = given.get("continuation-token"), given.get("start-after")
    fetch_owner = given.get("fetch-owner", "").lower()
    if fetch_owner not in ("", "true", "false"):
        raise invalid_argument("fetch-owner", fetch_owner, "fetch-owner is true or false.")
    return ListV2(
        bucket, prefix, delimiter, page_size(given, "max-keys"), url_encoded(given), start_after, token,
        fetch_owner == "true", read_token(token, bucket, prefix, delimiter) if token else (start_after or ""),
    )  # fmt: skip


def parse_list_versions(bucket: str, query: Query) -> ListVersions:
    """`query` is decoded. Raises InvalidArgument."""
    given = parameters_of(query)
    key_marker, version_id_marker = given.get("key-marker", ""), given.get("version-id-marker", "")
    if "version-id-marker" in given and not key_marker:
        raise invalid_argument(
            "version-id-marker", version_id_marker, "A version-id marker cannot be specified without a key marker."
        )
    return ListVersions(
        bucket, given.get("prefix", ""), _delimiter(given.get("delimiter", "")), page_size(given, "max-keys"),
        url_encoded(given), key_marker, version_id_marker,
    )  # fmt: skip


def written_owner(name: str, owner: User) -> str:
    """An Owner or Initiator element."""
    return f"<{name}>{element('ID', owner.id)}{element('DisplayName', owner.display_name)}</{name}>"


def _fields(listed: ListedObject, url: bool) -> str:
    return (
        f"{element('Key', written(listed.key, url))}<LastModified>{iso_timestamp(listed.modified_at)}</LastModified>"
        f"<ETag>&quot;{listed.etag}&quot;</ETag><Size>{listed.size}</Size>"
    )


def _contents(page: ObjectPage, url: bool, owners: bool) -> str:
    return "".join(
        f"<Contents>{_fields(listed, url)}{element('StorageClass', listed.storage_class)}"
        f"{written_owner('Owner', listed.owner) if owners and listed.owner else ''}</Contents>"
        for listed in page.objects
    )


def written_prefixes(prefixes: tuple[str, ...], url: bool) -> str:
    return "".join(f"<CommonPrefixes>{element('Prefix', written(prefix, url))}</CommonPrefixes>" for prefix in prefixes)


def _ends(request: _Scope, truncated: bool) -> str:
    delimiter = written(request.delimiter, request.url) if request.delimiter else None
    return (
        f"<MaxKeys>{request.max_keys}</MaxKeys>{optional('Delimiter', delimiter)}"
        f"{element('IsTruncated', truncated)}{'<EncodingType>url</EncodingType>' if request.url else ''}"
    )


def _prefix_v1(request: ListV1) -> str:
    """AWS encodes the Prefix of version 1; some clients decode it, and botocore does not. It stays as it is when both
    read the same."""
    plain = request.prefix.replace("\n", "").isprintable() and "%" not in request.prefix and "+" not in request.prefix
    return written(request.prefix, request.url and not plain)


def render_list_v1(request: ListV1, page: ObjectPage) -> bytes:
    """NextMarker stands in every truncated page, also without a delimiter: no client is harmed, and some need it."""
    next_marker = written(page.next_after, request.url) if page.truncated else None
    return document(
        "ListBucketResult",
        f"{element('Name', request.bucket)}{element('Prefix', _prefix_v1(request))}"
        f"{element('Marker', written(request.marker, request.url))}{optional('NextMarker', next_marker)}"
        f"{_ends(request, page.truncated)}{_contents(page, request.url, owners=True)}"
        f"{written_prefixes(page.prefixes, request.url)}",
    )


def render_list_v2(request: ListV2, page: ObjectPage) -> bytes:
    token = made_token(page.next_after, request.bucket, request.prefix, request.delimiter) if page.truncated else None
    start_after = None if request.start_after is None else written(request.start_after, request.url)
    return document(
        "ListBucketResult",
        f"{element('Name', request.bucket)}{element('Prefix', written(request.prefix, request.url))}"
        f"{optional('StartAfter', start_after)}{optional('ContinuationToken', request.token)}"
        f"{optional('NextContinuationToken', token)}<KeyCount>{len(page.objects) + len(page.prefixes)}</KeyCount>"
        f"{_ends(request, page.truncated)}{_contents(page, request.url, request.fetch_owner)}"
        f"{written_prefixes(page.prefixes, request.url)}",
    )


def render_versions(request: ListVersions, page: ObjectPage) -> bytes:
    """A bucket without versioning (docs/decisions/0003-versioning.md): one version a key, the latest, with id null."""
    url = request.url
    versions = "".join(
        f"<Version>{_fields(listed, url)}<VersionId>null</VersionId><IsLatest>true</IsLatest>"
        f"{element('StorageClass', listed.storage_class)}"
        f"{written_owner('Owner', listed.owner) if listed.owner else ''}</Version>"
        for listed in page.objects
    )
    follow = ""
    if page.truncated:
        follow = element("NextKeyMarker", written(page.next_after, url))
        # After a common prefix there is no version to continue from.
        if page.objects and page.objects[-1].key == page.next_after:
            follow += "<NextVersionIdMarker>null</NextVersionIdMarker>"
    return document(
        "ListVersionsResult",
        f"{element('Name', request.bucket)}{element('Prefix', written(request.prefix, url))}"
        f"{element('KeyMarker', written(request.key_marker, url))}"
        f"{element('VersionIdMarker', request.version_id_marker)}{follow}{_ends(request, page.truncated)}"
        f"{versions}{written_prefixes(page.prefixes, url)}",
    )
