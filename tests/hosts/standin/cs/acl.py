"""Access control lists: canned, by header, by XML; and what they allow."""

import re
import xml.etree.ElementTree as ET
from typing import Any
from xml.sax.saxutils import escape

from tests.hosts.standin.cs.answers import Crash, S3Error
from tests.hosts.standin.cs.users import User, Users
from tests.hosts.standin.web.messages import Request

ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
_CANNED = {
    "public-read": [(ALL, "READ")],
    "public-read-write": [(ALL, "READ"), (ALL, "WRITE")],
    "authenticated-read": [(AUTHENTICATED, "READ")],
}
_HEADERS = {
    "x-amz-grant-read": "READ",
    "x-amz-grant-write": "WRITE",
    "x-amz-grant-read-acp": "READ_ACP",
    "x-amz-grant-write-acp": "WRITE_ACP",
    "x-amz-grant-full-control": "FULL_CONTROL",
}
Acl = dict[str, Any]
"""{"owner": {"id", "name"}, "grants": [[{"id", "name"} or {"uri"}, permission]]}"""


def _person(user: User) -> dict[str, str]:
    return {"id": user.id, "name": user.display_name}


def private(owner: User | None) -> Acl:
    who = _person(owner) if owner else {"id": "", "name": ""}
    return {"owner": who, "grants": [[who, "FULL_CONTROL"]] if owner else []}


def canned(name: str | None, owner: User | None, bucket_owner: User | None = None) -> Acl:
    """An unknown name means private."""
    acl = private(owner)
    grants = [[{"uri": uri}, permission] for uri, permission in _CANNED.get(name or "", [])]
    if bucket_owner is not None and name in ("bucket-owner-read", "bucket-owner-full-control"):
        permission = "READ" if name == "bucket-owner-read" else "FULL_CONTROL"
        if owner is None or bucket_owner.id != owner.id:
            grants.append([_person(bucket_owner), permission])
    acl["grants"] = grants + acl["grants"]
    return acl


def from_headers(request: Request, owner: User | None, users: Users, bucket_owner: User | None = None) -> Acl:
    """Of x-amz-acl or x-amz-grant-*. Raises Crash for grants by id or e-mail, as Riak CS does."""
    granted = [(name, permission) for name, permission in _HEADERS.items() if request.has(name)]
    if not granted:
        return canned(request.header("x-amz-acl"), owner, bucket_owner)
    acl = private(owner)
    acl["grants"] = []
    for name, permission in granted:
        for kind, value in _grantees(request.header(name) or ""):
            if kind == "uri":
                acl["grants"].append([{"uri": value}, permission])
                continue
            user = users.by_id(value) if kind == "id" else users.by_email(value)
            if user is None:
                which = "UnresolvableGrantByCanonicalId" if kind == "id" else "UnresolvableGrantByEmailAddress"
                raise S3Error(which)
            raise Crash(f'{{error,{{badmatch,{{{{<<"{user.display_name}">>}}}}}}}}')
    return acl


def _grantees(text: str) -> list[tuple[str, str]]:
    found = []
    for part in text.split(","):
        match = re.fullmatch(r'\s*(id|emailAddress|uri)="?([^"]*)"?\s*', part)
        if match is None:
            raise S3Error("InvalidArgument")
        found.append((match[1], match[2]))
    return found


def from_xml(raw: bytes, users: Users) -> Acl:
    """Raises S3Error or Crash."""
    try:
        root = ET.fromstring(raw)
    except ET.ParseError:
        raise S3Error("MalformedACLError") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    owner = root.find("Owner/ID")
    person = users.by_id(owner.text or "") if owner is not None else None
    name = root.findtext("Owner/DisplayName") or ""
    acl = private(person)
    acl["grants"] = []
    for grant in root.iter("Grant"):
        permission = grant.findtext("Permission") or ""
        if permission not in ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"):
            raise Crash("{error,badarg}")
        acl["grants"].append([_grantee(grant, users, name), permission])
    return acl


def _grantee(grant: ET.Element, users: Users, root_name: str) -> dict[str, str]:
    uri, canonical, mail = (grant.findtext(f"Grantee/{tag}") for tag in ("URI", "ID", "EmailAddress"))
    if uri:
        return {"uri": uri}
    if mail:
        found = users.by_email(mail)
        if found is None:
            raise S3Error("UnresolvableGrantByEmailAddress")
        return _person(found)
    return {"id": canonical or "", "name": root_name}


def to_xml(acl: Acl) -> str:
    """Grants of one grantee are kept apart, groups come first as they were added."""
    rows = []
    for who, permission in acl["grants"]:
        if "uri" in who:
            kind, inner = "Group", f"<URI>{escape(who['uri'])}</URI>"
        else:
            kind = "CanonicalUser"
            inner = f"<ID>{who['id']}</ID><DisplayName>{escape(who['name'])}</DisplayName>"
        rows.append(
            f'<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{kind}">{inner}</Grantee>'
            f"<Permission>{permission}</Permission></Grant>"
        )
    owner = acl["owner"]
    return (
        f"<AccessControlPolicy><Owner><ID>{owner['id']}</ID><DisplayName>{escape(owner['name'])}</DisplayName></Owner>"
        f"<AccessControlList>{''.join(rows)}</AccessControlList></AccessControlPolicy>"
    )


def allows(acl: Acl, user: User | None, permission: str) -> bool:
    if user is not None and acl["owner"]["id"] == user.id:
        return True
    for who, granted in acl["grants"]:
        if granted not in (permission, "FULL_CONTROL"):
            continue
        if who.get("uri") == ALL or (user is not None and who.get("uri") == AUTHENTICATED):
            return True
        if user is not None and who.get("id") == user.id:
            return True
    return False
