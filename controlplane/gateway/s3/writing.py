"""PutObject and DeleteObject, and the way in which every object body goes up."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from controlplane.gateway.s3.answers import empty
from controlplane.gateway.s3.bodies import Bodies, Incoming
from controlplane.gateway.s3.call import Call, user_of
from controlplane.gateway.s3.conditional import Commit, ConditionalWrites
from controlplane.gateway.s3.object_notes import ObjectNotes
from controlplane.gateway.s3.stored_headers import own_checksum, stored_headers
from controlplane.http import Response
from controlplane.ports.errors import Corrupt, MillraceError
from controlplane.ports.upstream import Ask, KeyPair, Query, Reply, Upstream
from controlplane.ports.write_log import WriteLog
from controlplane.s3.access.acl import Acl
from controlplane.s3.access.principals import User
from controlplane.s3.body_checksums import HashedBody
from controlplane.s3.checksums import Checksum
from controlplane.s3.conditions import delete_condition, write_condition
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.tagging import Tags, parse_tagging_header
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.own_metadata import RECORDED, WRITER
from controlplane.services.s3.acl_writes import AclWrites
from controlplane.services.s3.buckets import Versioning
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.part_records import PartRecords
from controlplane.services.s3.refusals import refusal

log = logging.getLogger(__name__)


class Stored:
    """What an upload became."""

    __slots__ = ("etag", "hashed", "reply", "to_record")

    def __init__(self, reply: Reply, hashed: HashedBody, to_record: StoredChecksum | None) -> None:
        self.reply = reply
        self.hashed = hashed
        self.etag = hashed.md5
        self.to_record = to_record
        """The checksum, when it was known only after the headers had gone out: it is kept beside the object."""


class Uploading:
    """Sends a proved body to Riak CS; nothing of a body that is not proved is left there."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def send(
        self, call: Call, incoming: Incoming, commit: Commit, headers: dict[str, str], query: Query = ()
    ) -> Stored:
        """`headers` are those to store. Raises S3Fault, Unavailable, Corrupt (the ETag differs; it was removed)."""
        intake = incoming.intake
        if not query:
            headers = {**headers, **writer_of(call)}
        body: bytes | AsyncIterator[bytes | memoryview]
        recorded = False
        if incoming.small:
            body = await intake.whole()
            if not query:
                headers = {**headers, **own_checksum(intake.hashed.checksum)}
            headers["content-md5"] = b64encode(bytes.fromhex(intake.hashed.md5)).decode()
            await commit.ready()
        else:
            expected = incoming.expected
            if expected.checksum is not None and not query:
                headers = {**headers, **own_checksum(expected.checksum)}
            elif expected.algorithm is not None and not query:
                headers, recorded = {**headers, RECORDED: "1"}, True
            if expected.md5 is not None:
                headers["content-md5"] = b64encode(expected.md5).decode()
            await commit.early()
            body = intake.pieces()
        ask = Ask("PUT", call.signer, call.bucket, call.key, query, headers, body, intake.length)
        reply = await self._upstream.send(ask)
        if reply.status != 200:
            raise await refusal(reply, key=True)
        reply.close()
        etag = unquote_etag(reply.headers.get("etag", ""))
        if etag != intake.hashed.md5:
            await self._take_back(call, query)
            raise Corrupt(
                f"Riak CS stored s3://{call.bucket}/{call.key} with ETag {etag}, sent was {intake.hashed.md5}"
            )
        checksum = intake.hashed.checksum if recorded else None
        return Stored(reply, intake.hashed, None if checksum is None else stored_checksum(checksum))

    async def _take_back(self, call: Call, query: Query) -> None:
        if query:
            return  # a part: its upload is not completed with it
        try:
            (await self._upstream.send(call.ask("DELETE"))).close()
        except MillraceError as error:
            log.error("s3://%s/%s is wrong and could not be removed: %s", call.bucket, call.key, error)  # noqa: TRY400


@dataclass(frozen=True, slots=True)
class WriteServices:
    """What every way of writing an object needs."""

    upstream: Upstream
    uploading: Uploading
    bodies: Bodies
    conditional: ConditionalWrites
    acls: AclWrites
    records: ObjectRecords
    parts: PartRecords
    log: WriteLog

    async def prepare(self, call: Call, given: Mapping[str, str], headers: dict[str, str]) -> Acl | None:
        """Before anything is sent: the ACL that `given` asks for, when it has to be put by itself (a canned one goes
        into `headers`), and room in the journal. Raises S3Fault, Unavailable, Full."""
        acl = await self.acls.asked_for(given, object_owner(call), call.bucket_facts.acl.owner, headers)
        await self.log.ready(call.bucket, call.key)
        return acl

    async def settle(self, call: Call, stored: Stored, tags: Tags, acl: Acl | None) -> None:
        """What belongs to an object that is stored, before it is acknowledged: ACL, tags, checksum, the report."""
        if acl is not None:
            await self.acls.put(call.bucket, call.key, call.signer, acl)
        await self.records.written(call.bucket, call.key, stored.etag, tags, stored.to_record)
        await self.log.wrote(call.bucket, call.key, stored.etag, stored.hashed.size)


class ObjectWriting:
    def __init__(self, services: WriteServices, notes: ObjectNotes) -> None:
        self._services = services
        self._notes = notes

    async def put(self, call: Call) -> Response:
        headers = stored_headers(call.fields)
        tags = asked_tags(call)
        condition = write_condition(call.fields)
        services = self._services
        acl = await services.prepare(call, call.headers, headers)
        async with (
            services.conditional.commit(call, condition) as commit,
            services.bodies.open(call, commit.ready) as incoming,
        ):
            stored = await services.uploading.send(call, incoming, commit, headers)
        await services.settle(call, stored, tags, acl)
        notes = await self._notes.of_write(call, stored.hashed.size, tags)
        return empty(call.request, 200, *stored_fields(stored), *notes)

    async def delete(self, call: Call) -> Response:
        version = call.parameter("versionId")
        condition = delete_condition(call.fields)
        async with self._services.conditional.commit(call, condition) as commit:
            await commit.ready()
            await self._services.log.deleting(call.bucket, call.key)
            await self.delete_one(call, call.signer, call.key, version)
        await self._services.log.deleted(call.bucket, call.key)
        return Response(204, empty(call.request).headers)

    async def delete_one(self, call: Call, signer: KeyPair | None, key: str, version: str | None) -> None:
        """Raises S3Fault, Unavailable."""
        versioned = call.bucket_facts.versioning is Versioning.ENABLED
        if versioned and not version:
            raise S3Fault(
                Code.NOT_IMPLEMENTED,
                "Versioning is enabled in this bucket and Riak CS has no delete markers: name a versionId.",
            )
        query: Query = (("versionId", version),) if versioned and version else ()
        if version not in (None, "", "null") and not versioned:
            raise S3Fault(Code.NO_SUCH_VERSION)
        reply = await self._services.upstream.send(Ask("DELETE", signer, call.bucket, key, query))
        if reply.status == 404:
            fault = await refusal(reply, key=True)
            if fault.code is not Code.NO_SUCH_KEY:
                raise fault
        elif reply.status not in (200, 204):
            raise await refusal(reply, key=True)
        reply.close()
        await self._services.records.gone(call.bucket, key)


def asked_tags(call: Call) -> Tags:
    """Of x-amz-tagging. Raises S3Fault."""
    given = call.headers.get("x-amz-tagging")
    return parse_tagging_header(given) if given else ()


def object_owner(call: Call) -> User:
    """Whom Riak CS will name as the owner of what this call writes; nobody for an anonymous one."""
    if call.account is not None and call.signer is call.account.keys:
        return user_of(call.account)
    return call.bucket_facts.acl.owner if call.signer is not None else User("")


def writer_of(call: Call) -> dict[str, str]:
    """What is kept with an object that will not belong to the bucket's owner."""
    owner = object_owner(call)
    return {} if owner.id == call.bucket_facts.acl.owner.id else {WRITER: owner.id or "nobody"}


def stored_fields(stored: Stored) -> list[tuple[bytes, bytes]]:
    """What the answer to an upload says of what was stored."""
    headers = [(b"etag", b'"%b"' % stored.etag.encode())]
    version = stored.reply.headers.get("x-amz-version-id")
    if version is not None and version != "null":
        headers.append((b"x-amz-version-id", version.encode()))
    headers += checksum_fields(stored.hashed.checksum)
    return headers


def checksum_fields(checksum: Checksum | None) -> list[tuple[bytes, bytes]]:
    if checksum is None:
        return []
    return [
        (checksum.algorithm.header.encode(), checksum.text.encode()),
        (b"x-amz-checksum-type", b"FULL_OBJECT"),
    ]


def stored_checksum(checksum: Checksum) -> StoredChecksum:
    return StoredChecksum(checksum.algorithm, checksum.text)
