"""Form uploads: forms as browsers send them, policies as botocore signs them, and what does not keep to them."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from calendar import timegm
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.authentication import Scheme, verify
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.post_form import MAX_FIELDS_BYTES, FormReader
from controlplane.s3.post_policy import Upload, check_policy, read_form_claim
from tests.unit.s3.signed_requests import ACCESS, SECRET

NOW = 1_700_000_000
DATE = "2023-11-14T23:00:00.000Z"  # later than NOW


# -- the body --------------------------------------------------------------------------------------------------------


def form(
    fields: list[tuple[str, str]],
    file: bytes | None = b"content",
    *,
    filename: str = "f.txt",
    after: str = "",
    boundary: bytes = b"B0",
) -> bytes:
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields]
    if file is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: a/b\r\n\r\n'
        parts.append(head.encode() + file)
    if after:
        parts.append(f'Content-Disposition: form-data; name="{after}"\r\n\r\nlater'.encode())
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def read(
    body: bytes, cuts: list[int] | None = None, content_type: str = "multipart/form-data; boundary=B0"
) -> tuple[Any, str, bytes]:
    reader = FormReader(content_type)
    found, pos = b"", 0
    for size in [*(cuts or []), len(body)]:
        found += b"".join(reader.feed(body[pos : pos + size]))
        pos += size
    reader.finish()
    return reader.fields, reader.filename, found


names = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(lambda name: name != "file")
values = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30)


@given(
    st.dictionaries(names, values, max_size=5),
    st.binary(max_size=500)
    | st.lists(st.sampled_from([b"\r\n", b"--", b"B0", b"\r", b"x"]), max_size=40).map(b"".join),
    st.lists(st.integers(1, 60), max_size=40),
)
def test_a_form_is_what_was_filled_in_however_it_arrives(fields: dict[str, str], file: bytes, cuts: list[int]) -> None:
    boundary = b"B0-a-long-boundary-that-no-value-has"
    body = form(list(fields.items()), file, boundary=boundary, after="submit")
    kind = f"multipart/form-data; boundary={boundary.decode()}"
    assert read(body, cuts, kind) == (fields, "f.txt", file)


def test_names_of_fields_have_no_case_and_the_files_name_no_directory() -> None:
    fields, filename, data = read(form([("KEY", "k"), ("Content-Type", "a/b")], filename="C:\\fakepath\\x y.txt"))
    assert (fields, filename, data) == ({"key": "k", "content-type": "a/b"}, "x y.txt", b"content")


def test_the_fields_are_known_when_the_file_begins() -> None:
    reader = FormReader('multipart/form-data; boundary="B0"')
    body = form([("key", "k")], b"x" * 100)
    begin = body.index(b"x" * 100)
    assert reader.feed(body[: begin - 4]) == []
    assert reader.fields is None
    assert reader.feed(body[begin - 4 : begin + 50]) == [b"x" * 50]
    assert reader.fields == {"key": "k"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form([("key", "k")], None), Code.INCORRECT_NUMBER_OF_FILES),
        (form([("key", "k")], after="file"), Code.INCORRECT_NUMBER_OF_FILES),
        (form([("key", "k"), ("Key", "l")]), Code.MALFORMED_POST_REQUEST),
        (form([("x-amz-meta-a%0D%0AEvil: x", "v")]), Code.MALFORMED_POST_REQUEST),
        (form([("x-amz-meta-a: b", "v")]), Code.MALFORMED_POST_REQUEST),
        (form([("", "v")]), Code.MALFORMED_POST_REQUEST),
        (form([("key", "k")])[:-6], Code.MALFORMED_POST_REQUEST),
        (form([("key", "k")])[:40], Code.MALFORMED_POST_REQUEST),
        (b"", Code.MALFORMED_POST_REQUEST),
        (b"nonsense", Code.MALFORMED_POST_REQUEST),
        (form([("key", "k" * (MAX_FIELDS_BYTES + 1))]), Code.MAX_POST_PRE_DATA_LENGTH_EXCEEDED),
        (b"x" * 100_000, Code.MAX_POST_PRE_DATA_LENGTH_EXCEEDED),
        (form([(f"f{n}", "") for n in range(101)]), Code.MALFORMED_POST_REQUEST),
        (b"--B0\r\n\r\nvalue\r\n--B0--\r\n", Code.MALFORMED_POST_REQUEST),
        (b"--B0\r\nContent-Disposition: attachment; name=key\r\n\r\nvalue\r\n--B0--\r\n", Code.MALFORMED_POST_REQUEST),
        (b'--B0\r\nContent-Disposition: form-data; name="key"\n\nvalue\r\n--B0--\r\n', Code.MALFORMED_POST_REQUEST),
        (b'--B0\r\nContent-Disposition: form-data; name="key"\r\n\r\n\xff\r\n--B0--\r\n', Code.MALFORMED_POST_REQUEST),
        (b"--B0\r\n" + b"X: y\r\n" * 20 + b"\r\n\r\n--B0--\r\n", Code.MALFORMED_POST_REQUEST),
        (b"--B0\r\nX: " + b"y" * 10_000 + b"\r\n\r\n\r\n--B0--\r\n", Code.MALFORMED_POST_REQUEST),
    ],
)  # fmt: skip
def test_malformed_forms(body: bytes, code: Code) -> None:
    for cuts in ([], [1] * len(body[:2000])):
        with pytest.raises(S3Fault) as caught:
            read(body, cuts)
        assert caught.value.code is code


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("", Code.REQUEST_IS_NOT_MULTIPART),
        ("application/x-www-form-urlencoded", Code.REQUEST_IS_NOT_MULTIPART),
        ("multipart/mixed; boundary=B0", Code.REQUEST_IS_NOT_MULTIPART),
        ("multipart/form-data", Code.MALFORMED_POST_REQUEST),
        ("multipart/form-data; boundary=", Code.MALFORMED_POST_REQUEST),
        ("multipart/form-data; boundary=" + "b" * 500, Code.MALFORMED_POST_REQUEST),
        ("multipart/form-data; boundary=\xe9", Code.MALFORMED_POST_REQUEST),
    ],
)
def test_what_is_no_form(content_type: str, code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        FormReader(content_type)
    assert caught.value.code is code


@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from(
            [b"--B0", b"--B0--", b"\r\n", b"Content-Disposition: form-data; name=", b'"file"', b'"key"', b";"]
        ),
        max_size=30,
    ),
    st.text(max_size=50),
)
def test_no_bytes_break_the_reader(body: list[bytes], content_type: str) -> None:
    for kind in (content_type, "multipart/form-data; boundary=B0"):
        try:
            reader = FormReader(kind)
            for piece in body:
                reader.feed(piece)
            reader.finish()
        except S3Fault:
            continue


# -- the signature ---------------------------------------------------------------------------------------------------


def presigned(version: str, fields: dict[str, str], conditions: list[Any], key: str = "k") -> dict[str, str]:
    """The fields of a form by botocore, names in lower case."""
    client: Any = botocore.session.get_session().create_client(
        "s3", aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1",
        endpoint_url="http://store.test", config=Config(signature_version=version),
    )  # fmt: skip
    post = client.generate_presigned_post("b", key, Fields=dict(fields), Conditions=conditions, ExpiresIn=3600)
    return {name.lower(): value for name, value in post["fields"].items()}


@pytest.mark.parametrize(("version", "scheme"), [("s3v4", Scheme.V4_FORM), ("s3", Scheme.V2_FORM)])
def test_a_form_signed_by_botocore(version: str, scheme: Scheme) -> None:
    fields = presigned(version, {"acl": "private"}, [{"acl": "private"}, ["content-length-range", 1, 10]])
    claim = read_form_claim(fields)
    assert claim is not None
    assert (claim.scheme, claim.access_key) == (scheme, ACCESS)
    verify(claim, SECRET)
    assert check_policy(fields, "f", "b", time.time()) == Upload("k", 1, 10)
    with pytest.raises(S3Fault) as caught:
        check_policy(fields, "f", "b", time.time() + 3700)
    assert caught.value.code is Code.ACCESS_DENIED
    with pytest.raises(S3Fault):
        check_policy(fields, "f", "another", time.time())
    for name in fields:
        forged = {**fields, name: fields[name][:-1] + ("A" if fields[name][-1] != "A" else "B")}
        assert not passes(forged)
        assert not passes({other: value for other, value in fields.items() if other != name})


def passes(fields: dict[str, str]) -> bool:
    try:
        claim = read_form_claim(fields)
        if claim is None or claim.access_key != ACCESS:
            return False
        verify(claim, SECRET)
        check_policy(fields, "f", "b", time.time())
    except S3Fault:
        return False
    return True


POLICY = (
    "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4"
    "YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9"
    "LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3Nm"
    "dWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1"
    "aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMt"
    "d2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEy"
    "MjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7Ingt"
    "YW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9"
)


def test_the_published_example_of_sigv4() -> None:
    fields = {
        "key": "user/user1/${filename}",
        "acl": "public-read",
        "success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
        "content-type": "image/jpeg",
        "x-amz-meta-uuid": "14365123651274",
        "x-amz-server-side-encryption": "AES256",
        "x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-date": "20151229T000000Z",
        "x-amz-meta-tag": "",
        "policy": POLICY,
        "x-amz-signature": "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
    }
    now = timegm((2015, 12, 29, 0, 0, 0))
    claim = read_form_claim(fields)
    assert claim is not None
    assert verify(claim, SECRET).access_key == ACCESS
    assert check_policy(fields, "a.jpg", "sigv4examplebucket", now) == Upload("user/user1/a.jpg", 0, None)


def test_a_form_without_policy_and_signature_is_anonymous() -> None:
    assert read_form_claim({"key": "k", "acl": "private"}) is None
    assert check_policy({"key": "${filename}"}, "f.txt", "b", NOW) == Upload("f.txt", 0, None)


V4 = {
    "key": "k",
    "policy": "e30=",
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-credential": f"{ACCESS}/20231114/us-east-1/s3/aws4_request",
    "x-amz-date": "20231114T221320Z",
    "x-amz-signature": "a" * 64,
}
V2 = {"key": "k", "policy": "e30=", "awsaccesskeyid": ACCESS, "signature": "A" * 27 + "="}


@pytest.mark.parametrize("whole", [V4, V2])
def test_a_signature_that_lacks_a_field_is_refused(whole: dict[str, str]) -> None:
    for name in set(whole) - {"key"}:
        for fields in ({**whole, name: ""}, {other: value for other, value in whole.items() if other != name}):
            with pytest.raises(S3Fault) as caught:
                read_form_claim(fields)
            assert caught.value.status == 400


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"signature": "A" * 27 + "="}, Code.INVALID_ARGUMENT),  # both kinds
        ({"x-amz-algorithm": "AWS4-HMAC-SHA1"}, Code.INVALID_ARGUMENT),
        ({"x-amz-credential": "nonsense"}, Code.INVALID_ARGUMENT),
        ({"x-amz-credential": f"{ACCESS}/20231114/us-east-1/iam/aws4_request"}, Code.INVALID_ARGUMENT),
        ({"x-amz-date": "20231115T000000Z"}, Code.INVALID_ARGUMENT),
        ({"x-amz-signature": "A" * 64}, Code.SIGNATURE_DOES_NOT_MATCH),
        ({"policy": "é"}, Code.INVALID_POLICY_DOCUMENT),
    ],
)
def test_malformed_signatures(changes: dict[str, str], code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        read_form_claim({**V4, **changes})
    assert caught.value.code is code


# -- the policy ------------------------------------------------------------------------------------------------------


def policy_of(conditions: Any, expiration: Any = DATE) -> str:
    return b64encode(json.dumps({"expiration": expiration, "conditions": conditions}).encode()).decode()


BASE = [{"bucket": "b"}, ["starts-with", "$key", "user/"]]


def check(conditions: Any, **fields: str) -> Upload:
    form_fields = {name.replace("_", "-"): value for name, value in fields.items()}
    return check_policy({"key": "user/a", "policy": policy_of(conditions), **form_fields}, "f.txt", "b", NOW)


def test_conditions_that_hold() -> None:
    assert check(BASE) == Upload("user/a", 0, None)
    assert check([*BASE, ["eq", "$acl", "private"]], acl="private")
    assert check([*BASE, ["starts-with", "$x-amz-meta-a", ""]], x_amz_meta_a="anything")
    assert check([*BASE, ["starts-with", "$Content-Type", "image/"]], content_type="image/a, image/b")
    assert check([{"bUcKeT": "b"}, ["StArTs-WiTh", "$KeY", "user/"], {"AcL": "private"}], acl="private")
    assert check(BASE, x_ignore_this="x", key="user/${filename}") == Upload("user/f.txt", 0, None)
    assert check([*BASE, ["content-length-range", 2, 9], ["content-length-range", "3", "10"]]) == Upload("user/a", 3, 9)


def test_a_dollar_sign_may_be_escaped_in_a_policy() -> None:
    conditions = r'[{"bucket": "b"}, ["eq", "$key", "\$a\\b"]]'
    text = f'{{"expiration": "{DATE}", "conditions": {conditions}}}'
    encoded = b64encode(text.encode()).decode()
    assert check_policy({"key": "$a\\b", "policy": encoded}, "", "b", NOW).key == "$a\\b"


@pytest.mark.parametrize(
    ("conditions", "fields"),
    [
        ([["starts-with", "$key", "user/"]], {}),  # the bucket is not covered
        ([{"bucket": "c"}, ["starts-with", "$key", "user/"]], {}),
        ([{"bucket": "b"}], {}),  # the key is not covered
        (BASE, {"key": "other/a"}),
        (BASE, {"acl": "private"}),  # not covered
        (BASE, {"x_amz_meta_a": "b"}),
        ([*BASE, {"acl": "private"}], {"acl": "public-read"}),
        ([*BASE, {"acl": "private"}], {}),
        ([*BASE, ["eq", "$acl", ""]], {"acl": "private"}),
        ([*BASE, ["starts-with", "$Content-Type", "image/"]], {"content_type": "image/a,text/html"}),
    ],
)
def test_what_does_not_keep_to_its_policy_is_denied(conditions: Any, fields: dict[str, str]) -> None:
    with pytest.raises(S3Fault) as caught:
        check(conditions, **fields)
    assert (caught.value.code, caught.value.status) == (Code.ACCESS_DENIED, 403)


@pytest.mark.parametrize(
    "conditions",
    [None, {}, "x", [{}], [{"a": "b", "c": "d"}], [{"acl": 1}], [["eq", "acl", "x"]], [["ends-with", "$key", "x"]],
     [["eq", "$key"]], [[1, "$key", "x"]], ["x"], [["content-length-range", 0]], [["content-length-range", -1, 0]],
     [["content-length-range", "a", 0]], [["content-length-range", 0, 1e30]], [["content-length-range", 0, None]]],
)  # fmt: skip
def test_malformed_conditions(conditions: Any) -> None:
    with pytest.raises(S3Fault) as caught:
        check([*BASE, *conditions] if isinstance(conditions, list) else conditions)
    assert (caught.value.code, caught.value.status) == (Code.INVALID_POLICY_DOCUMENT, 400)


@pytest.mark.parametrize(
    "policy",
    ["", "!", "e30", b64encode(b"\xff").decode(), b64encode(b"[]").decode(), b64encode(b"{").decode(),
     b64encode(b"[" * 9000).decode(), policy_of(BASE, None), policy_of(BASE, "tomorrow"), policy_of(BASE, 5),
     policy_of(BASE, "2023-11-14 23:00:00+00:00"),
     b64encode(json.dumps({"EXPIRATION": DATE, "CONDITIONS": BASE}).encode()).decode()],
)  # fmt: skip
def test_malformed_policies(policy: str) -> None:
    with pytest.raises(S3Fault) as caught:
        check_policy({"key": "user/a", "policy": policy}, "", "b", NOW)
    assert (caught.value.code, caught.value.status) == (Code.INVALID_POLICY_DOCUMENT, 400)


def test_a_key_is_needed() -> None:
    for fields in ({}, {"key": ""}, {"policy": policy_of(BASE)}):
        with pytest.raises(S3Fault) as caught:
            check_policy(fields, "", "b", NOW)
        assert caught.value.code is Code.USER_KEY_MUST_BE_SPECIFIED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["eq", "$key", "bucket", "b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(json_values, json_values)
def test_no_policy_breaks_the_reader(conditions: Any, expiration: Any) -> None:
    fields = {"key": "k", "acl": "public-read", "policy": policy_of(conditions, expiration)}
    with pytest.raises(S3Fault):  # acl is covered by chance only
        check_policy(fields, "", "b", NOW)
