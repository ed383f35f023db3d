"""Whether the caller may: S3's rules by the bucket's ACL and policy, before Riak CS is asked with the caller's own key.

Both must allow. Riak CS applies object ACLs rightly and is left to it; where it is wider (listings, ACLs, a Deny on the
owner, the admin user), this is narrower (I8). Where a bucket's policy allows what Riak CS opens for no policy, it is
asked with the key of the bucket's owner, whose policy it is. The same where an ACL lets another user change ACLs: Riak
CS lets only the owner (anon-put-acl-as-bob is 409).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Final

from controlplane.gateway.s3.call import Call
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Query, Upstream
from controlplane.s3.access.acl import Acl
from controlplane.s3.access.acl_xml import acl_from_riakcs
from controlplane.s3.access.condition_keys import context_of
from controlplane.s3.access.conditions import Context
from controlplane.s3.access.decision import Acls, Reason, Resource, decide, may_list
from controlplane.s3.access.policy import Policy
from controlplane.s3.access.policy_match import asks_for_existing_tags
from controlplane.s3.authentication import Scheme
from controlplane.s3.documents.tagging import Tags, parse_tagging_header
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Level, Operation
from controlplane.s3.own_metadata import WRITER
from controlplane.s3.xml import MalformedXml
from controlplane.services.s3.buckets import BucketFacts, Buckets
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.refusals import refusal

_MOST_DECISIONS: Final = 1024
_UNDECIDED: Final = object()
_NO_CONTEXT: Final = Context({})
_TYPES: Final = {
    Scheme.V4_HEADER: ("REST-HEADER", "AWS4-HMAC-SHA256"),
    Scheme.V4_QUERY: ("REST-QUERY-STRING", "AWS4-HMAC-SHA256"),
    Scheme.V4_FORM: ("POST", "AWS4-HMAC-SHA256"),
    Scheme.V2_HEADER: ("REST-HEADER", "AWS"),
    Scheme.V2_QUERY: ("REST-QUERY-STRING", "AWS"),
    Scheme.V2_FORM: ("POST", "AWS"),
}
_MAX_ACL_BYTES: Final = 256 * 1024
_WITH_OWN_KEYS: Final = frozenset({Operation.GET_OBJECT, Operation.HEAD_OBJECT, Operation.PUT_OBJECT})
"""Without a policy Riak CS is asked for these with the caller's own key, whatever the ACLs allow."""
_OBJECT_ACLS: Final = frozenset({Operation.GET_OBJECT_ACL, Operation.PUT_OBJECT_ACL})


class Authoriser:
    """`admin` is the key of Riak CS's admin user, whom Riak CS lets read and write everything."""

    def __init__(
        self, upstream: Upstream, buckets: Buckets, records: ObjectRecords, clock: Clock, admin: KeyPair
    ) -> None:
        self._upstream = upstream
        self._buckets = buckets
        self._records = records
        self._clock = clock
        self._admin = admin

    def admit(self, call: Call) -> Awaitable[None] | None:
        """Look the bucket up and decide. None: it is done, as for everything that was decided a moment ago; else await
        it. Raises S3Fault: AccessDenied, NoSuchBucket; Unavailable."""
        facts = self._buckets.known(call.bucket)
        account = call.account
        if facts is None or call.query or not facts.plain or call.header(b"x-amz-expected-bucket-owner") is not None:
            return self._admit(call)
        if call.operation not in _WITH_OWN_KEYS:
            return self._admit(call)
        who, own = (account.id, account.keys) if account is not None else (None, None)
        allowed = facts.decisions.get((who, call.operation), _UNDECIDED)
        undecided_admin = allowed is None and own is not None and own.access_key == self._admin.access_key
        if allowed is _UNDECIDED or allowed is False or undecided_admin:
            return self._admit(call)
        call.facts = facts
        call.signer = own
        return None

    async def _admit(self, call: Call) -> None:
        if call.address.level is Level.SERVICE or call.operation is Operation.CREATE_BUCKET:
            if call.account is None:
                raise S3Fault(Code.ACCESS_DENIED)
            return
        call.facts = facts = await self.facts(call, call.bucket)
        if call.header(b"x-amz-expected-bucket-owner") is not None:
            await self._check_owner(call)
        if call.operation is not Operation.DELETE_OBJECTS:
            version_id = call.parameter("versionId") if call.query else None
            call.signer = await self.allow(call, call.operation, call.bucket, call.key, version_id, facts)

    async def facts(self, call: Call, bucket: str) -> BucketFacts:
        return self._buckets.known(bucket) or await self._buckets.facts(bucket, call.account)

    async def allow(
        self,
        call: Call,
        operation: Operation,
        bucket: str,
        key: str,
        version_id: str | None,
        facts: BucketFacts,
    ) -> KeyPair | None:
        """The keys to ask Riak CS with: the caller's own. The bucket owner's where the bucket's policy allows what Riak
        CS opens for no policy (policy-star-anon-get is 403, policy-put-star-anon-put 500): the owner has said so.

        Raises S3Fault AccessDenied; Unavailable."""
        caller = call.caller
        own = call.account.keys if call.account is not None else None
        if facts.plain and version_id is None:
            known = (caller.id, operation)
            allowed = facts.decisions.get(known, _UNDECIDED)
            if allowed is _UNDECIDED:
                allowed = decide(caller, operation, Resource(bucket, key), Acls(facts.acl), None, _NO_CONTEXT).allowed
                if len(facts.decisions) < _MOST_DECISIONS:
                    facts.decisions[known] = allowed
            if allowed is False:
                raise S3Fault(Code.ACCESS_DENIED)
            return await self._signer(
                call, operation, bucket, key, version_id, facts, _NO_CONTEXT, allowed=None if allowed is None else True
            )
        owner = facts.acl.owner
        if facts.policy_unreadable and not (caller.id is not None and caller.id == owner.id):
            raise S3Fault(Code.ACCESS_DENIED, "The bucket's policy cannot be evaluated: only its owner is let in.")
        context = _NO_CONTEXT
        if facts.policy is not None:
            tags = await self._records.tags_now(bucket, key) if key and asks_for_existing_tags(facts.policy) else ()
            context = self.context(call, tags)
        resource = Resource(bucket, key or None, version_id)
        decision = decide(caller, operation, resource, Acls(facts.acl), facts.policy, context)
        if decision.allowed is False:
            raise S3Fault(Code.ACCESS_DENIED)
        if decision.reason is Reason.POLICY_ALLOW and caller.id != owner.id:
            return await self._keys_of(owner.id) or own
        return await self._signer(call, operation, bucket, key, version_id, facts, context, allowed=decision.allowed)

    async def _signer(
        self,
        call: Call,
        operation: Operation,
        bucket: str,
        key: str,
        version_id: str | None,
        facts: BucketFacts,
        context: Context,
        *,
        allowed: bool | None,
    ) -> KeyPair | None:
        """With whose key Riak CS is asked for what ownership and ACLs allow, or (None) leave to the object's ACL."""
        own = call.account.keys if call.account is not None else None
        if allowed is None:
            admin = own is not None and own.access_key == self._admin.access_key
            if not admin and operation not in _OBJECT_ACLS:
                return own  # Riak CS applies object ACLs rightly
            policy = facts.policy
            owner = await self._ask_object(call, operation, bucket, key, version_id, facts, policy, context)
            return await self._keys_of(owner) or own if operation in _OBJECT_ACLS and owner else own
        if operation is Operation.PUT_BUCKET_ACL and call.caller.id != facts.acl.owner.id:
            return await self._keys_of(facts.acl.owner.id) or own
        return own

    async def _keys_of(self, canonical_id: str) -> KeyPair | None:
        account = await self._buckets.owner(canonical_id)
        return account.keys if account is not None and account.enabled else None

    async def check_writer(
        self,
        call: Call,
        ask: Ask,
        version_id: str | None,
        facts: BucketFacts,
        found: Mapping[str, str],
    ) -> None:
        """Before an object is shown that was asked for with the key of the bucket's owner, by himself or because the
        bucket's policy allows: neither counts for what belongs to somebody else, whose ACL decides. `found`: its
        headers. Raises S3Fault AccessDenied, Unavailable."""
        own = call.account.keys if call.account is not None else None
        if WRITER not in found or (ask.signer == own and call.caller.id != facts.acl.owner.id):
            return  # nobody else's, or Riak CS has applied its ACL
        await self._ask_object(call, Operation.GET_OBJECT, ask.bucket, ask.key, version_id, facts, None, _NO_CONTEXT)

    async def _ask_object(
        self,
        call: Call,
        operation: Operation,
        bucket: str,
        key: str,
        version_id: str | None,
        facts: BucketFacts,
        policy: Policy | None,
        context: Context,
    ) -> str:
        """Decide by the object's own ACL and the policy that counts for it: for the admin, since S3 knows no user who
        may all (admin-get-foreign), for the permissions to read and write ACLs, and for objects of others. The
        canonical id of the owner; empty when there is no object, which Riak CS is left to say. Raises S3Fault
        AccessDenied, Unavailable."""
        query: Query = (
            (("acl", ""), ("versionId", version_id)) if version_id not in (None, "", "null") else (("acl", ""),)
        )
        reply = await self._upstream.send(Ask("GET", self._admin, bucket, key, query))
        acl: Acl | None = None
        try:
            if reply.status == 200:
                acl = acl_from_riakcs(await reply.read_all(_MAX_ACL_BYTES))
            elif reply.status != 404:
                raise await refusal(reply, key=True)
        except MalformedXml as error:
            raise Unavailable(f"Riak CS answered the ACL of s3://{bucket}/{key} with what cannot be read") from error
        finally:
            reply.close()
        resource = Resource(bucket, key, version_id)
        if acl is None and operation in _OBJECT_ACLS and self.may_list(call, facts):
            return ""  # whoever may list learns that it is not there
        if decide(call.caller, operation, resource, Acls(facts.acl, acl), policy, context).allowed is not True:
            raise S3Fault(Code.ACCESS_DENIED)
        return acl.owner.id if acl is not None else ""

    def may(self, call: Call, operation: Operation) -> bool:
        """Whether the caller may do this too, by what is known of the bucket; no object's ACL is asked."""
        facts = call.bucket_facts
        context = _NO_CONTEXT if facts.policy is None else self.context(call)
        resource = Resource(call.bucket, call.key or None)
        return decide(call.caller, operation, resource, Acls(facts.acl), facts.policy, context).allowed is True

    def may_list(self, call: Call, facts: BucketFacts | None = None) -> bool:
        """Whether the caller may learn that a key does not exist."""
        facts = facts or call.bucket_facts
        context = _NO_CONTEXT if facts.policy is None else self.context(call)
        return may_list(call.caller, call.bucket, Acls(facts.acl), facts.policy, context)

    def context(self, call: Call, existing_tags: Tags = ()) -> Context:
        """Raises S3Fault for a malformed x-amz-tagging."""
        tagging = call.headers.get("x-amz-tagging")
        kind, version = _TYPES[call.scheme] if call.scheme is not None else ("", "")
        return context_of(
            call.caller,
            call.headers,
            call.query,
            source_ip=call.source_ip,
            secure=call.secure,
            now=self._clock.now(),
            auth_type=kind,
            signature_version=version,
            existing_tags=dict(existing_tags),
            request_tags=dict(parse_tagging_header(tagging)) if tagging else None,
        )

    async def _check_owner(self, call: Call) -> None:
        """x-amz-expected-bucket-owner: an account number, or a canonical ID."""
        expected = call.header(b"x-amz-expected-bucket-owner") or b""
        owner = call.bucket_facts.acl.owner
        wanted = expected.decode("latin-1").strip()
        if wanted == owner.id:
            return
        account = await self._buckets.owner(owner.id)
        if account is None or account.arn.split(":")[4:5] != [wanted]:
            raise S3Fault(Code.ACCESS_DENIED, "The bucket has another owner than expected.")
