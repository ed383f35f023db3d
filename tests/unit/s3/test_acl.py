"""ACLs: canned, by headers, in XML; what they grant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.access.acl import CANNED, Acl, Grant, Permission, acl_of, addresses_of, canned, ids_of, resolved
from controlplane.s3.access.acl_xml import acl_from_riakcs, parse_acl, render_acl
from controlplane.s3.access.grant_headers import acl_from_headers
from controlplane.s3.access.principals import (
    ALL_USERS,
    ANONYMOUS,
    AUTHENTICATED_USERS,
    LOG_DELIVERY,
    Caller,
    Email,
    Group,
    User,
)
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml import MalformedXml
from tests.support.s3_oracle import read, written

ALICE, BOB, CAROL = User("a" * 64, "alice"), User("b" * 64, "bob"), User("c" * 64, "carol")
P = Permission


def code_of(call: object) -> Code:
    with pytest.raises(S3Fault) as caught:
        call()  # type: ignore[operator]
    return caught.value.code


def granted(acl: Acl, user: User | None) -> set[str]:
    caller = ANONYMOUS if user is None else Caller(user.id)
    return {permission.value for permission in P if acl.grants_to(caller, permission)}


ALL = {"READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"}


@pytest.mark.parametrize(
    ("name", "owner", "bucket_owner", "bob", "nobody"),
    [
        ("private", ALL, set(), set(), set()),
        ("public-read", ALL, {"READ"}, {"READ"}, {"READ"}),
        ("public-read-write", ALL, {"READ", "WRITE"}, {"READ", "WRITE"}, {"READ", "WRITE"}),
        ("authenticated-read", ALL, {"READ"}, {"READ"}, set()),
        ("log-delivery-write", ALL, set(), set(), set()),
        ("aws-exec-read", ALL, set(), set(), set()),
        ("bucket-owner-read", ALL, {"READ"}, set(), set()),
        ("bucket-owner-full-control", ALL, ALL, set(), set()),
    ],
)
def test_canned_acls_of_an_object(
    name: str, owner: set[str], bucket_owner: set[str], bob: set[str], nobody: set[str]
) -> None:
    acl = canned(name, ALICE, CAROL)
    assert (granted(acl, ALICE), granted(acl, CAROL), granted(acl, BOB), granted(acl, None)) == (
        owner, bucket_owner, bob, nobody,
    )  # fmt: skip
    assert acl.public is bool(bob)


def test_every_canned_acl_is_in_the_table_above() -> None:
    table = next(mark for mark in test_canned_acls_of_an_object.pytestmark if mark.name == "parametrize").args[1]  # type: ignore[attr-defined]
    assert {row[0] for row in table} == CANNED


def test_log_delivery_write_of_a_bucket_grants_the_group() -> None:
    grants = canned("log-delivery-write", ALICE).grants
    assert {(at.permission.value) for at in grants if at.grantee == Group(LOG_DELIVERY)} == {"WRITE", "READ_ACP"}


def test_acl_bucket_put_unknown_is_refused() -> None:
    """Recordings acl-bucket-put-unknown, bucket-create-bad-acl: Riak CS takes it as private."""
    assert code_of(lambda: canned("nonsense", ALICE)) is Code.INVALID_ARGUMENT
    assert code_of(lambda: acl_from_headers({"x-amz-acl": ""}, ALICE)) is Code.INVALID_ARGUMENT


def test_grants_by_headers() -> None:
    """Recordings acl-object-grant-header-id, -email, -uri: Riak CS answers 500 to the first two."""
    acl = acl_from_headers(
        {
            "x-amz-grant-read": f'id="{BOB.id}", uri="{ALL_USERS}"',
            "x-amz-grant-full-control": f"id={ALICE.id}, emailAddress=carol@example.com",
        },
        ALICE,
    )
    assert acl is not None
    assert set(acl.grants) == {
        Grant(User(BOB.id), P.READ),
        Grant(Group(ALL_USERS), P.READ),
        Grant(User(ALICE.id), P.FULL_CONTROL),
        Grant(Email("carol@example.com"), P.FULL_CONTROL),
    }
    assert addresses_of(acl) == {"carol@example.com"}
    assert ids_of(acl) == {ALICE.id, BOB.id}
    known = {user.id: user for user in (ALICE, BOB, CAROL)}
    found = resolved(acl, {"carol@example.com": CAROL}.get, known.get)
    assert Grant(CAROL, P.FULL_CONTROL) in found.grants
    assert Grant(BOB, P.READ) in found.grants
    assert code_of(lambda: resolved(acl, {}.get)) is Code.UNRESOLVABLE_GRANT_BY_EMAIL
    assert code_of(lambda: resolved(acl, {"carol@example.com": CAROL}.get, {}.get)) is Code.INVALID_ARGUMENT


def test_no_headers_ask_for_nothing() -> None:
    assert acl_from_headers({"content-type": "x"}, ALICE) is None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-grant-read": "zzz"}, Code.INVALID_ARGUMENT),
        ({"x-amz-grant-read": ""}, None),
        ({"x-amz-grant-read": "id="}, Code.INVALID_ARGUMENT),
        ({"x-amz-grant-read": 'id="a" id="b"'}, Code.INVALID_ARGUMENT),
        ({"x-amz-grant-read": "uri=http://example.com/all"}, Code.INVALID_ARGUMENT),
        ({"x-amz-grant-read": "id=a", "x-amz-acl": "private"}, Code.INVALID_REQUEST),
        ({"x-amz-grant-read": ",".join(f"id={n}" for n in range(101))}, Code.MALFORMED_ACL),
    ],
)
def test_acl_bucket_grant_malformed_and_the_like(headers: dict[str, str], code: Code | None) -> None:
    if code is None:
        assert acl_from_headers(headers, ALICE) == Acl(ALICE, ())
        return
    assert code_of(lambda: acl_from_headers(headers, ALICE)) is code


grantees = st.sampled_from([ALICE, BOB, CAROL, Group(ALL_USERS), Group(AUTHENTICATED_USERS), Group(LOG_DELIVERY)])


@given(st.lists(st.builds(Grant, grantees, st.sampled_from(list(P))), max_size=8))
def test_acls_round_trip_and_botocore_agrees(grants: list[Grant]) -> None:
    acl = acl_of(ALICE, grants)
    document = render_acl(acl)
    assert parse_acl(document, ALICE) == acl
    assert acl_from_riakcs(document) == acl
    found = read("GetBucketAcl", document)
    kinds = {"CanonicalUser": "ID", "Group": "URI"}
    assert found["Owner"] == {"ID": ALICE.id, "DisplayName": "alice"}
    assert [(at["Grantee"][kinds[at["Grantee"]["Type"]]], at["Permission"]) for at in found.get("Grants", [])] == [
        (at.grantee.id if isinstance(at.grantee, User) else at.grantee.uri, at.permission.value)  # type: ignore[union-attr]
        for at in acl.grants
    ]
    again = written("PutBucketAcl", Bucket="b", AccessControlPolicy=found)
    assert parse_acl(again, ALICE) == acl


def test_an_email_grantee_in_xml() -> None:
    policy = {
        "Owner": {"ID": ALICE.id},
        "Grants": [
            {"Grantee": {"Type": "AmazonCustomerByEmail", "EmailAddress": "b@example.com"}, "Permission": "READ"}
        ],
    }
    found = parse_acl(written("PutObjectAcl", Bucket="b", Key="k", AccessControlPolicy=policy), ALICE)
    assert found.grants == (Grant(Email("b@example.com"), P.READ),)
    assert granted(found, BOB) == set()


def acl_body(grant: str, owner: str = ALICE.id) -> bytes:
    return (
        f"<AccessControlPolicy><Owner><ID>{owner}</ID></Owner><AccessControlList>{grant}</AccessControlList>"
        "</AccessControlPolicy>"
    ).encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"zzz", Code.MALFORMED_ACL),
        (b"<AccessControlPolicy/>", Code.MALFORMED_ACL),
        (acl_body("", "d" * 64), Code.ACCESS_DENIED),
        (acl_body("<Grant><Grantee><ID>x</ID></Grantee><Permission>NONE</Permission></Grant>"), Code.MALFORMED_ACL),
        (acl_body("<Grant><Grantee/><Permission>READ</Permission></Grant>"), Code.MALFORMED_ACL),
        (acl_body("<Grant><Permission>READ</Permission></Grant>"), Code.MALFORMED_ACL),
        (
            acl_body("<Grant><Grantee><URI>http://x/</URI></Grantee><Permission>READ</Permission></Grant>"),
            Code.INVALID_ARGUMENT,
        ),
        (
            acl_body("<Grant><Grantee><ID>x</ID><URI>y</URI></Grantee><Permission>READ</Permission></Grant>"),
            Code.MALFORMED_ACL,
        ),
    ],
)
def test_acl_object_xml_bad_permission_and_the_like(body: bytes, code: Code) -> None:
    """Recordings acl-object-xml-bad-permission (500 of Riak CS), acl-object-xml-malformed."""
    assert code_of(lambda: parse_acl(body, ALICE)) is code


def test_what_is_no_acl_of_riak_cs_is_malformed() -> None:
    for body in (b"", b"<Error><Code>AccessDenied</Code></Error>", acl_body("<Grant/>")):
        with pytest.raises(MalformedXml):
            acl_from_riakcs(body)
