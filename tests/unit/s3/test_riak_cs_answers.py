"""Answers of the real Riak CS, by the names of their recordings, read and turned into S3's forms."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from xml.parsers.expat import ExpatError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.access.acl import Permission
from controlplane.s3.access.acl_xml import acl_from_riakcs
from controlplane.s3.access.policy import parse_policy
from controlplane.s3.access.principals import ALL_USERS, AUTHENTICATED_USERS, Group
from controlplane.s3.documents import multipart_listing as multipart
from controlplane.s3.documents import object_listing as listing
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.listing import MalformedListing
from controlplane.s3.riakcs.ill_formed import parse_riakcs
from controlplane.s3.riakcs.listings import list_query, parse_buckets, parse_objects, parse_parts, parse_uploads
from controlplane.s3.xml import MalformedXml, parse_xml
from tests.hosts.replay.player import Record, recordings
from tests.support.s3_oracle import read

ALICE_ID = "74c227381eeeec4336b1f37f2dac65c775c4b7b77b7ee671fc8871fe9a4d316a"
T = 1795384680.0
"""2026-11-22T21:58:00Z"""


@lru_cache(maxsize=1)
def by_name() -> dict[str, Record]:
    return {record["name"]: record for record in recordings("s3.jsonl")}


def body(name: str) -> bytes:
    found: Any = by_name()[name]["response"]["body"]
    assert isinstance(found, str)
    return found.encode()


def test_key_list_has_raw_control_characters_and_is_no_xml() -> None:
    with pytest.raises(MalformedXml) as caught:
        parse_xml(body("key-list"))
    assert isinstance(caught.value.__cause__, ExpatError)


@pytest.mark.parametrize("name", ["key-list", "key-list-encoding-url"])
def test_keys_of_every_kind(name: str) -> None:
    page = parse_objects(body(name))
    keys = [at.key for at in page.objects]
    assert keys == [
        "(s)!*'", "(t)!*'", ".", "a b", "a:b@c", "bad%zz", "c\x01", "c+d", "dir/", "e%f", "g&h=i?j", "lead", "n\nl",
        "p/../q", "s;t,u", "tr ", "x//y", "~t", "~u", "ü/日",
    ]  # fmt: skip
    request = listing.parse_list_v2("rec-c-keys", (("encoding-type", "url"),))
    found = read("ListObjectsV2", listing.render_list_v2(request, page))
    assert [at["Key"] for at in found["Contents"]] == keys


def test_list_v1_max_keys_2() -> None:
    page = parse_objects(body("list-v1-max-keys-2"))
    first = page.objects[0]
    assert (first.key, first.size, first.etag, first.modified_at) == ("a-top", 1, "e358efa489f58062f10dd7316b65649e", T)
    assert first.owner is not None
    assert (first.owner.id, first.owner.display_name, first.storage_class) == (ALICE_ID, "rec-alice-c", "STANDARD")
    assert (page.truncated, page.next_after) == (True, "dir0/k00000")


@pytest.mark.parametrize(
    ("name", "keys", "prefixes", "after"),
    [
        ("list-v1-delimiter", ["a-top", "z-top"], ["dir0/", "dir1/", "dir2/"], ""),
        ("list-v1-delimiter-max-keys-1", ["a-top"], [], "a-top"),
        ("list-v1-delimiter-max-keys-2", ["a-top"], ["dir0/"], "dir0/"),
        ("list-v1-delimiter-marker", [], ["dir1/", "dir2/"], "dir2/"),
        ("list-v1-delimiter-long", ["a-top"], ["dir0/k", "dir1/k"], "dir1/k"),
        ("list-v1-max-keys-0", [], [], ""),
        ("list-v2-start-after", ["a-top", "dir0/k00000"], [], "dir0/k00000"),
    ],
)
def test_pages(name: str, keys: list[str], prefixes: list[str], after: str) -> None:
    page = parse_objects(body(name))
    assert ([at.key for at in page.objects], list(page.prefixes), page.next_after) == (keys, prefixes, after)
    assert page.truncated is (after != "")


def test_list_v1_all_leads_on_where_list_v1_marker_begins() -> None:
    """Riak CS gives no NextMarker without a delimiter."""
    page = parse_objects(body("list-v1-all"))
    assert b"NextMarker" not in body("list-v1-all")
    asked = dict(list_query("", "", page.next_after, 1000))
    assert asked == {"marker": "dir2/k00590", "max-keys": "1000"}
    assert by_name()["list-v1-marker"]["request"]["query"] == "marker=dir2%2Fk00590"
    assert parse_objects(body("list-v1-marker")).objects[0].key == "dir2/k00593"


def test_ver_list_gives_a_key_once() -> None:
    """Riak CS lists a key once a version, in no order."""
    assert body("ver-list").count(b"<Key>k</Key>") == 3
    page = parse_objects(body("ver-list"))
    assert [at.key for at in page.objects] == ["k", "old"]
    assert page.objects[1].etag == "22af645d1859cb5ca6da0c484f1f37ea"


def test_mp_list_uploads() -> None:
    (upload,) = parse_uploads(body("mp-list-uploads"))
    assert (upload.key, upload.upload_id, upload.initiated_at) == ("mp", "uMBqPkMKQUWXOsJPbnOdYg", T + 4)
    assert parse_uploads(body("mp-list-uploads-bob")) == ()
    assert parse_uploads(body("mp-list-uploads-prefix")) == (upload,)


def test_mp_list_parts_and_mp4_list_parts() -> None:
    parts = parse_parts(body("mp-list-parts"))
    assert [(at.number, at.size, at.modified_at) for at in parts] == [
        (1, 5242880, 1795384684.936),
        (2, 4, 1795384685.211),
    ]
    assert parts == parse_parts(body("mp-list-parts-max"))
    doubled = parse_parts(body("mp4-list-parts"))
    assert [at.number for at in doubled] == [1, 1]
    assert [at.etag for at in multipart.distinct_parts(doubled)] == ["d16fb36f0911f878998c136191af705e"]


def test_service_list() -> None:
    owner, buckets = parse_buckets(body("service-list"))
    assert (owner.id, owner.display_name) == (ALICE_ID, "rec-alice-c")
    assert [at.name for at in buckets] == [
        "rec-c-badacl", "rec-c-badxml", "rec-c-eu", "rec-c-lock", "rec-c-main", "rec-c-pub", "rec-c-slash", "rec.c.dot",
    ]  # fmt: skip
    assert parse_buckets(body("service-list-empty"))[1] == ()


@pytest.mark.parametrize(
    ("name", "group", "permission"),
    [
        ("acl-bucket-get-public", ALL_USERS, Permission.READ),
        ("acl-bucket-get-authenticated", AUTHENTICATED_USERS, Permission.READ),
        ("acl-object-get-public", ALL_USERS, Permission.READ),
    ],
)
def test_public_acls(name: str, group: str, permission: Permission) -> None:
    acl = acl_from_riakcs(body(name))
    assert acl.owner.id == ALICE_ID
    assert {(at.grantee, at.permission) for at in acl.grants if isinstance(at.grantee, Group)} == {
        (Group(group), permission)
    }


@pytest.mark.parametrize(
    "name", ["acl-bucket-get", "acl-object-get", "acl-bucket-get-unknown", "sub-acl-after-cors", "anon-private-acl"]
)
def test_private_acls(name: str) -> None:
    acl = acl_from_riakcs(body(name))
    assert not acl.public
    assert [(at.grantee, at.permission) for at in acl.grants] == [(acl.owner, Permission.FULL_CONTROL)]


def test_policies_are_accepted_where_riak_cs_accepts_them() -> None:
    """But for those that Riak CS refuses and S3 takes."""
    wider = {"policy-put-aws-arn", "policy-put-aws-list"}
    seen = 0
    for name, record in by_name().items():
        request, status = record["request"], record["response"].get("status")
        if not name.startswith("policy-put-") or request.get("query") != "policy" or status not in (200, 400, 503):
            continue
        if name.startswith(("policy-put-missing", "policy-put-put-star-")):
            continue
        seen += 1
        try:
            parse_policy(request["body"].encode(), "rec-c-pol")
            accepted = True
        except S3Fault as fault:
            accepted = False
            code = fault.code
            assert code is Code.MALFORMED_POLICY, name
        assert accepted is (status == 200 or name in wider), name
    assert seen >= 15


@pytest.mark.parametrize("name", ["list-versions-all", "bucket-head", "service-list", "mp-list-parts"])
def test_what_is_no_listing_of_objects_is_refused(name: str) -> None:
    found = by_name()[name]["response"]["body"] if name in by_name() else ""
    with pytest.raises(MalformedListing):
        parse_objects((found or "").encode())


unreadable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<&"), max_size=20)


@given(unreadable, st.text("\x00\x01\x0b\r\x1f\ufffe\uffffab\U0010f000\U0010f001", max_size=20))
def test_every_raw_character_comes_back(some: str, more: str) -> None:
    text = some.replace(">", "") + more
    assert parse_riakcs(f"<a><b>{text}</b></a>".encode()).text_of("b") == text


@given(st.binary(max_size=100))
def test_no_bytes_break_the_reader(document: bytes) -> None:
    for read_ in (parse_riakcs, parse_objects, parse_uploads, parse_parts, parse_buckets, acl_from_riakcs):
        try:
            read_(document)
        except (MalformedXml, MalformedListing):
            continue
