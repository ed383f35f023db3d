"""Uploads in parts that outlive this process: their state is at the server, their ids with the caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from controlplane.adapters.s3.client import Answer, Request, S3Client
from controlplane.adapters.s3.digests import content_md5
from controlplane.adapters.s3.failures import Failure, error_of
from controlplane.adapters.s3.metadata import etag_is_md5, object_headers
from controlplane.adapters.s3.multipart import MultipartUpload, VisibleButWrong
from controlplane.adapters.s3.options import S3Options
from controlplane.adapters.s3.write_conditions import WriteConditions
from controlplane.model.content import Content, Md5
from controlplane.model.keys import Key
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, MillraceError, NotFound, Unavailable
from controlplane.ports.object_store import ObjectInfo
from controlplane.ports.part_store import Part
from controlplane.s3.etag import is_md5, unquote_etag
from controlplane.s3.multipart_xml import parse_parts, parse_uploads
from controlplane.s3.sigv4 import UNSIGNED_PAYLOAD
from controlplane.s3.uri import Query
from controlplane.s3.xml import MalformedXml

_P = TypeVar("_P")

_MAX_XML: Final = 4 * 1024 * 1024
_PAGES: Final = 1000
"""A server that gives more pages than there can be parts goes round in a circle."""


class S3Parts:
    """Implements ports.part_store.PartStore for one bucket under one prefix."""

    def __init__(
        self,
        client: S3Client,
        options: S3Options,
        clock: Clock,
        conditions: WriteConditions,
        full: Callable[[str], str],
        head: Callable[[Key], Awaitable[ObjectInfo]],
        delete: Callable[[Key], Awaitable[None]],
    ) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._conditions = conditions
        self._full = full
        self._head = head
        self._delete = delete

    @property
    def part_bytes(self) -> int:
        return self._options.part_bytes

    async def begin(self, key: Key, content: Content, content_type: str, metadata: Mapping[str, str]) -> str:
        upload = MultipartUpload(self._client, self._full(key), object_headers(content, content_type, metadata))
        await upload.begin()
        return upload.upload_id

    async def put_part(self, key: Key, upload_id: str, number: int, body: bytes | bytearray, md5: Md5) -> Part:
        query = (("partNumber", str(number)), ("uploadId", upload_id))
        headers = {"content-md5": content_md5(md5)}
        request = Request("PUT", self._full(key), query, headers, memoryview(body), len(body), UNSIGNED_PAYLOAD)
        answer = await self._send(request)
        try:
            await answer.read_all(_MAX_XML)
        finally:
            answer.close()
        etag = unquote_etag(answer.headers.get("etag", ""))
        if not etag:
            raise Unavailable(f"{answer.what}: part {number} was answered without an ETag")
        if is_md5(etag) and etag_is_md5(answer.headers) and etag != md5:
            raise Corrupt(f"{answer.what}: part {number} arrived with MD5 {etag}, sent was {md5}")
        return Part(etag, len(body))

    async def parts(self, key: Key, upload_id: str) -> Mapping[int, Part]:
        found: dict[int, Part] = {}
        after = 0
        for _ in range(_PAGES):
            query = (("part-number-marker", str(after)), ("uploadId", upload_id))
            page = await self._document(Request("GET", self._full(key), query), parse_parts)
            found.update({number: Part(etag, size) for number, etag, size in page.parts})
            last = max((number for number, _, _ in page.parts), default=0)
            if not page.truncated or last <= after:
                return found
            after = last
        raise Unavailable(f"the parts of {key} at {self._client.where} have no end")

    async def complete(
        self,
        key: Key,
        upload_id: str,
        md5s: Sequence[Md5],
        content: Content,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        if if_absent and not self._conditions.are_sent:
            await self._refuse_if_there(key)
        upload = MultipartUpload(self._client, self._full(key), {})
        upload.resume(upload_id, {number: (bytes.fromhex(md5), md5) for number, md5 in enumerate(md5s, 1)})
        condition = self._conditions.headers(if_absent=if_absent, if_match=if_match)
        try:
            outcome = await upload.complete(condition, content.md5, self._conditions.unknown_to)
        except VisibleButWrong as error:
            await self._take_back(key, error)
            raise
        if isinstance(outcome, Failure):
            what = f"completing the upload of s3://{self._options.bucket}/{self._full(key)}"
            if if_match is not None and outcome.code == "NoSuchKey":
                raise Conflict(str(_error(outcome, what)))  # so Amazon says that there is nothing to match
            raise _error(outcome, what)
        return ObjectInfo(key, content.size, outcome, self._clock.now(), content=content)

    async def abort(self, key: Key, upload_id: str) -> None:
        try:
            (await self._send(Request("DELETE", self._full(key), (("uploadId", upload_id),)))).close()
        except NotFound:
            return

    async def uploads(self, key: Key) -> Sequence[str]:
        full = self._full(key)
        found: list[str] = []
        marker: Query = ()
        for _ in range(_PAGES):
            query = tuple(sorted((("prefix", full), ("uploads", ""), *marker)))
            page = await self._document(Request("GET", None, query), parse_uploads)
            found += [upload_id for at, upload_id in page.uploads if at == full]
            if not page.truncated or not page.next_key:
                return found
            marker = (("key-marker", page.next_key), ("upload-id-marker", page.next_upload_id))
        raise Unavailable(f"the unfinished uploads of {key} at {self._client.where} have no end")

    async def _send(self, request: Request) -> Answer:
        outcome = await self._client.try_to_send(request)
        if isinstance(outcome, Failure):
            raise _error(outcome, self._client.describe(request))
        return outcome

    async def _document(self, request: Request, parse: Callable[[bytes], _P]) -> _P:
        answer = await self._send(request)
        try:
            return parse(await answer.read_all(_MAX_XML))
        except MalformedXml as error:
            raise Unavailable(f"{answer.what}: the listing cannot be read: {error}") from error
        finally:
            answer.close()

    async def _refuse_if_there(self, key: Key) -> None:
        try:
            info = await self._head(key)
        except NotFound:
            return
        raise Conflict(f"s3://{self._options.bucket}/{self._full(key)} exists already (ETag {info.etag})")

    async def _take_back(self, key: Key, error: VisibleButWrong) -> None:
        """Remove an object that is not what was sent, unless somebody has replaced it meanwhile."""
        try:
            if (await self._head(key)).etag == error.etag:
                await self._delete(key)
        except MillraceError as failed:
            error.add_note(f"it could not be removed: {failed}")


def _error(failure: Failure, what: str) -> MillraceError:
    return NotFound(f"{what}: {failure}") if failure.code == "NoSuchUpload" else error_of(failure, what)
