"""GET, HEAD, POST, PUT and DELETE of a blob, once it is known who asks and for what."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

from controlplane.gateway.problem import problem
from controlplane.gateway.ranges import Unsatisfiable, parse_range
from controlplane.gateway.representation import blob_fields, body_of, if_range_holds, matches, stored_json
from controlplane.http import Request, Response
from controlplane.model.content import Content, Guid, parse_sha256
from controlplane.ports.object_store import ByteRange
from controlplane.services.blobs import BlobWriter
from controlplane.services.open_blob import OpenBlob
from controlplane.services.reading import BlobReader

log = logging.getLogger(__name__)

_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(?:[ \t]*;[ \t]*[ -~]{1,200})?\Z")


class BlobVerbs:
    """Each verb answers, or raises what gateway.problem knows. `public`: shared caches may keep what is sent."""

    def __init__(self, writer: BlobWriter, reader: BlobReader, *, max_blob_bytes: int, public: bool) -> None:
        self._writer = writer
        self._reader = reader
        self._max_blob_bytes = max_blob_bytes
        self._public = public

    async def by_sha256(self, text: str) -> Guid:
        return await self._reader.by_sha256(parse_sha256(text))

    async def get(self, request: Request, find: Callable[[], Awaitable[Guid]]) -> Response:
        guid = await find()
        if matches(request.header(b"if-none-match"), guid):
            content, content_type = await self._reader.stat(guid)
            return Response(304, self._headers(request, content, content_type))
        wanted = request.header(b"range")
        if wanted is not None and not if_range_holds(request.header(b"if-range"), guid):
            wanted = None
        blob = await self._reader.open(guid, ranged=wanted is not None)
        try:
            return self._answer(request, blob, wanted)
        except Unsatisfiable:
            blob.release()
            headers = ((b"content-range", b"bytes */%d" % blob.content.size),)
            detail = f"the blob has {blob.content.size} bytes"
            return problem(416, "range-not-satisfiable", detail, request_id=request.id, headers=headers)
        except BaseException:
            blob.release()
            raise

    def _answer(self, request: Request, blob: OpenBlob, wanted: bytes | None) -> Response:
        part = parse_range(wanted.decode("latin-1"), blob.content.size) if wanted is not None else None
        headers = self._headers(request, blob.content, blob.content_type)
        if part is None:
            return Response(200, headers, body_of(blob, ByteRange(0, blob.content.size - 1)))
        headers.append((b"content-range", b"bytes %d-%d/%d" % (part.first, part.last, blob.content.size)))
        return Response(206, headers, body_of(blob, part))

    async def head(self, request: Request, find: Callable[[], Awaitable[Guid]]) -> Response:
        guid = await find()
        content, content_type = await self._reader.stat(guid)
        headers = self._headers(request, content, content_type)
        if matches(request.header(b"if-none-match"), guid):
            return Response(304, headers)
        return Response(200, headers, head_length=content.size)

    async def store(self, request: Request, expected: Guid | None) -> Response:
        size = request.content_length
        if size is None and not request.has_body:
            detail = "give Content-Length, or send the body in chunks (Transfer-Encoding: chunked)"
            return problem(411, "length-required", detail, request_id=request.id)
        if size is not None and size > self._max_blob_bytes:
            detail = f"a blob may have at most {self._max_blob_bytes} bytes, this one has {size}"
            return problem(413, "too-large", detail, request_id=request.id)
        content_type = (request.header(b"content-type") or b"application/octet-stream").decode("latin-1")
        if not _CONTENT_TYPE.match(content_type):
            return problem(400, "malformed-content-type", f"not a media type: {content_type!r}", request_id=request.id)
        body = request.body.in_blocks()
        stored = await self._writer.store(body, size=size, content_type=content_type, expected=expected)
        content = stored.manifest.content
        log.info("stored blob %s, %d bytes, %s", content.md5, content.size, "new" if stored.created else "known")
        headers = [
            (b"content-type", b"application/json"),
            (b"location", b"/blobs/" + content.md5.encode()),
            (b"etag", b'"%b"' % content.md5.encode()),
            (b"x-request-id", request.id.encode()),
        ]
        return Response(201 if stored.created else 200, headers, stored_json(stored))

    async def delete(self, request: Request, guid: Guid) -> Response:
        await self._writer.delete(guid)
        return Response(204, [(b"x-request-id", request.id.encode())])

    def _headers(self, request: Request, content: Content, content_type: str) -> list[tuple[bytes, bytes]]:
        return [
            *blob_fields(content, content_type, public=self._public),
            (b"x-request-id", request.id.encode()),
        ]
