"""Bucket policies through the gateway: what Riak CS alone would refuse or misread, and conditions on the way a request
came by, behind a proxy that is trusted and before one that is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.s3_gateway.wire import Wire
from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.riak_cs import RiakCs, User

DENIED = (403, "AccessDenied")


@pytest.fixture(scope="module")
def behind_proxy(riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster, alice: User) -> Iterator[Wire]:
    """Alice at a gateway that takes everybody on this machine for its load balancer."""
    settings = {"proxies": ["127.0.0.0/8"]}
    with s3_gateway.running(s3_folder / "proxied", riak_cs, s3_etcd.urls, name="proxied1", s3=settings) as started:
        yield Wire(started.url, alice)


@pytest.fixture
def anonymous(wire: Wire) -> Wire:
    return wire.as_(None)


@pytest.fixture
def private(bucket: str, wire: Wire) -> str:
    """A private bucket with two objects."""
    for key in ("o", "other"):
        assert wire.ask("PUT", f"/{bucket}/{key}", key.encode()).status == 200
    return bucket


def statement(bucket: str, action: str | list[str] = "s3:GetObject", **more: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": "*",
        "Action": action,
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        **more,
    }


def set_policy(wire: Wire, bucket: str, *statements: dict[str, Any]) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
    answer = wire.ask("PUT", f"/{bucket}?policy", document)
    assert answer.status == 204, answer
    assert wire.ask("GET", f"/{bucket}?policy").body == document


def test_a_policy_by_the_clients_address(private: str, behind_proxy: Wire, anonymous: Wire) -> None:
    set_policy(behind_proxy, private, statement(private, Condition={"IpAddress": {"aws:SourceIp": "198.51.100.0/24"}}))
    nobody = behind_proxy.as_(None)

    def seen(wire: Wire, *chain: str) -> int:
        return wire.ask("GET", f"/{private}/o", headers={"X-Forwarded-For": ", ".join(chain)} if chain else {}).status

    assert seen(nobody, "198.51.100.7") == 200
    assert seen(nobody, "203.0.113.1") == 403
    assert seen(nobody, "198.51.100.7", "203.0.113.1") == 403, "what the client wrote itself does not count"
    assert seen(nobody, "unknown") == 403
    assert seen(nobody) == 403
    assert seen(anonymous, "198.51.100.7") == 403, "a gateway that trusts no proxy believes no header"


def test_a_policy_that_wants_tls(private: str, behind_proxy: Wire) -> None:
    deny = statement(private, "s3:*", Effect="Deny", Condition={"Bool": {"aws:SecureTransport": "false"}})
    set_policy(behind_proxy, private, deny)
    for told, expected in (("https", 200), ("http", 403), ("", 403)):
        headers = {"X-Forwarded-Proto": told} if told else {}
        assert behind_proxy.ask("GET", f"/{private}/o", headers=headers).status == expected
    assert behind_proxy.ask("DELETE", f"/{private}?policy").status == 204, "its owner is not locked out"
    assert behind_proxy.ask("GET", f"/{private}/o").status == 200


def test_a_policy_by_tags_of_the_object(private: str, wire: Wire, anonymous: Wire) -> None:
    tagged = b"<Tagging><TagSet><Tag><Key>Public</Key><Value>yes</Value></Tag></TagSet></Tagging>"
    assert wire.ask("PUT", f"/{private}/o?tagging", tagged).status == 200
    set_policy(wire, private, statement(private, Condition={"StringEquals": {"s3:ExistingObjectTag/Public": "yes"}}))
    assert anonymous.ask("GET", f"/{private}/o").body == b"o"
    assert anonymous.ask("GET", f"/{private}/other").outcome == DENIED
    assert anonymous.ask("GET", f"/{private}/none").outcome == DENIED
    assert wire.ask("PUT", f"/{private}/o", b"new").status == 200
    assert anonymous.ask("GET", f"/{private}/o").outcome == DENIED, "the new object has no tags"


def test_a_policy_by_tags_of_the_request(private: str, wire: Wire, bob: User) -> None:
    condition = {"StringEquals": {"s3:RequestObjectTag/team": "red"}}
    set_policy(wire, private, statement(private, "s3:PutObject", Condition=condition))
    bobs = wire.as_(bob)
    assert bobs.ask("PUT", f"/{private}/new", b"x", {"x-amz-tagging": "team=blue"}).outcome == DENIED
    assert bobs.ask("PUT", f"/{private}/new", b"x").outcome == DENIED
    assert bobs.ask("PUT", f"/{private}/new", b"x", {"x-amz-tagging": "team=red"}).status == 200
    assert wire.ask("GET", f"/{private}/new").body == b"x"


def test_a_policy_names_users_as_aws_does(private: str, wire: Wire, bob: User, carol: User, riak_cs: RiakCs) -> None:
    arn = riak_cs.admin("GET", f"/riak-cs/user/{bob.key}")["arn"]
    set_policy(wire, private, statement(private, ["s3:GetObject", "s3:ListBucket"], Principal={"AWS": [arn]}))
    assert wire.as_(bob).ask("GET", f"/{private}/o").body == b"o"
    assert wire.as_(bob).ask("GET", f"/{private}").texts("Contents/Key") == ["o", "other"]
    assert wire.as_(carol).ask("GET", f"/{private}/o").outcome == DENIED
    assert wire.as_(carol).ask("GET", f"/{private}").outcome == DENIED


def test_a_policy_does_not_close_what_the_acl_opens(private: str, wire: Wire, anonymous: Wire, bob: User) -> None:
    """Riak CS refuses every other listing as soon as there is a policy (policy-star-anon-list)."""
    assert wire.ask("PUT", f"/{private}?acl", headers={"x-amz-acl": "public-read"}).status == 200
    deny = statement(private, "s3:GetObject", Effect="Deny", Principal={"CanonicalUser": "d" * 64})
    set_policy(wire, private, deny)
    for who in (anonymous, wire.as_(bob)):
        assert who.ask("GET", f"/{private}").texts("Contents/Key") == ["o", "other"]


def test_a_policy_that_riak_cs_has_from_before_counts_until_it_is_replaced(
    private: str, wire: Wire, beneath: Wire, anonymous: Wire
) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement(private)]}).encode()
    put = beneath.ask("PUT", f"/{private}?policy", document, {"Content-Type": "application/json"}, sign="v2")
    assert put.status == 200
    assert wire.ask("GET", f"/{private}?policy").body == document
    set_policy(wire, private, statement(private, Effect="Deny"))
    assert wire.ask("GET", f"/{private}/o").outcome == DENIED
    assert beneath.ask("GET", f"/{private}?policy", sign="v2").outcome == (404, "NoSuchBucketPolicy")
    assert wire.ask("DELETE", f"/{private}?policy").status == 204
    assert wire.ask("GET", f"/{private}?policy").outcome == (404, "NoSuchBucketPolicy")
    assert anonymous.ask("GET", f"/{private}/o").outcome == DENIED


def test_a_policy_goes_with_its_bucket(private: str, wire: Wire) -> None:
    set_policy(wire, private, statement(private))
    for key in ("o", "other"):
        assert wire.ask("DELETE", f"/{private}/{key}").status == 204
    assert wire.ask("DELETE", f"/{private}").status == 204
    assert wire.ask("PUT", f"/{private}").status == 200
    assert wire.ask("GET", f"/{private}?policy").outcome == (404, "NoSuchBucketPolicy")
