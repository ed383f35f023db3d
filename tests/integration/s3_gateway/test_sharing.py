"""ACLs and policies as S3 has them: who may do what with a bucket and the objects in it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.integration.s3_gateway.wire import Wire, content_md5
from tests.support.riak_cs import User

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
DENIED = (403, "AccessDenied")


def grants(wire: Wire, target: str) -> set[tuple[str, str]]:
    """(grantee, permission) of an ACL."""
    shown = wire.ask("GET", f"{target}?acl")
    assert shown.status == 200, shown
    found = set()
    for grant in shown.xml.findall("AccessControlList/Grant"):
        who = grant.findtext("Grantee/ID") or grant.findtext("Grantee/URI") or "?"
        found.add((who, grant.findtext("Permission") or ""))
    return found


CANNED = {
    "private": set(),
    "public-read": {(ALL_USERS, "READ")},
    "public-read-write": {(ALL_USERS, "READ"), (ALL_USERS, "WRITE")},
    "authenticated-read": {(AUTHENTICATED, "READ")},
}


@pytest.mark.parametrize("canned", CANNED)
@pytest.mark.parametrize("at", ["creation", "later"])
def test_canned_acls(canned: str, at: str, wire: Wire, bucket: str, new_bucket: Callable[[], str], alice: User) -> None:
    acl = {"x-amz-acl": canned}
    if at == "creation":
        wire.ask("DELETE", f"/{bucket}")
        assert wire.ask("PUT", f"/{bucket}", b"", acl).status == 200
        assert wire.ask("PUT", f"/{bucket}/k", b"x", acl).status == 200
    else:
        wire.ask("PUT", f"/{bucket}/k", b"x")
        assert wire.ask("PUT", f"/{bucket}?acl", b"", acl).status == 200
        assert wire.ask("PUT", f"/{bucket}/k?acl", b"", acl).status == 200
    for target in (f"/{bucket}", f"/{bucket}/k"):
        assert grants(wire, target) == CANNED[canned] | {(alice.id, "FULL_CONTROL")}
        assert wire.ask("GET", f"{target}?acl").text("Owner/ID") == alice.id


@pytest.mark.parametrize("bucket_acl", ["private", "public-read", "public-read-write", "authenticated-read"])
@pytest.mark.parametrize("object_acl", ["private", "public-read", "authenticated-read"])
def test_what_others_may_under_these_acls(bucket_acl: str, object_acl: str, wire: Wire, bucket: str, bob: User) -> None:
    wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-acl": bucket_acl})
    wire.ask("PUT", f"/{bucket}/k", b"x", {"x-amz-acl": object_acl})
    for who, known in ((wire.as_(bob), True), (wire.as_(None), False)):
        may_list = bucket_acl.startswith("public-read") or (known and bucket_acl == "authenticated-read")
        may_get = object_acl == "public-read" or (known and object_acl == "authenticated-read")
        may_put = bucket_acl == "public-read-write"
        for query in ("", "?list-type=2", "?versions"):
            assert who.ask("GET", f"/{bucket}{query}").status == (200 if may_list else 403)
        assert who.ask("HEAD", f"/{bucket}").status == (200 if may_list else 403)
        for method in ("GET", "HEAD"):
            assert who.ask(method, f"/{bucket}/k").status == (200 if may_get else 403)
        assert who.ask("GET", f"/{bucket}/none").status == (404 if may_list else 403)
        name = "new-known" if known else "new-anonymous"
        assert who.ask("PUT", f"/{bucket}/{name}", b"y").status == (200 if may_put else 403)
        assert who.ask("DELETE", f"/{bucket}/absent").status == (204 if may_put else 403)
        assert who.ask("GET", f"/{bucket}?acl").outcome == DENIED
        assert who.ask("PUT", f"/{bucket}/k?acl", b"", {"x-amz-acl": "public-read"}).outcome == DENIED
        assert who.ask("PUT", f"/{bucket}?policy", b"{}").outcome in (DENIED, (400, "MalformedPolicy"))
        assert who.ask("DELETE", f"/{bucket}").outcome == DENIED


def acl_document(owner: User, *grantees: tuple[str, str]) -> bytes:
    listed = "".join(
        '<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:type="{"Group" if "://" in who else "AmazonCustomerByEmail" if "@" in who else "CanonicalUser"}">'
        f"{_grantee(who)}</Grantee><Permission>{right}</Permission></Grant>"
        for who, right in grantees
    )
    return (
        f"<AccessControlPolicy><Owner><ID>{owner.id}</ID></Owner><AccessControlList>{listed}</AccessControlList>"
        "</AccessControlPolicy>"
    ).encode()


def _grantee(who: str) -> str:
    if "://" in who:
        return f"<URI>{who}</URI>"
    return f"<EmailAddress>{who}</EmailAddress>" if "@" in who else f"<ID>{who}</ID>"


@pytest.mark.parametrize("right", ["READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"])
def test_rights_on_a_bucket_one_by_one(right: str, wire: Wire, bucket: str, alice: User, bob: User) -> None:
    body = acl_document(alice, (alice.id, "FULL_CONTROL"), (bob.id, right))
    assert wire.ask("PUT", f"/{bucket}?acl", body, {"Content-MD5": content_md5(body)}).status == 200
    bobs, full = wire.as_(bob), right == "FULL_CONTROL"
    assert (bob.id, right) in grants(wire, f"/{bucket}")
    assert bobs.ask("GET", f"/{bucket}").status == (200 if full or right == "READ" else 403)
    assert bobs.ask("PUT", f"/{bucket}/k", b"x").status == (200 if full or right == "WRITE" else 403)
    assert bobs.ask("GET", f"/{bucket}?acl").status == (200 if full or right == "READ_ACP" else 403)
    # Riak CS lets nobody but the owner write an ACL (anon-put-acl-as-bob): narrower than S3, and said so.
    answer = bobs.ask("PUT", f"/{bucket}?acl", body, {"Content-MD5": content_md5(body)})
    assert answer.status in ((200, 403) if full or right == "WRITE_ACP" else (403,)), answer


def test_a_grant_by_e_mail(wire: Wire, bucket: str, alice: User, bob: User) -> None:
    body = acl_document(alice, (alice.id, "FULL_CONTROL"), (bob.email, "READ"))
    assert wire.ask("PUT", f"/{bucket}?acl", body).status == 200
    assert (bob.id, "READ") in grants(wire, f"/{bucket}")
    body = acl_document(alice, ("nobody@example.invalid", "READ"))
    assert wire.ask("PUT", f"/{bucket}?acl", body).outcome == (400, "UnresolvableGrantByEmailAddress")


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b"nonsense", {"MalformedACLError", "MalformedXML"}),
        (b"<AccessControlPolicy/>", {"MalformedACLError"}),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><AccessControlPolicy/>", {"MalformedACLError", "MalformedXML"}),
    ],
)
def test_acls_that_are_none(body: bytes, codes: set[str], wire: Wire, bucket: str) -> None:
    answer = wire.ask("PUT", f"/{bucket}?acl", body)
    assert answer.status == 400
    assert answer.code in codes, answer


def test_a_grant_to_nobody_known_is_refused(wire: Wire, bucket: str, alice: User) -> None:
    body = acl_document(alice, (alice.id, "FULL_CONTROL"), ("f" * 64, "READ"))
    assert wire.ask("PUT", f"/{bucket}?acl", body).outcome == (400, "InvalidArgument")


def test_an_owner_without_grants_may_still_give_himself_some(wire: Wire, bucket: str, alice: User) -> None:
    wire.ask("PUT", f"/{bucket}/k", b"x")
    body = acl_document(alice)
    assert wire.ask("PUT", f"/{bucket}?acl", body).status == 200
    assert grants(wire, f"/{bucket}") == set()
    assert wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-acl": "private"}).status == 200
    assert grants(wire, f"/{bucket}") == {(alice.id, "FULL_CONTROL")}


def put_policy(wire: Wire, bucket: str, *statements: dict[str, object]) -> tuple[int, str]:
    body = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
    return wire.ask("PUT", f"/{bucket}?policy", body).outcome


def test_a_policy_that_lets_others_list(wire: Wire, bucket: str, bob: User) -> None:
    wire.ask("PUT", f"/{bucket}/k", b"x")
    arns = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:ListBucket", "Resource": arns}
    assert put_policy(wire, bucket, statement) == (204, "")
    for who in (wire.as_(bob), wire.as_(None)):
        shown = who.ask("GET", f"/{bucket}")
        assert shown.texts("Contents/Key") == ["k"], shown
        assert who.ask("GET", f"/{bucket}?list-type=2").texts("Contents/Key") == ["k"]
        assert who.ask("GET", f"/{bucket}/k").outcome == DENIED


def test_a_deny_wins_over_an_acl(wire: Wire, bucket: str, bob: User) -> None:
    wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-acl": "authenticated-read"})
    wire.ask("PUT", f"/{bucket}/k", b"x", {"x-amz-acl": "public-read"})
    statement = {"Effect": "Deny", "Principal": "*", "Action": ["s3:ListBucket", "s3:GetObject"],
                 "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}  # fmt: skip
    assert put_policy(wire, bucket, statement) == (204, "")
    for who in (wire.as_(bob), wire.as_(None), wire):
        assert who.ask("GET", f"/{bucket}").outcome == DENIED
        assert who.ask("GET", f"/{bucket}/k").outcome == DENIED
    assert wire.ask("DELETE", f"/{bucket}?policy").status == 204, "the owner can always take it away"
    assert wire.as_(bob).ask("GET", f"/{bucket}/k").body == b"x"


@pytest.mark.parametrize(
    "statement",
    [
        {},
        {"Effect": "Perhaps", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::BUCKET/*"},
        {"Effect": "Allow", "Principal": "*", "Action": "s3:Nonsense", "Resource": "arn:aws:s3:::BUCKET/*"},
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::other-bucket/*"},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::BUCKET/*"},
    ],
)
def test_policies_that_are_malformed(statement: dict[str, object], wire: Wire, bucket: str) -> None:
    body = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).replace("BUCKET", bucket).encode()
    assert wire.ask("PUT", f"/{bucket}?policy", body).outcome == (400, "MalformedPolicy")
    assert wire.ask("GET", f"/{bucket}?policy").outcome == (404, "NoSuchBucketPolicy")


def test_a_policy_comes_back_as_it_was_put(wire: Wire, bucket: str) -> None:
    statement = {"Sid": "s", "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject",
                 "Resource": f"arn:aws:s3:::{bucket}/*"}  # fmt: skip
    assert put_policy(wire, bucket, statement) == (204, "")
    shown = wire.ask("GET", f"/{bucket}?policy")
    assert json.loads(shown.body) == {"Version": "2012-10-17", "Statement": [statement]}
    wire.ask("PUT", f"/{bucket}/k", b"x")
    assert wire.ask("DELETE", f"/{bucket}/k").outcome == DENIED
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    answer = wire.ask("POST", f"/{bucket}?delete", body, {"Content-MD5": content_md5(body)})
    assert (answer.status, answer.texts("Error/Code")) == (200, ["AccessDenied"])
    assert wire.ask("GET", f"/{bucket}?policyStatus").text("IsPublic") in ("false", "FALSE")


def test_credentials_that_are_none(wire: Wire, bucket: str, alice: User) -> None:
    unknown = User("x", "NOSUCHKEY00000000000", alice.secret, alice.id)
    wrong = User("x", alice.key, alice.secret + "x", alice.id)
    for sign in ("v4", "v2"):
        assert wire.as_(unknown).ask("GET", "/", sign=sign).outcome == (403, "InvalidAccessKeyId")
        assert wire.as_(wrong).ask("GET", "/", sign=sign).outcome == (403, "SignatureDoesNotMatch")
        assert wire.as_(wrong).ask("PUT", f"/{bucket}/k", b"x", sign=sign).outcome == (403, "SignatureDoesNotMatch")
    for value in ("AWS HAHAHA", "AWS4-HMAC-SHA256 nonsense", "Basic YTpi", "AWS a:b:c", "Bearer x", "AWS4-HMAC-SHA256"):
        answer = wire.ask("GET", f"/{bucket}", headers={"Authorization": value}, sign="")
        assert answer.status in (400, 403), (value, answer)
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404
