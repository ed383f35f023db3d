"""Every operation that botocore knows is found or refused by name, and nothing with a sub-resource passes as plain."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.addressing import check_new_bucket_name, decode_query, locate
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import SERVED, Level, Operation
from controlplane.s3.operation_table import TABLE, operation_of
from controlplane.s3.uri import Query, encode_path, wire_query

T = TypeVar("T")

ROOTS = ("s3.example.org", "example.org")

OLD_NAMES = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    "ListObjectAnnotations": "GetObjectAnnotation",
    "ListBucketAnalyticsConfigurations": "GetBucketAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "GetBucketIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "GetBucketInventoryConfiguration",
    "ListBucketMetricsConfigurations": "GetBucketMetricsConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
}
"""Operations of botocore with the same address as another one."""
ELSEWHERE = {"WriteGetObjectResponse"}
"""Goes to a host name of its own (Object Lambda), not to a bucket's address."""


def botocore_operations() -> list[tuple[str, str, str, Query, bool]]:
    model: Any = botocore.session.get_session().get_service_model("s3")
    found = []
    for name in sorted(set(model.operation_names) - ELSEWHERE):
        operation = model.operation_model(name)
        path, _, query = operation.http["requestUri"].partition("?")
        pairs = list(decode_query(query))
        members = operation.input_shape.members if operation.input_shape else {}
        required = operation.input_shape.required_members if operation.input_shape else []
        pairs += [
            (shape.serialization["name"], "1")
            for member, shape in members.items()
            if shape.serialization.get("location") == "querystring" and member in required
        ]
        copies = "CopySource" in members
        found.append((name, operation.http["method"], path, tuple(pairs), copies))
    return found


@pytest.mark.parametrize(
    ("name", "method", "path", "query", "copies"), botocore_operations(), ids=[row[0] for row in botocore_operations()]
)
def test_every_operation_of_botocore(name: str, method: str, path: str, query: Query, copies: bool) -> None:
    level = Level.OBJECT if "Key" in path else Level.BUCKET if "Bucket" in path else Level.SERVICE
    wanted = Operation(OLD_NAMES.get(name, name))
    if wanted.served:
        assert operation_of(method, level, query, copies=copies) is wanted
        return
    with pytest.raises(S3Fault) as caught:
        operation_of(method, level, query, copies=copies)
    assert (caught.value.code, caught.value.status) == (Code.NOT_IMPLEMENTED, 501)
    assert wanted.value in caught.value.message


def test_the_table_names_every_operation_once() -> None:
    named = [operation for level in TABLE.values() for methods in level.values() for operation in methods.values()]
    implied = {
        Operation.LIST_OBJECTS_V2,  # list-type
        Operation.COPY_OBJECT,  # x-amz-copy-source
        Operation.UPLOAD_PART_COPY,
        Operation.PREFLIGHT,  # OPTIONS
    }
    assert len(named) == len(set(named))
    assert set(named) | implied == set(Operation)
    assert set(Operation) >= SERVED


def outcome(act: Callable[[], T]) -> T | S3Fault:
    try:
        return act()
    except S3Fault as fault:
        return fault


PLAIN = {
    Operation.LIST_BUCKETS, Operation.LIST_OBJECTS, Operation.LIST_OBJECTS_V2, Operation.HEAD_BUCKET,
    Operation.CREATE_BUCKET, Operation.DELETE_BUCKET, Operation.POST_OBJECT, Operation.GET_OBJECT,
    Operation.HEAD_OBJECT, Operation.PUT_OBJECT, Operation.COPY_OBJECT, Operation.DELETE_OBJECT,
}  # fmt: skip
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"]
subresources = sorted({name for level in TABLE.values() for name in level if name})


@pytest.mark.parametrize("subresource", [*subresources, "nonsense", "acl2", "Acl", "ACL", "tagging ", "legalHold"])
@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("value", ["", "x"])
def test_a_subresource_is_never_taken_for_the_plain_operation(level: Level, subresource: str, value: str) -> None:
    """sub-empty-delete-cors, sub-acl-after-cors, sub-object-after-tagging, sub-head-tagging-missing-bucket"""
    for method in METHODS:
        for more in ((), (("versionId", "v"),), (("prefix", "p"),), (("x-id", "GetObject"),)):
            found = outcome(lambda: operation_of(method, level, ((subresource, value), *more), copies=False))  # noqa: B023
            if isinstance(found, S3Fault):
                assert found.status in (400, 404, 405, 501)
                continue
            operation = found
            reads = operation in (Operation.GET_OBJECT, Operation.HEAD_OBJECT)
            known = any(subresource in table for table in TABLE.values())
            assert operation not in PLAIN or (reads and value and not known)


def test_two_subresources_are_refused() -> None:
    """Also where one would be served: a filter in front may have looked at the other."""
    with pytest.raises(S3Fault) as caught:
        operation_of("GET", Level.OBJECT, (("acl", ""), ("tagging", "")), copies=False)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("method", "level", "query", "copies", "operation"),
    [
        ("GET", Level.BUCKET, "list-type=2&prefix=a&continuation-token=x", False, Operation.LIST_OBJECTS_V2),
        ("GET", Level.BUCKET, "list-type=1", False, Operation.LIST_OBJECTS),
        ("GET", Level.BUCKET, "delimiter=&max-keys=2", False, Operation.LIST_OBJECTS),
        ("GET", Level.OBJECT, "v=3", False, Operation.GET_OBJECT),
        ("GET", Level.OBJECT, "x-id=GetObject", False, Operation.GET_OBJECT),
        ("GET", Level.OBJECT, "versionId=1&partNumber=2&response-expires=x", False, Operation.GET_OBJECT),
        ("PUT", Level.OBJECT, "", True, Operation.COPY_OBJECT),
        ("PUT", Level.OBJECT, "uploadId=u&partNumber=1", True, Operation.UPLOAD_PART_COPY),
        ("PUT", Level.OBJECT, "X-Amz-Signature=s&X-Amz-Algorithm=a&X-Amz-Acl=private", False, Operation.PUT_OBJECT),
        ("PUT", Level.OBJECT, "Signature=s&AWSAccessKeyId=a&Expires=1&x-amz-meta-a=b", False, Operation.PUT_OBJECT),
        ("OPTIONS", Level.OBJECT, "anything", False, Operation.PREFLIGHT),
        ("DELETE", Level.OBJECT, "versionId=null", False, Operation.DELETE_OBJECT),
    ],
)
def test_what_requests_ask_for(method: str, level: Level, query: str, copies: bool, operation: Operation) -> None:
    assert operation_of(method, level, decode_query(query), copies=copies) is operation


@pytest.mark.parametrize(
    ("method", "level", "query", "code"),
    [
        ("PUT", Level.OBJECT, "uploadId=u", Code.INVALID_ARGUMENT),
        ("PUT", Level.OBJECT, "uploadId=&partNumber=1", Code.NO_SUCH_UPLOAD),
        ("GET", Level.OBJECT, "uploadId", Code.NO_SUCH_UPLOAD),
        ("DELETE", Level.OBJECT, "uploadId=", Code.NO_SUCH_UPLOAD),
        ("DELETE", Level.OBJECT, "uploadId=u&uploadId=", Code.NO_SUCH_UPLOAD),
        ("POST", Level.OBJECT, "uploadId=", Code.NO_SUCH_UPLOAD),
        ("GET", Level.OBJECT, "versionId=", Code.INVALID_ARGUMENT),
        ("DELETE", Level.OBJECT, "versionId", Code.INVALID_ARGUMENT),
        ("GET", Level.OBJECT, "tagging&versionId=", Code.INVALID_ARGUMENT),
        ("PUT", Level.OBJECT, "partNumber=1", Code.INVALID_ARGUMENT),
        ("PUT", Level.OBJECT, "v=3", Code.INVALID_ARGUMENT),
        ("DELETE", Level.BUCKET, "prefix=a", Code.INVALID_ARGUMENT),
        ("GET", Level.BUCKET, "list-type=3", Code.INVALID_ARGUMENT),
        ("GET", Level.OBJECT, "nonsense", Code.NOT_IMPLEMENTED),
        ("GET", Level.BUCKET, "nonsense", Code.NOT_IMPLEMENTED),
        ("DELETE", Level.OBJECT, "acl", Code.METHOD_NOT_ALLOWED),
        ("POST", Level.OBJECT, "", Code.METHOD_NOT_ALLOWED),
        ("PUT", Level.SERVICE, "", Code.METHOD_NOT_ALLOWED),
        ("BREW", Level.OBJECT, "", Code.METHOD_NOT_ALLOWED),
    ],
)
def test_what_is_refused(method: str, level: Level, query: str, code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        operation_of(method, level, decode_query(query), copies=False)
    assert caught.value.code is code
    if code is Code.METHOD_NOT_ALLOWED:
        assert dict(caught.value.headers)[b"allow"]


# -- addresses -----------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(texts, st.booleans())
def test_a_key_is_what_was_encoded(key: str, in_host: bool) -> None:
    host, path = ("b.s3.example.org:8080", f"/{key}") if in_host else ("s3.example.org", f"/b/{key}")
    address = locate(host, encode_path(path), ROOTS)
    assert (address.bucket, address.key, address.in_host, address.level) == ("b", key, in_host, Level.OBJECT)


@given(st.lists(st.tuples(texts, st.text(max_size=10)), max_size=4))
def test_a_query_is_what_was_encoded(pairs: list[tuple[str, str]]) -> None:
    try:
        wire = wire_query(pairs)
    except UnicodeEncodeError:
        return
    assert decode_query(wire) == tuple(pairs)


@pytest.mark.parametrize(
    ("host", "path", "bucket", "key"),
    [
        ("s3.example.org", "/", "", ""),
        ("s3.example.org", "/b", "b", ""),
        ("s3.example.org", "/b/", "b", ""),
        ("s3.example.org", "/b//k", "b", "/k"),
        ("s3.example.org", "/b/a+b%2Bc%2f..//./", "b", "a+b+c/..//./"),
        ("S3.EXAMPLE.ORG", "/b/k", "b", "k"),
        ("b.s3.example.org", "/", "b", ""),
        ("a.b.s3.example.org:443", "/k/", "a.b", "k/"),
        ("s3.example.org.", "/b", "b", ""),
        ("B.example.org", "/k", "b", "k"),
        ("10.0.0.1:8080", "/b/k", "b", "k"),
        ("[::1]:8080", "/b/k", "b", "k"),
        ("[::1]", "/b/k", "b", "k"),
        ("evil.org", "/b/k", "b", "k"),
        ("xs3.example.org", "/k", "xs3", "k"),
    ],
)
def test_addresses(host: str, path: str, bucket: str, key: str) -> None:
    address = locate(host, path, ROOTS)
    assert (address.bucket, address.key) == (bucket, key)


def test_without_root_hosts_all_is_path_style() -> None:
    assert locate("b.s3.example.org", "/c/k", ()).bucket == "c"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/b/%", Code.INVALID_URI),
        ("/b/%2", Code.INVALID_URI),
        ("/b/%zz", Code.INVALID_URI),
        ("/b/%ff", Code.INVALID_URI),
        ("/b/%ed%a0%80", Code.INVALID_URI),
        ("/b/" + "k" * 1025, Code.KEY_TOO_LONG),
        ("/b/" + "%C3%A9" * 513, Code.KEY_TOO_LONG),
        ("//k", Code.INVALID_BUCKET_NAME),
        ("/b%2Fc/k", Code.INVALID_BUCKET_NAME),
        ("/b%00/k", Code.INVALID_BUCKET_NAME),
        ("/b%20c", Code.INVALID_BUCKET_NAME),
        ("/..", Code.INVALID_BUCKET_NAME),
        ("/" + "b" * 256, Code.INVALID_BUCKET_NAME),
    ],
)
def test_addresses_that_are_refused(path: str, code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        locate("s3.example.org", path, ROOTS)
    assert caught.value.code is code


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
def test_no_target_breaks_the_readers(text: str) -> None:
    for read in (lambda: locate(text, "/" + text, ROOTS), lambda: decode_query(text)):
        found = outcome(read)
        assert not isinstance(found, S3Fault) or found.status == 400


@pytest.mark.parametrize("name", ["abc", "a.b-c.9", "a" * 63, "1.2.3"])
def test_bucket_names(name: str) -> None:
    check_new_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "a" * 64,
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "a..b",
        "a.-b",
        "1.2.3.4",
        "xn--ab",
        "ab\n",
        "äbc",
        "ab-s3alias",
    ],
)
def test_bucket_names_that_are_refused(name: str) -> None:
    with pytest.raises(S3Fault) as caught:
        check_new_bucket_name(name)
    assert caught.value.code is Code.INVALID_BUCKET_NAME


def test_every_code_is_a_word_with_a_status_of_its_kind() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9]+", code.text) and 300 <= code.status < 600 for code in Code)
    assert all(code.message.endswith((".", "retry.")) for code in Code)
    assert len({code.text for code in Code}) == len(Code)
