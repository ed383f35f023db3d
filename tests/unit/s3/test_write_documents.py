"""Uploads, deletes, attributes, tags, errors: botocore writes the requests and reads the answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.checksums import Algorithm, ChecksumType
from controlplane.s3.conditions import WriteCondition
from controlplane.s3.documents import delete_objects, tagging
from controlplane.s3.documents import object_attributes as attributes
from controlplane.s3.documents import upload_documents as uploads
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.delete_objects import Deleted, Deletion, NotDeleted
from controlplane.s3.documents.tagging import Tagged
from controlplane.s3.error_xml import render_fault
from controlplane.s3.fault import Code, S3Fault
from tests.support.s3_oracle import read, written

CRC = StoredChecksum(Algorithm.CRC64NVME, "AAAAAAAAAAA=", ChecksumType.FULL_OBJECT)
SHA = StoredChecksum(Algorithm.SHA256, "x" * 43 + "=", ChecksumType.COMPOSITE)
AT = 1795384309.0
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=30)


def refused(parse: Callable[[bytes], object], body: bytes) -> Code:
    with pytest.raises(S3Fault) as caught:
        parse(body)
    return caught.value.code


@given(texts, texts)
def test_results_of_writes(key: str, upload_id: str) -> None:
    found = read("CreateMultipartUpload", uploads.render_initiated("b", key, upload_id))
    assert (found["Bucket"], found["Key"], found["UploadId"]) == ("b", key, upload_id)
    completed = read("CompleteMultipartUpload", uploads.render_completed(f"http://h/b/{key}", "b", key, "ab-2", CRC))
    assert completed == {
        "Location": f"http://h/b/{key}", "Bucket": "b", "Key": key, "ETag": '"ab-2"',
        "ChecksumCRC64NVME": CRC.text, "ChecksumType": "FULL_OBJECT",
    }  # fmt: skip


def test_results_of_copies() -> None:
    when = datetime.fromtimestamp(AT, UTC)
    copied = read("CopyObject", uploads.render_copied("ab", AT, SHA))["CopyObjectResult"]
    assert copied == {"ETag": '"ab"', "LastModified": when, "ChecksumSHA256": SHA.text, "ChecksumType": "COMPOSITE"}
    part = read("UploadPartCopy", uploads.render_part_copied("ab", AT))["CopyPartResult"]
    assert part == {"ETag": '"ab"', "LastModified": when}


def test_completing_names_parts_and_checksums() -> None:
    body = written(
        "CompleteMultipartUpload",
        Bucket="b",
        Key="k",
        UploadId="u",
        MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": '"aa"'}, {"PartNumber": 3, "ETag": "bb", "ChecksumSHA1": "s"}]
        },
    )
    assert [(part.number, part.etag) for part in uploads.parse_complete(body)] == [(1, "aa"), (3, "bb")]
    assert uploads.parse_complete(body)[1].checksum == StoredChecksum(Algorithm.SHA1, "s")


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("", Code.MALFORMED_XML),
        ("<Part><PartNumber>1</PartNumber></Part>", Code.MALFORMED_XML),
        ("<Part><ETag>a</ETag></Part>", Code.MALFORMED_XML),
        ("<Part><PartNumber>-1</PartNumber><ETag>a</ETag></Part>", Code.MALFORMED_XML),
        ("<Part><PartNumber>0</PartNumber><ETag>a</ETag></Part>", Code.INVALID_ARGUMENT),
        ("<Part><PartNumber>10001</PartNumber><ETag>a</ETag></Part>", Code.INVALID_ARGUMENT),
        ("<Part><PartNumber>2</PartNumber><ETag>a</ETag></Part>" * 2, Code.INVALID_PART_ORDER),
        ("<Object/>", Code.MALFORMED_XML),
    ],
)
def test_mp_complete_malformed_and_the_like(inner: str, code: Code) -> None:
    """Recording mp-complete-malformed: Riak CS answers with status 477."""
    assert (
        refused(uploads.parse_complete, f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()) is code
    )
    assert refused(uploads.parse_complete, b"nonsense") is Code.MALFORMED_XML


@given(st.lists(st.tuples(texts.filter(bool), st.none() | st.just("null")), min_size=1, max_size=5), st.booleans())
def test_deleting_many(wanted: list[tuple[str, str | None]], quiet: bool) -> None:
    objects = [{"Key": key} | ({"VersionId": version} if version else {}) for key, version in wanted]
    request = delete_objects.parse_delete(
        written("DeleteObjects", Bucket="b", Delete={"Objects": objects, "Quiet": quiet})
    )
    assert [(at.key, at.version_id) for at in request.deletions] == wanted
    assert request.quiet is quiet
    outcomes = [Deleted(*at) for at in wanted[1:]] + [NotDeleted(wanted[0][0], S3Fault(Code.ACCESS_DENIED))]
    found = read("DeleteObjects", delete_objects.render_delete_result(request.quiet, outcomes))
    assert [(at["Key"], at["Code"]) for at in found["Errors"]] == [(wanted[0][0], "AccessDenied")]
    assert [at["Key"] for at in found.get("Deleted", [])] == ([] if quiet else [key for key, _ in wanted[1:]])


def test_a_delete_has_1_to_1000_keys() -> None:
    """Recordings multi-delete-empty (200 of Riak CS), multi-delete-1001, multi-delete-malformed."""
    one = "<Object><Key>k</Key></Object>"
    for body in (
        "<Delete/>", "nonsense", f"<Delete>{one * 1001}</Delete>", "<Delete><Object/></Delete>",
        "<Delete><Object><Key/></Object></Delete>", f"<Delete>{one}<Quiet>maybe</Quiet></Delete>",
        f"<Delete>{one}<Sudo/></Delete>", "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
    ):  # fmt: skip
        assert refused(delete_objects.parse_delete, body.encode()) is Code.MALFORMED_XML
    assert len(delete_objects.parse_delete(f"<Delete>{one * 1000}</Delete>".encode()).deletions) == 1000


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ('<ETag>"e"</ETag>', WriteCondition(etag="e", deletes=True)),
        ("<Size>0</Size>", WriteCondition(size=0, deletes=True)),
        ("<LastModifiedTime>Thu, 01 Jan 2015 00:00:00 GMT</LastModifiedTime>",
         WriteCondition(modified_at=1420070400, deletes=True)),
        ("<LastModifiedTime>2015-01-01T00:00:00Z</LastModifiedTime>",
         WriteCondition(modified_at=1420070400, deletes=True)),
        ("", None),
    ],
)  # fmt: skip
def test_a_key_may_be_deleted_on_a_condition(given: str, condition: WriteCondition | None) -> None:
    body = f"<Delete><Object><Key>k</Key>{given}</Object></Delete>".encode()
    assert delete_objects.parse_delete(body).deletions == (Deletion("k", None, condition),)


@pytest.mark.parametrize("given", ["<Size>x</Size>", "<Size>-1</Size>", "<LastModifiedTime>now</LastModifiedTime>"])
def test_a_condition_of_a_delete_that_cannot_be_read_is_malformed(given: str) -> None:
    body = f"<Delete><Object><Key>k</Key>{given}</Object></Delete>".encode()
    assert refused(delete_objects.parse_delete, body) is Code.MALFORMED_XML


def test_attributes() -> None:
    request = attributes.parse_attributes_request(
        {"x-amz-object-attributes": "ETag, Checksum,ObjectParts,StorageClass,ObjectSize", "x-amz-max-parts": "1"}
    )
    parts = (attributes.ObjectPart(1, 5, CRC), attributes.ObjectPart(2, 6, CRC))
    found = read(
        "GetObjectAttributes",
        attributes.render_attributes(request, attributes.Attributes("ab-2", 11, "STANDARD", CRC, 2, parts)),
    )
    assert found == {
        "ETag": "ab-2", "ObjectSize": 11, "StorageClass": "STANDARD",
        "Checksum": {"ChecksumCRC64NVME": CRC.text, "ChecksumType": "FULL_OBJECT"},
        "ObjectParts": {
            "TotalPartsCount": 2, "PartNumberMarker": 0, "NextPartNumberMarker": 1, "MaxParts": 1, "IsTruncated": True,
            "Parts": [{"PartNumber": 1, "Size": 5, "ChecksumCRC64NVME": CRC.text}],
        },
    }  # fmt: skip
    some = attributes.parse_attributes_request({"x-amz-object-attributes": "ObjectSize,Checksum"})
    assert read("GetObjectAttributes", attributes.render_attributes(some, attributes.Attributes("ab", 3))) == {
        "ObjectSize": 3
    }
    for bad in ("", "ETag,Owner", ","):
        with pytest.raises(S3Fault):
            attributes.parse_attributes_request({"x-amz-object-attributes": bad})


tag_texts = st.text(
    st.characters(categories=["L", "N", "Zs"], include_characters="_.:/=+-@"), min_size=1, max_size=20
).filter(lambda text: not text.lower().startswith("aws:"))


@given(st.lists(st.tuples(tag_texts, tag_texts | st.just("")), unique_by=lambda tag: tag[0], max_size=10))
def test_tags_round_trip(tags: list[tuple[str, str]]) -> None:
    tag_set = [{"Key": key, "Value": value} for key, value in tags]
    body = written("PutObjectTagging", Bucket="b", Key="k", Tagging={"TagSet": tag_set})
    found = tagging.parse_tagging(body, Tagged.OBJECT)
    assert list(found) == tags
    assert read("GetObjectTagging", tagging.render_tagging(found))["TagSet"] == tag_set


def tags_xml(*tags: tuple[str, str]) -> bytes:
    return tagging.render_tagging(tags)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<Tagging/>", Code.MALFORMED_XML),
        (b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", Code.MALFORMED_XML),
        (b"<Tagging><TagSet><Owner/></TagSet></Tagging>", Code.MALFORMED_XML),
        (b"nonsense", Code.MALFORMED_XML),
        (tags_xml(*((f"k{n}", "v") for n in range(11))), Code.INVALID_TAG),
        (tags_xml(("k", "v"), ("k", "w")), Code.INVALID_TAG),
        (tags_xml(("", "v")), Code.INVALID_TAG),
        (tags_xml(("k" * 129, "v")), Code.INVALID_TAG),
        (tags_xml(("k", "v" * 257)), Code.INVALID_TAG),
        (tags_xml(("aws:k", "v")), Code.INVALID_TAG),
        (tags_xml(("AWS:k", "v")), Code.INVALID_TAG),
        (tags_xml(("k<", "v")), Code.INVALID_TAG),
    ],
)
def test_tags_that_are_refused(body: bytes, code: Code) -> None:
    assert refused(lambda sent: tagging.parse_tagging(sent, Tagged.OBJECT), body) is code


def test_the_limits_of_tags_are_inclusive() -> None:
    assert len(tagging.parse_tagging(tags_xml(*((f"k{n}", "v") for n in range(50))), Tagged.BUCKET)) == 50
    assert tagging.parse_tagging(tags_xml(("k" * 128, "v" * 256)), Tagged.OBJECT) == (("k" * 128, "v" * 256),)
    assert refused(
        lambda sent: tagging.parse_tagging(sent, Tagged.BUCKET), tags_xml(*((f"k{n}", "v") for n in range(51)))
    ) is Code.INVALID_TAG  # fmt: skip


def test_tags_in_a_header() -> None:
    assert tagging.parse_tagging_header("a=1&b%20c=%C3%BC+x&d=") == (("a", "1"), ("b c", "ü x"), ("d", ""))
    assert tagging.parse_tagging_header("") == ()
    for bad in ("a=1&a=2", "a=%FF", "&".join(f"k{n}=v" for n in range(11)), "aws:x=1"):
        with pytest.raises(S3Fault):
            tagging.parse_tagging_header(bad)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_errors_stay_readable_whatever_they_are_about(resource: str) -> None:
    fault = S3Fault(Code.INVALID_TAG, f"about {resource}", extra=(("TagKey", resource),))
    document = render_fault(fault, resource, "ID1", "KEY")
    found = read("GetObject", document, status=400)
    assert found["Error"]["Code"] == "InvalidTag"
    names = [name.decode().partition(">")[0] for name in document.split(b"<") if not name.startswith(b"/")][2:]
    assert [name.split()[0] for name in names if name.strip()][1:] == [
        "Code", "Message", "TagKey", "RequestId", "Resource", "AWSAccessKeyId",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "element", "text"),
    [
        (Code.NO_SUCH_KEY, "Key", "d/k"),
        (Code.NO_SUCH_BUCKET, "BucketName", "b"),
        (Code.BUCKET_NOT_EMPTY, "BucketName", "b"),
        (Code.NO_SUCH_TAG_SET, "BucketName", "b"),
    ],
)
def test_errors_name_what_they_are_about(code: Code, element: str, text: str) -> None:
    found = read("GetObject", render_fault(S3Fault(code), "/b/d/k", "ID1", bucket="b", key="d/k"), status=code.status)
    assert found["Error"][element] == text
    plain = read(
        "GetObject", render_fault(S3Fault(Code.ACCESS_DENIED), "/b/d/k", "ID1", bucket="b", key="d/k"), status=403
    )
    assert not {"Key", "BucketName"} & set(plain["Error"])
