"""The surprises of the real Riak CS about who may do what (9 to 14, 19, 21), through the gateway."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pytest

from tests.hosts.replay import signing
from tests.integration.s3_gateway.recorded import recorded
from tests.integration.s3_gateway.wire import EMPTY_SHA256, Wire, content_md5, http_date
from tests.support.riak_cs import RiakCs, User

DENIED = (403, "AccessDenied")


@pytest.fixture
def anonymous(wire: Wire) -> Wire:
    return wire.as_(None)


@pytest.fixture
def bobs(wire: Wire, bob: User) -> Wire:
    return wire.as_(bob)


@pytest.fixture
def admins(wire: Wire, riak_cs: RiakCs) -> Wire:
    return wire.as_(User("admin", riak_cs.key, riak_cs.secret, ""))


@pytest.fixture
def private(wire: Wire, bucket: str) -> str:
    """A bucket of alice's with one object, as they are made by default."""
    wire.ask("PUT", f"/{bucket}/o", b"secret")
    return bucket


def set_policy(wire: Wire, bucket: str, *statements: dict[str, object], **headers: str) -> None:
    body = policy_of(*statements)
    answer = wire.ask("PUT", f"/{bucket}?policy", body, {"Content-MD5": content_md5(body), **headers})
    assert answer.status == 204, answer


def policy_of(*statements: dict[str, object]) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()


def allow(action: str, resource: str, **more: object) -> dict[str, object]:
    return {"Effect": "Allow", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{resource}", **more}


@recorded("anon-private-list", "anon-private-acl", "anon-list-as-bob")
def test_09_what_is_private_is_shown_to_nobody_else(
    recording: str, private: str, wire: Wire, anonymous: Wire, bobs: Wire
) -> None:
    stranger = bobs if recording == "anon-list-as-bob" else anonymous
    queries = ("", "?list-type=2", "?versions", "?acl", "?uploads", "?location", "?versioning", "?policy", "?cors")
    for query in queries:
        assert stranger.ask("GET", f"/{private}{query}").outcome == DENIED, query
    assert stranger.ask("HEAD", f"/{private}").status == 403
    assert stranger.ask("GET", f"/{private}/o").outcome == DENIED
    assert stranger.ask("GET", f"/{private}/o?acl").outcome == DENIED
    assert stranger.ask("HEAD", f"/{private}/none").status == 403
    assert stranger.ask("GET", f"/{private}/none").outcome == DENIED, "whether a key is there is private too"
    assert wire.ask("GET", f"/{private}/none").outcome == (404, "NoSuchKey")


@recorded("anon-public-head-bucket")
def test_09_a_public_bucket_has_a_head_for_all(recording: str, private: str, wire: Wire, anonymous: Wire) -> None:
    assert wire.ask("PUT", f"/{private}?acl", b"", {"x-amz-acl": "public-read"}).status == 200
    assert anonymous.ask("HEAD", f"/{private}").status == 200
    assert anonymous.ask("GET", f"/{private}").texts("Contents/Key") == ["o"]
    assert anonymous.ask("GET", f"/{private}/o").outcome == DENIED, "the bucket's ACL does not open its objects"


@recorded("policy-star-anon-list", "policy-star-admin-list", "policy-star-anon-get")
def test_10_a_policy_opens_what_it_names_and_nothing_else(
    recording: str, private: str, wire: Wire, anonymous: Wire, admins: Wire
) -> None:
    set_policy(wire, private, allow("s3:GetObject", f"{private}/*"))
    assert anonymous.ask("GET", f"/{private}/o").body == b"secret"
    assert anonymous.ask("GET", f"/{private}").outcome == DENIED
    assert anonymous.ask("PUT", f"/{private}/new", b"x").outcome == DENIED
    assert wire.ask("GET", f"/{private}").texts("Contents/Key") == ["o"], "the owner still may"
    assert admins.ask("GET", f"/{private}").status in (200, 403), "never a failure"


@recorded("policy-put-star-anon-put")
def test_10_put_for_all_puts_and_does_no_more(recording: str, private: str, wire: Wire, anonymous: Wire) -> None:
    set_policy(wire, private, allow("s3:PutObject", f"{private}/*"))
    assert anonymous.ask("PUT", f"/{private}/new", b"x").status == 200
    assert wire.ask("GET", f"/{private}/new").body == b"x"
    assert anonymous.ask("GET", f"/{private}/new").outcome == DENIED


@recorded("policy-deny-owner-get")
def test_10_a_deny_binds_the_owner(recording: str, private: str, wire: Wire) -> None:
    set_policy(wire, private, {**allow("s3:GetObject", f"{private}/*"), "Effect": "Deny"})
    assert wire.ask("GET", f"/{private}/o").outcome == DENIED
    assert wire.ask("DELETE", f"/{private}?policy").status == 204
    assert wire.ask("GET", f"/{private}/o").body == b"secret"


@recorded("policy-list-star-anon-list")
def test_10_list_for_all(recording: str, private: str, wire: Wire, anonymous: Wire) -> None:
    set_policy(wire, private, allow("s3:ListBucket", private))
    assert anonymous.ask("GET", f"/{private}").texts("Contents/Key") == ["o"]
    assert anonymous.ask("GET", f"/{private}/none").outcome == DENIED or (
        anonymous.ask("GET", f"/{private}/none").outcome == (404, "NoSuchKey")
    )
    assert anonymous.ask("GET", f"/{private}/o").outcome == DENIED


@recorded("policy-put-no-content-type", "policy-put-charset")
def test_11_a_policy_comes_with_any_content_type(recording: str, private: str, wire: Wire, anonymous: Wire) -> None:
    headers = {} if recording == "policy-put-no-content-type" else {"Content-Type": "application/json; charset=utf-8"}
    set_policy(wire, private, allow("s3:GetObject", f"{private}/*"), **headers)
    shown = wire.ask("GET", f"/{private}?policy")
    assert json.loads(shown.body)["Statement"][0]["Action"] in ("s3:GetObject", ["s3:GetObject"])
    assert anonymous.ask("GET", f"/{private}/o").status == 200


@recorded("policy-put-aws-arn")
def test_11_a_principal_may_be_a_user(
    recording: str, private: str, wire: Wire, bobs: Wire, bob: User, carol: User, riak_cs: RiakCs
) -> None:
    arn = riak_cs.admin("GET", f"/riak-cs/user/{bob.key}")["arn"]
    statement = {**allow("s3:GetObject", f"{private}/*"), "Principal": {"AWS": arn}}
    body = policy_of(statement)
    answer = wire.ask("PUT", f"/{private}?policy", body)
    assert answer.status in (204, 400, 501), answer
    opened = bobs.ask("GET", f"/{private}/o")
    assert (opened.body == b"secret") if answer.status == 204 else opened.outcome == DENIED
    assert wire.as_(carol).ask("GET", f"/{private}/o").outcome == DENIED


@recorded("policy-delete")
def test_11_deleting_a_policy_is_204(recording: str, private: str, wire: Wire, anonymous: Wire) -> None:
    set_policy(wire, private, allow("s3:GetObject", f"{private}/*"))
    assert wire.ask("DELETE", f"/{private}?policy").status == 204
    assert wire.ask("GET", f"/{private}?policy").outcome == (404, "NoSuchBucketPolicy")
    assert anonymous.ask("GET", f"/{private}/o").outcome == DENIED


@recorded("presign-v4-get", "presign-v4-list", "presign-v2-get")
def test_12_presigned_urls_of_both_versions_work(recording: str, private: str, wire: Wire, anonymous: Wire) -> None:
    match recording:
        case "presign-v4-get":
            assert anonymous.ask("GET", wire.presigned("GET", f"/{private}/o")).body == b"secret"
        case "presign-v4-list":
            target = wire.presigned("GET", f"/{private}", "max-keys=1")
            assert anonymous.ask("GET", target).texts("Contents/Key") == ["o"]
            # Riak CS shows it without looking at the signature.
            forged = target.replace("max-keys=1", "max-keys=2")
            assert anonymous.ask("GET", forged).outcome == (403, "SignatureDoesNotMatch")
            old = wire.presigned("GET", f"/{private}", skew=dt.timedelta(hours=-1))
            assert anonymous.ask("GET", old).outcome == DENIED
        case _:
            assert anonymous.ask("GET", wire.presigned_v2("GET", f"/{private}/o")).body == b"secret"


def test_12_presigned_urls_end_and_are_for_one_thing(private: str, wire: Wire, anonymous: Wire) -> None:
    hour = dt.timedelta(hours=-1)
    assert anonymous.ask("GET", wire.presigned("GET", f"/{private}/o", skew=hour)).outcome == DENIED
    assert anonymous.ask("GET", wire.presigned_v2("GET", f"/{private}/o", expires=1)).outcome == DENIED
    for_get = wire.presigned("GET", f"/{private}/o")
    assert anonymous.ask("DELETE", for_get).outcome == (403, "SignatureDoesNotMatch")
    assert anonymous.ask("GET", for_get.replace("/o?", "/other?")).outcome == (403, "SignatureDoesNotMatch")


@recorded("auth-v4-skew-hour")
def test_13_an_hour_of_skew_is_refused_and_ten_minutes_pass(recording: str, private: str, wire: Wire) -> None:
    for hours in (-1, 1):
        answer = wire.ask("GET", f"/{private}/o", skew=dt.timedelta(hours=hours))
        assert answer.outcome == (403, "RequestTimeTooSkewed")
    assert wire.ask("GET", f"/{private}/o", skew=dt.timedelta(minutes=-10)).status == 200


@recorded("auth-v4-other-region")
def test_13_another_region_is_taken_unless_checked(
    recording: str, private: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = wire.ask("GET", f"/{private}/o", headers=_signed_for(wire, f"/{private}/o", "eu-west-9"), sign="")
    assert answer.body == b"secret"
    forged = _signed_for(wire, f"/{private}/o", "eu-west-9")
    forged["Authorization"] = forged["Authorization"].replace("eu-west-9", "eu-west-8")
    assert wire.ask("GET", f"/{private}/o", headers=forged, sign="").outcome == (403, "SignatureDoesNotMatch")


def _signed_for(wire: Wire, path: str, region: str, **headers: str) -> dict[str, str]:
    """Complete headers by botocore, the oracle."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    assert wire.user is not None
    request = AWSRequest("GET", f"{wire.url}{path}", headers=headers)
    request.context["client_config"] = None
    S3SigV4Auth(Credentials(wire.user.key, wire.user.secret), "s3", region).add_auth(request)
    return dict(request.headers.items())


@recorded("auth-v4-no-sha-header")
def test_13_a_missing_sha256_is_a_clear_refusal(recording: str, private: str, wire: Wire) -> None:
    answer = wire.ask("GET", f"/{private}/o", sha256="-")
    assert answer.status in (200, 400, 403), answer
    assert answer.status == 200 or answer.code in ("MissingSecurityHeader", "InvalidRequest", "SignatureDoesNotMatch")


@recorded("auth-v4-date-header")
def test_13_the_date_header_serves_for_x_amz_date(recording: str, private: str, wire: Wire) -> None:
    assert wire.user is not None
    now = dt.datetime.now(dt.UTC)
    headers = {"Host": wire.host, "x-amz-content-sha256": EMPTY_SHA256}
    signed = signing.v4("GET", f"/{private}/o", "", headers, wire.user.key, wire.user.secret, now)
    # Signed with x-amz-date in the list: sent without it, the signature cannot hold.
    del signed["x-amz-date"]
    answer = wire.ask("GET", f"/{private}/o", headers={**headers, **signed, "Date": http_date(now)}, sign="")
    assert answer.status in (400, 403), answer
    assert answer.code in ("AccessDenied", "SignatureDoesNotMatch", "MissingSecurityHeader"), answer
    answer = wire.ask("GET", f"/{private}/o", headers={"Host": wire.host, **_signed_by_date(wire, private)}, sign="")
    assert answer.body == b"secret"


def _signed_by_date(wire: Wire, bucket: str) -> dict[str, str]:
    """SigV4 over `date` in place of x-amz-date."""
    import hashlib
    import hmac

    from tests.integration.s3_gateway.wire import signing_key

    assert wire.user is not None
    now = dt.datetime.now(dt.UTC)
    stamp, date = signing.amz_date(now), http_date(now)
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    names = "date;host;x-amz-content-sha256"
    lines = f"date:{date}\nhost:{wire.host}\nx-amz-content-sha256:{EMPTY_SHA256}\n"
    text = f"GET\n/{bucket}/o\n\n{lines}\n{names}\n{EMPTY_SHA256}"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
    signature = hmac.new(signing_key(wire.user.secret, scope), to_sign.encode(), hashlib.sha256).hexdigest()
    value = f"AWS4-HMAC-SHA256 Credential={wire.user.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {"Date": date, "x-amz-content-sha256": EMPTY_SHA256, "Authorization": value}


@recorded("auth-v4-double-space")
def test_13_spaces_in_signed_values_are_folded(recording: str, private: str, wire: Wire) -> None:
    answer = wire.ask("PUT", f"/{private}/spaced", b"abc", {"x-amz-meta-two": "a  b"})
    assert answer.status == 200, answer
    assert wire.ask("HEAD", f"/{private}/spaced").headers["x-amz-meta-two"].split() == ["a", "b"]


@recorded("auth-v2-x-amz-date", "auth-v2-x-amz-date-repeated", "auth-v2-no-date")
def test_14_sigv2_by_x_amz_date(recording: str, private: str, wire: Wire) -> None:
    assert wire.user is not None
    date = http_date(dt.datetime.now(dt.UTC))
    headers = {"Host": wire.host} | ({} if recording == "auth-v2-no-date" else {"x-amz-date": date})
    in_line = date if recording == "auth-v2-x-amz-date-repeated" else ""
    signature = signing.v2_signature("GET", f"/{private}/o", "", headers, wire.user.secret, in_line)
    headers["Authorization"] = f"AWS {wire.user.key}:{signature}"
    answer = wire.ask("GET", f"/{private}/o", headers=headers, sign="")
    if recording != "auth-v2-no-date":
        # S3 signs an empty Date line then; the other way is what clients of Riak CS have learnt.
        assert answer.body == b"secret", answer
    else:
        assert answer.status == 403, answer
        assert answer.code in ("AccessDenied", "SignatureDoesNotMatch"), answer


@recorded("bucket-delete-other-owner", "anon-put-acl-as-bob", "bucket-head-other-owner", "anon-versioning-as-bob")
def test_19_what_is_not_yours_is_403(recording: str, private: str, wire: Wire, bobs: Wire) -> None:
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    match recording:
        case "bucket-delete-other-owner":
            assert bobs.ask("DELETE", f"/{private}").outcome == DENIED
        case "anon-put-acl-as-bob":
            answer = bobs.ask("PUT", f"/{private}?acl", b"", {"x-amz-acl": "public-read-write"})
            assert answer.outcome == DENIED
        case "bucket-head-other-owner":
            assert bobs.ask("HEAD", f"/{private}").status == 403
            assert bobs.ask("GET", f"/{private}?location").outcome == DENIED
        case _:
            assert bobs.ask("PUT", f"/{private}?versioning", enabled).outcome == DENIED
    assert wire.ask("GET", f"/{private}/o").body == b"secret"
    assert wire.ask("GET", f"/{private}?acl").texts(".//URI") == []


@recorded("admin-get-foreign", "admin-delete-foreign-bucket")
def test_19_the_admin_has_no_rights_that_s3_does_not_know(
    recording: str, private: str, wire: Wire, admins: Wire
) -> None:
    if recording == "admin-get-foreign":
        assert admins.ask("GET", f"/{private}/o").outcome == DENIED
    else:
        assert admins.ask("DELETE", f"/{private}").outcome == DENIED
    assert wire.ask("GET", f"/{private}/o").body == b"secret"


@recorded("acl-object-grant-header-id", "acl-object-grant-header-uri")
def test_21_grants_by_header(recording: str, private: str, wire: Wire, anonymous: Wire, bobs: Wire, bob: User) -> None:
    everyone = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'
    grant = f'id="{bob.id}"' if recording == "acl-object-grant-header-id" else everyone
    assert wire.ask("PUT", f"/{private}/granted", b"x", {"x-amz-grant-read": grant}).status == 200
    assert bobs.ask("GET", f"/{private}/granted").body == b"x"
    open_to_all = recording == "acl-object-grant-header-uri"
    assert anonymous.ask("GET", f"/{private}/granted").status == (200 if open_to_all else 403)


@pytest.mark.parametrize("kind", ["id", "emailAddress"])
def test_21_grants_on_buckets_by_header(
    kind: str, new_bucket: Callable[[], str], wire: Wire, bobs: Wire, bob: User
) -> None:
    bucket = new_bucket()
    value = bob.id if kind == "id" else bob.email
    assert wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-grant-read": f'{kind}="{value}"'}).status == 200
    assert bobs.ask("GET", f"/{bucket}").status == 200
    assert bob.id in wire.ask("GET", f"/{bucket}?acl").texts(".//Grantee/ID")


@recorded("acl-bucket-put-unknown")
def test_21_an_unknown_canned_acl_is_refused(recording: str, private: str, wire: Wire) -> None:
    for target in (f"/{private}?acl", f"/{private}/o?acl"):
        assert wire.ask("PUT", target, b"", {"x-amz-acl": "nonsense"}).outcome == (400, "InvalidArgument")


@recorded("acl-object-xml-user")
def test_21_an_acl_document_grants_to_a_user(
    recording: str, private: str, wire: Wire, bobs: Wire, alice: User, bob: User, anonymous: Wire
) -> None:
    body = (
        f'<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>{alice.id}</ID></Owner>'
        "<AccessControlList>"
        + "".join(
            '<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">'
            f"<ID>{who}</ID></Grantee><Permission>{right}</Permission></Grant>"
            for who, right in ((alice.id, "FULL_CONTROL"), (bob.id, "READ"))
        )
        + "</AccessControlList></AccessControlPolicy>"
    ).encode()
    assert wire.ask("PUT", f"/{private}/o?acl", body, {"Content-MD5": content_md5(body)}).status == 200
    assert bobs.ask("GET", f"/{private}/o").body == b"secret"
    assert bobs.ask("GET", f"/{private}/o?acl").outcome == DENIED
    assert anonymous.ask("GET", f"/{private}/o").outcome == DENIED


@recorded("options-bucket")
def test_21_preflight_requests_are_answered(recording: str, private: str, wire: Wire, anonymous: Wire) -> None:
    asked = {"Origin": "http://example.org", "Access-Control-Request-Method": "GET"}
    assert anonymous.ask("OPTIONS", f"/{private}", headers=asked).outcome == (403, "AccessForbidden")
    rules = (
        b"<CORSConfiguration><CORSRule><AllowedOrigin>http://example.org</AllowedOrigin>"
        b"<AllowedMethod>GET</AllowedMethod><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>"
    )
    assert wire.ask("PUT", f"/{private}?cors", rules, {"Content-MD5": content_md5(rules)}).status == 200
    answer = anonymous.ask("OPTIONS", f"/{private}/o", headers=asked)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "http://example.org"
    assert answer.headers["access-control-max-age"] == "60"
    other = {**asked, "Origin": "http://evil.example.org"}
    assert anonymous.ask("OPTIONS", f"/{private}/o", headers=other).outcome == (403, "AccessForbidden")
    shown = wire.ask("GET", f"/{private}/o", headers={"Origin": "http://example.org"})
    assert shown.headers["access-control-allow-origin"] == "http://example.org"
