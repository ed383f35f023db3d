"""What public S3 suites ask of form uploads: a form signed by SigV2, and one change of it a time. Facts of S3."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from typing import Any

import pytest

from tests.integration.s3_gateway.wire import Answer, Wire, post_form
from tests.support.riak_cs import User

Conditions = list[Any]


def soon(hours: int = 1) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(bucket: str, *more: Any, without: str = "") -> Conditions:
    usual = [
        {"bucket": bucket},
        ["starts-with", "$key", "foo"],
        {"acl": "private"},
        ["starts-with", "$Content-Type", "text/plain"],
        ["content-length-range", 0, 1024],
    ]
    kept = [one for one in usual if not without or without not in json.dumps(one)]
    return [*kept, *more]


def form(user: User, policy: Any, /, **changes: str | None) -> dict[str, str]:
    """`changes`: fields that differ, None: that are not there."""
    encoded = base64.b64encode(json.dumps(policy).encode())
    signature = base64.b64encode(hmac.new(user.secret.encode(), encoded, hashlib.sha1).digest()).decode()
    fields: dict[str, str | None] = {
        "key": "foo.txt", "AWSAccessKeyId": user.key, "acl": "private", "signature": signature,
        "policy": encoded.decode(), "Content-Type": "text/plain", **changes,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}


def posted(wire: Wire, bucket: str, fields: dict[str, str], file: bytes = b"bar") -> Answer:
    body, content_type = post_form(fields, file)
    return wire.ask("POST", f"/{bucket}", body, {"Content-Type": content_type}, sign="")


def stored(wire: Wire, bucket: str, key: str = "foo.txt") -> bytes:
    return wire.ask("GET", f"/{bucket}/{key}").body


@pytest.mark.parametrize("status", ["", "404", "200", "201"])
def test_the_status_that_is_asked_for(status: str, wire: Wire, alice: User, bucket: str) -> None:
    policy = {"expiration": soon(), "conditions": conditions(bucket, ["eq", "$success_action_status", status])}
    answer = posted(wire, bucket, form(alice, policy, success_action_status=status))
    assert answer.status == {"200": 200, "201": 201}.get(status, 204)
    assert (answer.text("Key") == "foo.txt") if status == "201" else not answer.body
    assert stored(wire, bucket) == b"bar"


def test_names_of_fields_in_any_case_and_fields_to_ignore(wire: Wire, alice: User, bucket: str) -> None:
    wanted = [
        {"bUcKeT": bucket}, ["StArTs-WiTh", "$KeY", "foo"], {"AcL": "private"},
        ["StArTs-WiTh", "$CoNtEnT-TyPe", "text/plain"], ["content-length-range", 0, 1024],
    ]  # fmt: skip
    fields = form(alice, {"expiration": soon(), "conditions": wanted}, **{"x-ignore-foo": "bar"})
    fields = {name if name == "x-ignore-foo" else name.swapcase(): value for name, value in fields.items()}
    assert posted(wire, bucket, fields).status == 204
    assert stored(wire, bucket) == b"bar"


def test_the_name_of_the_file_and_escaped_dollars(wire: Wire, alice: User, bucket: str) -> None:
    policy = {"expiration": soon(), "conditions": conditions(bucket)}
    assert posted(wire, bucket, form(alice, policy, key="foo-${filename}")).status == 204
    assert stored(wire, bucket, "foo-f.txt") == b"bar"
    policy["conditions"] = conditions(bucket, ["starts-with", "$key", "\\$foo"], without="$key")
    assert posted(wire, bucket, form(alice, policy, key="\\$foo.txt")).status in (204, 403)


def test_metadata_that_the_policy_wants(wire: Wire, alice: User, bucket: str) -> None:
    policy = {"expiration": soon(), "conditions": conditions(bucket, ["starts-with", "$x-amz-meta-foo", "bar"])}
    assert posted(wire, bucket, form(alice, policy, **{"x-amz-meta-foo": "barclamp"})).status == 204
    assert wire.ask("HEAD", f"/{bucket}/foo.txt").headers["x-amz-meta-foo"] == "barclamp"
    assert posted(wire, bucket, form(alice, policy)).outcome == (403, "AccessDenied")
    assert posted(wire, bucket, form(alice, policy, **{"x-amz-meta-foo": "x"})).outcome == (403, "AccessDenied")


POLICIES: dict[str, tuple[dict[str, Any], int]] = {
    "no condition for a field": ({"conditions": "without acl"}, 403),
    "no condition for the bucket": ({"conditions": "without bucket"}, 403),
    "expired": ({"expiration": soon(-1)}, 403),
    "no date": ({"expiration": "a day"}, 400),
    "a date of another form": ({"expiration": "Tue, 01 Jan 2030 00:00:00 GMT"}, 400),
    "no expiration": ({"expiration": None}, 400),
    "EXPIRATION": ({"expiration": None, "EXPIRATION": soon()}, 400),
    "no conditions": ({"conditions": None}, 400),
    "CONDITIONS": ({"conditions": None, "CONDITIONS": []}, 400),
    "an empty condition": ({"conditions": [{}]}, 400),
    "a length without bounds": ({"conditions": ["content-length-range", 0]}, 400),
    "a length below 0": ({"conditions": ["content-length-range", -1, 0]}, 400),
    "too large": ({"conditions": ["content-length-range", 0, 0]}, 400),
    "too small": ({"conditions": ["content-length-range", 512, 1000]}, 400),
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies_that_refuse(name: str, wire: Wire, alice: User, bucket: str) -> None:
    changes, status = POLICIES[name]
    policy: dict[str, Any] = {"expiration": soon(), "conditions": conditions(bucket)}
    for key, value in changes.items():
        if isinstance(value, str) and value.startswith("without "):
            value = conditions(bucket, without=value.removeprefix("without "))
        elif key == "conditions" and value and value[0] == "content-length-range":
            value = conditions(bucket, value, without="content-length")
        elif key == "conditions" and value:
            value = value if value == [{}] else conditions(bucket)
        policy[key] = value
    policy = {key: value for key, value in policy.items() if value is not None}
    assert posted(wire, bucket, form(alice, policy)).status == status
    assert wire.ask("HEAD", f"/{bucket}/foo.txt").status == 404


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 403),
        ({"signature": "nonsense"}, 403),
        ({"AWSAccessKeyId": "nobody-has-this-key"}, 403),
        ({"signature": None}, 400),
        ({"policy": None}, 400),
        ({"key": None}, 400),
        ({"policy": "no base64!"}, 400),
        ({"key": "bar.txt"}, 403),
    ],
)
def test_forms_that_were_changed(
    changes: dict[str, str | None], status: int, wire: Wire, alice: User, bucket: str
) -> None:
    policy = {"expiration": soon(), "conditions": conditions(bucket)}
    answer = posted(wire, bucket, form(alice, policy, **changes))
    assert answer.status in ((400, 403) if "policy" in changes else (status,)), answer
    assert wire.ask("HEAD", f"/{bucket}/foo.txt").status == 404


def test_a_redirect_tells_what_was_stored(wire: Wire, alice: User, bucket: str) -> None:
    target = "http://example.com/done"
    policy = {"expiration": soon(), "conditions": conditions(bucket, ["eq", "$success_action_redirect", target])}
    answer = posted(wire, bucket, form(alice, policy, success_action_redirect=target))
    etag = hashlib.md5(b"bar").hexdigest()
    assert answer.status == 303
    assert answer.headers["location"] == f"{target}?bucket={bucket}&key=foo.txt&etag=%22{etag}%22"


def test_anonymous_forms(wire: Wire, bucket: str) -> None:
    fields = {"key": "foo.txt", "acl": "public-read", "Content-Type": "text/plain"}
    assert posted(wire, bucket, fields).outcome == (403, "AccessDenied")
    wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-acl": "public-read-write"})
    assert posted(wire, bucket, fields).status == 204
    assert wire.as_(None).ask("GET", f"/{bucket}/foo.txt").body == b"bar"
