"""`server_copy = "on"`: the S3 front copies its own cluster's objects, and the agent sends no bytes of theirs."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.ports import free_port
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_clients import s3_client
from tests.support.s3_gateway import S3Gateway
from tests.support.secret_file import secret_file

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
LARGE = 66 * MIB + 12_345
"""More than one CopyObject that is sent to Riak CS itself, and than mirror.large_bytes."""


@dataclass
class Mirrored:
    """A gateway and an agent whose one rule mirrors `f-*`, by the front, to a bucket of the same Riak CS."""

    gateway: S3Gateway
    s3: S3Client
    copies: str

    def settle(self) -> None:
        self.gateway.settle(120)

    def answered(self, operation: str) -> float:
        """How many requests of this kind the front has answered with 200."""
        total = 0.0
        for name, value in self.gateway.node.metrics("gateway").items():
            if re.match(r"millrace_s3_requests_total\{", name) and f'"{operation}"' in name and '"200"' in name:
                total += value
        return total

    def received(self) -> float:
        """Bytes of the bodies that came to the front."""
        return self.gateway.node.metrics("gateway")["millrace_s3_received_bytes_total"]


@pytest.fixture(scope="module")
def mirrored(riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster, alice: User) -> Iterator[Mirrored]:
    folder = s3_folder / "served"
    folder.mkdir()
    secret = secret_file(folder / "target-secret", alice.secret)
    port, copies = free_port(), f"copies-{secrets.token_hex(4)}"
    target = {
        "kind": "s3", "endpoints": [f"http://127.0.0.1:{port}"], "bucket": copies, "create_bucket": True,
        "access_key": alice.key, "secret_key": {"file": str(secret)}, "part_bytes": 5 * MIB,
    }  # fmt: skip
    mirror = {
        "rules": [{"name": "near", "buckets": "f-*", "server_copy": "on", "target": target}],
        "retry": {"first_s": 0.2, "most_s": 2.0},
    }
    extra: dict[str, dict[str, object]] = {"mirror": mirror}
    with s3_gateway.running(folder, riak_cs, s3_etcd.urls, name="serving", s3={"port": port}, extra=extra) as gateway:
        gateway.node.start("agent")
        s3 = s3_client(gateway.url, alice.key, alice.secret, retries={"max_attempts": 1}, read_timeout=120)
        yield Mirrored(gateway, s3, copies)


@pytest.mark.parametrize(
    ("key", "size"), [("plain", 2 * MIB), ("a folder/ü+?.bin", 2 * MIB), ("d/large", LARGE)], ids=["2", "slash", "66"]
)
def test_the_front_copies_and_nobody_sends_it_the_bytes(mirrored: Mirrored, key: str, size: int) -> None:
    """Keys with a slash too: the front reads them rightly. Above 64 MiB too: it says blanks while it copies."""
    s3, bucket = mirrored.s3, f"f-{secrets.token_hex(5)}"
    s3.create_bucket(Bucket=bucket)
    body = secrets.token_bytes(size)
    s3.put_object(Bucket=bucket, Key="first", Body=b"so that the bucket at the target is there")
    mirrored.settle()
    copied, received = mirrored.answered("CopyObject"), mirrored.received()
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="image/x", Metadata={"colour": "red"})
    mirrored.settle()
    assert mirrored.answered("CopyObject") == copied + 1
    assert mirrored.received() - received < size + 100_000  # the client's own bytes, and no second time
    copy = s3.get_object(Bucket=mirrored.copies, Key=f"{bucket}/{key}")
    assert copy["Body"].read() == body
    assert (copy["ContentType"], copy["Metadata"]["colour"]) == ("image/x", "red")
    assert copy["Metadata"]["millrace-sha256"] == hashlib.sha256(body).hexdigest()
    assert copy["Metadata"]["millrace-md5"] == copy["ETag"].strip('"') == hashlib.md5(body).hexdigest()
    assert "by itself" not in mirrored.gateway.node.log("agent")  # it never refused


def test_an_object_that_came_in_parts_is_read_once_and_copied_by_the_front(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, f"f-{secrets.token_hex(5)}"
    s3.create_bucket(Bucket=bucket)
    pieces = [secrets.token_bytes(5 * MIB), b"the end"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", ContentType="video/x")["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(
            Bucket=bucket, Key="parts", UploadId=upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in enumerate(pieces, 1)
    ]  # fmt: skip
    copied, received = mirrored.answered("CopyObject"), mirrored.received()
    s3.complete_multipart_upload(
        Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}  # type: ignore[typeddict-item]
    )  # fmt: skip
    mirrored.settle()
    copy = s3.get_object(Bucket=mirrored.copies, Key=f"{bucket}/parts")
    assert copy["Body"].read() == b"".join(pieces)
    assert copy["Metadata"]["millrace-sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert mirrored.answered("CopyObject") == copied + 1
    assert mirrored.received() - received < MIB


def test_what_is_overwritten_and_deleted_is_so_at_the_target(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, f"f-{secrets.token_hex(5)}"
    s3.create_bucket(Bucket=bucket)
    for body in (b"1" * (2 * MIB), b"2" * (2 * MIB)):
        for key in ("kept", "gone"):
            s3.put_object(Bucket=bucket, Key=key, Body=body)
    s3.delete_object(Bucket=bucket, Key="gone")
    mirrored.settle()
    listed = s3.list_objects_v2(Bucket=mirrored.copies, Prefix=f"{bucket}/")["Contents"]
    assert [entry["Key"] for entry in listed] == [f"{bucket}/kept"]
    assert s3.get_object(Bucket=mirrored.copies, Key=f"{bucket}/kept")["Body"].read() == b"2" * (2 * MIB)
    ran = mirrored.gateway.node.cli("mirror", "verify", bucket, "--read", "--json")
    assert ran.returncode == 0, ran.stdout
