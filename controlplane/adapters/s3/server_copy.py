"""CopyObject and UploadPartCopy between two buckets of one service."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from controlplane.adapters.s3.client import Answer, Request, S3Client
from controlplane.adapters.s3.failures import Failure, error_of
from controlplane.adapters.s3.metadata import etag_is_md5, object_headers
from controlplane.adapters.s3.options import S3Options
from controlplane.adapters.s3.write_conditions import WriteConditions
from controlplane.model.content import Content, Md5
from controlplane.model.keys import Key
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, NotFound, Unavailable
from controlplane.ports.object_store import ByteRange, ObjectInfo
from controlplane.ports.part_store import Part
from controlplane.s3.error_xml import ErrorDocument
from controlplane.s3.etag import is_md5
from controlplane.s3.multipart_xml import parse_copied
from controlplane.s3.uri import encode_path
from controlplane.s3.xml import MalformedXml

log = logging.getLogger(__name__)

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
MOST_BYTES: Final = 5 * _GIB
"""Of one CopyObject. Source: Amazon S3 API Reference, "CopyObject"."""
MOST_BYTES_SILENT: Final = 64 * _MIB
"""Of one at a service that does not say a word while it copies, as Riak CS: more would run into the timeout."""
RESTS_S: Final = 600.0
"""A service that refused, or lied, is not asked again for so long; its objects are streamed."""
_WHOLE: Final = "objects"
_PARTS: Final = "parts"
_MAX_XML: Final = 256 * 1024
_UNREAD: Final = frozenset("/?")
"""In keys. Riak CS takes what follows a slash for a version (copy-source-one-slash, mp5-part-copy-slash); question
marks were not recorded."""


def is_one_service(source: S3Options, target: S3Options) -> bool:
    """Whether both are the same service, and the same account there."""
    here, there = ({url.rstrip("/").lower() for url in options.endpoints} for options in (source, target))
    return bool(here & there) and source.access_key == target.access_key and bool(source.access_key)


class S3ServerCopy:
    """Implements ports.server_copy.ServerCopy. `client` and `target` are the target's; `source` says in which bucket,
    and under which prefix, the target's service has the source.

    A service that lists by version 1 only is taken for Riak CS, whose defects are kept away from.
    """

    def __init__(
        self,
        client: S3Client,
        target: S3Options,
        source: S3Options,
        full: Callable[[str], str],
        conditions: WriteConditions,
        head: Callable[[Key], Awaitable[ObjectInfo]],
        clock: Clock,
    ) -> None:
        self._client = client
        self._target = target
        self._source = source
        self._full = full
        self._conditions = conditions
        self._head = head
        self._clock = clock
        self._riak_cs = target.list_version == 1
        self._rests_until: dict[str, float] = {}
        """Monotonic seconds, for whole objects and for parts."""

    @property
    def most_bytes(self) -> int:
        return MOST_BYTES_SILENT if self._riak_cs else MOST_BYTES

    def takes(self, source: ObjectInfo) -> bool:
        if self._riak_cs and _UNREAD & set(self._source.prefix + source.key):
            return False
        return not self._rests(_WHOLE)

    def _rests(self, what: str) -> bool:
        return self._clock.monotonic() < self._rests_until.get(what, float("-inf"))

    async def copy(
        self,
        source: ObjectInfo,
        content: Content,
        metadata: Mapping[str, str],
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo | None:
        key = source.key
        if if_absent:
            await self._refuse_if_there(key)
        headers = object_headers(content, source.content_type, metadata)
        headers |= {**self._from(source), "x-amz-metadata-directive": "REPLACE"}
        if not self._riak_cs:
            # The source's tags are in the record, if they are to be anywhere; copying them takes a right of its own.
            headers["x-amz-tagging-directive"] = "REPLACE"
        headers.update(self._conditions.headers(if_absent=if_absent, if_match=if_match))
        etag = await self._ask(Request("PUT", self._full(key), (), headers), source, content.md5)
        if etag is None:
            return None
        return ObjectInfo(key, content.size, etag, self._clock.now(), source.content_type, content, dict(metadata))

    async def copy_part(
        self, source: ObjectInfo, upload_id: str, number: int, byte_range: ByteRange, md5: Md5
    ) -> Part | None:
        if self._rests(_PARTS):
            return None
        query = (("partNumber", str(number)), ("uploadId", upload_id))
        headers = self._from(source)
        headers["x-amz-copy-source-range"] = f"bytes={byte_range.first}-{byte_range.last}"
        etag = await self._ask(Request("PUT", self._full(source.key), query, headers), source, md5)
        return None if etag is None else Part(etag, byte_range.length)

    def _from(self, source: ObjectInfo) -> dict[str, str]:
        return {
            "x-amz-copy-source": encode_path(f"/{self._source.bucket}/{self._source.prefix}{source.key}"),
            "x-amz-copy-source-if-match": f'"{source.etag}"',
        }

    async def _ask(self, request: Request, source: ObjectInfo, md5: Md5) -> str | None:
        """The ETag, if it is this MD5. None: it has to be streamed."""
        kind = _PARTS if request.query else _WHOLE
        what = self._client.describe(request)
        outcome = await self._client.try_to_send(request)
        if isinstance(outcome, Failure) and self._conditions.unknown_to(outcome, request, self._client.where):
            outcome = await self._client.try_to_send(request)
        if isinstance(outcome, Failure):
            self._refused(kind, outcome, what, source)
            return None
        try:
            copied = parse_copied(await outcome.read_all(_MAX_XML))
        except MalformedXml as error:
            self._rest(kind, f"{what}: the copy was answered with {error}")
            return None
        finally:
            outcome.close()
        if isinstance(copied, ErrorDocument):
            self._refused(kind, Failure(HTTPStatus.INTERNAL_SERVER_ERROR, copied, None), what, source)
            return None
        return self._proved(kind, outcome, copied, md5, what)

    def _proved(self, kind: str, answer: Answer, etag: str, md5: Md5, what: str) -> str | None:
        if etag == md5:
            return etag
        if is_md5(etag) and etag_is_md5(answer.headers):
            self._rest(kind, f"{what}: the copy has MD5 {etag}, its source {md5}")
        log.debug("%s: the ETag %s of the copy proves nothing, its bytes are sent", what, etag)
        return None

    def _refused(self, kind: str, failure: Failure, what: str, source: ObjectInfo) -> None:
        """Raises NotFound, Unavailable; where it returns, sending the bytes may do."""
        if failure.code == "NoSuchUpload":
            raise NotFound(f"{what}: {failure}")
        if failure.status == HTTPStatus.PRECONDITION_FAILED:
            raise Unavailable(f"{source.key} changed while it was copied, or its copy did ({what})", 0.0)
        error = error_of(failure, what)
        if isinstance(error, Unavailable):
            raise error_of(failure, what)
        self._rest(kind, str(error))

    def _rest(self, kind: str, reason: str) -> None:
        self._rests_until[kind] = self._clock.monotonic() + RESTS_S
        log.warning("the service does not copy %s by itself, for %.0f s they are sent: %s", kind, RESTS_S, reason)

    async def _refuse_if_there(self, key: Key) -> None:
        try:
            info = await self._head(key)
        except NotFound:
            return
        raise Conflict(f"s3://{self._target.bucket}/{self._full(key)} exists already (ETag {info.etag})")
