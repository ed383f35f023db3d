"""Tags, CORS, lifecycle rules and what reads say of them, through the gateway by boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.s3_gateway.wire import Wire
from tests.support.riak_cs import User
from tests.support.s3_clients import s3_client
from tests.support.s3_gateway import S3Gateway


@pytest.fixture(scope="module")
def s3(gateway: S3Gateway, alice: User) -> Iterator[Any]:
    client = s3_client(gateway.url, alice.key, alice.secret)
    yield client
    client.close()


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def tag_set(**tags: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def test_tags_of_a_bucket(s3: Any, bucket: str) -> None:
    assert refused(s3.get_bucket_tagging, Bucket=bucket) == (404, "NoSuchTagSet")
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tag_set(team="red", cost="7")})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tag_set(team="red", cost="7")
    s3.delete_bucket_tagging(Bucket=bucket)
    assert refused(s3.get_bucket_tagging, Bucket=bucket) == (404, "NoSuchTagSet")


def test_tags_of_an_object_follow_it(s3: Any, bucket: str) -> None:
    """At the PUT, by a copy, by a multipart upload; gone with an overwrite."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="team=red&stage=")
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == tag_set(team="red", stage="")
    for read in (s3.get_object, s3.head_object):
        assert read(Bucket=bucket, Key="a")["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"
    s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a"})
    assert s3.get_object_tagging(Bucket=bucket, Key="b")["TagSet"] == tag_set(team="red", stage="")
    s3.copy_object(
        Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "a"}, TaggingDirective="REPLACE", Tagging="new=1"
    )
    assert s3.get_object_tagging(Bucket=bucket, Key="c")["TagSet"] == tag_set(new="1")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", Tagging="by=parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload=parts)
    assert s3.get_object_tagging(Bucket=bucket, Key="m")["TagSet"] == tag_set(by="parts")
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == []
    assert "TagCount" not in s3.get_object(Bucket=bucket, Key="a")
    s3.delete_object_tagging(Bucket=bucket, Key="c")
    assert s3.get_object_tagging(Bucket=bucket, Key="c")["TagSet"] == []


def test_tags_that_cannot_be(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    many = tag_set(**{f"k{n}": "v" for n in range(11)})
    assert refused(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": many}) == (400, "InvalidTag")
    assert refused(s3.get_object_tagging, Bucket=bucket, Key="none") == (404, "NoSuchKey")
    one = {"TagSet": tag_set(a="1")}
    assert refused(s3.put_object_tagging, Bucket=bucket, Key="none", Tagging=one) == (404, "NoSuchKey")


def test_the_number_of_tags_is_for_who_may_read_them(s3: Any, bucket: str, wire: Wire) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1", ACL="public-read")
    seen = wire.as_(None).ask("GET", f"/{bucket}/k")
    assert (seen.body, "x-amz-tagging-count" in seen.headers) == (b"x", False)


def test_lifecycle_rules_come_back_and_reads_tell_when(s3: Any, bucket: str) -> None:
    assert refused(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")
    rules = [
        {"ID": "old form", "Prefix": "tmp/", "Status": "Enabled", "Expiration": {"Days": 1}},
        {
            "ID": "new",
            "Filter": {"Tag": {"Key": "keep", "Value": "week"}},
            "Status": "Enabled",
            "Expiration": {"Days": 7},
        },
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    began = datetime.now(UTC)
    for key, tagging, rule, days in (("tmp/a", "", "old%20form", 1), ("b", "keep=week", "new", 7)):
        put = s3.put_object(Bucket=bucket, Key=key, Body=b"x", Tagging=tagging)
        for answer in (put, s3.get_object(Bucket=bucket, Key=key), s3.head_object(Bucket=bucket, Key=key)):
            _, date, _, named, _ = answer["Expiration"].split('"')
            expires = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
            assert (named, (expires - began).days) == (rule, days)
            assert (expires.hour, expires.minute, expires.second) == (0, 0, 0)
    assert "Expiration" not in s3.put_object(Bucket=bucket, Key="c", Body=b"x")
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert "Expiration" not in s3.head_object(Bucket=bucket, Key="b")


def test_cors_from_the_configuration_to_the_browser(s3: Any, bucket: str, wire: Wire) -> None:
    assert refused(s3.get_bucket_cors, Bucket=bucket) == (404, "NoSuchCORSConfiguration")
    rules = [
        {"AllowedOrigins": ["https://*.example"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["x-amz-*"]},
        {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60},
    ]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    def shown(method: str, origin: str, **more: str) -> tuple[int, str | None]:
        headers = {"Origin": origin} | {name.replace("_", "-"): value for name, value in more.items()}
        found = wire.ask(method, f"/{bucket}/k", headers=headers, sign="" if method == "OPTIONS" else "v4")
        return found.status, found.headers.get("access-control-allow-origin")

    assert shown("GET", "https://app.example") == (200, "https://app.example")
    assert shown("GET", "http://other") == (200, "*")
    assert shown("HEAD", "https://app.example") == (200, None)
    assert shown("PUT", "http://other") == (200, None), "answered, but not for the page"
    ask = {"Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "X-Amz-Date"}
    assert shown("OPTIONS", "https://app.example", **ask) == (200, "https://app.example")
    assert shown("OPTIONS", "http://other", **ask)[0] == 403
    assert shown("OPTIONS", "https://app.example")[0] == 400
    s3.delete_bucket_cors(Bucket=bucket)
    assert shown("OPTIONS", "https://app.example", **ask)[0] == 403
    assert shown("GET", "https://app.example") == (200, None)
