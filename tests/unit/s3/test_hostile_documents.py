"""Whatever a client sends as a document: an S3Fault or a value, never another exception, and never for long."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.access.acl_xml import parse_acl
from controlplane.s3.access.policy import parse_policy
from controlplane.s3.access.principals import User
from controlplane.s3.documents.bucket_documents import parse_create_bucket, refuse_versioning
from controlplane.s3.documents.cors import parse_cors
from controlplane.s3.documents.delete_objects import parse_delete
from controlplane.s3.documents.lifecycle_xml import parse_lifecycle
from controlplane.s3.documents.tagging import Tagged, parse_tagging
from controlplane.s3.documents.upload_documents import parse_complete
from controlplane.s3.fault import Code, S3Fault

PARSERS: dict[str, Callable[[bytes], object]] = {
    "CompleteMultipartUpload": parse_complete,
    "Delete": parse_delete,
    "Tagging": partial(parse_tagging, of=Tagged.OBJECT),
    "CORSConfiguration": parse_cors,
    "LifecycleConfiguration": parse_lifecycle,
    "AccessControlPolicy": partial(parse_acl, owner=User("x")),
    "CreateBucketConfiguration": parse_create_bucket,
    "VersioningConfiguration": refuse_versioning,
}
NAMES = [
    "Part", "PartNumber", "ETag", "ChecksumCRC32", "Object", "Key", "VersionId", "Quiet", "TagSet", "Tag", "Value",
    "CORSRule", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds", "ID", "Rule",
    "Status", "Filter", "And", "Prefix", "Expiration", "Days", "Date", "ObjectSizeGreaterThan", "NoncurrentDays",
    "AbortIncompleteMultipartUpload", "DaysAfterInitiation", "NoncurrentVersionExpiration", "Owner", "Grantee",
    "AccessControlList", "Grant", "URI", "Permission", "LocationConstraint", "Unknown",
]  # fmt: skip
TEXTS = [
    "",
    "1",
    "0",
    "-1",
    "true",
    "x",
    "GET",
    "*",
    "a*b*",
    "Enabled",
    "READ",
    "2030-01-01T00:00:00Z",
    "9" * 30,
    "²",
    "\r\n",
]

leaves = st.builds(lambda name, text: f"<{name}>{text}</{name}>", st.sampled_from(NAMES), st.sampled_from(TEXTS))
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda name, children: f"<{name}>{''.join(children)}</{name}>",
        st.sampled_from(NAMES),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)
entity = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def outcome(parse: Callable[[bytes], object], body: bytes) -> S3Fault | None:
    try:
        parse(body)
    except S3Fault as fault:
        return fault
    return None


@given(st.sampled_from(sorted(PARSERS)), st.lists(trees, max_size=4))
def test_any_tree_of_known_elements(root: str, children: list[str]) -> None:
    fault = outcome(PARSERS[root], f"<{root}>{''.join(children)}</{root}>".encode())
    assert fault is None or 400 <= fault.status < 502


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=200))
def test_any_bytes(root: str, body: bytes) -> None:
    fault = outcome(PARSERS[root], body)
    assert fault is not None or (root == "CreateBucketConfiguration" and not body.strip())


@pytest.mark.parametrize("root", sorted(PARSERS))
@pytest.mark.parametrize(
    "body",
    [
        entity + "<{0}>&b;</{0}>",
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><{0}/>',
        '<!DOCTYPE x [<!ENTITY e SYSTEM "http://169.254.169.254/">]><{0}>&e;</{0}>',
        "<{0}>" + "<a>" * 20 + "</a>" * 20 + "</{0}>",
        "<{0}><Tag></{0}>",
        '<?xml version="1.0" encoding="utf-7"?><{0}/>',
        '<?xml-stylesheet href="x"?><{0}/>',
        "<{0}>&#0;</{0}>",
        "<{0}>\ufffe</{0}>",
        "<Other/>",
    ],
)
def test_hostile_xml_is_malformed(root: str, body: str) -> None:
    fault = outcome(PARSERS[root], body.format(root).encode())
    assert fault is not None
    assert fault.code in (Code.MALFORMED_XML, Code.MALFORMED_ACL)


@pytest.mark.parametrize("root", sorted(PARSERS))
@pytest.mark.parametrize("piece", ["<a/> ", "<Part/>", "&#65;", "<Object><Key>k</Key></Object>", "<Rule/>", " "])
def test_much_of_anything_is_refused_soon(root: str, piece: str) -> None:
    body = f"<{root}>{piece * (2**18 // len(piece))}</{root}>".encode()
    begin = time.process_time()
    fault = outcome(PARSERS[root], body)
    assert time.process_time() - begin < 1
    assert fault is not None or (root == "CreateBucketConfiguration" and piece in (" ", "&#65;"))


def test_a_policy_of_the_largest_size_is_judged_soon() -> None:
    resource = "arn:aws:s3:::b/" + "*a" * 5000
    policy = f'{{"Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"{resource}"}}}}'
    begin = time.process_time()
    assert parse_policy(policy.encode(), "b").statements
    with pytest.raises(S3Fault):
        parse_policy(b'{"Statement":' + b"[" * 20_000, "b")
    assert time.process_time() - begin < 2
