"""Whether a request is allowed. Where Riak CS is wider, this is narrower (I8): Riak CS shows private listings and ACLs
to anybody (recordings anon-private-list, anon-private-acl) and lets a Deny not bind the owner (policy-deny-owner-get).

The rules of S3, in their order: an explicit Deny of the bucket's policy wins, over the owner too; then an Allow of the
policy; then ownership, for all but reading and writing; then the ACL; else denied.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from controlplane.s3.access.acl import Acl, Permission
from controlplane.s3.access.actions import Need, On, need_of
from controlplane.s3.access.conditions import Context
from controlplane.s3.access.policy import Effect, Policy
from controlplane.s3.access.policy_match import effect_of
from controlplane.s3.access.principals import Caller, User
from controlplane.s3.operation import Operation


@dataclass(frozen=True, slots=True)
class Resource:
    """What a request is about. `key` is None for the bucket itself; `version_id` as the request named it."""

    bucket: str
    key: str | None = None
    version_id: str | None = None

    @property
    def arn(self) -> str:
        return f"arn:aws:s3:::{self.bucket}" if self.key is None else f"arn:aws:s3:::{self.bucket}/{self.key}"


class Unknown(Enum):
    """An ACL that was not fetched."""

    ACL = "unknown"


UNKNOWN: Final = Unknown.ACL


@dataclass(frozen=True, slots=True)
class Acls:
    """What the decision needs of ownership and ACLs."""

    bucket: Acl
    object: Acl | Unknown | None = UNKNOWN
    """None when there is no such object. UNKNOWN saves fetching it: the decision is then left to the store where it
    hangs on the object's ACL alone. For the tags of an object the store is not asked: give the ACL when the caller is
    not the bucket's owner."""


class Reason(StrEnum):
    """What decided. `STORE`: nothing here allows or denies it, and the object's ACL was not given: Riak CS, which
    applies object ACLs rightly (recordings anon-private-get, acl-object-bob-get), is asked with the caller's own key.
    """

    POLICY_DENY = "an explicit Deny of the bucket's policy"
    POLICY_ALLOW = "an Allow of the bucket's policy"
    OWNER = "the owner"
    ACL = "a grant of the ACL"
    SIGNED_IN = "every user may"
    STORE = "the object's ACL, as the store applies it"
    NOTHING = "nothing allows it"


@dataclass(frozen=True, slots=True)
class Decision:
    """`allowed` is None when the store decides (Reason.STORE).

    An Allow of the policy is often not one for Riak CS, which opens nothing for a policy but the listing (recordings
    policy-star-anon-get, policy-put-star-anon-put): then the gateway has to ask upstream with a key that may.
    """

    allowed: bool | None
    reason: Reason


_ALWAYS_OWNERS: Final = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})
"""A bucket's owner keeps these under any policy, so that nobody locks himself out (AWS: the account's root user)."""


_BY_GRANT: Final = frozenset(
    {"s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"}
)
"""What the bucket's owner, too, has by a grant of the ACL: that of a new bucket names him. He may take it away and give
it back to himself: the ACL itself he may always read and write."""


def _owns(caller: Caller, owner: User) -> bool:
    return caller.id is not None and caller.id == owner.id


def _by_ownership_and_acl(caller: Caller, need: Need, acls: Acls) -> Decision:
    owns_bucket = _owns(caller, acls.bucket.owner)
    if need.on is On.BUCKET or need.acl is On.BUCKET:
        if owns_bucket and need.action not in _BY_GRANT:
            return Decision(True, Reason.OWNER)
        granted = need.permission is not None and acls.bucket.grants_to(caller, need.permission)
        return Decision(True, Reason.ACL) if granted else Decision(False, Reason.NOTHING)
    if acls.object is None:
        # A key that does not exist has no ACL; whether the caller may learn that is another question (may_list).
        return Decision(True, Reason.OWNER) if owns_bucket else Decision(False, Reason.NOTHING)
    if need.permission is None:
        owns = owns_bucket or (isinstance(acls.object, Acl) and _owns(caller, acls.object.owner))
        return Decision(True, Reason.OWNER) if owns else Decision(False, Reason.NOTHING)
    if not isinstance(acls.object, Acl):
        return Decision(None, Reason.STORE)
    # Owners may lose READ by their own ACL, never the ACL itself.
    if need.permission in (Permission.READ_ACP, Permission.WRITE_ACP) and _owns(caller, acls.object.owner):
        return Decision(True, Reason.OWNER)
    if acls.object.grants_to(caller, need.permission):
        return Decision(True, Reason.ACL)
    return Decision(False, Reason.NOTHING)


def decide(
    caller: Caller, operation: Operation, resource: Resource, acls: Acls, policy: Policy | None, context: Context
) -> Decision:
    """Whether the caller may do the operation on an existing bucket or a key in it.

    CopyObject and UploadPartCopy are asked at the target; ask again with GetObject at the source. DeleteObjects is
    asked for each key. Pure: ACLs, policy and context are fetched before.
    """
    need = need_of(operation.value, versioned=resource.version_id is not None)
    if need.on is On.SERVICE:
        return Decision(False, Reason.NOTHING) if caller.anonymous else Decision(True, Reason.SIGNED_IN)
    target = Resource(resource.bucket) if need.on is On.BUCKET else resource
    if need.action in _ALWAYS_OWNERS and _owns(caller, acls.bucket.owner):
        return Decision(True, Reason.OWNER)
    if policy is not None:
        match effect_of(policy, caller, need.action, target.arn, context):
            case Effect.DENY:
                return Decision(False, Reason.POLICY_DENY)
            case Effect.ALLOW:
                return Decision(True, Reason.POLICY_ALLOW)
            case None:
                pass
    return _by_ownership_and_acl(caller, need, acls)


def may_list(caller: Caller, bucket: str, acls: Acls, policy: Policy | None, context: Context) -> bool:
    """Whether a key that does not exist is 404 for the caller (who may list the bucket), or 403."""
    return decide(caller, Operation.LIST_OBJECTS_V2, Resource(bucket), acls, policy, context).allowed is True
