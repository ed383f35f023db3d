"""Checksums of multipart uploads, end to end: each part's and the whole's, by boto3's transfer manager and by hand."""

from __future__ import annotations

import io
import secrets
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from controlplane.s3.checksums import Algorithm, Checksum, hasher_of
from tests.support.riak_cs import User
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
    return boto3.client(
        "s3", endpoint_url=gateway.url, aws_access_key_id=alice.key, aws_secret_access_key=alice.secret,
        region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


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
