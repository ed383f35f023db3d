"""How blobs look in HTTP: header fields, bodies, preconditions."""

from __future__ import annotations

import base64
import json

from controlplane.http import FileBody, StreamBody
from controlplane.model.content import Content, Guid
from controlplane.ports.object_store import ByteRange
from controlplane.services.blobs import Stored
from controlplane.services.open_blob import OpenBlob

Fields = tuple[tuple[bytes, bytes], ...]


def blob_fields(content: Content, content_type: str, *, public: bool) -> Fields:
    """The header fields of a blob, whole or in part. What has this name never changes: caches may keep it for ever."""
    digest = base64.b64encode(bytes.fromhex(content.sha256))
    return (
        (b"content-type", content_type.encode("latin-1", "replace")),
        (b"etag", b'"%b"' % content.md5.encode()),
        (b"cache-control", b"%b, max-age=31536000, immutable" % (b"public" if public else b"private")),
        (b"accept-ranges", b"bytes"),
        (b"repr-digest", b"sha-256=:%b:" % digest),
        (b"millrace-sha256", content.sha256.encode()),
        (b"x-content-type-options", b"nosniff"),
    )


def body_of(blob: OpenBlob, part: ByteRange) -> bytes | FileBody | StreamBody:
    """The bytes of `part`; the blob is released when they are sent, or cannot be."""
    if part.length <= 0:
        blob.release()
        return b""
    if blob.file is not None:
        fd, offset = blob.file
        return FileBody(fd, offset + part.first, part.length, blob.release)
    return StreamBody(_Released(blob, part), part.length)


class _Released:
    """The blob's chunks; the blob is released when the engine closes the iterator, also if it was never begun."""

    def __init__(self, blob: OpenBlob, part: ByteRange) -> None:
        self._blob = blob
        self._chunks = blob.chunks(part)

    def __aiter__(self) -> _Released:
        return self

    async def __anext__(self) -> bytes:
        return await self._chunks.__anext__()

    async def aclose(self) -> None:
        try:
            close = getattr(self._chunks, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._blob.release()


def matches(if_none_match: bytes | None, guid: Guid) -> bool:
    """Whether If-None-Match names the blob."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return b"*" in tags or b'"%b"' % guid.encode() in tags


def if_range_holds(if_range: bytes | None, guid: Guid) -> bool:
    """Only a strong ETag can hold: a blob has no date that means anything."""
    return if_range is None or if_range.strip() == b'"%b"' % guid.encode()


def stored_json(stored: Stored) -> bytes:
    """The answer to a write."""
    content = stored.manifest.content
    return (
        json.dumps(
            {
                "guid": content.md5,
                "sha256": content.sha256,
                "size": content.size,
                "content_type": stored.manifest.content_type,
                "created": stored.created,
                "locations": [{"store": at.store, "state": at.state.value} for at in stored.manifest.locations],
            }
        ).encode()
        + b"\n"
    )
