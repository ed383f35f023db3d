"""Checksums of multipart uploads, end to end: each part's and the whole's, by boto3's transfer manager and by hand."""

from __future__ import annotations

import io
import secrets
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from controlplane.s3.checksums import Algorithm, Checksum, composite, hasher_of, parse_checksum
from tests.integration.s3_gateway.wire import UNSIGNED_TRAILER, Wire
from tests.support.riak_cs import User
from tests.support.s3_clients import s3_client
from tests.support.s3_gateway import S3Gateway

MIB = 1 << 20
DATA = secrets.token_bytes(MIB) * 12
PARTS = [DATA[: 5 * MIB], DATA[5 * MIB : 10 * MIB], DATA[10 * MIB :]]
CRCS = [Algorithm.CRC32, Algorithm.CRC32C, Algorithm.CRC64NVME]


def text_of(algorithm: Algorithm, data: bytes) -> str:
    hasher = hasher_of(algorithm)
    hasher.update(data)
    return Checksum(algorithm, hasher.digest()).text


@pytest.fixture(scope="session")
def s3(gateway: S3Gateway, alice: User) -> Any:
    return s3_client(gateway.url, alice.key, alice.secret, retries={"total_max_attempts": 1})


def code_of(caught: Any) -> str:
    return str(caught.value.response["Error"]["Code"])


@pytest.mark.parametrize("algorithm", [*CRCS, Algorithm.SHA256, Algorithm.SHA1], ids=lambda a: a.value)
def test_the_transfer_manager_of_boto3(s3: Any, bucket: str, algorithm: Algorithm) -> None:
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(DATA), bucket, "k", ExtraArgs={"ChecksumAlgorithm": algorithm.value}, Config=config)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == DATA


@pytest.mark.parametrize("algorithm", CRCS, ids=lambda a: a.value)
def test_the_checksum_of_the_whole_is_verified(s3: Any, bucket: str, algorithm: Algorithm) -> None:
    member = f"Checksum{algorithm.value}"
    begun = s3.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm.value, ChecksumType="FULL_OBJECT"
    )
    assert (begun["ChecksumAlgorithm"], begun["ChecksumType"]) == (algorithm.value, "FULL_OBJECT")
    where = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    parts = []
    for number, part in enumerate(PARTS, 1):
        sent = s3.upload_part(**where, PartNumber=number, Body=part, ChecksumAlgorithm=algorithm.value)
        assert sent[member] == text_of(algorithm, part)
        parts.append({"PartNumber": number, "ETag": sent["ETag"], member: sent[member]})
    whole, wrong = text_of(algorithm, DATA), text_of(algorithm, DATA + b"x")
    with pytest.raises(ClientError) as caught:
        s3.complete_multipart_upload(
            **where, MultipartUpload={"Parts": parts}, ChecksumType="FULL_OBJECT", **{member: wrong}
        )
    assert code_of(caught) == "BadDigest"
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError) as caught:
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, MpuObjectSize=len(DATA) - 1)
    assert code_of(caught) == "InvalidRequest"
    done = s3.complete_multipart_upload(
        **where,
        MultipartUpload={"Parts": parts},
        ChecksumType="FULL_OBJECT",
        MpuObjectSize=len(DATA),
        **{member: whole},
    )
    assert (done[member], done["ChecksumType"]) == (whole, "FULL_OBJECT")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == DATA


def test_a_wrong_checksum_of_a_part_stores_no_part(s3: Any, bucket: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32")
    where = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    with pytest.raises(ClientError) as caught:
        s3.upload_part(**where, PartNumber=1, Body=b"data", ChecksumCRC32="AAAAAA==")
    assert code_of(caught) == "BadDigest"
    assert "Parts" not in s3.list_parts(**where)


def test_kinds_that_there_are_not(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as caught:
        s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")
    assert code_of(caught) == "InvalidRequest"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def read_back(s3: Any, bucket: str, member: str) -> tuple[str | None, str | None]:
    found = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == DATA
    assert got.get(member) == found.get(member)
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum"])
    assert told.get("Checksum", {}).get(member) == found.get(member)
    return found.get(member), found.get("ChecksumType")


@pytest.mark.parametrize("algorithm", [*CRCS, Algorithm.SHA256], ids=lambda a: a.value)
def test_a_checksum_in_the_trailer_of_a_large_upload_is_kept(
    wire: Wire, s3: Any, bucket: str, algorithm: Algorithm
) -> None:
    """The headers of the object had gone out before the trailer came."""
    text, member = text_of(algorithm, DATA), f"Checksum{algorithm.value}"
    answer = wire.put_chunked(
        f"/{bucket}/k", [DATA[: 6 * MIB], DATA[6 * MIB :]], payload=UNSIGNED_TRAILER, trailer=(algorithm.header, text)
    )
    assert answer.status == 200, answer
    assert read_back(s3, bucket, member) == (text, "FULL_OBJECT")
    copied = s3.copy_object(Bucket=bucket, Key="k2", CopySource=f"{bucket}/k")
    assert copied["CopyObjectResult"][member] == text
    assert s3.head_object(Bucket=bucket, Key="k2", ChecksumMode="ENABLED")[member] == text
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert read_back(s3, bucket, member) == (text, "FULL_OBJECT")
    s3.put_object(Bucket=bucket, Key="k", Body=DATA, ChecksumAlgorithm="CRC32")
    assert read_back(s3, bucket, "ChecksumCRC32") == (text_of(Algorithm.CRC32, DATA), "FULL_OBJECT")


@pytest.mark.parametrize("algorithm", [*CRCS, Algorithm.SHA256], ids=lambda a: a.value)
@pytest.mark.parametrize("names", [True, False], ids=["parts-named", "parts-not-named"])
def test_the_checksums_of_parts_are_kept(s3: Any, bucket: str, algorithm: Algorithm, names: bool) -> None:
    member, full = f"Checksum{algorithm.value}", algorithm.joins
    kind = "FULL_OBJECT" if full else "COMPOSITE"
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm.value, ChecksumType=kind)
    where = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    s3.upload_part(**where, PartNumber=1, Body=b"another one", ChecksumAlgorithm=algorithm.value)  # sent again below
    sent = [
        s3.upload_part(**where, PartNumber=number, Body=part, ChecksumAlgorithm=algorithm.value)
        for number, part in enumerate(PARTS, 1)
    ]
    sums = [text_of(algorithm, part) for part in PARTS]
    listed = s3.list_parts(**where)
    assert [part[member] for part in listed["Parts"]] == sums
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm.value, kind)
    parts = [
        {"PartNumber": number, "ETag": part["ETag"], **({member: part[member]} if names else {})}
        for number, part in enumerate(sent, 1)
    ]
    if names:
        wrong = [{**parts[0], member: sums[2]}, *parts[1:]]
        with pytest.raises(ClientError) as caught:
            s3.complete_multipart_upload(**where, MultipartUpload={"Parts": wrong})
        assert code_of(caught) == "InvalidPart"
    whole = text_of(algorithm, DATA) if full else composite([parse_checksum(algorithm, text) for text in sums])
    if full and not names:
        with pytest.raises(ClientError) as caught:
            s3.complete_multipart_upload(
                **where, MultipartUpload={"Parts": parts}, ChecksumType=kind, **{member: text_of(algorithm, b"")}
            )
        assert code_of(caught) == "BadDigest"
    done = s3.complete_multipart_upload(
        **where, MultipartUpload={"Parts": parts}, ChecksumType=kind, **({member: whole} if full else {})
    )
    assert (done[member], done["ChecksumType"]) == (whole, kind)
    assert read_back(s3, bucket, member) == (whole, kind)
    again = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, ChecksumType=kind)
    assert (again[member], again["ETag"]) == (whole, done["ETag"])
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts", "Checksum"])
    assert told["Checksum"]["ChecksumType"] == kind
    assert told["ObjectParts"]["TotalPartsCount"] == len(PARTS)
    assert [(part["Size"], part[member]) for part in told["ObjectParts"]["Parts"]] == [
        (len(part), text) for part, text in zip(PARTS, sums, strict=True)
    ]


def test_parts_are_read_by_their_numbers(s3: Any, bucket: str) -> None:
    """Whatever checksums there are: the borders are kept of every upload."""
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k")
    where = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    sent = [s3.upload_part(**where, PartNumber=number, Body=part) for number, part in enumerate(PARTS, 2)]
    parts = [{"PartNumber": number, "ETag": part["ETag"]} for number, part in enumerate(sent, 2)]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    for number, part in enumerate(PARTS, 2):
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert (got["Body"].read() == part, got["PartsCount"]) == (True, len(PARTS))
        assert s3.head_object(Bucket=bucket, Key="k", PartNumber=number)["ContentLength"] == len(part)
    for number in (1, 5):
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416
        assert code_of(caught) == "InvalidPartNumber"


def test_a_part_that_is_copied_has_the_checksum_of_its_upload(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=DATA)
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC64NVME")
    where = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    copied = s3.upload_part_copy(**where, PartNumber=1, CopySource=f"{bucket}/source")["CopyPartResult"]
    whole = text_of(Algorithm.CRC64NVME, DATA)
    assert copied["ChecksumCRC64NVME"] == whole
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": copied["ETag"]}]})
    assert read_back(s3, bucket, "ChecksumCRC64NVME") == (whole, "FULL_OBJECT")
