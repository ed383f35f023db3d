"""Access control lists: what they grant, and the canned ones.

Source: Amazon S3 User Guide, "Access control list (ACL) overview". A list has at most 100 grants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from controlplane.s3.access.principals import (
    ALL_USERS,
    AUTHENTICATED_USERS,
    LOG_DELIVERY,
    Caller,
    Email,
    Grantee,
    Group,
    User,
    names,
)
from controlplane.s3.fault import Code, S3Fault

MAX_GRANTS: Final = 100


class Permission(StrEnum):
    READ = "READ"
    WRITE = "WRITE"
    READ_ACP = "READ_ACP"
    WRITE_ACP = "WRITE_ACP"
    FULL_CONTROL = "FULL_CONTROL"


@dataclass(frozen=True, slots=True)
class Grant:
    grantee: Grantee
    permission: Permission


@dataclass(frozen=True, slots=True)
class Acl:
    """Of a bucket or of an object. Its owner may always read and write the ACL itself, whatever the grants say."""

    owner: User
    grants: tuple[Grant, ...]

    def grants_to(self, caller: Caller, permission: Permission) -> bool:
        """Whether a grant (not ownership) gives this caller the permission."""
        wanted = (permission, Permission.FULL_CONTROL)
        return any(grant.permission in wanted and names(grant.grantee, caller) for grant in self.grants)

    @property
    def public(self) -> bool:
        """Whether it grants anything to everybody, or to every user."""
        return any(
            isinstance(grant.grantee, Group) and grant.grantee.uri in (ALL_USERS, AUTHENTICATED_USERS)
            for grant in self.grants
        )


CANNED: Final = frozenset(
    {
        "private", "public-read", "public-read-write", "authenticated-read", "log-delivery-write", "aws-exec-read",
        "bucket-owner-read", "bucket-owner-full-control",
    }
)  # fmt: skip


def canned(name: str, owner: User, bucket_owner: User | None = None) -> Acl:
    """The ACL that a value of x-amz-acl stands for; `bucket_owner` for an object's ACL, else None.

    Raises InvalidArgument for an unknown name, which Riak CS takes as private (recording acl-bucket-put-unknown).
    """
    if name not in CANNED:
        raise S3Fault(Code.INVALID_ARGUMENT, f"x-amz-acl has no canned ACL of that name: {name[:80]!r}")
    grants = [Grant(owner, Permission.FULL_CONTROL)]
    match name:
        case "public-read":
            grants.append(Grant(Group(ALL_USERS), Permission.READ))
        case "public-read-write":
            grants += (Grant(Group(ALL_USERS), Permission.READ), Grant(Group(ALL_USERS), Permission.WRITE))
        case "authenticated-read":
            grants.append(Grant(Group(AUTHENTICATED_USERS), Permission.READ))
        case "log-delivery-write" if bucket_owner is None:
            grants += (Grant(Group(LOG_DELIVERY), Permission.WRITE), Grant(Group(LOG_DELIVERY), Permission.READ_ACP))
        case "bucket-owner-read" if bucket_owner is not None and bucket_owner.id != owner.id:
            grants.append(Grant(bucket_owner, Permission.READ))
        case "bucket-owner-full-control" if bucket_owner is not None and bucket_owner.id != owner.id:
            grants.append(Grant(bucket_owner, Permission.FULL_CONTROL))
    return Acl(owner, tuple(grants))


def resolved(
    acl: Acl, by_email: Callable[[str], User | None], by_id: Callable[[str], User | None] | None = None
) -> Acl:
    """The same with every Email made a User, and with every id known to `by_id` when that is given.

    Raises UnresolvableGrantByEmailAddress, or InvalidArgument for an unknown id. The caller of this looks the users up
    beforehand (`addresses_of`, `ids_of`), so that nothing here waits.
    """
    grants = []
    for grant in acl.grants:
        grantee = grant.grantee
        if isinstance(grantee, Email):
            user = by_email(grantee.address)
            if user is None:
                raise S3Fault(Code.UNRESOLVABLE_GRANT_BY_EMAIL)
            grant = replace(grant, grantee=user)
        elif isinstance(grantee, User) and by_id is not None:
            user = by_id(grantee.id)
            if user is None:
                raise S3Fault(Code.INVALID_ARGUMENT, f"Invalid id: no user has the canonical id {grantee.id[:80]!r}")
            grant = replace(grant, grantee=user)
        grants.append(grant)
    return replace(acl, grants=tuple(grants))


def addresses_of(acl: Acl) -> frozenset[str]:
    return frozenset(grant.grantee.address for grant in acl.grants if isinstance(grant.grantee, Email))


def ids_of(acl: Acl) -> frozenset[str]:
    return frozenset(grant.grantee.id for grant in acl.grants if isinstance(grant.grantee, User))


def acl_of(owner: User, grants: Iterable[Grant]) -> Acl:
    """An ACL of these grants, each once. Raises MalformedACLError when there are too many."""
    unique = tuple(dict.fromkeys(grants))
    if len(unique) > MAX_GRANTS:
        raise S3Fault(Code.MALFORMED_ACL, f"An ACL has at most {MAX_GRANTS} grants.")
    return Acl(owner, unique)
