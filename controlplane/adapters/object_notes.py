"""What Millrace keeps beside an object, by plain names: stores of the clouds carry so what S3 carries as headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controlplane.adapters.s3.metadata import object_headers
from controlplane.model.content import Content, MalformedDigest, parse_guid, parse_sha256

_META: Final = "x-amz-meta-"
_MD5: Final = "millrace-md5"
_SHA256: Final = "millrace-sha256"
_SIZE: Final = "millrace-size"
_OWN: Final = frozenset({_MD5, _SHA256, _SIZE})


def notes_of(content: Content | None, content_type: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """The digests and the user metadata, under the names that S3 has them by. Raises Rejected for what no S3 server
    would carry: copies go both ways."""
    headers = object_headers(content, content_type, metadata)
    return {name.removeprefix(_META): value for name, value in headers.items() if name.startswith(_META)}


def read_notes(notes: Mapping[str, str]) -> tuple[Content | None, dict[str, str]]:
    """The digests, None when they are not complete (somebody else wrote the object), and the user metadata."""
    metadata = {name: value for name, value in notes.items() if name not in _OWN}
    size = notes.get(_SIZE, "")
    if not (size.isascii() and size.isdigit()):
        return None, metadata
    try:
        return Content(parse_guid(notes.get(_MD5, "")), parse_sha256(notes.get(_SHA256, "")), int(size)), metadata
    except MalformedDigest:
        return None, metadata
