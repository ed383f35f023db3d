"""Object headers: from what is put, and back to ObjectInfo."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from controlplane.model.content import Content, MalformedDigest, parse_guid, parse_sha256
from controlplane.model.keys import Key
from controlplane.ports.errors import Rejected
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.dates import MalformedDate, parse_http_date
from controlplane.s3.etag import unquote_etag

_META: Final = "x-amz-meta-"
_MD5: Final = "millrace-md5"
_SHA256: Final = "millrace-sha256"
_SIZE: Final = "millrace-size"
_OWN: Final = frozenset({_MD5, _SHA256, _SIZE})
_OWN_HEADERS: Final = frozenset({_META + _MD5, _META + _SHA256, _META + _SIZE})
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+\Z")

OCTETS: Final = "application/octet-stream"
_FOR_READERS: Final = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "expires"}
)


class MalformedAnswer(ValueError):
    """Headers that no S3 server sends with an object."""


def object_headers(content: Content | None, content_type: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Raises Rejected for what a header cannot carry."""
    if not content_type or not _printable(content_type):
        raise Rejected(f"a content type is printable ASCII, not {content_type[:80]!r}")
    headers = {"content-type": content_type}
    if content is not None:
        headers[_META + _MD5] = content.md5
        headers[_META + _SHA256] = content.sha256
        headers[_META + _SIZE] = str(content.size)
    for name, value in (metadata or {}).items():
        if not _may_be_named(name):
            raise Rejected(f"user metadata cannot be named {name[:80]!r}")
        if not _printable(value) or value != value.strip():
            raise Rejected(f"user metadata {name} is printable ASCII without spaces around, not {value[:80]!r}")
        headers[_META + name] = value
    return headers


def _printable(text: str) -> bool:
    """Whether all of it is in 0x20 to 0x7e."""
    return text.isascii() and text.isprintable()


@lru_cache(maxsize=256)
def _may_be_named(name: str) -> bool:
    return _NAME.match(name) is not None and name not in _OWN


def object_info(key: Key, headers: Mapping[str, str], size: int) -> ObjectInfo:
    """`size` is that of the whole object. Raises MalformedAnswer when the headers are not an object's."""
    etag = headers.get("etag")
    if etag is None:
        raise MalformedAnswer("no ETag")
    of_users, of_readers = _told_apart(tuple(headers))
    return ObjectInfo(
        key,
        size,
        unquote_etag(etag),
        modified_at(headers.get("last-modified", "")),
        headers.get("content-type", OCTETS),
        _content(headers.get(_META + _MD5, ""), headers.get(_META + _SHA256, ""), headers.get(_META + _SIZE, "")),
        {name: headers[header] for header, name in of_users} if of_users else {},
        {name: headers[name] for name in of_readers} if of_readers else {},
    )


@lru_cache(maxsize=256)
def _told_apart(names: tuple[str, ...]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Of an answer's headers: those with metadata of the user, each with the name that it has there, and those that are
    for readers. Most answers have the same names."""
    of_users = [name for name in names if name.startswith(_META) and name not in _OWN_HEADERS]
    return tuple((name, name[len(_META) :]) for name in of_users), tuple(name for name in names if name in _FOR_READERS)


@lru_cache(maxsize=256)
def modified_at(text: str) -> float:
    """Unix seconds of an HTTP date; the dates of small objects are often the same, and slow to read."""
    try:
        return parse_http_date(text)
    except MalformedDate as error:
        raise MalformedAnswer(f"no Last-Modified that can be read: {error}") from error


@lru_cache(maxsize=1024)
def _content(md5: str, sha256: str, size: str) -> Content | None:
    """What was stored beside the object; None when it is not complete: somebody else wrote it.

    A copy reads the same three times within moments: at the source, at the target, and at the source again."""
    if not (size.isascii() and size.isdigit()):
        return None
    try:
        return Content(parse_guid(md5), parse_sha256(sha256), int(size))
    except MalformedDigest:
        return None


def etag_is_md5(headers: Mapping[str, str]) -> bool:
    """False for objects encrypted with a KMS or customer's key: their ETag looks like an MD5 and is none."""
    encrypted = "kms" in headers.get("x-amz-server-side-encryption", "")
    return not encrypted and "x-amz-server-side-encryption-customer-algorithm" not in headers


def number(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise MalformedAnswer(f"no {name} that can be read")
    return int(text)


_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int]:
    """First, last and whole size of a partial answer."""
    match = _RANGE.match(headers.get("content-range", ""))
    if not match:
        raise MalformedAnswer("no Content-Range that can be read")
    return int(match[1]), int(match[2]), int(match[3])
