"""Buckets: create, delete, head, location, versioning."""

from __future__ import annotations

from controlplane.gateway.s3.answers import empty, xml
from controlplane.gateway.s3.bodies import Bodies
from controlplane.gateway.s3.call import Call, user_of
from controlplane.http import Response
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Upstream
from controlplane.s3.addressing import check_new_bucket_name
from controlplane.s3.documents.bucket_documents import (
    check_location,
    not_configured,
    parse_create_bucket,
    refuse_versioning,
    render_location,
    render_versioning,
)
from controlplane.s3.fault import Code, S3Fault
from controlplane.services.s3.acl_writes import AclWrites
from controlplane.services.s3.buckets import Buckets, Versioning
from controlplane.services.s3.part_records import PartRecords
from controlplane.services.s3.refusals import refusal
from controlplane.services.s3.subresources import Subresources

_FIRST_REGION = "us-east-1"
"""Where S3 answers 200 to the owner who creates a bucket again; elsewhere 409."""
_LOCK = b"x-amz-bucket-object-lock-enabled"
_OWNERSHIP = b"x-amz-object-ownership"


class BucketVerbs:
    def __init__(
        self,
        upstream: Upstream,
        bodies: Bodies,
        buckets: Buckets,
        acls: AclWrites,
        subresources: Subresources,
        parts: PartRecords,
        region: str,
    ) -> None:
        self._part_records = parts
        self._subresources = subresources
        self._upstream = upstream
        self._bodies = bodies
        self._buckets = buckets
        self._acls = acls
        self._region = region

    async def create(self, call: Call) -> Response:
        """A second CreateBucket changes nothing: Riak CS would reset the ACL (sub-acl-after-create-again)."""
        request = call.request
        check_new_bucket_name(call.bucket)
        check_location(parse_create_bucket(await self._bodies.document(call)), self._region)
        lock = call.header(_LOCK)
        if lock is not None and lock.lower() != b"false":
            raise S3Fault(Code.NOT_IMPLEMENTED, "Object lock is not served by this store.")
        _check_ownership(call)
        account = call.account
        if account is None:
            raise S3Fault(Code.ACCESS_DENIED)
        headers: dict[str, str] = {}
        acl = await self._acls.asked_for(call.headers, user_of(account), None, headers)
        try:
            facts = await self._buckets.facts(call.bucket, account)
        except S3Fault as fault:
            if fault.code is not Code.NO_SUCH_BUCKET:
                raise
        else:
            if facts.acl.owner.id != account.id:
                raise S3Fault(Code.BUCKET_ALREADY_EXISTS)
            if self._region != _FIRST_REGION:
                raise S3Fault(Code.BUCKET_ALREADY_OWNED_BY_YOU)
            return empty(request, 200, (b"location", b"/" + call.bucket.encode()))
        reply = await self._upstream.send(call.ask("PUT", headers=headers))
        self._buckets.forget(call.bucket)
        if reply.status != 200:
            raise await refusal(reply, key=False)
        reply.close()
        # What a former bucket of this name left must not be this one's.
        await self._forget(call.bucket)
        if acl is not None:
            await self._acls.put(call.bucket, "", call.signer, acl)
            self._buckets.forget(call.bucket)
        return empty(request, 200, (b"location", b"/" + call.bucket.encode()))

    async def delete(self, call: Call) -> Response:
        # Sent again, the answer to a bucket that went with the first try is another one.
        died = False
        try:
            reply = await self._upstream.send(call.ask("DELETE", repeatable=False))
        except Unavailable:
            died = True
            reply = await self._upstream.send(call.ask("DELETE", repeatable=False))
        self._buckets.forget(call.bucket)
        if reply.status not in (200, 204):
            fault = await refusal(reply, key=False)
            if not died or fault.code is not Code.NO_SUCH_BUCKET:
                raise fault
        reply.close()
        await self._forget(call.bucket)
        return Response(204, empty(call.request).headers)

    async def _forget(self, bucket: str) -> None:
        await self._subresources.forget_bucket(bucket)
        await self._part_records.forget_bucket(bucket)

    async def head(self, call: Call) -> Response:
        """The bucket's facts were looked up: it is there, and the caller may list it."""
        return empty(call.request, 200, (b"x-amz-bucket-region", self._region.encode()))

    async def location(self, call: Call) -> Response:
        return xml(call.request, render_location(self._region))

    async def versioning(self, call: Call) -> Response:
        if call.bucket_facts.versioning is Versioning.ENABLED:
            document = (
                b'<?xml version="1.0" encoding="UTF-8"?>\n<VersioningConfiguration '
                b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>'
            )
            return xml(call.request, document)
        return xml(call.request, render_versioning())

    async def set_versioning(self, call: Call) -> Response:
        refuse_versioning(await self._bodies.document(call))

    async def not_configured(self, call: Call) -> Response:
        raise not_configured(call.operation)


def _check_ownership(call: Call) -> None:
    """Objects belong to their writers and ACLs count: a bucket that promises anything else is refused."""
    given = (call.header(_OWNERSHIP) or b"ObjectWriter").decode("latin-1")
    if given in ("BucketOwnerEnforced", "BucketOwnerPreferred"):
        raise S3Fault(Code.NOT_IMPLEMENTED, f"{given} is not served by this store: objects belong to their writers.")
    if given != "ObjectWriter":
        raise S3Fault(
            Code.INVALID_ARGUMENT,
            "x-amz-object-ownership has an unknown value.",
            extra=(("ArgumentName", _OWNERSHIP.decode()), ("ArgumentValue", given[:80])),
        )
