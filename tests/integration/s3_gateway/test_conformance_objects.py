"""What public S3 suites ask of objects, listings, parts, tags and rules, by boto3 as a suite would: facts of S3."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.s3_gateway.wire import Wire, content_md5
from tests.support.riak_cs import User
from tests.support.s3_clients import s3_client
from tests.support.s3_gateway import S3Gateway

MIB = 1 << 20


@pytest.fixture(scope="module")
def s3(gateway: S3Gateway, alice: User) -> Any:
    return s3_client(gateway.url, alice.key, alice.secret, retries={"total_max_attempts": 1})


def refused(call: Any, **parameters: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    found = caught.value.response
    return found["ResponseMetadata"]["HTTPStatusCode"], found["Error"]["Code"]


def filled(s3: Any, bucket: str, *keys: str) -> None:
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def names(listed: Any) -> tuple[list[str], list[str]]:
    keys = [one["Key"] for one in listed.get("Contents", [])]
    return keys, [one["Prefix"] for one in listed.get("CommonPrefixes", [])]


# -- listings ------------------------------------------------------------------------------------------------------

LISTINGS: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("alt", {"Delimiter": "a"}, ["foo"], ["ba", "ca"]),
    ("none", {"Delimiter": "/"}, ["bar", "baz", "cab", "foo"], []),
    ("unreadable", {"Delimiter": "\n"}, ["bar", "baz", "cab", "foo"], []),
    ("empty", {"Delimiter": ""}, ["bar", "baz", "cab", "foo"], []),
    ("prefix", {"Prefix": "ba"}, ["bar", "baz"], []),
    ("prefix and delimiter", {"Prefix": "ba", "Delimiter": "r"}, ["baz"], ["bar"]),
    ("no such prefix", {"Prefix": "d", "Delimiter": "a"}, [], []),
    ("unreadable prefix", {"Prefix": "\n"}, [], []),
    ("empty prefix", {"Prefix": ""}, ["bar", "baz", "cab", "foo"], []),
    ("nothing", {"MaxKeys": 0}, [], []),
]


@pytest.mark.parametrize(
    ("parameters", "keys", "prefixes"), [one[1:] for one in LISTINGS], ids=[n[0] for n in LISTINGS]
)
def test_listings(parameters: dict[str, Any], keys: list[str], prefixes: list[str], s3: Any, bucket: str) -> None:
    filled(s3, bucket, "bar", "baz", "cab", "foo")
    for call in (s3.list_objects, s3.list_objects_v2):
        listed = call(Bucket=bucket, **parameters)
        assert names(listed) == (keys, prefixes)
        assert listed["IsTruncated"] is False
        assert listed["MaxKeys"] == parameters.get("MaxKeys", 1000)
        assert listed["Prefix"] == parameters.get("Prefix", "")
        assert listed.get("Delimiter") == (parameters.get("Delimiter") or None)


def test_pages_with_a_delimiter(s3: Any, bucket: str) -> None:
    filled(s3, bucket, "asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla")
    marker, seen = "", []
    for _ in range(3):
        page = s3.list_objects(Bucket=bucket, Delimiter="/", Marker=marker, MaxKeys=1)
        seen.append((*names(page), page["IsTruncated"], page.get("NextMarker")))
        marker = page.get("NextMarker", "")
    assert seen == [(["asdf"], [], True, "asdf"), ([], ["boo/"], True, "boo/"), ([], ["cquux/"], False, None)]
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="boo/", MaxKeys=1)
    assert names(page) == (["boo/bar"], [])
    page = s3.list_objects_v2(
        Bucket=bucket, Delimiter="/", Prefix="boo/", MaxKeys=1, ContinuationToken=page["NextContinuationToken"]
    )
    assert (names(page), page["IsTruncated"]) == (([], ["boo/baz/"]), False)
    filled(s3, bucket, "end/")
    assert names(s3.list_objects(Bucket=bucket, Delimiter="/", Prefix="end/")) == (["end/"], [])


@pytest.mark.parametrize("marker", ["", "\n", "blah", "zzz", "aaa"])
def test_markers(marker: str, s3: Any, bucket: str) -> None:
    filled(s3, bucket, "bar", "baz", "foo")
    listed = s3.list_objects(Bucket=bucket, Marker=marker)
    assert listed["Marker"] == marker
    assert names(listed)[0] == [key for key in ("bar", "baz", "foo") if key > marker]
    listed = s3.list_objects_v2(Bucket=bucket, StartAfter=marker)
    assert listed.get("StartAfter", "") == marker
    assert names(listed)[0] == [key for key in ("bar", "baz", "foo") if key > marker]
    assert listed["KeyCount"] == len(names(listed)[0])


def test_the_encoding_that_is_asked_for(wire: Wire, s3: Any, bucket: str) -> None:
    filled(s3, bucket, "foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "asdf+b")
    for version in ("", "list-type=2&"):
        answer = wire.ask("GET", f"/{bucket}?{version}delimiter=%2F&encoding-type=url")
        assert answer.texts("Contents/Key") == ["asdf%2Bb"]
        assert answer.texts("CommonPrefixes/Prefix") == ["foo%2B1/", "foo/", "quux%20ab/"]
        assert answer.text("EncodingType") == "url"


@pytest.mark.parametrize("value", ["blah", "-1", "%0A", "1.5"])
def test_page_sizes_that_are_none(value: str, wire: Wire, bucket: str) -> None:
    assert wire.ask("GET", f"/{bucket}?max-keys={value}").outcome == (400, "InvalidArgument")


# -- objects -------------------------------------------------------------------------------------------------------

SPECIAL = [" ", '"', "$", "%", "&", "'", "<", ">", "_", "_ ", "_ _", "__", "?versionId", "a//b", "a/../b", "ü\u2603"]


def test_special_keys(s3: Any, bucket: str) -> None:
    filled(s3, bucket, *SPECIAL)
    listed = s3.list_objects_v2(Bucket=bucket)
    assert names(listed)[0] == sorted(SPECIAL, key=str.encode)
    for key in SPECIAL:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(key.encode())
        s3.put_object_acl(Bucket=bucket, Key=key, ACL="private")
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
        assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == key.encode()
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*SPECIAL, "copy"]]})
    assert len(deleted["Deleted"]) == len(SPECIAL) + 1
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    ("md5", "outcome"),
    [
        ("YWJyYWNhZGFicmE=", (400, "InvalidDigest")),
        ("", (400, "InvalidDigest")),
        ("rL0Y20xC+Fzt72VPzMSk2A==", (400, "BadDigest")),
    ],
)
def test_content_md5(md5: str, outcome: tuple[int, str], wire: Wire, bucket: str) -> None:
    assert wire.ask("PUT", f"/{bucket}/k", b"bar", {"Content-MD5": md5}).outcome == outcome


def test_objects_that_are_not_there(s3: Any, bucket: str) -> None:
    for call in (s3.get_object, s3.get_object_acl, s3.get_object_tagging):
        assert refused(call, Bucket=bucket, Key="k") == (404, "NoSuchKey")
    assert refused(s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["ETag"]) == (404, "NoSuchKey")
    assert refused(s3.head_object, Bucket=bucket, Key="k") == (404, "404")
    assert refused(s3.copy_object, Bucket=bucket, Key="l", CopySource=f"{bucket}/k") == (404, "NoSuchKey")
    assert refused(s3.copy_object, Bucket=bucket, Key="l", CopySource=f"{bucket}-none/k") == (404, "NoSuchBucket")
    assert s3.delete_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_conditions(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"bar")["ETag"]
    where = {"Bucket": bucket, "Key": "k"}
    failed = (412, "PreconditionFailed")
    assert s3.get_object(**where, IfMatch=etag)["Body"].read() == b"bar"
    assert refused(s3.get_object, **where, IfMatch='"ABCORZ"') == failed
    assert refused(s3.get_object, **where, IfNoneMatch=etag) == (304, "304")
    assert refused(s3.get_object, **where, IfUnmodifiedSince="1994-09-24T19:43:31Z") == failed
    copy = {"Bucket": bucket, "Key": "l", "CopySource": f"{bucket}/k"}
    s3.copy_object(**copy, CopySourceIfMatch=etag)
    assert refused(s3.copy_object, **copy, CopySourceIfNoneMatch=etag) == failed
    assert refused(s3.put_object, **where, Body=b"", IfNoneMatch="*") == failed
    assert refused(s3.put_object, **where, Body=b"", IfMatch='"ABCORZ"') == failed
    assert refused(s3.put_object, Bucket=bucket, Key="none", Body=b"", IfMatch="*") == (404, "NoSuchKey")
    assert refused(s3.delete_object, **where, IfMatch='"ABCORZ"') == failed
    s3.put_object(**where, Body=b"zar", IfMatch=etag)
    outcome = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": etag}, {"Key": "l", "ETag": etag}]}
    )
    assert [one["Key"] for one in outcome["Deleted"]] == ["l"]
    assert [(one["Key"], one["Code"]) for one in outcome["Errors"]] == [("k", "PreconditionFailed")]
    assert s3.get_object(**where)["Body"].read() == b"zar"


def test_writes_of_what_has_another_etag(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"bar")["ETag"]
    where = {"Bucket": bucket, "Key": "k"}
    assert refused(s3.put_object, **where, Body=b"x", IfNoneMatch=etag) == (412, "PreconditionFailed")
    assert s3.get_object(**where)["Body"].read() == b"bar"
    s3.put_object(**where, Body=b"zar", IfNoneMatch='"other"')
    assert s3.get_object(**where)["Body"].read() == b"zar"
    s3.put_object(Bucket=bucket, Key="new", Body=b"", IfNoneMatch='"other"')


CONDITIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"IfMatch": "badetag"}, {"ETag": "badetag"}),
    ({"IfMatchSize": 9999}, {"Size": 9999}),
    ({"IfMatchLastModifiedTime": "2015-01-01"}, {"LastModifiedTime": "2015-01-01"}),
]


@pytest.mark.parametrize(("header", "element"), CONDITIONS)
def test_deletes_on_a_condition(header: dict[str, Any], element: dict[str, Any], s3: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**where, Body=b"bar")["ETag"]
    assert refused(s3.delete_object, **where, **header) == (412, "PreconditionFailed")
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", **element}]})
    assert [one["Code"] for one in deleted["Errors"]] == ["PreconditionFailed"]
    found = s3.head_object(**where)
    right = {"IfMatch": etag, "IfMatchSize": 3, "IfMatchLastModifiedTime": found["LastModified"]}
    element = {**element, **{name: right[f"IfMatch{name.removeprefix('ETag')}"] for name in element}}
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", **element}]})
    assert refused(s3.head_object, **where) == (404, "404")
    s3.put_object(**where, Body=b"bar")
    right["IfMatchLastModifiedTime"] = s3.head_object(**where)["LastModified"]
    s3.delete_object(**where, **{name: right[name] for name in header})
    assert refused(s3.head_object, **where) == (404, "404")
    # What is not there needs no deleting.
    s3.delete_object(**where, **header)


def test_more_keys_than_a_multi_delete_takes(wire: Wire, bucket: str) -> None:
    for count, status in ((1000, 200), (1001, 400)):
        inner = "".join(f"<Object><Key>k{n}</Key></Object>" for n in range(count))
        body = f"<Delete><Quiet>true</Quiet>{inner}</Delete>".encode()
        answer = wire.ask("POST", f"/{bucket}?delete=", body, {"Content-MD5": content_md5(body)})
        assert answer.status == status
        assert answer.code == ("MalformedXML" if status == 400 else "")


# -- parts ---------------------------------------------------------------------------------------------------------


def test_parts_and_completions_that_do_not_fit(s3: Any, bucket: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k")
    where = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    small = [s3.upload_part(**where, PartNumber=n, Body=b"x" * 10)["ETag"] for n in (1, 2)]

    def complete(*parts: tuple[int, str]) -> Any:
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return refused(s3.complete_multipart_upload, **where, MultipartUpload={"Parts": listed})

    assert complete((1, small[0]), (2, small[1])) == (400, "EntityTooSmall")
    assert complete((1, small[0]), (9999, small[1])) == (400, "InvalidPart")
    assert complete((1, '"ffffffffffffffffffffffffffffffff"')) == (400, "InvalidPart")
    assert complete((2, small[1]), (1, small[0])) == (400, "InvalidPartOrder")
    assert complete() == (400, "MalformedXML")
    assert refused(s3.upload_part, **where, PartNumber=0, Body=b"x") == (400, "InvalidArgument")
    assert refused(s3.upload_part, **where, PartNumber=10001, Body=b"x") == (400, "InvalidArgument")
    lost = {**where, "UploadId": "56788"}
    assert refused(s3.abort_multipart_upload, **lost) == (404, "NoSuchUpload")
    assert refused(s3.upload_part, **lost, PartNumber=1, Body=b"x") == (404, "NoSuchUpload")
    assert refused(s3.list_parts, **lost) == (404, "NoSuchUpload")
    part = [{"PartNumber": 1, "ETag": small[0]}]
    assert refused(s3.complete_multipart_upload, **lost, MultipartUpload={"Parts": part}) == (404, "NoSuchUpload")
    s3.put_object(Bucket=bucket, Key="source", Body=b"x" * 5)
    copy = {**where, "PartNumber": 1, "CopySource": f"{bucket}/source"}
    assert refused(s3.upload_part_copy, **copy, CopySourceRange="bytes=0-21")[1] == "InvalidRange"
    for given in ("0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5"):
        assert refused(s3.upload_part_copy, **copy, CopySourceRange=given) == (400, "InvalidArgument")
    s3.abort_multipart_upload(**where)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert refused(s3.list_parts, **where) == (404, "NoSuchUpload")


def test_one_part_of_what_was_put_at_once(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")
    assert s3.get_object(Bucket=bucket, Key="k", PartNumber=1)["Body"].read() == b"body"
    assert refused(s3.get_object, Bucket=bucket, Key="k", PartNumber=2) == (416, "InvalidPartNumber")


# -- tags and rules ------------------------------------------------------------------------------------------------


def tags(count: int, key: str = "key", value: str = "value") -> dict[str, Any]:
    return {"TagSet": [{"Key": f"{n}{key}", "Value": f"{n}{value}"} for n in range(count)]}


def test_limits_of_tags(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    where = {"Bucket": bucket, "Key": "k"}
    largest = tags(10, "k" * 127, "v" * 255)
    s3.put_object_tagging(**where, Tagging=largest)
    assert s3.get_object_tagging(**where)["TagSet"] == largest["TagSet"]
    assert s3.head_object(**where)["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "10"
    for wrong in (tags(1, "k" * 128), tags(1, "k", "v" * 256), {"TagSet": tags(1)["TagSet"] * 2}):
        assert refused(s3.put_object_tagging, **where, Tagging=wrong) == (400, "InvalidTag")
    assert refused(s3.put_object_tagging, **where, Tagging=tags(11))[0] == 400
    assert s3.get_object_tagging(**where)["TagSet"] == largest["TagSet"]
    assert refused(s3.get_bucket_tagging, Bucket=bucket) == (404, "NoSuchTagSet")


RULE = {"ID": "rule", "Status": "Enabled", "Prefix": "test/", "Expiration": {"Days": 2}}


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([{**RULE, "ID": "a" * 256}], "InvalidArgument"),
        ([RULE, RULE], "InvalidArgument"),
        ([{**RULE, "Status": "enabled"}], "MalformedXML"),
        ([{**RULE, "Status": "invalid"}], "MalformedXML"),
        ([{**RULE, "Expiration": {"Days": 0}}], "InvalidArgument"),
        ([{**RULE, "Expiration": {"Days": -1}}], "InvalidArgument"),
        ([{"ID": "rule", "Status": "Enabled", "Prefix": ""}], "InvalidRequest"),
    ],
)
def test_rules_that_cannot_be(rules: list[dict[str, Any]], code: str, s3: Any, bucket: str) -> None:
    put = s3.put_bucket_lifecycle_configuration
    assert refused(put, Bucket=bucket, LifecycleConfiguration={"Rules": rules}) == (400, code)
    assert refused(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")


def test_rules_come_back_with_ids(s3: Any, bucket: str) -> None:
    rules = [
        {"Expiration": {"Days": 31}, "Prefix": "test1/", "Status": "Enabled"},
        {"ID": "b", "NoncurrentVersionExpiration": {"NoncurrentDays": 2}, "Prefix": "past/", "Status": "Enabled"},
        {"ID": "c", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}, "Prefix": "t/", "Status": "Disabled"},
        {"ID": "d", "Expiration": {"ExpiredObjectDeleteMarker": True}, "Filter": {"Prefix": "x"}, "Status": "Enabled"},
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    found = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert found[0].pop("ID")
    assert found == rules
