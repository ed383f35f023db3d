"""POST Object, end to end: forms signed by botocore, as browsers send them, through the gateway to Riak CS."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import secrets
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest
from botocore.config import Config

from tests.integration.s3_gateway.recorded import recorded
from tests.integration.s3_gateway.wire import Answer, Wire, post_form
from tests.support.riak_cs import User

DENIED = (403, "AccessDenied")
Fields = dict[str, str]


@pytest.fixture(scope="session", params=["s3v4", "s3"], ids=["sigv4", "sigv2"])
def signed(request: pytest.FixtureRequest, wire: Wire, alice: User) -> Callable[..., Fields]:
    """Makes the fields of a form that alice has signed."""
    client: Any = botocore.session.get_session().create_client(
        "s3", aws_access_key_id=alice.key, aws_secret_access_key=alice.secret, region_name="us-east-1",
        endpoint_url=wire.url, config=Config(signature_version=request.param),
    )  # fmt: skip

    def make(bucket: str, key: str, conditions: Sequence[Any] = (), expires_s: int = 300, **fields: str) -> Fields:
        names = {name: name if name.startswith("success") else name.replace("_", "-") for name in fields}
        given = {names[name]: value for name, value in fields.items()}
        post = client.generate_presigned_post(
            bucket,
            key,
            Fields=given,
            Conditions=[*conditions, *({k: v} for k, v in given.items())],
            ExpiresIn=expires_s,
        )
        return dict(post["fields"])

    return make


def post(wire: Wire, bucket: str, fields: Fields, file: bytes = b"a file", name: str = "file") -> Answer:
    body, content_type = post_form(fields, file, name)
    return wire.as_(None).ask("POST", f"/{bucket}", body, {"Content-Type": content_type})


@recorded("post-object-form")
def test_a_signed_form_is_an_object(recording: str, wire: Wire, beneath: Wire, bucket: str, signed: Any) -> None:
    fields = signed(
        bucket, "a dir/${filename}", [["content-length-range", 1, 100]], Content_Type="text/css", x_amz_meta_a="b c"
    )
    answer = post(wire, bucket, fields)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["etag"] == f'"{hashlib.md5(b"a file").hexdigest()}"'
    for side in (wire, beneath):
        got = side.ask("GET", f"/{bucket}/a%20dir/f.txt")
        assert (got.status, got.body) == (200, b"a file")
        assert got.headers["content-type"] == "text/css"
        assert got.headers["x-amz-meta-a"] == "b c"
    assert wire.as_(None).ask("GET", f"/{bucket}/a%20dir/f.txt").outcome == DENIED


@pytest.mark.parametrize(("wanted", "status"), [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)])
def test_the_status_may_be_chosen(wire: Wire, bucket: str, signed: Any, wanted: str, status: int) -> None:
    answer = post(wire, bucket, signed(bucket, "k&<1>", (), success_action_status=wanted))
    assert answer.status == status
    if status == 201:
        assert (answer.text("Bucket"), answer.text("Key")) == (bucket, "k&<1>")
        assert answer.text("ETag") == f'"{hashlib.md5(b"a file").hexdigest()}"'
        assert answer.text("Location").endswith(f"/{bucket}/k%26%3C1%3E")


def test_a_form_may_lead_on(wire: Wire, bucket: str, signed: Any) -> None:
    answer = post(wire, bucket, signed(bucket, "k", success_action_redirect="http://example.org/done?x=y"))
    assert answer.status == 303
    target = urlsplit(answer.headers["location"])
    assert (target.netloc, target.path) == ("example.org", "/done")
    assert parse_qs(target.query) == {
        "x": ["y"], "bucket": [bucket], "key": ["k"], "etag": [f'"{hashlib.md5(b"a file").hexdigest()}"'],
    }  # fmt: skip


def test_an_acl_and_tags_come_with_the_form(wire: Wire, bucket: str, signed: Any) -> None:
    tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    assert post(wire, bucket, signed(bucket, "k", acl="public-read", tagging=tags)).status == 204
    assert wire.as_(None).ask("GET", f"/{bucket}/k").body == b"a file"
    assert wire.ask("GET", f"/{bucket}/k?tagging").texts("TagSet/Tag/Value") == ["b"]


OTHER_POLICY = b64encode(b'{"expiration": "2100-01-01T00:00:00Z", "conditions": []}').decode()


def spoilt(fields: Fields, what: str) -> Fields:
    if what != "signature":
        return fields | {what: OTHER_POLICY if what == "policy" else "public-read"}
    return {name: value[:-2] + "00" if "signature" in name.lower() else value for name, value in fields.items()}


@pytest.mark.parametrize("what", ["key", "acl", "x-amz-meta-more", "policy", "signature"])
def test_a_form_that_was_changed_stores_nothing(wire: Wire, bucket: str, signed: Any, what: str) -> None:
    answer = post(wire, bucket, spoilt(signed(bucket, "k"), what))
    assert answer.status == 403
    assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == []


def test_a_form_is_for_its_bucket_and_its_time(wire: Wire, new_bucket: Callable[[], str], signed: Any) -> None:
    bucket, other = new_bucket(), new_bucket()
    assert post(wire, other, signed(bucket, "k")).outcome == DENIED
    assert post(wire, bucket, signed(bucket, "k", expires_s=-1)).outcome == DENIED
    assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == []


@pytest.mark.parametrize(
    ("size", "outcome"),
    [(1, (400, "EntityTooSmall")), (2, (204, "")), (5, (204, "")), (6, (400, "EntityTooLarge"))],
)
def test_the_size_is_bounded_by_the_policy(wire: Wire, bucket: str, signed: Any, size: int, outcome: Any) -> None:
    fields = signed(bucket, "k", [["content-length-range", 2, 5]])
    assert post(wire, bucket, fields, b"x" * size).outcome == outcome
    assert wire.ask("HEAD", f"/{bucket}/k").status == (200 if outcome[0] == 204 else 404)


def test_a_large_file_is_streamed(wire: Wire, bucket: str, signed: Any) -> None:
    data = secrets.token_bytes(1 << 20) * 12 + b"\r\n--a-boundary-of-the-test"
    assert post(wire, bucket, signed(bucket, "k"), data).status == 204
    assert hashlib.md5(wire.ask("GET", f"/{bucket}/k").body).digest() == hashlib.md5(data).digest()


def test_a_checksum_in_the_form_is_verified(wire: Wire, bucket: str, signed: Any) -> None:
    right = b64encode(zlib.crc32(b"a file").to_bytes(4, "big")).decode()
    assert post(wire, bucket, signed(bucket, "right", x_amz_checksum_crc32=right)).status == 204
    assert post(wire, bucket, signed(bucket, "wrong", x_amz_checksum_crc32="AAAAAA==")).outcome == (400, "BadDigest")
    assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == ["right"]


def test_an_unsigned_form_is_anonymous(wire: Wire, bucket: str) -> None:
    assert post(wire, bucket, {"key": "k"}).outcome == DENIED
    assert wire.ask("PUT", f"/{bucket}?acl", headers={"x-amz-acl": "public-read-write"}).status == 200
    # What nobody in particular wrote is read by whom its ACL names: the bucket's owner is not in it.
    answer = post(wire, bucket, {"key": "k", "acl": "public-read"})
    assert answer.status in (204, 501), answer  # Riak CS takes anonymous uploads or it does not: never a false success
    if answer.status == 204:
        assert wire.ask("GET", f"/{bucket}/k").body == b"a file"


def test_the_rights_of_the_signer_count(wire: Wire, bucket: str, bob: User) -> None:
    """A form is as good as its signer: bob may not write into alice's bucket."""
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    policy = b64encode(json.dumps({"expiration": until, "conditions": [{"bucket": bucket}, {"key": "k"}]}).encode())
    signature = b64encode(hmac.digest(bob.secret.encode(), policy, "sha1")).decode()
    fields = {"key": "k", "AWSAccessKeyId": bob.key, "policy": policy.decode(), "signature": signature}
    assert post(wire, bucket, fields).outcome == DENIED


@pytest.mark.parametrize(
    ("body", "content_type", "outcome"),
    [
        (b"", "application/x-www-form-urlencoded", (412, "RequestIsNotMultiPartContent")),
        (b"", "multipart/form-data; boundary=b", (400, "MalformedPOSTRequest")),
        (b"--b\r\n\r\n", "multipart/form-data; boundary=b", (400, "MalformedPOSTRequest")),
        (b"--b--\r\n", "multipart/form-data; boundary=b", (400, "IncorrectNumberOfFilesInPostRequest")),
        (b"x" * 200_000, "multipart/form-data; boundary=b", (400, "MaxPostPreDataLengthExceededError")),
        (post_form({}, b"x")[0], post_form({}, b"x")[1], (400, "UserKeyMustBeSpecified")),
        (post_form({"key": "k"}, b"x")[0][:-9], post_form({}, b"")[1], (403, "AccessDenied")),
    ],
)
def test_what_is_no_form_is_refused(wire: Wire, bucket: str, body: bytes, content_type: str, outcome: Any) -> None:
    assert wire.as_(None).ask("POST", f"/{bucket}", body, {"Content-Type": content_type}).outcome == outcome


def test_a_form_that_breaks_off_stores_nothing(wire: Wire, bucket: str, signed: Any) -> None:
    body, content_type = post_form(signed(bucket, "k"), b"x" * 300_000)
    cut = body[:-20]
    answer = wire.as_(None).ask("POST", f"/{bucket}", cut, {"Content-Type": content_type})
    assert answer.outcome == (400, "MalformedPOSTRequest")
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404
