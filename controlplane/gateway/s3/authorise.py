"""Whether the caller may: S3's rules by the bucket's ACL and policy, before Riak CS is asked with the caller's own key.

Both must allow. Riak CS applies object ACLs rightly and is left to it; where it is wider (listings, ACLs, a Deny on the
owner), this is narrower (I8).
"""

from __future__ import annotations

from typing import Final

from controlplane.gateway.s3.call import Call
from controlplane.ports.clock import Clock
from controlplane.s3.access.condition_keys import context_of
from controlplane.s3.access.conditions import Context
from controlplane.s3.access.decision import Acls, Resource, decide, may_list
from controlplane.s3.authentication import Scheme
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Level, Operation
from controlplane.services.s3.buckets import BucketFacts, Buckets

_NO_CONTEXT: Final = Context({})
_TYPES: Final = {
    Scheme.V4_HEADER: ("REST-HEADER", "AWS4-HMAC-SHA256"),
    Scheme.V4_QUERY: ("REST-QUERY-STRING", "AWS4-HMAC-SHA256"),
    Scheme.V4_FORM: ("POST", "AWS4-HMAC-SHA256"),
    Scheme.V2_HEADER: ("REST-HEADER", "AWS"),
    Scheme.V2_QUERY: ("REST-QUERY-STRING", "AWS"),
    Scheme.V2_FORM: ("POST", "AWS"),
}
_POLICY_OPERATIONS: Final = frozenset(
    {Operation.GET_BUCKET_POLICY, Operation.PUT_BUCKET_POLICY, Operation.DELETE_BUCKET_POLICY}
)


class Authoriser:
    def __init__(self, buckets: Buckets, clock: Clock) -> None:
        self._buckets = buckets
        self._clock = clock

    async def admit(self, call: Call) -> None:
        """Look the bucket up and decide. Raises S3Fault: AccessDenied, NoSuchBucket; Unavailable."""
        if call.address.level is Level.SERVICE or call.operation is Operation.CREATE_BUCKET:
            if call.account is None:
                raise S3Fault(Code.ACCESS_DENIED)
            return
        call.facts = await self.facts(call, call.bucket)
        await self._check_owner(call)
        if call.operation is not Operation.DELETE_OBJECTS:
            self.require(call, call.operation, call.bucket, call.key or None, call.parameter("versionId"))

    async def facts(self, call: Call, bucket: str) -> BucketFacts:
        return self._buckets.known(bucket) or await self._buckets.facts(bucket, call.account)

    def require(
        self,
        call: Call,
        operation: Operation,
        bucket: str,
        key: str | None,
        version_id: str | None = None,
        facts: BucketFacts | None = None,
    ) -> None:
        """Raises S3Fault AccessDenied. `facts` of another bucket than the call's: the source of a copy."""
        facts = facts or call.bucket_facts
        caller = call.caller
        if facts.policy_unreadable and not (caller.id is not None and caller.id == facts.acl.owner.id):
            raise S3Fault(Code.ACCESS_DENIED, "The bucket's policy cannot be evaluated: only its owner is let in.")
        context = _NO_CONTEXT if facts.policy is None else self.context(call)
        resource = Resource(bucket, key, version_id)
        decision = decide(caller, operation, resource, Acls(facts.acl), facts.policy, context)
        if decision.allowed is False:
            raise S3Fault(Code.ACCESS_DENIED)

    def may_list(self, call: Call, facts: BucketFacts | None = None) -> bool:
        """Whether the caller may learn that a key does not exist."""
        facts = facts or call.bucket_facts
        context = _NO_CONTEXT if facts.policy is None else self.context(call)
        return may_list(call.caller, call.bucket, Acls(facts.acl), facts.policy, context)

    def context(self, call: Call) -> Context:
        kind, version = _TYPES[call.scheme] if call.scheme is not None else ("", "")
        return context_of(
            call.caller,
            call.headers,
            call.query,
            source_ip=call.request.peer.rpartition(":")[0].strip("[]"),
            secure=call.secure,
            now=self._clock.now(),
            auth_type=kind,
            signature_version=version,
        )

    async def _check_owner(self, call: Call) -> None:
        """x-amz-expected-bucket-owner: an account number, or a canonical ID."""
        expected = call.request.header(b"x-amz-expected-bucket-owner")
        if expected is None:
            return
        owner = call.bucket_facts.acl.owner
        wanted = expected.decode("latin-1").strip()
        if wanted == owner.id:
            return
        account = await self._buckets.owner(owner.id)
        if account is None or account.arn.split(":")[4:5] != [wanted]:
            raise S3Fault(Code.ACCESS_DENIED, "The bucket has another owner than expected.")
