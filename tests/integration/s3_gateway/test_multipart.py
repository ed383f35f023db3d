"""Multipart uploads as S3 has them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import pytest

from tests.integration.s3_gateway.wire import Answer, Wire, content_md5
from tests.support.riak_cs import User

FIVE_MIB = 5 << 20
LARGE, SMALL = b"L" * FIVE_MIB, b"s" * 10


class Upload:
    def __init__(self, wire: Wire, path: str, **headers: str) -> None:
        self.wire, self.path = wire, path
        answer = wire.ask("POST", f"{path}?uploads", b"", {k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status == 200, answer
        assert (answer.text("Bucket"), answer.text("Key")) == (path.split("/")[1], path.split("/", 2)[2])
        self.id = answer.text("UploadId")
        self.etags: dict[int, str] = {}

    def part(self, number: int, body: bytes, **headers: str) -> Answer:
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        answer = self.wire.ask("PUT", f"{self.path}?partNumber={number}&uploadId={self.id}", body, sent)
        if answer.status == 200:
            self.etags[number] = answer.headers.get("etag") or answer.text("ETag")
        return answer

    def complete(self, parts: Sequence[tuple[int, str]] | None = None, **headers: str) -> Answer:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in (sorted(self.etags.items()) if parts is None else parts)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.wire.ask("POST", f"{self.path}?uploadId={self.id}", body, sent)

    def abort(self) -> Answer:
        return self.wire.ask("DELETE", f"{self.path}?uploadId={self.id}")


def etag_of(*parts: bytes) -> str:
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'


def test_an_upload_becomes_an_object_with_its_headers(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/d/k", Content_Type="text/x-mp", x_amz_meta_colour="blue")
    upload.part(1, LARGE)
    upload.part(2, SMALL)
    assert wire.ask("HEAD", f"/{bucket}/d/k").status == 404, "there before it is complete"
    done = upload.complete()
    assert done.status == 200
    assert (done.text("Bucket"), done.text("Key")) == (bucket, "d/k")
    found = wire.ask("GET", f"/{bucket}/d/k")
    assert found.body == LARGE + SMALL
    assert (found.headers["content-type"], found.headers["x-amz-meta-colour"]) == ("text/x-mp", "blue")
    assert found.headers["etag"] == done.text("ETag")
    assert wire.ask("GET", f"/{bucket}").texts("Contents/ETag") == [found.headers["etag"]]
    assert wire.ask("GET", f"/{bucket}/d/k", headers={"Range": f"bytes={FIVE_MIB - 1}-{FIVE_MIB}"}).body == b"Ls"


def test_parts_may_come_in_any_order_and_again(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    upload.part(3, SMALL)
    upload.part(1, b"x" * FIVE_MIB)
    upload.part(1, LARGE)
    assert upload.complete().status == 200
    assert wire.ask("GET", f"/{bucket}/k").body == LARGE + SMALL


def test_an_upload_of_nothing_is_malformed(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    assert upload.complete().outcome == (400, "MalformedXML")
    assert upload.abort().status == 204


def test_completions_that_do_not_fit_the_parts(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    one, two = upload.part(1, LARGE).headers["etag"], upload.part(2, SMALL).headers["etag"]
    assert upload.complete([(1, one), (9, two)]).outcome == (400, "InvalidPart")
    assert upload.complete([(1, one), (2, f'"{"0" * 32}"')]).outcome == (400, "InvalidPart")
    assert upload.complete([(2, two), (1, one)]).outcome == (400, "InvalidPartOrder")
    assert upload.complete([(1, one), (1, one)]).outcome in ((400, "InvalidPartOrder"), (400, "InvalidPart"))
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404
    assert upload.complete().status == 200, "none of the refusals has hurt it"


def test_a_small_part_is_only_the_last_one(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    upload.part(1, SMALL)
    upload.part(2, SMALL)
    assert upload.complete().outcome == (400, "EntityTooSmall")
    assert wire.ask("HEAD", f"/{bucket}/k").status == 404


@pytest.mark.parametrize("number", ["0", "-1", "10001", "x", ""])
def test_numbers_that_no_part_has(number: str, wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    answer = wire.ask("PUT", f"/{bucket}/k?partNumber={number}&uploadId={upload.id}", SMALL)
    assert answer.outcome == (400, "InvalidArgument")


def test_uploads_that_are_not_there(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    assert upload.part(1, SMALL).status == 200
    assert upload.abort().status == 204
    assert upload.part(2, SMALL).outcome == (404, "NoSuchUpload")
    assert upload.complete().outcome == (404, "NoSuchUpload")
    assert upload.abort().outcome in ((404, "NoSuchUpload"), (204, ""))
    assert wire.ask("GET", f"/{bucket}/k?uploadId={upload.id}").outcome == (404, "NoSuchUpload")
    assert wire.ask("GET", f"/{bucket}/k?uploadId=nonsense").outcome == (404, "NoSuchUpload")


def test_a_completion_may_be_repeated_without_harm(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    upload.part(1, SMALL)
    assert upload.complete().status == 200
    assert upload.complete().outcome in ((404, "NoSuchUpload"), (200, ""))
    assert wire.ask("GET", f"/{bucket}/k").body == SMALL


def test_uploads_are_listed(wire: Wire, bucket: str, alice: User) -> None:
    uploads = [Upload(wire, f"/{bucket}/{key}") for key in ("a", "b/1", "b/2")]
    shown = wire.ask("GET", f"/{bucket}?uploads")
    assert shown.texts("Upload/Key") == ["a", "b/1", "b/2"]
    assert sorted(shown.texts("Upload/UploadId")) == sorted(each.id for each in uploads)
    assert set(shown.texts("Upload/Initiator/ID") + shown.texts("Upload/Owner/ID")) == {alice.id}
    rolled = wire.ask("GET", f"/{bucket}?uploads&delimiter=%2F")
    assert (rolled.texts("Upload/Key"), rolled.texts("CommonPrefixes/Prefix")) == (["a"], ["b/"])
    assert wire.ask("GET", f"/{bucket}?uploads&prefix=b").texts("Upload/Key") == ["b/1", "b/2"]
    found, marker = [], ""
    for _ in range(5):
        page = wire.ask("GET", f"/{bucket}?uploads&max-uploads=2{marker}")
        found += page.texts("Upload/Key")
        if page.text("IsTruncated") == "false":
            break
        marker = f"&key-marker={page.text('NextKeyMarker')}&upload-id-marker={page.text('NextUploadIdMarker')}"
    assert found == ["a", "b/1", "b/2"]
    for each in uploads:
        each.abort()
    assert wire.ask("GET", f"/{bucket}?uploads").texts("Upload") == []


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ("bytes=0-2,3-5", (400, "InvalidArgument")),
        ("0-2", (400, "InvalidArgument")),
        ("bytes=0", (400, "InvalidArgument")),
        ("bytes=hello-world", (400, "InvalidArgument")),
        ("bytes=0-10000", (400, "InvalidArgument")),
    ],
)
def test_ranges_that_no_part_is_copied_by(given: str, outcome: tuple[int, str], wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/source", b"0123456789")
    upload = Upload(wire, f"/{bucket}/k")
    answer = upload.part(1, b"", x_amz_copy_source=f"/{bucket}/source", x_amz_copy_source_range=given)
    if given == "bytes=0-10000":
        assert answer.outcome in (outcome, (416, "InvalidRange")), answer
    else:
        assert answer.outcome == outcome


def test_parts_from_other_objects(wire: Wire, bucket: str) -> None:
    wire.ask("PUT", f"/{bucket}/a%20b/c%2Bd", LARGE + SMALL)
    upload = Upload(wire, f"/{bucket}/k")
    source = f"/{bucket}/a%20b/c%2Bd"
    last = FIVE_MIB - 1
    assert upload.part(1, b"", x_amz_copy_source=source, x_amz_copy_source_range=f"bytes=0-{last}").status == 200
    assert upload.part(2, b"", x_amz_copy_source=source, x_amz_copy_source_range=f"bytes={FIVE_MIB}-").status in (
        200, 400,
    )  # fmt: skip
    assert upload.part(2, SMALL).status == 200
    assert upload.complete().status == 200
    assert wire.ask("GET", f"/{bucket}/k").body == LARGE + SMALL
    missing = Upload(wire, f"/{bucket}/k2").part(1, b"", x_amz_copy_source=f"/{bucket}/none")
    assert missing.outcome == (404, "NoSuchKey")


def test_a_damaged_part_is_refused(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    wrong = base64.b64encode(bytes(4)).decode()
    assert upload.part(1, SMALL, Content_MD5=content_md5(b"other")).outcome == (400, "BadDigest")
    assert upload.part(1, SMALL, x_amz_checksum_crc32=wrong).outcome == (400, "BadDigest")
    assert upload.complete([(1, f'"{hashlib.md5(SMALL).hexdigest()}"')]).outcome == (400, "InvalidPart")


def test_completing_only_if_there_is_none(wire: Wire, bucket: str) -> None:
    first, second = Upload(wire, f"/{bucket}/k"), Upload(wire, f"/{bucket}/k")
    first.part(1, b"first")
    second.part(1, b"second")
    assert first.complete(If_None_Match="*").status == 200
    assert second.complete(If_None_Match="*").outcome == (412, "PreconditionFailed")
    assert wire.ask("GET", f"/{bucket}/k").body == b"first"
    etag = wire.ask("HEAD", f"/{bucket}/k").headers["etag"]
    assert second.complete(If_Match=etag).status == 200
    assert wire.ask("GET", f"/{bucket}/k").body == b"second"


def test_one_part_can_be_read(wire: Wire, bucket: str) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    upload.part(1, LARGE)
    upload.part(2, SMALL)
    upload.complete()
    answer = wire.ask("GET", f"/{bucket}/k?partNumber=2")
    assert answer.status in (206, 501), answer
    if answer.status == 206:
        assert answer.body == SMALL


def test_nobody_else_sees_or_ends_an_upload(wire: Wire, bucket: str, bob: User) -> None:
    upload = Upload(wire, f"/{bucket}/k")
    for who in (wire.as_(bob), wire.as_(None)):
        assert who.ask("GET", f"/{bucket}/k?uploadId={upload.id}").outcome == (403, "AccessDenied")
        assert who.ask("DELETE", f"/{bucket}/k?uploadId={upload.id}").outcome == (403, "AccessDenied")
        assert who.ask("POST", f"/{bucket}/k?uploads").outcome == (403, "AccessDenied")
        answer = who.ask("PUT", f"/{bucket}/k?partNumber=1&uploadId={upload.id}", SMALL)
        assert answer.outcome == (403, "AccessDenied")


def test_the_buckets_owner_sees_and_ends_what_others_have_begun(
    wire: Wire, bucket: str, bob: User, alice: User
) -> None:
    """In Riak CS only who began an upload may end it."""
    wire.ask("PUT", f"/{bucket}?acl", b"", {"x-amz-acl": "public-read-write"})
    bobs = wire.as_(bob)
    begun = {who: started.ask("POST", f"/{bucket}/{who}?uploads").text("UploadId") for who, started in
             (("alice", wire), ("bob", bobs))}  # fmt: skip
    bobs.ask("PUT", f"/{bucket}/bob?partNumber=1&uploadId={begun['bob']}", b"x")
    shown = wire.ask("GET", f"/{bucket}?uploads")
    assert shown.texts("Upload/Key") == ["alice", "bob"]
    assert shown.texts("Upload/UploadId") == [begun["alice"], begun["bob"]]
    assert shown.texts("Upload/Initiator/ID") == shown.texts("Upload/Owner/ID") == [alice.id, bob.id]
    assert bobs.ask("GET", f"/{bucket}?uploads").texts("Upload/Key") == ["bob"]
    parts = wire.ask("GET", f"/{bucket}/bob?uploadId={begun['bob']}")
    assert (parts.texts("Part/PartNumber"), parts.text("Initiator/ID")) == (["1"], bob.id)
    assert bobs.ask("GET", f"/{bucket}/alice?uploadId={begun['alice']}").status in (403, 404)
    assert bobs.ask("DELETE", f"/{bucket}/alice?uploadId={begun['alice']}").status in (403, 404)
    assert wire.ask("DELETE", f"/{bucket}/bob?uploadId={begun['bob']}").status == 204
    assert wire.ask("GET", f"/{bucket}?uploads").texts("Upload/Key") == ["alice"]
    assert bobs.ask("GET", f"/{bucket}/bob?uploadId={begun['bob']}").outcome == (404, "NoSuchUpload")
