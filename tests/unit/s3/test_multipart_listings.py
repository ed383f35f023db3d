"""Uploads, parts and buckets: pages of what Riak CS gives at once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.access.principals import User
from controlplane.s3.documents import bucket_documents as buckets
from controlplane.s3.documents import multipart_listing as multipart
from controlplane.s3.documents.bucket_documents import ListedBucket
from controlplane.s3.documents.multipart_listing import Part, Upload
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation
from controlplane.s3.uri import Query
from tests.support.s3_oracle import read, written

OWNER = User("74c2" * 16, "alice")
AT = 1795384684.936


def upload(key: str, upload_id: str = "u1") -> Upload:
    return Upload(key, upload_id, AT, OWNER)


def test_uploads() -> None:
    request = multipart.parse_list_uploads("b", (("uploads", ""), ("prefix", "m"), ("encoding-type", "url")))
    page = multipart.page_of_uploads([upload("m p"), upload("x")], request)
    found = read("ListMultipartUploads", multipart.render_uploads(request, page))
    who = {"ID": OWNER.id, "DisplayName": "alice"}
    assert found["Uploads"] == [
        {
            "Key": "m%20p", "UploadId": "u1", "Initiator": who, "Owner": who, "StorageClass": "STANDARD",
            "Initiated": datetime.fromtimestamp(AT, UTC),
        }
    ]  # fmt: skip
    assert (found["MaxUploads"], found["IsTruncated"], found["Prefix"]) == (1000, False, "m")


@given(
    st.lists(st.tuples(st.text("ab/", min_size=1, max_size=5), st.text("xyz", min_size=1, max_size=2)), unique=True),
    st.sampled_from(["", "/"]), st.sampled_from(["", "a"]), st.integers(1, 4),
)  # fmt: skip
def test_pages_of_uploads_give_every_one_once(
    stored: list[tuple[str, str]], delimiter: str, prefix: str, limit: int
) -> None:
    uploads = [upload(key, upload_id) for key, upload_id in stored]
    scope: Query = (("delimiter", delimiter), ("prefix", prefix))
    whole = multipart.page_of_uploads(uploads, multipart.parse_list_uploads("b", scope))
    found, prefixes, marker = [], [], ()
    for _ in range(200):
        asked = (*scope, ("max-uploads", str(limit)), *marker)
        request = multipart.parse_list_uploads("b", asked)
        answer = read(
            "ListMultipartUploads", multipart.render_uploads(request, multipart.page_of_uploads(uploads, request))
        )
        found += [(at["Key"], at["UploadId"]) for at in answer.get("Uploads", [])]
        prefixes += [at["Prefix"] for at in answer.get("CommonPrefixes", [])]
        if not answer["IsTruncated"]:
            break
        marker = (("key-marker", answer["NextKeyMarker"]), ("upload-id-marker", answer["NextUploadIdMarker"]))
    assert found == [(at.key, at.upload_id) for at in whole.uploads]
    assert prefixes == list(whole.prefixes)
    told = {key for key, _ in found} | set(prefixes)
    assert all(key in told or any(key.startswith(at) for at in prefixes) for key, _ in stored if key.startswith(prefix))


def test_parts_are_paged_ordered_and_without_doubles() -> None:
    """Recordings mp-list-parts-max (max-parts is ignored), mp4-list-parts (a part sent twice is listed twice)."""
    parts = [Part(3, 5, "c", AT), Part(1, 9, "old", AT), Part(1, 3, "new", AT + 1), Part(2, 4, "b", AT)]
    seen, after = [], 0
    for last in (False, True):
        request = multipart.parse_list_parts(
            "b", "k", (("uploadId", "u"), ("max-parts", "2"), ("part-number-marker", str(after)))
        )
        found = read("ListParts", multipart.render_parts(request, parts, OWNER))
        assert found["IsTruncated"] is not last
        assert (found["Bucket"], found["Key"], found["UploadId"], found["MaxParts"]) == ("b", "k", "u", 2)
        seen += [(at["PartNumber"], at["ETag"], at["Size"]) for at in found["Parts"]]
        assert found["Parts"][0]["LastModified"] == datetime.fromtimestamp(AT + (not last), UTC)
        after = found["NextPartNumberMarker"]
    assert seen == [(1, '"new"', 3), (2, '"b"', 4), (3, '"c"', 5)]


def test_no_parts() -> None:
    request = multipart.parse_list_parts("b", "k", (("uploadId", "u"), ("max-parts", "0")))
    found = read("ListParts", multipart.render_parts(request, [Part(1, 1, "a", AT)], OWNER))
    assert found["IsTruncated"] is False
    assert "Parts" not in found


def test_buckets_paged_by_prefix() -> None:
    stored = [ListedBucket(name, AT) for name in ("b3", "a1", "b1", "b2")]
    names, token = [], None
    for _ in range(3):
        query: Query = (("max-buckets", "2"), ("prefix", "b"))
        request = buckets.parse_list_buckets(query + ((("continuation-token", token),) if token else ()))
        found = read("ListBuckets", buckets.render_buckets(request, OWNER, stored))
        names.append([at["Name"] for at in found["Buckets"]])
        assert found["Owner"] == {"ID": OWNER.id, "DisplayName": "alice"}
        token = found.get("ContinuationToken")
        if token is None:
            break
    assert names == [["b1", "b2"], ["b3"]]
    everything = read("ListBuckets", buckets.render_buckets(buckets.parse_list_buckets(()), OWNER, stored))
    assert [at["Name"] for at in everything["Buckets"]] == ["a1", "b1", "b2", "b3"]
    assert everything["Buckets"][0]["CreationDate"] == datetime.fromtimestamp(AT, UTC)
    for bad in ("0", "10001", "x"):
        with pytest.raises(S3Fault):
            buckets.parse_list_buckets((("max-buckets", bad),))


def test_location_and_versioning() -> None:
    assert read("GetBucketLocation", buckets.render_location("eu-west-1"))["LocationConstraint"] == "eu-west-1"
    assert not read("GetBucketLocation", buckets.render_location("us-east-1")).get("LocationConstraint")
    assert read("GetBucketVersioning", buckets.render_versioning()) == {}
    body = written("CreateBucket", Bucket="b", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert buckets.parse_create_bucket(body) == "eu-west-1"
    assert buckets.parse_create_bucket(b"") == ""
    buckets.check_location("eu-west-1", "eu-west-1")
    with pytest.raises(S3Fault) as caught:
        buckets.check_location("mars-1", "eu-west-1")
    assert caught.value.code is Code.INVALID_LOCATION_CONSTRAINT


@pytest.mark.parametrize(
    ("status", "code"),
    [("Enabled", Code.NOT_IMPLEMENTED), ("Suspended", Code.NOT_IMPLEMENTED), ("Foo", Code.MALFORMED_XML)],
)
def test_ver_enable_is_refused(status: str, code: Code) -> None:
    """Recordings ver-enable, ver-put-bad-status: Riak CS says 200 to all."""
    with pytest.raises(S3Fault) as caught:
        buckets.refuse_versioning(
            written("PutBucketVersioning", Bucket="b", VersioningConfiguration={"Status": status})
        )
    assert caught.value.code is code


def test_configurations_that_no_bucket_has() -> None:
    assert buckets.not_configured(Operation.GET_BUCKET_ENCRYPTION).code.text == (
        "ServerSideEncryptionConfigurationNotFoundError"
    )
    assert buckets.not_configured(Operation.GET_PUBLIC_ACCESS_BLOCK).status == 404
