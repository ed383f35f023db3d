"""URLs presigned by botocore, used with nothing but what a browser or curl would send."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.config import Config

from tests.integration.s3_gateway.recorded import recorded
from tests.integration.s3_gateway.wire import Answer, Wire
from tests.support.riak_cs import User

DENIED = (403, "AccessDenied")
FORGED = (403, "SignatureDoesNotMatch")
ODD_KEYS = ["a+b", "a b", "a//b", "dir/../k", "ä/ö", "%2F", "a%20b", "~*'()!@$,;:=", "a&b=c?d#e", "\U0001f600", "."]


@pytest.fixture(scope="session", params=["s3v4", "s3"], ids=["sigv4", "sigv2"])
def presign(request: pytest.FixtureRequest, wire: Wire, alice: User) -> Callable[..., str]:
    """Makes the target (path and query) of a URL that alice has signed."""
    client: Any = botocore.session.get_session().create_client(
        "s3", aws_access_key_id=alice.key, aws_secret_access_key=alice.secret, region_name="us-east-1",
        endpoint_url=wire.url, config=Config(signature_version=request.param, s3={"addressing_style": "path"}),
    )  # fmt: skip

    def make(operation: str, expires_s: int = 300, **parameters: Any) -> str:
        url = urlsplit(client.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires_s))
        return f"{url.path}?{url.query}"

    return make


@pytest.fixture(scope="session")
def nobody(wire: Wire) -> Wire:
    return wire.as_(None)


@pytest.mark.parametrize("key", ODD_KEYS)
@recorded("presign-v4-get")
def test_every_key_is_put_read_and_deleted(
    recording: str, wire: Wire, nobody: Wire, bucket: str, presign: Any, key: str
) -> None:
    where = {"Bucket": bucket, "Key": key}
    data = key.encode()
    assert nobody.ask("PUT", presign("put_object", **where), data).status == 200
    got = nobody.ask("GET", presign("get_object", **where))
    assert (got.status, got.body) == (200, data)
    head = nobody.ask("HEAD", presign("head_object", **where))
    assert (head.status, head.headers["content-length"]) == (200, str(len(data)))
    assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == [key]
    assert nobody.ask("DELETE", presign("delete_object", **where)).status == 204
    assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == []


@recorded("presign-v4-list")
def test_a_bucket_is_listed(recording: str, wire: Wire, nobody: Wire, bucket: str, presign: Any) -> None:
    for key in ("a+b/1", "a+b/2", "c"):
        assert wire.ask("PUT", f"/{bucket}/{key.replace('+', '%2B')}", b"x").status == 200
    target = presign("list_objects_v2", Bucket=bucket, Prefix="a+b/", MaxKeys=1)
    page = nobody.ask("GET", target)
    assert page.texts("Contents/Key") == ["a%2Bb/1"]  # botocore asks for encoded keys
    more = presign(
        "list_objects_v2", Bucket=bucket, Prefix="a+b/", ContinuationToken=page.text("NextContinuationToken")
    )
    assert nobody.ask("GET", more).texts("Contents/Key") == ["a%2Bb/2"]


def test_parts_are_put(wire: Wire, nobody: Wire, bucket: str, presign: Any) -> None:
    upload = wire.ask("POST", f"/{bucket}/k?uploads").text("UploadId")
    target = presign("upload_part", Bucket=bucket, Key="k", UploadId=upload, PartNumber=1)
    part = nobody.ask("PUT", target, b"the only part")
    assert part.status == 200
    etag = part.headers["etag"]
    body = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    )
    assert wire.ask("POST", f"/{bucket}/k?uploadId={upload}", body.encode()).status == 200
    assert wire.ask("GET", f"/{bucket}/k").body == b"the only part"


def test_the_headers_of_the_answer_may_be_signed(wire: Wire, nobody: Wire, bucket: str, presign: Any) -> None:
    assert wire.ask("PUT", f"/{bucket}/k", b"x").status == 200
    target = presign(
        "get_object", Bucket=bucket, Key="k", ResponseContentType="text/css", ResponseCacheControl="no-cache",
        ResponseContentDisposition='attachment; filename="ä b.txt"',
    )  # fmt: skip
    got = nobody.ask("GET", target)
    assert got.status == 200
    assert (got.headers["content-type"], got.headers["cache-control"]) == ("text/css", "no-cache")
    assert got.headers["content-disposition"].startswith("attachment; filename=")
    assert nobody.ask("GET", target.replace("text%2Fcss", "text%2Fhtml")).outcome == FORGED


def test_no_header_of_the_answer_has_a_line_end(wire: Wire, nobody: Wire, bucket: str, presign: Any) -> None:
    assert wire.ask("PUT", f"/{bucket}/k", b"x").status == 200
    target = presign("get_object", Bucket=bucket, Key="k", ResponseContentType="a/b\r\nSet-Cookie: c=d")
    got = nobody.ask("GET", target)
    assert got.outcome == (400, "InvalidArgument")
    assert "set-cookie" not in got.headers


def test_metadata_and_acl_that_were_signed_are_needed_and_kept(
    wire: Wire, nobody: Wire, bucket: str, presign: Any
) -> None:
    target = presign(
        "put_object", Bucket=bucket, Key="k", ACL="public-read", Metadata={"a": "b"}, ContentType="text/css"
    )
    sent = {"x-amz-acl": "public-read", "x-amz-meta-a": "b", "Content-Type": "text/css"}
    if "x-amz-acl=" not in target:  # SigV2 carries them in the query, where they count without being sent
        assert nobody.ask("PUT", target, b"x").status == 403
        assert nobody.ask("PUT", target, b"x", sent | {"x-amz-acl": "private"}).outcome == FORGED
    else:
        sent = {}
    assert nobody.ask("PUT", target, b"x", sent | {"x-amz-meta-more": "c"}).status == 403
    assert nobody.ask("PUT", target, b"x", sent).status == 200
    got = nobody.ask("GET", f"/{bucket}/k")
    assert (got.status, got.headers["x-amz-meta-a"], got.headers["content-type"]) == (200, "b", "text/css")


def test_headers_in_the_query_are_kept_as_other_sdks_hoist_them(wire: Wire, nobody: Wire, bucket: str) -> None:
    target = wire.presigned("PUT", f"/{bucket}/k", "X-Amz-Acl=public-read&x-amz-meta-a=b%2Bc")
    assert nobody.ask("PUT", target, b"x").status == 200
    assert nobody.ask("GET", f"/{bucket}/k").headers["x-amz-meta-a"] == "b+c"
    evil = wire.presigned("PUT", f"/{bucket}/evil", "x-amz-meta-a=b%0D%0Ax-amz-acl%3A%20public-read")
    assert nobody.ask("PUT", evil, b"x").outcome == (400, "InvalidArgument")
    assert wire.ask("HEAD", f"/{bucket}/evil").status == 404


def test_it_is_for_one_method_key_and_time(wire: Wire, nobody: Wire, bucket: str, presign: Any) -> None:
    assert wire.ask("PUT", f"/{bucket}/k", b"x").status == 200
    target = presign("get_object", Bucket=bucket, Key="k")
    assert nobody.ask("GET", target).status == 200
    assert nobody.ask("PUT", target, b"y").outcome == FORGED
    assert nobody.ask("DELETE", target).outcome == FORGED
    assert nobody.ask("HEAD", target).status == 403
    assert nobody.ask("GET", target.replace("/k?", "/l?")).outcome == FORGED
    assert nobody.ask("GET", target + "&versionId=null").outcome == FORGED
    assert nobody.ask("GET", target + "&tagging").status in (403, 501)
    short = presign("get_object", expires_s=1, Bucket=bucket, Key="k")
    time.sleep(2.1)
    assert nobody.ask("GET", short).outcome == DENIED
    assert wire.ask("GET", f"/{bucket}/k").body == b"x"


def test_it_excludes_other_credentials(wire: Wire, nobody: Wire, bucket: str, presign: Any) -> None:
    target = presign("get_object", Bucket=bucket, Key="k")
    assert nobody.ask("GET", target, headers={"Authorization": "AWS a:b"}).outcome == (400, "InvalidArgument")


def test_a_conditional_upload(wire: Wire, nobody: Wire, bucket: str, presign: Any) -> None:
    """A condition is no x-amz-*: it counts without being signed, and can only make the write fail."""
    target = presign("put_object", Bucket=bucket, Key="k")
    assert nobody.ask("PUT", target, b"x", {"If-None-Match": "*"}).status == 200
    assert nobody.ask("PUT", target, b"y", {"If-None-Match": "*"}).outcome == (412, "PreconditionFailed")


def test_answers(nobody: Wire, bucket: str, presign: Any) -> None:
    missing: Answer = nobody.ask("GET", presign("get_object", Bucket=bucket, Key="missing"))
    assert missing.outcome == (404, "NoSuchKey")
