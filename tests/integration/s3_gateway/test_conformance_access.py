"""What public S3 suites ask of ACLs, policies, names and signatures, by boto3 as a suite would: facts of S3."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.integration.s3_gateway.wire import Wire
from tests.support.riak_cs import User
from tests.support.s3_gateway import S3Gateway

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def client(gateway: S3Gateway, user: User | None) -> Any:
    config = Config(signature_version="s3v4", retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys: dict[str, Any] = {}
    if user is None:
        config = config.merge(Config(signature_version=UNSIGNED))
    else:
        keys = {"aws_access_key_id": user.key, "aws_secret_access_key": user.secret}
    return boto3.client("s3", endpoint_url=gateway.url, region_name="us-east-1", config=config, **keys)


def refused(call: Any, **parameters: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    found = caught.value.response
    return found["ResponseMetadata"]["HTTPStatusCode"], found["Error"]["Code"]


DENIED = (403, "AccessDenied")


@pytest.fixture(scope="module")
def s3(gateway: S3Gateway, alice: User) -> Any:
    return client(gateway, alice)


@pytest.fixture(scope="module")
def other(gateway: S3Gateway, bob: User) -> Any:
    return client(gateway, bob)


@pytest.fixture(scope="module")
def nobody(gateway: S3Gateway) -> Any:
    return client(gateway, None)


def granted(s3: Any, bucket: str, alice: User, bob: User, permission: str, key: str = "") -> None:
    owner = {"ID": alice.id, "DisplayName": "alice"}
    grants = [
        {"Grantee": {"ID": who, "Type": "CanonicalUser"}, "Permission": what}
        for who, what in ((alice.id, "FULL_CONTROL"), (bob.id, permission))
    ]
    acl = {"Owner": owner, "Grants": grants}
    if key:
        s3.put_object_acl(Bucket=bucket, Key=key, AccessControlPolicy=acl)
    else:
        s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy=acl)


@pytest.mark.parametrize("permission", ["READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"])
def test_a_right_on_a_bucket_gives_that_and_no_other(
    permission: str, s3: Any, other: Any, bucket: str, alice: User, bob: User
) -> None:
    granted(s3, bucket, alice, bob, permission)
    rights = {"READ", "WRITE", "READ_ACP", "WRITE_ACP"} if permission == "FULL_CONTROL" else {permission}
    for right, call, parameters in (
        ("READ", other.list_objects_v2, {}),
        ("READ_ACP", other.get_bucket_acl, {}),
        ("WRITE", other.put_object, {"Key": "k", "Body": b"x"}),
        ("WRITE_ACP", other.put_bucket_acl, {"ACL": "public-read"}),
    ):
        if right in rights:
            call(Bucket=bucket, **parameters)
        else:
            assert refused(call, Bucket=bucket, **parameters) == DENIED
    if "WRITE_ACP" in rights:
        shown = s3.get_bucket_acl(Bucket=bucket)
        assert shown["Owner"]["ID"] == alice.id
        assert ALL_USERS in [grant["Grantee"].get("URI") for grant in shown["Grants"]]


@pytest.mark.parametrize("permission", ["READ", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"])
def test_a_right_on_an_object_gives_that_and_no_other(
    permission: str, s3: Any, other: Any, nobody: Any, bucket: str, alice: User, bob: User
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    granted(s3, bucket, alice, bob, permission, "k")
    rights = {"READ", "READ_ACP", "WRITE_ACP"} if permission == "FULL_CONTROL" else {permission}
    for right, call, parameters in (
        ("READ", other.get_object, {}),
        ("READ_ACP", other.get_object_acl, {}),
        ("WRITE_ACP", other.put_object_acl, {"ACL": "public-read"}),
    ):
        if right in rights:
            call(Bucket=bucket, Key="k", **parameters)
        else:
            assert refused(call, Bucket=bucket, Key="k", **parameters) == DENIED
    assert refused(nobody.get_object_acl, Bucket=bucket, Key="k") == DENIED
    assert refused(nobody.put_object_acl, Bucket=bucket, Key="k", ACL="private") == DENIED
    if "WRITE_ACP" in rights:
        assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
        assert s3.get_object_acl(Bucket=bucket, Key="k")["Owner"]["ID"] == alice.id


def test_acls_of_objects_that_are_not_there(s3: Any, other: Any, bucket: str) -> None:
    assert refused(s3.get_object_acl, Bucket=bucket, Key="k") == (404, "NoSuchKey")
    assert refused(s3.put_object_acl, Bucket=bucket, Key="k", ACL="private") == (404, "NoSuchKey")
    assert refused(other.get_object_acl, Bucket=bucket, Key="k") == DENIED
    assert refused(other.put_object_acl, Bucket=bucket, Key="k", ACL="private") == DENIED


def test_an_object_belongs_to_its_writer_who_may_share_it(
    s3: Any, other: Any, bucket: str, alice: User, bob: User
) -> None:
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    other.put_object(Bucket=bucket, Key="own", Body=b"x")
    assert other.get_object_acl(Bucket=bucket, Key="own")["Owner"]["ID"] == bob.id
    other.put_object_acl(Bucket=bucket, Key="own", ACL="bucket-owner-full-control")
    shown = s3.get_object_acl(Bucket=bucket, Key="own")
    assert {(grant["Grantee"]["ID"], grant["Permission"]) for grant in shown["Grants"]} == {
        (alice.id, "FULL_CONTROL"), (bob.id, "FULL_CONTROL"),
    }  # fmt: skip
    assert s3.get_object(Bucket=bucket, Key="own")["Body"].read() == b"x"


def put_at_once(who: Any, bucket: str, key: str) -> None:
    who.put_object(Bucket=bucket, Key=key, Body=b"x" * 10)


def put_in_parts(who: Any, bucket: str, key: str) -> None:
    where = {"Bucket": bucket, "Key": key}
    where["UploadId"] = who.create_multipart_upload(**where)["UploadId"]
    part = who.upload_part(**where, PartNumber=1, Body=b"x" * 10)
    who.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})


def put_a_copy(who: Any, bucket: str, key: str) -> None:
    put_at_once(who, bucket, "source")
    who.copy_object(Bucket=bucket, Key=key, CopySource=f"{bucket}/source")


@pytest.mark.parametrize("put", [put_at_once, put_in_parts, put_a_copy])
def test_what_another_wrote_is_read_by_whom_its_acl_names(
    put: Any, s3: Any, other: Any, nobody: Any, bucket: str, bob: User
) -> None:
    """Not by the bucket's owner, to whom Riak CS shows it, and not by whom the bucket's policy names."""
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    put(other, bucket, "own")
    where = {"Bucket": bucket, "Key": "own"}
    s3.put_bucket_policy(
        Bucket=bucket,
        Policy=statement(bucket, Action=["s3:GetObject", "s3:PutObject"], Resource=f"arn:aws:s3:::{bucket}/*"),
    )
    s3.put_object(Bucket=bucket, Key="mine", Body=b"x")
    for who in (s3, nobody):
        assert refused(who.get_object, **where) == DENIED
        assert refused(who.get_object, **where, Range="bytes=0-1") == DENIED
        assert refused(who.get_object, **where, IfMatch="x") == DENIED
        assert refused(who.head_object, **where) == (403, "403")
        assert refused(who.get_object_attributes, **where, ObjectAttributes=["ETag"]) == DENIED
        assert who.get_object(Bucket=bucket, Key="mine")["Body"].read() == b"x"
    assert refused(s3.copy_object, Bucket=bucket, Key="copy", CopySource=f"{bucket}/own") == DENIED
    assert other.get_object(**where)["Body"].read() == b"x" * 10
    assert "millrace" not in str(other.head_object(**where))
    other.put_object_acl(**where, ACL="bucket-owner-read")
    assert s3.get_object(**where)["Body"].read() == b"x" * 10
    assert refused(nobody.get_object, **where) == DENIED
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/own")
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"x" * 10
    s3.put_object(**where, Body=b"mine now")
    assert s3.get_object(**where)["Body"].read() == b"mine now"
    s3.delete_object(**where)


def test_what_was_written_without_credentials_belongs_to_nobody(s3: Any, nobody: Any, bucket: str) -> None:
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    nobody.put_object(Bucket=bucket, Key="k", Body=b"x")
    for call in (s3.get_object, s3.get_object_acl, nobody.get_object):
        assert refused(call, Bucket=bucket, Key="k") == DENIED
    nobody.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    s3.delete_object(Bucket=bucket, Key="k")


def test_an_owner_without_grants(s3: Any, bucket: str, alice: User) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Owner": {"ID": alice.id}, "Grants": []})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert refused(s3.put_object, Bucket=bucket, Key="l", Body=b"") == DENIED
    assert refused(s3.list_objects_v2, Bucket=bucket) == DENIED
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"] == []
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    s3.put_object(Bucket=bucket, Key="l", Body=b"")


@pytest.mark.parametrize(
    ("ownership", "outcome"),
    [
        ("BucketOwnerEnforced", (501, "NotImplemented")),
        ("BucketOwnerPreferred", (501, "NotImplemented")),
        ("Nobody", (400, "InvalidArgument")),
    ],
)
def test_an_ownership_that_is_not_kept_is_refused(
    ownership: str, outcome: tuple[int, str], s3: Any, bucket: str
) -> None:
    assert refused(s3.create_bucket, Bucket=bucket + "-own", ObjectOwnership=ownership) == outcome
    assert refused(s3.head_bucket, Bucket=bucket + "-own") == (404, "404")
    s3.create_bucket(Bucket=bucket, ObjectOwnership="ObjectWriter")


def test_grants_that_come_with_an_upload_in_parts(s3: Any, other: Any, bucket: str, bob: User) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", GrantRead=f"id={bob.id}")
    where = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    part = s3.upload_part(**where, PartNumber=1, Body=b"x")
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert refused(other.get_object_acl, Bucket=bucket, Key="k") == DENIED


@pytest.mark.parametrize(
    ("grants", "code"),
    [
        ({"GrantRead": "id=nobody-has-this-id"}, "InvalidArgument"),
        ({"GrantRead": "emailAddress=nobody@example.invalid"}, "UnresolvableGrantByEmailAddress"),
        ({"GrantRead": "uri=http://example.com/group"}, "InvalidArgument"),
        ({"ACL": "public-ready"}, "InvalidArgument"),
        ({"ACL": "private", "GrantRead": "uri=" + ALL_USERS}, "InvalidRequest"),
    ],
)
def test_grants_that_cannot_be(grants: dict[str, str], code: str, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for call, where in (
        (s3.put_bucket_acl, {"Bucket": bucket}),
        (s3.put_object_acl, {"Bucket": bucket, "Key": "k"}),
        (s3.put_object, {"Bucket": bucket, "Key": "l", "Body": b""}),
        (s3.create_multipart_upload, {"Bucket": bucket, "Key": "l"}),
    ):
        assert refused(call, **where, **grants) == (400, code)


NAMES = [
    ("a", 400), ("aa", 400), ("_foo", 400), ("foo_bar", 400), ("192.168.5.123", 400), ("foo-", 400), ("foo..bar", 400),
    ("Uppercase", 400), ("-foo", 400), (".foo", 400), ("foo.", 400), ("x" * 64, 400), ("x" * 250, 400),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status"), NAMES)
def test_names_of_new_buckets(name: str, status: int, wire: Wire) -> None:
    assert wire.ask("PUT", f"/{name}").outcome == (status, "InvalidBucketName")


def test_buckets_that_are_not_there(s3: Any, other: Any, nobody: Any, bucket: str) -> None:
    missing = bucket + "-missing"
    for call in (s3.list_objects, s3.list_objects_v2, s3.delete_bucket, s3.get_bucket_acl, s3.list_multipart_uploads):
        assert refused(call, Bucket=missing) == (404, "NoSuchBucket")
    for call in (s3.get_object, s3.delete_object, s3.get_object_tagging):
        assert refused(call, Bucket=missing, Key="k") == (404, "NoSuchBucket")
    assert refused(s3.put_object, Bucket=missing, Key="k", Body=b"") == (404, "NoSuchBucket")
    assert refused(s3.head_bucket, Bucket=missing) == (404, "404")
    assert refused(nobody.list_objects, Bucket=missing) == (404, "NoSuchBucket")
    assert refused(other.create_bucket, Bucket=bucket) == (409, "BucketAlreadyExists")
    assert refused(other.head_bucket, Bucket=bucket) == (403, "403")
    assert refused(other.delete_bucket, Bucket=bucket) == DENIED
    assert refused(nobody.list_buckets) == DENIED
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert refused(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")


@pytest.mark.parametrize("expires", [0, -7, 609901])
def test_a_presigned_url_outside_of_its_range(expires: int, s3: Any, wire: Wire, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="foo", Body=b"x")
    target = wire.presigned("GET", f"/{bucket}/foo", expires_s=expires)
    assert wire.ask("GET", target, sign="").outcome == DENIED


def statement(bucket: str, **changes: Any) -> str:
    one = {
        "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:ListBucket",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"], **changes,
    }  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": [one]})


def test_policies_by_what_the_request_says(s3: Any, other: Any, bucket: str) -> None:
    """Condition keys of PutObject and CopyObject."""
    s3.put_object(Bucket=bucket, Key="public/source", Body=b"x", ACL="public-read")
    s3.put_object(Bucket=bucket, Key="private/source", Body=b"x", ACL="public-read")
    objects = [f"arn:aws:s3:::{bucket}/*"]

    def put(condition: dict[str, Any]) -> None:
        s3.put_bucket_policy(
            Bucket=bucket, Policy=statement(bucket, Action="s3:PutObject", Resource=objects, Condition=condition)
        )

    put({"StringLike": {"s3:x-amz-copy-source": f"{bucket}/public/*"}})
    assert refused(other.put_object, Bucket=bucket, Key="k", Body=b"") == DENIED
    other.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/public/source")
    assert refused(other.copy_object, Bucket=bucket, Key="k", CopySource=f"{bucket}/private/source") == DENIED
    put({"StringEquals": {"s3:x-amz-metadata-directive": "COPY"}})
    copy = {"Bucket": bucket, "Key": "k", "CopySource": f"{bucket}/public/source"}
    other.copy_object(**copy, MetadataDirective="COPY")
    assert refused(other.copy_object, **copy) == DENIED
    put({"StringLike": {"s3:x-amz-acl": "public*"}})
    other.put_object(Bucket=bucket, Key="k", Body=b"", ACL="public-read")
    assert refused(other.put_object, Bucket=bucket, Key="k", Body=b"") == DENIED
    put({"StringEquals": {"s3:RequestObjectTag/security": "public"}})
    other.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="security=public&foo=bar")
    assert refused(other.put_object, Bucket=bucket, Key="k", Body=b"", Tagging="security=private") == DENIED


def test_what_a_policy_status_says(s3: Any, bucket: str) -> None:
    assert refused(s3.get_bucket_policy, Bucket=bucket) == (404, "NoSuchBucketPolicy")
    assert refused(s3.get_bucket_policy_status, Bucket=bucket) == (404, "NoSuchBucketPolicy")
    s3.put_bucket_policy(Bucket=bucket, Policy=statement(bucket))
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    s3.put_bucket_policy(
        Bucket=bucket, Policy=statement(bucket, Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}})
    )
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
