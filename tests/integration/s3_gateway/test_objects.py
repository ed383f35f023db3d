"""Objects as S3 has them: writes, reads, ranges, conditions, copies, deletes, metadata, checksums."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import zlib
from urllib.parse import quote

import pytest

from tests.integration.s3_gateway.wire import (
    STREAMING,
    STREAMING_TRAILER,
    UNSIGNED,
    UNSIGNED_TRAILER,
    Wire,
    content_md5,
    http_date,
)
from tests.support.riak_cs import User

BODY = b"0123456789"
ETAG = f'"{hashlib.md5(BODY).hexdigest()}"'


@pytest.fixture
def k(wire: Wire, bucket: str) -> str:
    """The path of an object with BODY."""
    assert wire.ask("PUT", f"/{bucket}/k", BODY, {"Content-Type": "text/x-k"}).status == 200
    return f"/{bucket}/k"


def test_an_error_names_its_request(wire: Wire, bucket: str) -> None:
    answer = wire.ask("GET", f"/{bucket}/none")
    assert answer.outcome == (404, "NoSuchKey")
    assert answer.headers["content-type"] == "application/xml"
    assert answer.text("RequestId") == answer.headers["x-amz-request-id"]
    assert answer.text("Message")


def test_a_head_of_nothing_has_no_body(wire: Wire, bucket: str) -> None:
    answer = wire.ask("HEAD", f"/{bucket}/none")
    assert (answer.status, answer.body) == (404, b"")


def test_an_object_comes_back_with_its_headers(wire: Wire, bucket: str) -> None:
    headers = {
        "Content-Type": "text/html; charset=utf-8", "Cache-Control": "public, max-age=14400",
        "Content-Disposition": "attachment; filename=x", "Content-Encoding": "gzip", "Content-Language": "de",
        "Expires": "Thu, 01 Dec 2033 16:00:00 GMT", "x-amz-meta-Colour": "blue", "x-amz-meta-empty": "",
    }  # fmt: skip
    put = wire.ask("PUT", f"/{bucket}/k", BODY, headers)
    assert (put.status, put.headers["etag"]) == (200, ETAG)
    for method in ("GET", "HEAD"):
        found = wire.ask(method, f"/{bucket}/k")
        assert found.status == 200
        assert found.body == (BODY if method == "GET" else b"")
        assert {n: found.headers[n.lower()] for n in headers} == headers
        assert (found.headers["etag"], found.headers["content-length"]) == (ETAG, "10")
        assert found.headers["accept-ranges"] == "bytes"
        assert found.headers["last-modified"].endswith(" GMT")


def test_an_object_without_a_content_type(wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/k", BODY)
    assert wire.ask("HEAD", f"/{bucket}/k").headers["content-type"] in (
        "binary/octet-stream", "application/octet-stream",
    )  # fmt: skip


def test_metadata_is_replaced_by_the_next_put(wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/k", BODY, {"x-amz-meta-a": "1"})
    wire.ask("PUT", f"/{bucket}/k", BODY, {"x-amz-meta-b": "2"})
    found = wire.ask("HEAD", f"/{bucket}/k").headers
    assert "x-amz-meta-a" not in found
    assert found["x-amz-meta-b"] == "2"


def test_metadata_in_utf_8(wire: Wire, bucket: str) -> None:
    name = "Zo\u00eb \u65e5".encode().decode("latin-1")
    assert wire.ask("PUT", f"/{bucket}/k", BODY, {"x-amz-meta-who": name}).status == 200
    assert wire.ask("HEAD", f"/{bucket}/k").headers["x-amz-meta-who"] == name


def test_too_much_metadata_is_refused(wire: Wire, bucket: str) -> None:
    answer = wire.ask("PUT", f"/{bucket}/k", BODY, {"x-amz-meta-a": "x" * 2100})
    assert answer.outcome == (400, "MetadataTooLarge")


def test_a_key_may_have_1024_bytes_and_no_more(wire: Wire, bucket: str) -> None:
    assert wire.ask("PUT", f"/{bucket}/{'k' * 1024}", BODY).status == 200
    assert wire.ask("PUT", f"/{bucket}/{'k' * 1025}", BODY).outcome == (400, "KeyTooLongError")


@pytest.mark.parametrize(
    ("value", "code"),
    [("YWJyYWNhZGFicmE=", "InvalidDigest"), (content_md5(b"other"), "BadDigest"), ("nonsense!", "InvalidDigest"),
     ("", "InvalidDigest")],
)  # fmt: skip
def test_content_md5_is_checked(value: str, code: str, wire: Wire, bucket: str, beneath: Wire) -> None:
    assert wire.ask("PUT", f"/{bucket}/k", BODY, {"Content-MD5": value}).outcome == (400, code)
    assert beneath.ask("HEAD", f"/{bucket}/k").status == 404


def test_a_wrong_put_leaves_the_object_from_before(wire: Wire, k: str) -> None:
    for size in (3, 3_000_000):
        answer = wire.ask("PUT", k, b"x" * size, {"Content-MD5": content_md5(b"other")})
        assert answer.outcome == (400, "BadDigest")
        assert wire.ask("GET", k).body == BODY


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def checksum(name: str, data: bytes) -> str:
    if name in ("sha1", "sha256"):
        return base64.b64encode(hashlib.new(name, data).digest()).decode()
    if name == "crc32":
        return crc32(data)
    from awscrt import checksums

    size = {"crc32c": 4, "crc64nvme": 8}[name]
    return base64.b64encode(getattr(checksums, name)(data).to_bytes(size, "big")).decode()


CHECKSUMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")


@pytest.mark.parametrize("name", CHECKSUMS)
@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_checksums_are_verified_kept_and_given(name: str, size: int, wire: Wire, bucket: str) -> None:
    data, header = b"x" * size, f"x-amz-checksum-{name}"
    good, bad = checksum(name, data), checksum(name, data + b"y")
    assert wire.ask("PUT", f"/{bucket}/k", data, {header: bad}).outcome == (400, "BadDigest")
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404
    put = wire.ask("PUT", f"/{bucket}/k", data, {header: good})
    assert (put.status, put.headers[header]) == (200, good)
    shown = wire.ask("GET", f"/{bucket}/k", headers={"x-amz-checksum-mode": "ENABLED"})
    assert (shown.headers.get(header), shown.body) == (good, data)
    assert header not in wire.ask("HEAD", f"/{bucket}/k").headers


@pytest.mark.parametrize("name", CHECKSUMS)
@pytest.mark.parametrize("payload", [UNSIGNED_TRAILER, STREAMING_TRAILER])
def test_checksums_in_trailers(name: str, payload: str, wire: Wire, bucket: str) -> None:
    chunks = [b"a" * 65536, b"b" * 65536, b"c" * 5]
    header, good = f"x-amz-checksum-{name}", checksum(name, b"".join(chunks))
    bad = wire.put_chunked(f"/{bucket}/k", chunks, payload=payload, trailer=(header, checksum(name, b"other")))
    assert bad.outcome == (400, "BadDigest")
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404
    assert wire.put_chunked(f"/{bucket}/k", chunks, payload=payload, trailer=(header, good)).status == 200
    assert wire.ask("GET", f"/{bucket}/k").body == b"".join(chunks)


@pytest.mark.parametrize("spoil", ["chunk", "trailer"])
def test_forged_chunks_are_refused_and_nothing_stays(spoil: str, wire: Wire, bucket: str) -> None:
    chunks = [b"a" * 65536, b"b" * 10]
    payload = STREAMING_TRAILER if spoil == "trailer" else STREAMING
    trailer = ("x-amz-checksum-crc32", crc32(b"".join(chunks))) if spoil == "trailer" else None
    answer = wire.put_chunked(f"/{bucket}/k", chunks, payload=payload, trailer=trailer, spoil=spoil)
    assert answer.outcome == (403, "SignatureDoesNotMatch")
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404


@pytest.mark.parametrize("wrong", [-1, 1])
def test_the_decoded_length_must_be_true(wrong: int, wire: Wire, bucket: str) -> None:
    chunks = [b"a" * 65536, b"b" * 10]
    answer = wire.put_chunked(f"/{bucket}/k", chunks, decoded_length=sum(map(len, chunks)) + wrong)
    assert answer.outcome == (400, "IncompleteBody")
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404


def test_an_unsigned_payload_is_taken(wire: Wire, bucket: str) -> None:
    assert wire.ask("PUT", f"/{bucket}/k", BODY, sha256=UNSIGNED).status == 200
    assert wire.ask("GET", f"/{bucket}/k").body == BODY


@pytest.mark.parametrize(
    ("value", "status", "wanted", "shown"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, BODY, "bytes 0-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=5-100", 206, b"56789", "bytes 5-9/10"),
        ("bytes=5-3", 200, BODY, None),
        ("bytes=nonsense", 200, BODY, None),
        ("lines=0-3", 200, BODY, None),
    ],
)
def test_ranges(value: str, status: int, wanted: bytes, shown: str | None, wire: Wire, k: str) -> None:
    answer = wire.ask("GET", k, headers={"Range": value})
    assert (answer.status, answer.body) == (status, wanted)
    assert answer.headers.get("content-range") == shown


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=40-50", "bytes=-0"])
def test_ranges_without_a_byte(value: str, wire: Wire, k: str) -> None:
    answer = wire.ask("GET", k, headers={"Range": value})
    assert answer.outcome == (416, "InvalidRange")


def test_a_range_of_an_empty_object(wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/empty", b"")
    assert wire.ask("GET", f"/{bucket}/empty", headers={"Range": "bytes=40-50"}).outcome == (416, "InvalidRange")


def test_several_ranges_are_the_whole_or_all_of_them(wire: Wire, k: str) -> None:
    answer = wire.ask("GET", k, headers={"Range": "bytes=0-1,4-5"})
    if answer.status == 206:
        assert answer.headers["content-type"].startswith("multipart/byteranges")
        assert b"01" in answer.body
        assert b"45" in answer.body
    else:
        assert (answer.status, answer.body) == (200, BODY) or answer.status == 501


NOW = dt.datetime.now(dt.UTC)
BEFORE, AFTER = http_date(NOW - dt.timedelta(days=1)), http_date(NOW + dt.timedelta(days=1))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": ETAG}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"0000"'}, 412),
        ({"If-Match": f'"0000", {ETAG}'}, 200),
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"0000"'}, 200),
        ({"If-Modified-Since": BEFORE}, 200),
        ({"If-Unmodified-Since": BEFORE}, 412),
        ({"If-Unmodified-Since": AFTER}, 200),
        ({"If-Match": ETAG, "If-Unmodified-Since": BEFORE}, 200),
        ({"If-None-Match": ETAG, "If-Modified-Since": BEFORE}, 304),
        ({"If-None-Match": '"0000"', "If-Modified-Since": AFTER}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditional_reads(headers: dict[str, str], status: int, method: str, wire: Wire, k: str) -> None:
    answer = wire.ask(method, k, headers=headers)
    assert answer.status == status
    if status == 412 and method == "GET":
        assert answer.code == "PreconditionFailed"
    if status == 304:
        assert answer.body == b""
        assert answer.headers["etag"] == ETAG


def test_not_modified_since(wire: Wire, k: str) -> None:
    date = wire.ask("HEAD", k).headers["last-modified"]
    assert wire.ask("GET", k, headers={"If-Modified-Since": date}).status == 304


@pytest.mark.parametrize(
    ("headers", "there", "missing"),
    [
        ({"If-Match": ETAG}, 200, (404, "NoSuchKey")),
        ({"If-Match": '"0000"'}, (412, "PreconditionFailed"), (404, "NoSuchKey")),
        ({"If-None-Match": "*"}, (412, "PreconditionFailed"), 200),
    ],
)
def test_conditional_writes(
    headers: dict[str, str], there: object, missing: object, wire: Wire, k: str, bucket: str
) -> None:
    for path, wanted, before in ((k, there, BODY), (f"/{bucket}/other", missing, None)):
        answer = wire.ask("PUT", path, b"new", headers)
        assert answer.status == 200 if wanted == 200 else answer.outcome == wanted, answer
        found = wire.ask("GET", path)
        assert found.body == b"new" if wanted == 200 else before is None or found.body == before


def test_response_headers_by_query(wire: Wire, k: str) -> None:
    names = {
        "response-cache-control": "no-cache", "response-content-disposition": "bla", "response-content-encoding": "aaa",
        "response-content-language": "esperanto", "response-content-type": "foo/bar", "response-expires": "123",
    }  # fmt: skip
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in names.items())
    answer = wire.ask("GET", f"{k}?{query}")
    assert answer.status == 200
    assert {name: answer.headers[name.removeprefix("response-")] for name in names} == names
    assert wire.as_(None).ask("GET", f"{k}?{query}").status in (400, 403)


def test_copy_onto_itself_needs_a_change(wire: Wire, k: str) -> None:
    assert wire.ask("PUT", k, b"", {"x-amz-copy-source": k}).outcome == (400, "InvalidRequest")
    headers = {"x-amz-copy-source": k, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-new": "1"}
    assert wire.ask("PUT", k, b"", headers).status == 200
    found = wire.ask("GET", k)
    assert (found.body, found.headers["x-amz-meta-new"]) == (BODY, "1")


def test_a_copy_keeps_or_replaces_metadata(wire: Wire, bucket: str) -> None:
    wire.ask(
        "PUT", f"/{bucket}/a", BODY, {"x-amz-meta-a": "1", "Content-Type": "audio/ogg", "Cache-Control": "no-store"}
    )
    source = {"x-amz-copy-source": f"{bucket}/a"}
    assert wire.ask("PUT", f"/{bucket}/kept", b"", source).status == 200
    kept = wire.ask("HEAD", f"/{bucket}/kept").headers
    assert (kept["x-amz-meta-a"], kept["content-type"], kept["cache-control"]) == ("1", "audio/ogg", "no-store")
    replacing = {"x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2", "Content-Type": "text/plain"}
    assert wire.ask("PUT", f"/{bucket}/new", b"", source | replacing).status == 200
    new = wire.ask("HEAD", f"/{bucket}/new").headers
    assert (new.get("x-amz-meta-a"), new["x-amz-meta-b"], new["content-type"]) == (None, "2", "text/plain")
    wrong = source | {"x-amz-metadata-directive": "NONSENSE"}
    assert wire.ask("PUT", f"/{bucket}/new", b"", wrong).outcome == (400, "InvalidArgument")


def test_copies_of_what_is_not_there_or_not_yours(wire: Wire, bucket: str, k: str, bob: User) -> None:
    bobs = wire.as_(bob)
    other = f"{bucket}-bob"
    bobs.ask("PUT", f"/{other}")
    for source, outcome in (
        (f"/{bucket}/none", (404, "NoSuchKey")),
        (f"/{bucket}-none/k", (404, "NoSuchBucket")),
    ):
        assert wire.ask("PUT", f"/{bucket}/copy", b"", {"x-amz-copy-source": source}).outcome == outcome
    assert bobs.ask("PUT", f"/{other}/copy", b"", {"x-amz-copy-source": k}).outcome == (403, "AccessDenied")
    assert wire.ask("PUT", f"/{other}/copy", b"", {"x-amz-copy-source": k}).outcome == (403, "AccessDenied")
    wire.ask("PUT", f"{k}?acl", b"", {"x-amz-acl": "public-read"})
    assert bobs.ask("PUT", f"/{other}/copy", b"", {"x-amz-copy-source": k}).status == 200
    assert bobs.ask("GET", f"/{other}/copy").body == BODY


def test_a_plus_in_a_copy_source_is_a_space(wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/a%20b%2Bc", b"found")
    answer = wire.ask("PUT", f"/{bucket}/copy", b"", {"x-amz-copy-source": f"{bucket}/a+b%2Bc"})
    assert answer.status == 200, answer
    assert wire.ask("GET", f"/{bucket}/copy").body == b"found"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-amz-copy-source-if-match": ETAG}, 200),
        ({"x-amz-copy-source-if-match": '"0000"'}, 412),
        ({"x-amz-copy-source-if-none-match": ETAG}, 412),
        ({"x-amz-copy-source-if-none-match": '"0000"'}, 200),
        ({"x-amz-copy-source-if-modified-since": BEFORE}, 200),
        ({"x-amz-copy-source-if-unmodified-since": BEFORE}, 412),
    ],
)
def test_conditional_copies(headers: dict[str, str], status: int, wire: Wire, k: str, bucket: str) -> None:
    answer = wire.ask("PUT", f"/{bucket}/copy", b"", {"x-amz-copy-source": k, **headers})
    assert answer.status == status
    assert wire.ask("HEAD", f"/{bucket}/copy").status == (200 if status == 200 else 404)


def test_deleting_what_is_not_there_is_204(wire: Wire, bucket: str) -> None:
    assert wire.ask("DELETE", f"/{bucket}/none").status == 204


def multi_delete(*keys: str, quiet: bool = False) -> bytes:
    from xml.sax.saxutils import escape

    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    return f"<Delete>{'<Quiet>true</Quiet>' if quiet else ''}{objects}</Delete>".encode()


@pytest.mark.parametrize("quiet", [False, True])
def test_multi_delete(quiet: bool, wire: Wire, bucket: str) -> None:
    keys = ["a", "b <&>", "c+d", "ü/ö"]
    for key in keys:
        wire.ask("PUT", f"/{bucket}/{quote(key)}", b"x")
    body = multi_delete(*keys, "none", quiet=quiet)
    answer = wire.ask("POST", f"/{bucket}?delete", body, {"Content-MD5": content_md5(body)})
    assert answer.status == 200
    assert sorted(answer.texts("Deleted/Key")) == ([] if quiet else sorted([*keys, "none"]))
    assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == []


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"<Delete></Delete>", b"<Other/>", multi_delete(*map(str, range(1001))),
     b'<!DOCTYPE x [<!ENTITY e "y">]><Delete><Object><Key>&e;</Key></Object></Delete>'],
)  # fmt: skip
def test_a_malformed_multi_delete(body: bytes, wire: Wire, k: str) -> None:
    bucket = k.split("/")[1]
    answer = wire.ask("POST", f"/{bucket}?delete", body, {"Content-MD5": content_md5(body)})
    assert answer.status == 400
    assert answer.code in ("MalformedXML", "MissingRequestBodyError"), answer
    assert wire.ask("GET", k).body == BODY


def test_a_bucket_with_objects_is_not_deleted(wire: Wire, k: str) -> None:
    bucket = k.split("/")[1]
    assert wire.ask("DELETE", f"/{bucket}").outcome == (409, "BucketNotEmpty")
    assert wire.ask("DELETE", k).status == 204
    assert wire.ask("DELETE", f"/{bucket}").status == 204
    assert wire.ask("DELETE", f"/{bucket}").outcome == (404, "NoSuchBucket")
    assert wire.ask("PUT", k, BODY).outcome == (404, "NoSuchBucket")


@pytest.mark.parametrize(
    "name",
    ["a", "aa", "-dash", "dash-", "Upper", "under_score", "192.168.5.123", "dot..dot", "dot.-dash", "dash-.dot",
     "x" * 64, "xn--name"],
)  # fmt: skip
def test_names_that_no_bucket_may_have(name: str, wire: Wire) -> None:
    assert wire.ask("PUT", f"/{name}").outcome == (400, "InvalidBucketName")


def test_buckets_of_others(wire: Wire, bucket: str, bob: User) -> None:
    assert wire.as_(bob).ask("PUT", f"/{bucket}").outcome == (409, "BucketAlreadyExists")


def test_a_second_create_by_the_owner_in_the_first_region_is_200(wire: Wire, k: str) -> None:
    bucket = k.split("/")[1]
    assert wire.ask("PUT", f"/{bucket}").status == 200
    assert wire.ask("GET", k).body == BODY


def test_object_attributes(wire: Wire, k: str) -> None:
    asked = {"x-amz-object-attributes": "ETag,ObjectSize,StorageClass"}
    answer = wire.ask("GET", f"{k}?attributes", headers=asked)
    assert answer.status == 200
    assert (answer.text("ETag"), answer.text("ObjectSize"), answer.text("StorageClass")) == (
        ETAG.strip('"'), "10", "STANDARD",
    )  # fmt: skip
    assert wire.ask("GET", f"{k}?attributes").status == 400


@pytest.mark.parametrize(
    "header",
    ["x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm", "x-amz-object-lock-mode",
     "x-amz-website-redirect-location"],
)  # fmt: skip
def test_promises_that_cannot_be_kept_are_refused(header: str, wire: Wire, bucket: str) -> None:
    answer = wire.ask("PUT", f"/{bucket}/k", BODY, {header: "AES256"})
    assert answer.status in (400, 501), answer
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404


def test_request_ids_differ(wire: Wire, k: str) -> None:
    found = {wire.ask("HEAD", k).headers["x-amz-request-id"] for _ in range(5)}
    assert len(found) == 5
    assert all(re.fullmatch(r"[0-9A-F]{16,}", one) for one in found)
