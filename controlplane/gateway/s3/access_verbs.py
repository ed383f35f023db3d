"""ACLs and policies of buckets and objects; GetObjectAttributes."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from controlplane.gateway.s3.answers import empty, fields, xml
from controlplane.gateway.s3.bodies import Bodies
from controlplane.gateway.s3.call import Call
from controlplane.http import Response
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Query, Reply, Upstream
from controlplane.ports.write_log import WriteLog
from controlplane.s3.access.acl import Acl
from controlplane.s3.access.acl_xml import acl_from_riakcs, parse_acl, render_acl
from controlplane.s3.access.grant_headers import acl_from_headers
from controlplane.s3.access.policy import MAX_BYTES, parse_policy
from controlplane.s3.access.policy_match import is_public
from controlplane.s3.access.principals import User
from controlplane.s3.documents.bucket_documents import not_configured, render_policy_status
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml import MalformedXml
from controlplane.services.s3.acl_writes import AclWrites
from controlplane.services.s3.buckets import Buckets
from controlplane.services.s3.refusals import refusal
from controlplane.services.s3.subresources import Kind, Subresources

_MAX_DOCUMENT_BYTES: Final = 1024 * 1024


class AccessVerbs:
    """ACLs are Riak CS's. A policy is kept beside it: Riak CS takes few of them, opens nothing for most, and closes the
    bucket to its admin and to whom its ACL lets in as soon as it has one (policy-put-aws-arn, policy-star-anon-get,
    policy-star-admin-list). What it still has from before is honoured until it is replaced or deleted here."""

    def __init__(
        self,
        upstream: Upstream,
        bodies: Bodies,
        buckets: Buckets,
        acls: AclWrites,
        subresources: Subresources,
        writes: WriteLog,
    ) -> None:
        self._upstream = upstream
        self._subresources = subresources
        self._bodies = bodies
        self._buckets = buckets
        self._acls = acls
        self._writes = writes

    async def bucket_acl(self, call: Call) -> Response:
        return xml(call.request, render_acl(call.bucket_facts.acl))

    async def put_bucket_acl(self, call: Call) -> Response:
        acl = await self._asked_for(call, call.bucket_facts.acl.owner, None)
        await _not_foreign(self._acls.put(call.bucket, "", call.signer, acl))
        self._buckets.forget(call.bucket)
        return empty(call.request)

    async def object_acl(self, call: Call) -> Response:
        return xml(call.request, render_acl(await self._object_acl(call)))

    async def put_object_acl(self, call: Call) -> Response:
        owner = (await self._object_acl(call)).owner
        acl = await self._asked_for(call, owner, call.bucket_facts.acl.owner)
        await self._acls.put(call.bucket, call.key, call.signer, acl, _version(call))
        await self._writes.regranted(call.bucket, call.key)
        return empty(call.request)

    async def policy(self, call: Call) -> Response:
        document = await self._policy(call)
        return Response(200, fields(call.request, (b"content-type", b"application/json")), document)

    async def put_policy(self, call: Call) -> Response:
        document = await self._bodies.document(call, MAX_BYTES)
        parse_policy(document, call.bucket)
        owner = call.bucket_facts.acl.owner.id
        await self._subresources.put_bucket_document(call.bucket, Kind.POLICY, document, owner=owner)
        self._buckets.forget(call.bucket)
        await self._delete_upstream(call)
        return Response(204, empty(call.request).headers)

    async def delete_policy(self, call: Call) -> Response:
        """204; Riak CS answers 200 (policy-delete)."""
        await self._delete_upstream(call)
        await self._subresources.delete_bucket_document(call.bucket, Kind.POLICY)
        self._buckets.forget(call.bucket)
        return Response(204, empty(call.request).headers)

    async def _delete_upstream(self, call: Call) -> None:
        reply = await self._upstream.send(call.ask("DELETE", query=(("policy", ""),)))
        self._buckets.forget(call.bucket)
        await _done(reply)

    async def policy_status(self, call: Call) -> Response:
        policy = call.bucket_facts.policy
        if policy is None:
            raise not_configured(call.operation)
        return xml(call.request, render_policy_status(is_public(policy)))

    async def _asked_for(self, call: Call, owner: User, bucket_owner: User | None) -> Acl:
        acl = acl_from_headers(call.headers, owner, bucket_owner)
        body = await self._bodies.document(call, _MAX_DOCUMENT_BYTES)
        if acl is None:
            if not body.strip():
                raise S3Fault(Code.MISSING_SECURITY_HEADER, "Give the ACL in x-amz-acl, x-amz-grant-* or the body.")
            acl = parse_acl(body, owner)
        elif body.strip():
            raise S3Fault(Code.UNEXPECTED_CONTENT, "Give the ACL in headers or in the body, not in both.")
        return await self._acls.resolved(acl)

    async def _object_acl(self, call: Call) -> Acl:
        reply = await self._upstream.send(call.ask("GET", query=(("acl", ""), *_version(call))))
        if reply.status != 200:
            raise await refusal(reply, key=True)
        try:
            return acl_from_riakcs(await reply.read_all(_MAX_DOCUMENT_BYTES))
        except MalformedXml as error:
            raise Unavailable(f"Riak CS answered an ACL that cannot be read: {error}") from error
        finally:
            reply.close()

    async def _policy(self, call: Call) -> bytes:
        owner = call.bucket_facts.acl.owner.id
        kept = await self._subresources.bucket_document(call.bucket, Kind.POLICY, owner=owner, fresh=True)
        if kept is not None:
            return kept
        reply = await self._upstream.send(call.ask("GET", query=(("policy", ""),)))
        if reply.status != 200:
            raise await refusal(reply, key=False)
        try:
            return await reply.read_all(_MAX_DOCUMENT_BYTES)
        finally:
            reply.close()


def _version(call: Call) -> Query:
    version = call.parameter("versionId")
    return (("versionId", version),) if version not in (None, "", "null") else ()


async def _done(reply: Reply) -> None:
    if reply.status not in (200, 204):
        raise _own_or_denied(await refusal(reply, key=False))
    reply.close()


async def _not_foreign(work: Awaitable[None]) -> None:
    try:
        await work
    except S3Fault as fault:
        raise _own_or_denied(fault) from fault


def _own_or_denied(fault: S3Fault) -> S3Fault:
    """What Riak CS says of a bucket of somebody else (anon-put-acl-as-bob, anon-policy-as-bob)."""
    return S3Fault(Code.ACCESS_DENIED) if fault.code is Code.BUCKET_ALREADY_EXISTS else fault
