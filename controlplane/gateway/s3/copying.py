"""CopyObject and UploadPartCopy: the source streamed through the gateway into the target.

Riak CS copies by itself only keys without a slash (copy-source-one-slash, copy-source-two-slashes), takes a plus in the
source for a space (copy-source-plus-raw) and answers 500 to a range outside of it (mp2-part-copy-bad-range). One way
for all keys is simpler, and its bytes are compared with the source's ETag on the way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from controlplane.gateway.reply_chunks import ReplyChunks
from controlplane.gateway.s3.answers import xml
from controlplane.gateway.s3.authorise import Authoriser
from controlplane.gateway.s3.call import Call, require_served
from controlplane.gateway.s3.conditional import Commit
from controlplane.gateway.s3.mirror_reads import MirrorReads
from controlplane.gateway.s3.multipart import part_query, upload_id_of
from controlplane.gateway.s3.patience import Patience
from controlplane.gateway.s3.stored_headers import carried_over, refuse_unserved, stored_headers
from controlplane.gateway.s3.stored_object import length_of, modified_at
from controlplane.gateway.s3.writing import Stored, WriteServices, asked_tags
from controlplane.http import Response
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, Query, Reply
from controlplane.s3.access.acl import Acl
from controlplane.s3.addressing import decode_path, decode_query
from controlplane.s3.body_checksums import Expected
from controlplane.s3.checksums import Algorithm
from controlplane.s3.conditions import Outcome, WriteCondition, read_conditions, write_condition
from controlplane.s3.dates import MalformedDate, parse_http_date
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.tagging import Tags
from controlplane.s3.documents.upload_documents import render_copied, render_part_copied
from controlplane.s3.etag import is_md5, unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation
from controlplane.services.s3.latest import LatestVersions
from controlplane.services.s3.refusals import refusal

_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{1,18})\Z")
_PREFIX: Final = "x-amz-copy-source-"


class Source:
    """Where a copy comes from."""

    __slots__ = ("bucket", "key", "version")

    def __init__(self, bucket: str, key: str, version: str | None) -> None:
        self.bucket = bucket
        self.key = key
        self.version = version


def source_of(header: str | None) -> Source:
    """x-amz-copy-source: `[/]bucket/key[?versionId=...]`, percent-encoded. Raises S3Fault.

    A plus is a space, as S3 has it: s5cmd encodes so, and all others encode a plus.
    """
    path, _, query = (header or "").strip().partition("?")
    decoded = decode_path(path.replace("+", "%20")).removeprefix("/")
    bucket, slash, key = decoded.partition("/")
    if not slash or not bucket or not key:
        raise S3Fault(
            Code.INVALID_ARGUMENT, "x-amz-copy-source is /bucket/key.", extra=(("ArgumentName", "x-amz-copy-source"),)
        )
    require_served(bucket, key)
    version = dict(decode_query(query)).get("versionId")
    return Source(bucket, key, version)


class Copying:
    def __init__(
        self,
        services: WriteServices,
        authoriser: Authoriser,
        latest: LatestVersions,
        mirror: MirrorReads,
        patience: Patience,
    ) -> None:
        self._services = services
        self._authoriser = authoriser
        self._latest = latest
        self._mirror = mirror
        self._patience = patience

    async def copy(self, call: Call) -> Response:
        refuse_unserved(call.fields)
        source = source_of(call.headers.get("x-amz-copy-source"))
        replace = _replaces(call, "x-amz-metadata-directive")
        condition = write_condition(call.fields)
        if (source.bucket, source.key, source.version) == (call.bucket, call.key, None) and not replace:
            raise S3Fault(
                Code.INVALID_REQUEST,
                "A copy onto itself must change something: give x-amz-metadata-directive: REPLACE.",
            )
        headers = stored_headers(call.fields) if replace else {}
        acl = await self._services.prepare(call, call.headers, headers)
        retag = _replaces(call, "x-amz-tagging-directive")
        given_tags = asked_tags(call) if retag else None
        reply = await self._open(call, source, None)
        kept = None if replace else carried_over(reply.headers)
        copied = self._copied(call, source, reply, {**(kept or {}), **headers}, given_tags, acl, condition)
        return await self._patience.answer(call, copied)

    async def _copied(
        self,
        call: Call,
        source: Source,
        reply: Reply,
        headers: dict[str, str],
        tags: Tags | None,
        acl: Acl | None,
        condition: WriteCondition | None,
    ) -> Response:
        """`tags` None: those of the source."""
        try:
            if tags is None:
                tags = await self._services.records.tags_of(source.bucket, source.key, reply.headers)
            algorithm = _algorithm(call)
            if algorithm is None:
                # As S3 does: a copy has a checksum of its own, by the algorithm of its source.
                sums = await self._services.records.sums_of(source.bucket, source.key, reply.headers)
                algorithm = sums.checksum.algorithm if sums.checksum is not None else None
            async with self._services.conditional.commit(call, condition) as commit:
                stored = await self._send(call, reply, commit, headers, (), algorithm)
        finally:
            reply.close()
        await self._services.settle(call, stored, tags, acl)
        return xml(call.request, render_copied(stored.etag, _stored_at(stored), _checksum(stored)))

    async def copy_part(self, call: Call) -> Response:
        refuse_unserved(call.fields)
        source = source_of(call.headers.get("x-amz-copy-source"))
        query = part_query(call)
        kind = await self._services.parts.kind(call.bucket, upload_id_of(call))
        algorithm = kind.algorithm if kind is not None else None
        reply = await self._open(call, source, call.headers.get("x-amz-copy-source-range"))
        return await self._patience.answer(call, self._part_copied(call, reply, query, algorithm))

    async def _part_copied(self, call: Call, reply: Reply, query: Query, algorithm: Algorithm | None) -> Response:
        try:
            async with self._services.conditional.commit(call, None) as commit:
                stored = await self._send(call, reply, commit, {}, query, algorithm)
        finally:
            reply.close()
        await self._services.parts.stored(call.bucket, upload_id_of(call), int(query[0][1]), stored.hashed)
        return xml(call.request, render_part_copied(stored.etag, _stored_at(stored), _checksum(stored)))

    async def _open(self, call: Call, source: Source, part: str | None) -> Reply:
        """The source, its conditions judged. Raises S3Fault, Unavailable."""
        facts = await self._authoriser.facts(call, source.bucket)
        signer = await self._authoriser.allow(
            call, Operation.GET_OBJECT, source.bucket, source.key, source.version, facts
        )
        query = await self._latest.query(source.bucket, source.key, source.version, facts, signer)
        headers: dict[str, str] = {}
        wanted = _wanted_bytes(part)
        if wanted is not None:
            headers["range"] = f"bytes={wanted[0]}-{wanted[1]}"
        ask = Ask("GET", signer, source.bucket, source.key, query, headers)
        reply = await self._mirror.send(call, ask, facts)
        try:
            if reply.status not in (200, 206):
                raise await refusal(reply, key=True)
            found = reply.headers
            await self._authoriser.check_writer(call, ask, source.version, facts, found)
            conditions = read_conditions(call.fields, _PREFIX)
            if conditions.judge(unquote_etag(found.get("etag", "")), modified_at(found)) is not Outcome.SERVE:
                raise S3Fault(Code.PRECONDITION_FAILED)
            if wanted is not None and length_of(found) != wanted[1] - wanted[0] + 1:
                raise S3Fault(Code.INVALID_RANGE, "The range is not inside of the source.")
        except BaseException:
            reply.close()
            raise
        return reply

    async def _send(
        self,
        call: Call,
        reply: Reply,
        commit: Commit,
        headers: dict[str, str],
        query: Query,
        algorithm: Algorithm | None,
    ) -> Stored:
        length = length_of(reply.headers)
        if length is None:
            raise Unavailable("Riak CS sent the source of a copy without a Content-Length")
        etag = unquote_etag(reply.headers.get("etag", ""))
        whole = reply.status == 200 and is_md5(etag)
        expected = Expected(
            md5=bytes.fromhex(etag) if whole else None,
            sha256="",
            checksum=None,
            algorithm=algorithm,
            in_trailer=False,
        )
        incoming = self._services.bodies.fresh(ReplyChunks(reply), length, expected, commit.ready)
        return await self._services.uploading.send(call, incoming, commit, headers, query)


def _replaces(call: Call, name: str) -> bool:
    directive = call.headers.get(name, "COPY").upper()
    if directive not in ("COPY", "REPLACE"):
        raise S3Fault(Code.INVALID_ARGUMENT, f"{name} is COPY or REPLACE.")
    return directive == "REPLACE"


def _wanted_bytes(part: str | None) -> tuple[int, int] | None:
    if part is None:
        return None
    matched = _RANGE.match(part.strip())
    if matched is None or int(matched[2]) < int(matched[1]):
        raise S3Fault(Code.INVALID_ARGUMENT, "x-amz-copy-source-range is bytes=first-last.")
    return int(matched[1]), int(matched[2])


def _algorithm(call: Call) -> Algorithm | None:
    given = call.headers.get("x-amz-checksum-algorithm", "").upper()
    try:
        return Algorithm(given) if given else None
    except ValueError as error:
        raise S3Fault(Code.INVALID_REQUEST, "x-amz-checksum-algorithm is not known.") from error


def _stored_at(stored: Stored) -> float:
    headers: Mapping[str, str] = stored.reply.headers
    try:
        return parse_http_date(headers.get("date", ""))
    except MalformedDate as error:
        raise Unavailable("Riak CS answered without a Date that can be read") from error


def _checksum(stored: Stored) -> StoredChecksum | None:
    found = stored.hashed.checksum
    return StoredChecksum(found.algorithm, found.text) if found is not None else None
