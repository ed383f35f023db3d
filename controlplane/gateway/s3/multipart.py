"""Multipart uploads: create, part, complete, abort.

Complete is checked here against the parts that Riak CS has: it keeps a part that was sent twice twice (mp4-list-parts),
and answers a body that is no XML with status 477 (mp-complete-malformed).
"""

from __future__ import annotations

import logging
from base64 import b64encode
from typing import Final

from controlplane.gateway.s3.answers import empty, xml
from controlplane.gateway.s3.call import Call
from controlplane.gateway.s3.patience import Patience
from controlplane.gateway.s3.stored_headers import refuse_unserved, stored_headers
from controlplane.gateway.s3.writing import WriteServices, asked_tags, object_owner, stored_fields, writer_of
from controlplane.http import Response
from controlplane.ports.errors import MillraceError, Unavailable
from controlplane.s3.access.acl_xml import render_acl
from controlplane.s3.claim import Fields
from controlplane.s3.conditions import WriteCondition, write_condition
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.multipart_listing import Part, distinct_parts
from controlplane.s3.documents.object_attributes import ObjectPart
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
from controlplane.s3.multipart_checksums import NamedSum, check_whole, kind_asked, part_checksums, without_checksums
from controlplane.s3.multipart_xml import parse_completed, parse_initiated
from controlplane.s3.own_metadata import ACL, RECORDED, TAGGING
from controlplane.s3.riakcs.listings import parse_parts
from controlplane.s3.xml import MalformedXml
from controlplane.services.s3.part_records import UploadRecords
from controlplane.services.s3.refusals import refusal
from controlplane.services.s3.upload_owners import UploadOwners

log = logging.getLogger(__name__)

LEAST_PART_BYTES: Final = 5 * 1024 * 1024
_MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_XML: Final = {"content-type": "application/xml"}


class MultipartUploads:
    def __init__(self, services: WriteServices, owners: UploadOwners, patience: Patience) -> None:
        self._services = services
        self._owners = owners
        self._patience = patience

    async def create(self, call: Call) -> Response:
        headers = {**stored_headers(call.fields), **writer_of(call), RECORDED: "1"}
        if asked_tags(call):
            # Kept with the upload until it is complete.
            headers[TAGGING] = call.headers["x-amz-tagging"]
        acl = await self._services.acls.asked_for(
            call.headers, object_owner(call), call.bucket_facts.acl.owner, headers
        )
        if acl is not None:
            # Riak CS takes no grants with an upload: they are kept with it until it is complete.
            headers[ACL] = b64encode(render_acl(acl)).decode()
        asked = kind_asked(call.fields)
        await self._services.bodies.document(call)
        # When a node dies with it, an upload may be left that nobody knows; so it would by the client's own retry.
        reply = await self._services.upstream.send(call.ask("POST", query=(("uploads", ""),), headers=headers))
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
            await self._services.parts.begin(call.bucket, upload_id, asked)
            more = (
                (b"x-amz-checksum-algorithm", asked.algorithm.value.encode()),
                (b"x-amz-checksum-type", asked.type.value.encode()),
            )
        return xml(call.request, render_initiated(call.bucket, call.key, upload_id), more=more)

    async def part(self, call: Call) -> Response:
        refuse_unserved(call.fields)
        query = part_query(call)
        async with (
            self._services.conditional.commit(call, None) as commit,
            self._services.bodies.open(call) as incoming,
        ):
            stored = await self._services.uploading.send(call, incoming, commit, {}, query)
        await self._services.parts.stored(call.bucket, upload_id_of(call), int(query[0][1]), stored.hashed)
        return empty(call.request, 200, *stored_fields(stored)[:2])

    async def complete(self, call: Call) -> Response:
        condition = write_condition(call.fields)
        named = parse_complete(await self._services.bodies.document(call, promises=without_checksums(call.fields)))
        await self._services.log.ready(call.bucket, call.key)
        return await self._patience.answer(call, self._completed(call, named, condition))

    async def _completed(self, call: Call, named: tuple[NamedPart, ...], condition: WriteCondition | None) -> Response:
        records = await self._services.parts.of(call.bucket, upload_id_of(call))
        parts: tuple[ObjectPart, ...] = ()
        whole: StoredChecksum | None = None
        async with self._services.conditional.commit(call, condition) as commit:
            await commit.ready()
            known = await self._parts(call)
            if known is None:
                # A second try after a lost answer: the first one may have been carried out.
                etag = _etag_of(named)
                size = await self._complete_already(call, etag)
                sizes = _recorded_sizes(named, records)
            else:
                sizes = _checked_sizes(named, known)
                size = sum(sizes)
            if sizes:
                whole, parts = _put_together(named, sizes, records, call.fields)
            if known is not None:
                etag = await self._finish_for_sure(call, named)
        whole = await self._services.records.completed(call.bucket, call.key, call.signer, etag, whole, parts)
        await self._forget(call)
        await self._services.log.wrote(call.bucket, call.key, etag, size)
        location = f"{'https' if call.secure else 'http'}://{call.headers.get('host', '')}{call.request.path}"
        return xml(call.request, render_completed(location, call.bucket, call.key, etag, whole))

    async def _forget(self, call: Call) -> None:
        try:
            await self._services.parts.forget(call.bucket, upload_id_of(call))
        except MillraceError as error:
            log.warning("the records of an upload of s3://%s/%s stay: %s", call.bucket, call.key, error)

    async def abort(self, call: Call) -> Response:
        reply, _ = await self._owners.send(call.ask("DELETE", query=(("uploadId", upload_id_of(call)),)))
        if reply.status not in (200, 204):
            raise await refusal(reply, key=True)
        reply.close()
        await self._forget(call)
        return Response(204, empty(call.request).headers)

    async def _parts(self, call: Call) -> dict[int, Part] | None:
        """The parts that Riak CS has, of each number the last one; None when it does not know the upload."""
        reply = await self._services.upstream.send(call.ask("GET", query=(("uploadId", upload_id_of(call)),)))
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
        reply = await self._services.upstream.send(call.ask("HEAD"))
        reply.close()
        if reply.status != 200 or unquote_etag(reply.headers.get("etag", "")) != expected:
            raise S3Fault(Code.NO_SUCH_UPLOAD)
        return int(reply.headers.get("content-length", "0"))

    async def _finish_for_sure(self, call: Call, named: tuple[NamedPart, ...]) -> str:
        """Also when the node dies that was asked: another one knows whether it has been done."""
        try:
            return await self._finish(call, named)
        except Unavailable as error:
            if await self._parts(call) is not None:
                return await self._finish(call, named)
            etag = _etag_of(named)
            try:
                await self._complete_already(call, etag)
            except S3Fault as fault:
                raise error from fault
            return etag

    async def _finish(self, call: Call, named: tuple[NamedPart, ...]) -> str:
        parts = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>&quot;{part.etag}&quot;</ETag></Part>" for part in named
        )
        body = (
            '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"{parts}</CompleteMultipartUpload>"
        ).encode()
        query = (("uploadId", upload_id_of(call)),)
        reply = await self._services.upstream.send(
            call.ask("POST", query=query, headers=dict(_XML), body=body, repeatable=False)
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


def upload_id_of(call: Call) -> str:
    return call.parameter("uploadId") or ""


def part_query(call: Call) -> tuple[tuple[str, str], ...]:
    """Raises S3Fault InvalidArgument."""
    number = call.number("partNumber", 1, MAX_PARTS)
    if number is None:
        raise S3Fault(Code.INVALID_ARGUMENT, f"partNumber is a number from 1 to {MAX_PARTS}.")
    return (("partNumber", str(number)), ("uploadId", upload_id_of(call)))


def _etag_of(named: tuple[NamedPart, ...]) -> str:
    """Raises S3Fault InvalidPart for an ETag that no part can have."""
    try:
        return multipart_etag([bytes.fromhex(part.etag) for part in named])
    except ValueError as error:
        raise S3Fault(Code.INVALID_PART) from error


def _checked_sizes(named: tuple[NamedPart, ...], known: dict[int, Part]) -> list[int]:
    """The sizes of the parts. Raises S3Fault: InvalidPart, EntityTooSmall."""
    sizes: list[int] = []
    for part in named:
        found = known.get(part.number)
        if found is None or found.etag != part.etag:
            raise S3Fault(Code.INVALID_PART, extra=(("PartNumber", str(part.number)), ("ETag", part.etag)))
        sizes.append(found.size)
    for part, size in zip(named[:-1], sizes, strict=False):
        if size < LEAST_PART_BYTES:
            raise S3Fault(
                Code.ENTITY_TOO_SMALL,
                extra=(
                    ("ProposedSize", str(size)),
                    ("MinSizeAllowed", str(LEAST_PART_BYTES)),
                    ("PartNumber", str(part.number)),
                    ("ETag", part.etag),
                ),
            )
    return sizes


def _recorded_sizes(named: tuple[NamedPart, ...], records: UploadRecords) -> list[int]:
    """The same from what was kept, for Riak CS has forgotten the parts; empty when one of them was not kept."""
    kept = [records.parts.get((part.number, part.etag), ()) for part in named]
    return [sums[0].size for sums in kept] if all(kept) else []


def _put_together(
    named: tuple[NamedPart, ...], sizes: list[int], records: UploadRecords, fields: Fields
) -> tuple[StoredChecksum | None, tuple[ObjectPart, ...]]:
    """The checksum of the whole, verified, and what is to be known of the parts. Raises S3Fault."""
    sums = part_checksums(
        [
            NamedSum(
                part.checksum, size, tuple(kept.checksum for kept in records.parts.get((part.number, part.etag), ()))
            )
            for part, size in zip(named, sizes, strict=True)
        ],
        fields,
        records.kind,
    )
    parts = tuple(ObjectPart(part.number, size, checksum) for part, (checksum, size) in zip(named, sums, strict=True))
    return check_whole(sums, fields, records.kind), parts
