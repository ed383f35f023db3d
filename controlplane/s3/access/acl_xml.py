"""AccessControlPolicy: the document of ACLs, in and out."""

from __future__ import annotations

from typing import Final

from controlplane.s3.access.acl import MAX_GRANTS, Acl, Grant, Permission, acl_of
from controlplane.s3.access.principals import GROUPS, Email, Grantee, Group, User
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml import Element, MalformedXml, parse_xml
from controlplane.s3.xml_text import document, element

_XSI: Final = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def _malformed(message: str) -> S3Fault:
    return S3Fault(Code.MALFORMED_ACL, message)


def _grantee(parent: Element) -> Grantee:
    """By what it is named with: the attribute xsi:type says the same once more."""
    given = [child for child in parent.children if child.name in ("ID", "EmailAddress", "URI")]
    if len(given) != 1 or not given[0].text.strip():
        raise _malformed("A Grantee has an ID, an EmailAddress or a URI.")
    named = given[0].text.strip()
    match given[0].name:
        case "ID":
            return User(named, parent.text_of("DisplayName") or "")
        case "EmailAddress":
            return Email(named)
        case _:
            if named not in GROUPS:
                raise S3Fault(Code.INVALID_ARGUMENT, f"Invalid group uri: {named[:120]!r}")
            return Group(named)


def _grant(element_: Element) -> Grant:
    grantee, permission = element_.find("Grantee"), (element_.text_of("Permission") or "").strip()
    if element_.name != "Grant" or grantee is None:
        raise _malformed("An AccessControlList consists of Grants with a Grantee.")
    if permission not in Permission.__members__:
        raise _malformed(f"Unknown Permission: {permission[:40]!r}")
    return Grant(_grantee(grantee), Permission(permission))


def _acl(root: Element) -> Acl:
    owner, grants = root.find("Owner"), root.find("AccessControlList")
    if root.name != "AccessControlPolicy" or owner is None or grants is None:
        raise _malformed("An AccessControlPolicy has an Owner and an AccessControlList.")
    owner_id = (owner.text_of("ID") or "").strip()
    return acl_of(User(owner_id, owner.text_of("DisplayName") or ""), map(_grant, grants.children))


def parse_acl(body: bytes, owner: User) -> Acl:
    """The ACL that a request's body asks for. Raises MalformedACLError, InvalidArgument (unknown group), AccessDenied
    when it names another owner than the bucket or object has: ownership is not given away by an ACL.

    Riak CS answers 500 to an unknown permission (recording acl-object-xml-bad-permission)."""
    try:
        found = _acl(parse_xml(body, MAX_GRANTS * 10))
    except MalformedXml as error:
        raise S3Fault(Code.MALFORMED_ACL) from error
    if not found.owner.id:
        raise _malformed("The Owner of an AccessControlPolicy has an ID.")
    if found.owner.id != owner.id:
        raise S3Fault(Code.ACCESS_DENIED, "The ACL names another owner.")
    return Acl(owner, found.grants)


def acl_from_riakcs(body: bytes) -> Acl:
    """The ACL in an answer of Riak CS (recordings acl-bucket-get, acl-bucket-get-public). What was written without
    credentials (anon-rw-put) has an owner without an id, who is no caller. Raises MalformedXml when it is none."""
    try:
        return _acl(parse_xml(body))
    except S3Fault as error:
        raise MalformedXml(f"no ACL: {error.message}") from error


def _written(grantee: Grantee) -> str:
    match grantee:
        case User(id=canonical, display_name=name):
            inner = f"{element('ID', canonical)}{element('DisplayName', name)}"
            return f'<Grantee {_XSI} xsi:type="CanonicalUser">{inner}</Grantee>'
        case Group(uri=uri):
            return f'<Grantee {_XSI} xsi:type="Group">{element("URI", uri)}</Grantee>'
        case Email(address=address):
            inner = element("EmailAddress", address)
            return f'<Grantee {_XSI} xsi:type="AmazonCustomerByEmail">{inner}</Grantee>'


def render_acl(acl: Acl) -> bytes:
    """For clients and for Riak CS alike, which reads it (recording acl-object-xml-user)."""
    grants = "".join(
        f"<Grant>{_written(grant.grantee)}{element('Permission', grant.permission.value)}</Grant>"
        for grant in acl.grants
    )
    owner = f"{element('ID', acl.owner.id)}{element('DisplayName', acl.owner.display_name)}"
    return document("AccessControlPolicy", f"<Owner>{owner}</Owner><AccessControlList>{grants}</AccessControlList>")
