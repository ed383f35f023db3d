"""The ACL that a request's headers ask for: x-amz-acl and x-amz-grant-*.

Riak CS answers 500 to grants by id and by e-mail address, and takes an unknown canned ACL as private (recordings
acl-object-grant-header-id, acl-object-grant-header-email, acl-bucket-put-unknown); the gateway reads the headers itself
and sends Riak CS an XML body, which works (acl-object-xml-user).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from controlplane.s3.access.acl import Acl, Grant, Permission, acl_of, canned
from controlplane.s3.access.principals import GROUPS, Email, Grantee, Group, User
from controlplane.s3.fault import Code, S3Fault

GRANT_HEADERS: Final = {
    "x-amz-grant-read": Permission.READ,
    "x-amz-grant-write": Permission.WRITE,
    "x-amz-grant-read-acp": Permission.READ_ACP,
    "x-amz-grant-write-acp": Permission.WRITE_ACP,
    "x-amz-grant-full-control": Permission.FULL_CONTROL,
}

_GRANTEE = re.compile(r"\s*(id|emailAddress|uri)\s*=\s*(?:\"([^\"]*)\"|([^\",\s]+))\s*(?:,|\Z)", re.IGNORECASE)


def _grantee(kind: str, value: str) -> Grantee:
    if not value:
        raise S3Fault(Code.INVALID_ARGUMENT, f"A grant header has an empty {kind}.")
    if kind == "id":
        return User(value)
    if kind == "emailaddress":
        return Email(value)
    if value not in GROUPS:
        raise S3Fault(Code.INVALID_ARGUMENT, f"Invalid group uri: {value[:120]!r}")
    return Group(value)


def _grantees(header: str, value: str) -> Iterator[Grantee]:
    at = 0
    while at < len(value):
        match = _GRANTEE.match(value, at)
        if match is None:
            raise S3Fault(
                Code.INVALID_ARGUMENT, f"{header} is not a list of id=, emailAddress= or uri=: {value[:120]!r}"
            )
        yield _grantee(match[1].lower(), match[2] if match[2] is not None else match[3])
        at = match.end()


def acl_from_headers(headers: Mapping[str, str], owner: User, bucket_owner: User | None = None) -> Acl | None:
    """The ACL that the headers (lower-case names) ask for; None when they say nothing.

    With grants, only these: the owner is not added, but an owner can always read and write the ACL. Grantees by e-mail
    address are still to be resolved (`acl.resolved`). Raises InvalidArgument, InvalidRequest (both forms at once).
    """
    given = [name for name in GRANT_HEADERS if name in headers]
    name = headers.get("x-amz-acl")
    if name is not None and given:
        raise S3Fault(Code.INVALID_REQUEST, "Specifying both Canned ACLs and Header Grants is not allowed")
    if name is not None:
        return canned(name.strip(), owner, bucket_owner)
    if not given:
        return None
    return acl_of(owner, (Grant(to, GRANT_HEADERS[at]) for at in given for to in _grantees(at, headers[at])))
