"""Multipart uploads: create, part, complete, abort.

Complete is checked here against the parts that Riak CS has: it keeps a part that was sent twice twice (mp4-list-parts),
and answers a body that is no XML with status 477 (mp-complete-malformed).
"""

from __future__ import annotations

from typing import Final

from controlplane.gateway.s3.answers import OWN_METADATA, empty, xml
from controlplane.gateway.s3.bodies import Bodies
from controlplane.gateway.s3.call import Call
from controlplane.gateway.s3.conditional import ConditionalWrites
from controlplane.gateway.s3.stored_headers import refuse_unserved, stored_headers
from controlplane.gateway.s3.writing import Uploading, asked_tags, object_owner, stored_fields
from controlplane.http import Response
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Upstream
from controlplane.ports.write_log import WriteLog
from controlplane.s3.conditions import write_condition
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.multipart_listing import Part, distinct_parts
from controlplane.s3.documents.tagging import parse_tagging_header
from controlplane.s3.documents.upload_documents import (
    MAX_PARTS,
    NamedPart,
    parse_complete,
    render_completed,
    render_initiated,
)
from controlplane.s3.error_xml import ErrorDocument
from controlplane.s3.etag import multipart_etag, unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.listing import MalformedListing
from controlplane.s3.multipart_checksums import check_whole, kind_asked, without_checksums
from controlplane.s3.multipart_xml import parse_completed, parse_initiated
from controlplane.s3.riakcs.listings import parse_parts
from controlplane.s3.xml import MalformedXml
from controlplane.services.s3.acl_writes import AclWrites
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.refusals import refusal

LEAST_PART_BYTES: Final = 5 * 1024 * 1024
_MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_TAGGING: Final = OWN_METADATA + "tagging"
_XML: Final = {"content-type": "application/xml"}


class MultipartUploads:
    def __init__(
        self,
        upstream: Upstream,
        uploading: Uploading,
        bodies: Bodies,
        conditional: ConditionalWrites,
        acls: AclWrites,
        records: ObjectRecords,
        writes: WriteLog,
    ) -> None:
        self._upstream = upstream
        self._uploading = uploading
        self._bodies = bodies
        self._conditional = conditional
        self._acls = acls
        self._records = records
        self._writes = writes

    async def create(self, call: Call) -> Response:
        headers = stored_headers(call.fields)
        if asked_tags(call):
            # Kept with the upload until it is complete.
            headers[_TAGGING] = call.headers["x-amz-tagging"]
        acl = await self._acls.asked_for(call.headers, object_owner(call), call.bucket_facts.acl.owner, headers)
        if acl is not None:
            raise S3Fault(
                Code.NOT_IMPLEMENTED,
                "Riak CS takes no grants with a multipart upload: set the ACL of the object when it is complete.",
            )
        asked = kind_asked(call.fields)
        await self._bodies.document(call)
        # A retry would leave an upload behind that nobody knows: harmless, but not asked for.
        reply = await self._upstream.send(call.ask("POST", query=(("uploads", ""),), headers=headers, repeatable=False))
        if reply.status != 200:
            raise await refusal(reply, key=True)
        document = await reply.read_all(_MAX_ANSWER_BYTES)
        reply.close()
        try:
            upload_id = parse_initiated(document)
        except MalformedXml as error:
            raise Unavailable(f"Riak CS began an upload and answered what cannot be read: {error}") from error
        more: tuple[tuple[bytes, bytes], ...] = ()
        if asked is not None:
            more = (
                (b"x-amz-checksum-algorithm", asked.algorithm.value.encode()),
                (b"x-amz-checksum-type", asked.type.value.encode()),
            )
        return xml(call.request, render_initiated(call.bucket, call.key, upload_id), more=more)

    async def part(self, call: Call) -> Response:
        refuse_unserved(call.fields)
        query = part_query(call)
        async with (
            self._conditional.commit(call, None) as commit,
            self._bodies.open(call) as incoming,
        ):
            stored = await self._uploading.send(call, incoming, commit, {}, query)
        return empty(call.request, 200, *stored_fields(stored)[:2])

    async def complete(self, call: Call) -> Response:
        upload = (("uploadId", call.parameter("uploadId") or ""),)
        condition = write_condition(call.fields)
        named = parse_complete(await self._bodies.document(call, promises=without_checksums(call.fields)))
        await self._writes.ready(call.bucket, call.key)
        expected = _etag_of(named)
        whole: StoredChecksum | None = None
        async with self._conditional.commit(call, condition) as commit:
            await commit.ready()
            known = await self._parts(call)
            if known is None:
                # A second try after a lost answer: the first one may have been carried out.
                size = await self._complete_already(call, expected)
                etag = expected
            else:
                size = _check(named, known)
                whole = check_whole([(part.checksum, known[part.number].size) for part in named], call.fields)
                etag = await self._finish(call, upload, named)
        await self._keep_tags(call)
        await self._writes.wrote(call.bucket, call.key, etag, size)
        location = f"{'https' if call.secure else 'http'}://{call.headers.get('host', '')}{call.request.path}"
        return xml(call.request, render_completed(location, call.bucket, call.key, etag, whole))

    async def _keep_tags(self, call: Call) -> None:
        """Those that were given when the upload began."""
        reply = await self._upstream.send(call.ask("HEAD"))
        reply.close()
        given = reply.headers.get(_TAGGING, "") if reply.status == 200 else ""
        await self._records.written(call.bucket, call.key, parse_tagging_header(given) if given else ())

    async def abort(self, call: Call) -> Response:
        upload = (("uploadId", call.parameter("uploadId") or ""),)
        reply = await self._upstream.send(call.ask("DELETE", query=upload))
        if reply.status not in (200, 204):
            raise await refusal(reply, key=True)
        reply.close()
        return Response(204, empty(call.request).headers)

    async def _parts(self, call: Call) -> dict[int, Part] | None:
        """The parts that Riak CS has, of each number the last one; None when it does not know the upload."""
        upload = (("uploadId", call.parameter("uploadId") or ""),)
        reply = await self._upstream.send(call.ask("GET", query=upload))
        if reply.status != 200:
            fault = await refusal(reply, key=True)
            if fault.code in (Code.NO_SUCH_UPLOAD, Code.NO_SUCH_KEY):
                return None
            raise fault
        document = await reply.read_all(_MAX_ANSWER_BYTES)
        reply.close()
        try:
            return {part.number: part for part in distinct_parts(parse_parts(document))}
        except MalformedListing as error:
            raise Unavailable(f"Riak CS answered the parts of an upload with what cannot be read: {error}") from error

    async def _complete_already(self, call: Call, expected: str) -> int:
        reply = await self._upstream.send(call.ask("HEAD"))
        reply.close()
        if reply.status != 200 or unquote_etag(reply.headers.get("etag", "")) != expected:
            raise S3Fault(Code.NO_SUCH_UPLOAD)
        return int(reply.headers.get("content-length", "0"))

    async def _finish(self, call: Call, upload: tuple[tuple[str, str], ...], named: tuple[NamedPart, ...]) -> str:
        parts = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>&quot;{part.etag}&quot;</ETag></Part>" for part in named
        )
        body = (
            '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"{parts}</CompleteMultipartUpload>"
        ).encode()
        reply = await self._upstream.send(
            call.ask("POST", query=upload, headers=dict(_XML), body=body, repeatable=False)
        )
        if reply.status != 200:
            raise await refusal(reply, key=True)
        document = await reply.read_all(_MAX_ANSWER_BYTES)
        reply.close()
        try:
            done = parse_completed(document)
        except MalformedXml as error:
            raise Unavailable(f"Riak CS completed an upload and answered what cannot be read: {error}") from error
        if isinstance(done, ErrorDocument):
            raise Unavailable(f"Riak CS did not complete the upload: {done.code}")
        return done


def part_query(call: Call) -> tuple[tuple[str, str], ...]:
    """Raises S3Fault InvalidArgument."""
    number = call.number("partNumber", 1, MAX_PARTS)
    if number is None:
        raise S3Fault(Code.INVALID_ARGUMENT, f"partNumber is a number from 1 to {MAX_PARTS}.")
    return (("partNumber", str(number)), ("uploadId", call.parameter("uploadId") or ""))


def _etag_of(named: tuple[NamedPart, ...]) -> str:
    """Raises S3Fault InvalidPart for an ETag that no part can have."""
    try:
        return multipart_etag([bytes.fromhex(part.etag) for part in named])
    except ValueError as error:
        raise S3Fault(Code.INVALID_PART) from error


def _check(named: tuple[NamedPart, ...], known: dict[int, Part]) -> int:
    """The size of the whole. Raises S3Fault: InvalidPart, EntityTooSmall."""
    size = 0
    for part in named:
        found = known.get(part.number)
        if found is None or found.etag != part.etag:
            raise S3Fault(Code.INVALID_PART, extra=(("PartNumber", str(part.number)), ("ETag", part.etag)))
        if found.size < LEAST_PART_BYTES and part is not named[-1]:
            raise S3Fault(
                Code.ENTITY_TOO_SMALL,
                extra=(
                    ("ProposedSize", str(found.size)),
                    ("MinSizeAllowed", str(LEAST_PART_BYTES)),
                    ("PartNumber", str(part.number)),
                    ("ETag", part.etag),
                ),
            )
        size += found.size
    return size
