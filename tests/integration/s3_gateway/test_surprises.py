"""The surprises of the real Riak CS (../shared/riakcs/README.md) through the gateway: what S3 would do, or a 501.

Here: objects, buckets, listings, uploads (1 to 8, 15 to 18, 20). Who may do what is in test_surprises_access.py (9 to
14, 19, 21), what belongs to operators in test_surprises_operators.py (22 to 25).
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.s3_gateway.recorded import names_in, recorded
from tests.integration.s3_gateway.wire import (
    EMPTY_SHA256,
    STREAMING,
    UNSIGNED_TRAILER,
    Wire,
    content_md5,
)

NAMES = {
    1: "sub-empty-delete-cors sub-empty-head-cors",
    2: "sub-object-after-tagging sub-object-after-retention sub-object-after-tagging-delete",
    3: "sub-acl-after-cors sub-acl-after-create-again sub-head-tagging-missing-bucket sub-get-cors",
    4: "copy-source-one-slash copy-source-two-slashes mp5-part-copy-slash copy-target-slash",
    5: "ver-get-latest ver-get-old-after ver-list-versions-after-delete ver-list",
    6: "put-sha256-wrong put-crc32-wrong put-content-md5-wrong multi-delete-wrong-md5",
    7: "awschunked-signed-get awschunked-unsigned-trailer-get put-te-chunked put-no-length",
    8: "put-if-none-match-star-new put-if-match-missing-key",
    9: "anon-private-list anon-private-acl anon-list-as-bob anon-public-head-bucket",
    10: "policy-star-anon-list policy-star-admin-list policy-star-anon-get policy-put-star-anon-put "
    "policy-deny-owner-get policy-list-star-anon-list",
    11: "policy-put-no-content-type policy-put-charset policy-put-aws-arn policy-delete",
    12: "presign-v4-get presign-v4-list presign-v2-get",
    13: "auth-v4-other-region auth-v4-skew-hour auth-v4-no-sha-header auth-v4-date-header auth-v4-double-space",
    14: "auth-v2-x-amz-date auth-v2-x-amz-date-repeated auth-v2-no-date",
    15: "list-v2-all list-v1-all list-v1-delimiter-max-keys-2 list-versions-max-keys",
    16: "list-v1-delimiter-empty list-v1-max-keys-negative key-list-encoding-url",
    17: "key-put-leading-slash key-put-plus-raw key-get-space-as-plus-read key-list-prefix-plus list-prefix-plus-v2",
    18: "list-v1-max-keys-2 mp-list-parts mp4-list-parts mp-list-parts-max mp-complete-malformed",
    19: "bucket-delete-other-owner anon-put-acl-as-bob bucket-head-other-owner anon-versioning-as-bob "
    "admin-get-foreign admin-delete-foreign-bucket",
    20: "conn-refused-put-with-body put-expect-100-no-auth put-5gib-header conn-pipelined-put-get",
    21: "acl-object-grant-header-id acl-object-grant-header-uri acl-bucket-put-unknown acl-object-xml-user "
    "options-bucket",
    22: "stats-sigv4 users-json users-disabled user-create-bad-email user-create-malformed-json user-get-unknown "
    "user-create-empty-name ping-s3-port",
    23: "user-put-own-status user-put-name user-put-email user-put-new-secret user-old-secret-s3 "
    "user-delete-with-buckets disabled-s3-list-buckets",
    24: "buckets-list memory-unknown-backend memory-unknown-put map-remove-no-context get-r4 get-no-vclock "
    "index-exact-page cli-bucket-type-create-rec_c_cache",
    25: "riak-admin-cluster riak-cs-admin riak-cs-basic riak-admin-node chkconfig-bad",
}
"""The recordings that the README names, by surprise; of 25 the files in cli/."""

TAGGING = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
CORS = (
    b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>"
    b"</CORSConfiguration>"
)
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
XML = {"Content-Type": "application/xml"}


def md5_of(body: bytes) -> dict[str, str]:
    return {"Content-MD5": content_md5(body)}


@pytest.mark.parametrize("number", sorted(NAMES))
def test_every_surprise_has_a_test_through_the_gateway(number: int) -> None:
    files = Path(__file__).parent.glob("test_surprises*.py")
    tested = {name for file in files for name in names_in(file)}
    assert set(NAMES[number].split()) <= tested


@recorded("sub-empty-delete-cors", "sub-empty-head-cors")
def test_01_deleting_cors_leaves_the_empty_bucket(recording: str, wire: Wire, bucket: str) -> None:
    assert wire.ask("DELETE", f"/{bucket}?cors").status == 204
    assert wire.ask("HEAD", f"/{bucket}").status == 200


@pytest.mark.parametrize("name", ["cors", "tagging", "encryption", "website", "nonsense"])
def test_01_no_subresource_deletes_a_bucket(name: str, wire: Wire, bucket: str, beneath: Wire) -> None:
    answer = wire.ask("DELETE", f"/{bucket}?{name}")
    assert answer.status == 204 if name in ("cors", "tagging") else answer.status in (501, 405, 204), answer
    assert beneath.ask("HEAD", f"/{bucket}").status == 200


@recorded("sub-object-after-tagging")
def test_02_tagging_leaves_the_object(recording: str, wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/k", b"content")
    assert wire.ask("PUT", f"/{bucket}/k?tagging", TAGGING, md5_of(TAGGING)).status == 200
    assert wire.ask("GET", f"/{bucket}/k").body == b"content"
    shown = wire.ask("GET", f"/{bucket}/k?tagging")
    assert (shown.texts("TagSet/Tag/Key"), shown.texts("TagSet/Tag/Value")) == (["a"], ["b"])


@recorded("sub-object-after-retention")
def test_02_retention_is_an_honest_501(recording: str, wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/k", b"content")
    body = b"<Retention><Mode>GOVERNANCE</Mode></Retention>"
    assert wire.ask("PUT", f"/{bucket}/k?retention", body, md5_of(body)).outcome == (501, "NotImplemented")
    assert wire.ask("GET", f"/{bucket}/k").body == b"content"


@recorded("sub-object-after-tagging-delete")
def test_02_deleting_tags_leaves_the_object(recording: str, wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/k", b"content")
    wire.ask("PUT", f"/{bucket}/k?tagging", TAGGING, md5_of(TAGGING))
    assert wire.ask("DELETE", f"/{bucket}/k?tagging").status == 204
    assert wire.ask("GET", f"/{bucket}/k").body == b"content"
    assert wire.ask("GET", f"/{bucket}/k?tagging").texts("TagSet/Tag") == []


def is_public(wire: Wire, bucket: str) -> bool:
    return any("AllUsers" in uri for uri in wire.ask("GET", f"/{bucket}?acl").texts(".//URI"))


@recorded("sub-acl-after-cors")
def test_03_cors_keeps_the_acl(recording: str, wire: Wire, bucket: str) -> None:
    assert wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-acl": "public-read"}).status == 200
    assert wire.ask("PUT", f"/{bucket}?cors", CORS, md5_of(CORS)).status == 200
    assert is_public(wire, bucket)


@recorded("sub-acl-after-create-again")
def test_03_a_second_create_keeps_the_acl(recording: str, wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-acl": "public-read"})
    assert wire.ask("PUT", f"/{bucket}").outcome in ((200, ""), (409, "BucketAlreadyOwnedByYou"))
    assert is_public(wire, bucket)


@recorded("sub-head-tagging-missing-bucket")
def test_03_tagging_makes_no_bucket(recording: str, wire: Wire, bucket: str) -> None:
    answer = wire.ask("PUT", f"/{bucket}-missing?tagging", TAGGING, md5_of(TAGGING))
    assert answer.outcome == (404, "NoSuchBucket")
    assert wire.ask("HEAD", f"/{bucket}-missing").status == 404


@recorded("sub-get-cors")
def test_03_cors_is_no_listing(recording: str, wire: Wire, bucket: str) -> None:
    assert wire.ask("GET", f"/{bucket}?cors").outcome == (404, "NoSuchCORSConfiguration")


@recorded("copy-source-one-slash", "copy-source-two-slashes", "copy-target-slash")
def test_04_copies_work_for_every_key(recording: str, wire: Wire, bucket: str) -> None:
    source = {"copy-source-one-slash": "d/k", "copy-source-two-slashes": "d/e/k"}.get(recording, "ü+ %")
    target = "t/u/v" if recording == "copy-target-slash" else "copy"
    wire.ask("PUT", f"/{bucket}/{quote(source)}", b"to be copied", {"Content-Type": "text/x-test"})
    answer = wire.ask("PUT", f"/{bucket}/{target}", b"", {"x-amz-copy-source": f"/{bucket}/{quote(source)}"})
    assert answer.status == 200
    assert answer.text("ETag").strip('"') == hashlib.md5(b"to be copied").hexdigest()
    assert ISO_8601.fullmatch(answer.text("LastModified"))
    copied = wire.ask("GET", f"/{bucket}/{target}")
    assert (copied.body, copied.headers["content-type"]) == (b"to be copied", "text/x-test")


@recorded("mp5-part-copy-slash")
def test_04_parts_are_copied_from_keys_with_slashes(recording: str, wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/d/k", b"0123456789")
    upload = wire.ask("POST", f"/{bucket}/mp?uploads").text("UploadId")
    headers = {"x-amz-copy-source": f"/{bucket}/d/k", "x-amz-copy-source-range": "bytes=2-5"}
    part = wire.ask("PUT", f"/{bucket}/mp?partNumber=1&uploadId={upload}", b"", headers)
    assert part.status == 200
    body = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.text('ETag')}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    assert wire.ask("POST", f"/{bucket}/mp?uploadId={upload}", body, XML).status == 200
    assert wire.ask("GET", f"/{bucket}/mp").body == b"2345"


ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@recorded("ver-get-latest", "ver-get-old-after", "ver-list-versions-after-delete", "ver-list")
def test_05_versioning_is_refused_so_nothing_old_is_served(recording: str, wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/old", b"old")
    assert wire.ask("PUT", f"/{bucket}?versioning", ENABLED, md5_of(ENABLED)).outcome == (501, "NotImplemented")
    assert wire.ask("GET", f"/{bucket}?versioning").texts("Status") == []
    wire.ask("PUT", f"/{bucket}/old", b"new")
    wire.ask("PUT", f"/{bucket}/k", b"1")
    wire.ask("PUT", f"/{bucket}/k", b"2")
    match recording:
        case "ver-get-latest":
            assert wire.ask("GET", f"/{bucket}/k").body == b"2"
        case "ver-get-old-after":
            assert wire.ask("GET", f"/{bucket}/old").body == b"new"
        case "ver-list":
            assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == ["k", "old"]
        case _:
            wire.ask("DELETE", f"/{bucket}/k")
            shown = wire.ask("GET", f"/{bucket}?versions")
            assert shown.texts("Version/Key") == ["old"]
            assert shown.texts("Version/IsLatest") == ["true"]


@pytest.mark.parametrize("old", [b"", b"from before"])
def test_05_a_bucket_versioned_behind_the_gateway_shows_the_latest(old: bytes, wire: Wire, beneath: Wire) -> None:
    bucket = f"versioned-{secrets.token_hex(6)}"
    beneath.ask("PUT", f"/{bucket}")
    if old:
        beneath.ask("PUT", f"/{bucket}/k", old)
    assert beneath.ask("PUT", f"/{bucket}?versioning", ENABLED, XML).status == 200
    for body in (b"1", b"2"):
        time.sleep(1.1)  # Riak CS tells versions apart by whole seconds only
        beneath.ask("PUT", f"/{bucket}/k", body)
    answer = wire.ask("GET", f"/{bucket}/k")
    assert (answer.status, answer.body) == (200, b"2")
    assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == ["k"]


@recorded("put-sha256-wrong", "put-crc32-wrong", "put-content-md5-wrong")
def test_06_every_checksum_is_verified_and_nothing_stays(
    recording: str, wire: Wire, bucket: str, beneath: Wire
) -> None:
    match recording:
        case "put-sha256-wrong":
            answer = wire.ask("PUT", f"/{bucket}/bad", b"abc", sha256=EMPTY_SHA256)
            assert answer.outcome == (400, "XAmzContentSHA256Mismatch")
        case "put-crc32-wrong":
            answer = wire.ask("PUT", f"/{bucket}/bad", b"abc", {"x-amz-checksum-crc32": "AAAAAA=="})
            assert answer.outcome == (400, "BadDigest")
        case _:
            answer = wire.ask("PUT", f"/{bucket}/bad", b"abc", {"Content-MD5": content_md5(b"other")})
            assert answer.outcome == (400, "BadDigest")
    assert wire.ask("GET", f"/{bucket}/bad").status == 404
    assert beneath.ask("GET", f"/{bucket}/bad").status == 404


@recorded("multi-delete-wrong-md5")
def test_06_a_damaged_multi_delete_deletes_nothing(recording: str, wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/kept", b"x")
    body = b"<Delete><Object><Key>kept</Key></Object></Delete>"
    answer = wire.ask("POST", f"/{bucket}?delete", body, {"Content-MD5": content_md5(b"other"), **XML})
    assert answer.outcome == (400, "BadDigest")
    assert wire.ask("GET", f"/{bucket}/kept").body == b"x"


@recorded("awschunked-signed-get", "awschunked-unsigned-trailer-get")
def test_07_chunk_framing_is_taken_off(recording: str, wire: Wire, bucket: str, beneath: Wire) -> None:
    chunks = [b"a" * 70_000, b"b" * 10]
    if recording == "awschunked-signed-get":
        answer = wire.put_chunked(f"/{bucket}/c", chunks, payload=STREAMING)
    else:
        crc = base64.b64encode(zlib.crc32(b"".join(chunks)).to_bytes(4, "big")).decode()
        answer = wire.put_chunked(
            f"/{bucket}/c", chunks, payload=UNSIGNED_TRAILER, trailer=("x-amz-checksum-crc32", crc)
        )
    assert answer.status == 200, answer
    for one in (wire, beneath):
        found = one.ask("GET", f"/{bucket}/c")
        assert found.body == b"".join(chunks)
        assert "aws-chunked" not in found.headers.get("content-encoding", "")


@recorded("put-te-chunked", "put-no-length")
def test_07_bodies_of_http_chunks_and_of_no_length_are_taken(recording: str, wire: Wire, bucket: str) -> None:
    if recording == "put-te-chunked":
        framed = b"5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"
        headers = {"Transfer-Encoding": "chunked"}
        answer = wire.ask("PUT", f"/{bucket}/te", framed, headers, sha256="UNSIGNED-PAYLOAD")
        wanted = b"hello, world"
    else:
        answer = wire.ask("PUT", f"/{bucket}/te", b"", length=False)
        wanted = b""
    assert answer.status == 200, answer
    assert wire.ask("GET", f"/{bucket}/te").body == wanted


@recorded("put-if-none-match-star-new", "put-if-match-missing-key")
def test_08_conditional_writes_tell_the_truth(recording: str, wire: Wire, bucket: str) -> None:
    if recording == "put-if-none-match-star-new":
        assert wire.ask("PUT", f"/{bucket}/new", b"abc", {"If-None-Match": "*"}).status == 200
        again = wire.ask("PUT", f"/{bucket}/new", b"def", {"If-None-Match": "*"})
        assert again.outcome == (412, "PreconditionFailed")
        assert wire.ask("GET", f"/{bucket}/new").body == b"abc"
    else:
        answer = wire.ask("PUT", f"/{bucket}/missing", b"abc", {"If-Match": '"0123"'})
        assert answer.outcome in ((404, "NoSuchKey"), (412, "PreconditionFailed"))
        assert wire.ask("GET", f"/{bucket}/missing").status == 404


KEYS = ["a", "b/1", "b/2", "c/1", "d", "e"]


@pytest.fixture
def listed(wire: Wire, bucket: str) -> str:
    for key in KEYS:
        wire.ask("PUT", f"/{bucket}/{key}", b"x")
    return bucket


@recorded("list-v2-all")
def test_15_version_2_has_its_own_document_and_tokens(recording: str, wire: Wire, listed: str) -> None:
    found, token, pages = [], "", 0
    while pages < 10:
        query = f"list-type=2&max-keys=4{token}"
        page = wire.ask("GET", f"/{listed}?{query}")
        found += page.texts("Contents/Key")
        assert page.text("KeyCount") == str(len(page.texts("Contents/Key")))
        pages += 1
        if page.text("IsTruncated") == "false":
            break
        token = f"&continuation-token={quote(page.text('NextContinuationToken'), safe='')}"
    assert (found, pages) == (KEYS, 2)
    assert wire.ask("GET", f"/{listed}?list-type=2&start-after=c").texts("Contents/Key") == KEYS[3:]


@recorded("list-v1-all", "list-v1-delimiter-max-keys-2")
def test_15_version_1_can_be_followed(recording: str, wire: Wire, listed: str) -> None:
    delimiter = "&delimiter=%2F" if recording == "list-v1-delimiter-max-keys-2" else ""
    found, marker = [], ""
    for _ in range(10):
        page = wire.ask("GET", f"/{listed}?max-keys=2{delimiter}{marker}")
        found += page.texts("Contents/Key") + page.texts("CommonPrefixes/Prefix")
        if page.text("IsTruncated") == "false":
            break
        # S3 gives a NextMarker with a delimiter only, Riak CS does as it does; here every page says how it goes on.
        assert page.text("NextMarker"), page
        marker = f"&marker={quote(page.text('NextMarker'), safe='')}"
    assert sorted(found) == (["a", "b/", "c/", "d", "e"] if delimiter else KEYS)


@recorded("list-versions-max-keys")
def test_15_versions_can_be_followed(recording: str, wire: Wire, listed: str) -> None:
    found, marker = [], ""
    for _ in range(10):
        page = wire.ask("GET", f"/{listed}?versions&max-keys=4{marker}")
        found += page.texts("Version/Key")
        if page.text("IsTruncated") == "false":
            break
        marker = f"&key-marker={quote(page.text('NextKeyMarker'), safe='')}"
        marker += f"&version-id-marker={quote(page.text('NextVersionIdMarker'), safe='')}"
    assert found == KEYS


@recorded("list-v1-delimiter-empty", "list-v1-max-keys-negative")
def test_16_odd_parameters_get_an_answer(recording: str, wire: Wire, listed: str) -> None:
    if recording == "list-v1-delimiter-empty":
        assert wire.ask("GET", f"/{listed}?delimiter=&max-keys=1").texts("Contents/Key") == ["a"]
    else:
        assert wire.ask("GET", f"/{listed}?max-keys=-1").outcome == (400, "InvalidArgument")


@recorded("key-list-encoding-url")
def test_16_control_characters_come_encoded(recording: str, wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/a%01b%20c%2Bd", b"x")
    shown = wire.ask("GET", f"/{bucket}?encoding-type=url")
    assert shown.texts("Contents/Key") == ["a%01b+c%2Bd"] or shown.texts("Contents/Key") == ["a%01b%20c%2Bd"]
    assert shown.text("EncodingType") == "url"


@recorded("key-put-leading-slash")
def test_17_a_leading_slash_is_part_of_the_key_or_refused(recording: str, wire: Wire, bucket: str) -> None:
    answer = wire.ask("PUT", f"/{bucket}//lead", b"leading-slash")
    if answer.status == 200:
        assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == ["/lead"]
        assert wire.ask("GET", f"/{bucket}//lead").body == b"leading-slash"
    else:
        assert answer.outcome == (501, "NotImplemented")
    assert wire.ask("GET", f"/{bucket}/lead").status == 404


@recorded("key-put-plus-raw", "key-get-space-as-plus-read")
def test_17_a_plus_in_a_path_is_a_plus(recording: str, wire: Wire, bucket: str) -> None:
    for sign in ("v4", "v2"):
        assert wire.ask("PUT", f"/{bucket}/c+d", b"plus", sign=sign).status == 200
        assert wire.ask("PUT", f"/{bucket}/c%20d", b"space", sign=sign).status == 200
        assert wire.ask("GET", f"/{bucket}/c+d", sign=sign).body == b"plus"
        assert wire.ask("GET", f"/{bucket}/c%2Bd", sign=sign).body == b"plus"
        assert wire.ask("GET", f"/{bucket}/c%20d", sign=sign).body == b"space"
    assert wire.ask("GET", f"/{bucket}").texts("Contents/Key") == ["c d", "c+d"]


@recorded("key-list-prefix-plus", "list-prefix-plus-v2")
def test_17_a_prefix_may_have_a_plus(recording: str, wire: Wire, bucket: str) -> None:
    for key in ("c%2B1", "c%201", "x/a%2B"):
        wire.ask("PUT", f"/{bucket}/{key}", b"x")
    sign = "v2" if recording == "list-prefix-plus-v2" else "v4"
    assert wire.ask("GET", f"/{bucket}?prefix=c%2B", sign=sign).texts("Contents/Key") == ["c+1"]
    assert wire.ask("GET", f"/{bucket}?prefix=x%2Fa%2B", sign=sign).texts("Contents/Key") == ["x/a+"]


@recorded("list-v1-max-keys-2")
def test_18_dates_in_lists_are_iso_8601(recording: str, wire: Wire, listed: str) -> None:
    for query in ("max-keys=2", "list-type=2&max-keys=2", "versions&max-keys=2"):
        dates = wire.ask("GET", f"/{listed}?{query}").texts("*/LastModified")
        assert len(dates) == 2
        assert all(ISO_8601.fullmatch(date) for date in dates)
    assert all(ISO_8601.fullmatch(date) for date in wire.ask("GET", "/").texts("Buckets/Bucket/CreationDate"))


@pytest.fixture
def upload(wire: Wire, bucket: str) -> tuple[str, str]:
    """A path with an upload of parts 1 (twice, the second stays) and 2."""
    found = wire.ask("POST", f"/{bucket}/mp?uploads").text("UploadId")
    for number, body in ((1, b"first"), (1, b"1" * 10), (2, b"2" * 20)):
        assert wire.ask("PUT", f"/{bucket}/mp?partNumber={number}&uploadId={found}", body).status == 200
    return f"/{bucket}/mp", found


@recorded("mp-list-parts", "mp4-list-parts", "mp-list-parts-max")
def test_18_parts_are_listed_once_with_dates_and_in_pages(recording: str, wire: Wire, upload: tuple[str, str]) -> None:
    path, found = upload
    if recording == "mp-list-parts-max":
        page = wire.ask("GET", f"{path}?uploadId={found}&max-parts=1")
        assert page.texts("Part/PartNumber") == ["1"]
        assert (page.text("IsTruncated"), page.text("NextPartNumberMarker")) == ("true", "1")
        page = wire.ask("GET", f"{path}?uploadId={found}&max-parts=1&part-number-marker=1")
        assert page.texts("Part/PartNumber") == ["2"]
        assert page.text("IsTruncated") == "false"
    else:
        shown = wire.ask("GET", f"{path}?uploadId={found}")
        assert (shown.texts("Part/PartNumber"), shown.texts("Part/Size")) == (["1", "2"], ["10", "20"])
        assert all(ISO_8601.fullmatch(date) for date in shown.texts("Part/LastModified"))


@recorded("mp-complete-malformed")
def test_18_a_malformed_completion_is_malformed_xml(recording: str, wire: Wire, upload: tuple[str, str]) -> None:
    path, found = upload
    assert wire.ask("POST", f"{path}?uploadId={found}", b"zzz", XML).outcome == (400, "MalformedXML")
    assert wire.ask("GET", f"{path}?uploadId={found}").texts("Part/PartNumber") == ["1", "2"]


@recorded("conn-refused-put-with-body")
def test_20_a_refused_put_is_answered_while_its_body_comes(recording: str, wire: Wire, bucket: str) -> None:
    for _ in range(5):
        answer = wire.as_(None).ask("PUT", f"/{bucket}/refused", b"x" * 300_000)
        assert answer.outcome == (403, "AccessDenied")


@recorded("put-expect-100-no-auth")
def test_20_a_refusal_comes_before_the_body_is_asked_for(recording: str, wire: Wire, bucket: str) -> None:
    head = f"PUT /{bucket}/expect HTTP/1.1\r\nHost: {wire.host}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    with wire.connected() as sock:
        sock.sendall(head.encode())
        first = sock.recv(12)
    assert first == b"HTTP/1.1 403"


@recorded("put-5gib-header")
def test_20_more_than_5_gib_is_refused_before_it_is_sent(recording: str, wire: Wire, bucket: str) -> None:
    headers = {"Expect": "100-continue", "Content-Length": str((5 << 30) + 1)}
    answer = wire.ask("PUT", f"/{bucket}/huge", b"", headers, sha256="UNSIGNED-PAYLOAD")
    assert answer.outcome == (400, "EntityTooLarge")


@recorded("conn-pipelined-put-get")
def test_20_pipelined_requests_are_answered_in_order(recording: str, wire: Wire, new_bucket: Callable[[], str]) -> None:
    bucket = new_bucket()
    wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-acl": "public-read-write"})
    one = f"PUT /{bucket}/pipe HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: 4\r\n\r\npipe".encode()
    two = f"HEAD /{bucket} HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode()
    with wire.connected() as sock:
        sock.sendall(one + two)
        said = b""
        while said.count(b"\r\n\r\n") < 2:
            said += sock.recv(4096)
    put, head, _ = said.split(b"\r\n\r\n")
    assert put.startswith(b"HTTP/1.1 200 ")
    assert b"\r\netag: " in put.lower()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nx-amz-bucket-region: " in head.lower()
