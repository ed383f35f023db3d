"""S3 objects through a real gateway and a real agent, from Riak CS to SeaweedFS and back."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.integration.s3_gateway.wire import Wire
from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_clients import s3_client
from tests.support.s3_gateway import S3Gateway
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, S3Server, seaweedfs_server
from tests.support.secret_file import secret_file
from tests.support.waiting import until

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ODD = "a b+c/ü&%25=§.txt"


def client(url: str, key: str, secret: str) -> S3Client:
    return s3_client(url, key, secret, retries={"max_attempts": 1}, read_timeout=60)


@dataclass
class Mirrored:
    """A gateway and an agent whose rules mirror `m-*` to SeaweedFS, read-through included, `arch-*` without deletes to
    files, and `near-*` to another bucket of the same Riak CS."""

    gateway: S3Gateway
    s3: S3Client
    target: S3Client
    archive: Path
    beneath: Wire
    riak_cs: S3Client
    """As its admin."""
    near: str
    """The bucket of Riak CS to which `near-*` is mirrored."""

    def bucket(self, kind: str = "m") -> str:
        name = f"{kind}-{secrets.token_hex(5)}"
        self.s3.create_bucket(Bucket=name)
        return name

    def settle(self) -> None:
        self.gateway.settle()

    def pending(self) -> float:
        return self.gateway.pending()

    def copy(self, bucket: str, key: str) -> bytes | None:
        try:
            return self.target.get_object(Bucket="mirror", Key=f"{bucket}/{key}")["Body"].read()
        except self.target.exceptions.NoSuchKey:
            return None

    def lose(self, bucket: str, key: str) -> None:
        """Riak CS loses it: deleted behind the gateway's back."""
        assert self.beneath.ask("DELETE", f"/{bucket}/{key}").status == 204
        assert self.beneath.ask("HEAD", f"/{bucket}/{key}").status == 404


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with seaweedfs_server(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="module")
def mirrored(
    riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster, alice: User, beneath: Wire, seaweedfs: S3Server
) -> Iterator[Mirrored]:
    folder = s3_folder / "mirrored"
    folder.mkdir()
    secret = secret_file(folder / "target-secret", SECRET_KEY)
    target = {
        "kind": "s3", "endpoints": [seaweedfs.url], "bucket": "mirror", "create_bucket": True,
        "access_key": ACCESS_KEY, "secret_key": {"file": str(secret)}, "attempts": 1,
        "part_bytes": 5 << 20, "read_timeout_s": 3,
    }  # fmt: skip
    archive = folder / "archive"
    rules = [
        {"buckets": "m-*", "read_through": True, "target": target},
        {"buckets": "arch-*", "deletes": False, "target": {"kind": "filesystem", "path": str(archive)}},
    ]
    admin = secret_file(folder / "admin-secret", riak_cs.secret)
    near = {
        "kind": "s3", "endpoints": [riak_cs.url], "bucket": f"copies-{secrets.token_hex(4)}", "create_bucket": True,
        "access_key": riak_cs.key, "secret_key": {"file": str(admin)}, "list_version": 1, "conditional_put": False,
    }  # fmt: skip
    rules.append({"buckets": "near-*", "acl": "canned", "target": near})
    extra = {"mirror": {"rules": rules, "retry": {"first_s": 0.2, "most_s": 2.0}}}
    with s3_gateway.running(folder, riak_cs, s3_etcd.urls, name="mirroring", extra=extra) as gateway:
        gateway.node.start("agent")
        s3 = client(gateway.url, alice.key, alice.secret)
        near_side = client(riak_cs.url, riak_cs.key, riak_cs.secret), str(near["bucket"])
        yield Mirrored(gateway, s3, client(seaweedfs.url, ACCESS_KEY, SECRET_KEY), archive, beneath, *near_side)


def test_i1_every_way_of_writing_reaches_the_target(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, mirrored.bucket()
    put = s3.put_object(
        Bucket=bucket, Key=ODD, Body=b"small", ContentType="text/plain", CacheControl="max-age=5", Metadata={"a": "b"}
    )
    s3.copy_object(Bucket=bucket, Key="copied", CopySource={"Bucket": bucket, "Key": ODD})
    large = secrets.token_bytes(5 << 20)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(
            Bucket=bucket, Key="large", UploadId=upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in ((1, large), (2, b"the end"))
    ]  # fmt: skip
    completed = s3.complete_multipart_upload(
        Bucket=bucket,
        Key="large",
        UploadId=upload,
        MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
    )
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    mirrored.settle()
    assert mirrored.copy(bucket, ODD) == mirrored.copy(bucket, "copied") == b"small"
    assert mirrored.copy(bucket, "large") == large + b"the end"
    assert mirrored.copy(bucket, "empty") == b""
    copy = mirrored.target.head_object(Bucket="mirror", Key=f"{bucket}/{ODD}")
    assert copy["ContentType"] == "text/plain"
    assert copy["Metadata"]["a"] == "b"
    assert copy["Metadata"]["millrace-source-etag"] == put["ETag"].strip('"')
    assert copy["Metadata"]["millrace-sha256"] == hashlib.sha256(b"small").hexdigest()
    assert copy["Metadata"]["millrace-header-cache-control"] == "max-age=5"
    said = mirrored.target.head_object(Bucket="mirror", Key=f"{bucket}/large")["Metadata"]
    assert said["millrace-source-etag"] == completed["ETag"].strip('"')
    assert said["millrace-md5"] == hashlib.md5(large + b"the end").hexdigest()


def test_i4_deletes_reach_the_target_and_an_archive_keeps_its_copies(mirrored: Mirrored) -> None:
    s3 = mirrored.s3
    bucket, kept = mirrored.bucket(), mirrored.bucket("arch")
    for name in ("a", "b", "c", "d"):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    s3.put_object(Bucket=kept, Key="a", Body=b"kept")
    mirrored.settle()
    s3.delete_object(Bucket=bucket, Key="a")
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b"}, {"Key": "c"}]})
    assert len(gone["Deleted"]) == 2
    s3.delete_object(Bucket=kept, Key="a")
    mirrored.settle()
    assert [mirrored.copy(bucket, name) for name in "abcd"] == [None, None, None, b"d"]
    assert any(path.is_file() and path.read_bytes().endswith(b"kept") for path in mirrored.archive.rglob("*"))
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=bucket, Key="a")
    # Nothing of the tombstones stays.
    assert [path for path in mirrored.gateway.node.folder.rglob("tombstones*/**/*") if path.is_file()] == []


def test_riak_cs_copies_to_itself_but_for_what_it_would_get_wrong(mirrored: Mirrored) -> None:
    """Keys with a slash are sent (copy-source-one-slash)."""
    s3, bucket = mirrored.s3, mirrored.bucket("near")
    bodies = {name: secrets.token_bytes(2 << 20) for name in ("plain", "a+ü %", "with/slash", "two/of/them")}
    bodies |= {"small": b"small"}
    for name, body in bodies.items():
        s3.put_object(
            Bucket=bucket, Key=name, Body=body, ContentType="text/x", Metadata={"colour": name.encode().hex()}
        )
    mirrored.settle()
    for name, body in bodies.items():
        copy = mirrored.riak_cs.get_object(Bucket=mirrored.near, Key=f"{bucket}/{name}")
        assert copy["Body"].read() == body
        assert copy["ContentType"] == "text/x"
        assert copy["Metadata"]["colour"] == name.encode().hex()
        assert copy["Metadata"]["millrace-sha256"] == hashlib.sha256(body).hexdigest()
    assert "does not copy" not in mirrored.gateway.node.log("agent")


def test_acls_follow_their_objects_where_a_rule_says_so(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, mirrored.bucket("near")
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", ACL="public-read")
    s3.put_object(Bucket=bucket, Key="b", Body=b"x")

    def public() -> list[bool]:
        mirrored.settle()
        acls = [mirrored.riak_cs.get_object_acl(Bucket=mirrored.near, Key=f"{bucket}/{key}") for key in "ab"]
        return [any("AllUsers" in grant["Grantee"].get("URI", "") for grant in acl["Grants"]) for acl in acls]

    assert public() == [True, False]
    s3.put_object_acl(Bucket=bucket, Key="a", ACL="private")
    s3.put_object_acl(Bucket=bucket, Key="b", ACL="public-read")
    assert public() == [False, True]
    noted = [mirrored.riak_cs.head_object(Bucket=mirrored.near, Key=f"{bucket}/{key}")["Metadata"] for key in "ab"]
    assert [metadata["millrace-acl"] for metadata in noted] == ["private", "public-read"]
    # And come back with them.
    for key in "ab":
        mirrored.lose(bucket, key)
    ran = mirrored.gateway.node.cli("mirror", "restore", bucket, "--json")
    assert (ran.returncode, json.loads(ran.stdout)["restored"]) == (0, 2), ran.stderr
    there = [s3.get_object_acl(Bucket=bucket, Key=key)["Grants"] for key in "ab"]
    assert [any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants) for grants in there] == [False, True]


def test_what_riak_cs_lost_is_read_from_the_target_and_put_back(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, mirrored.bucket()
    body = secrets.token_bytes(700_000)
    s3.put_object(Bucket=bucket, Key="lost", Body=body, ContentType="image/x", Metadata={"a": "b"})
    before = s3.head_object(Bucket=bucket, Key="lost")
    mirrored.settle()
    mirrored.lose(bucket, "lost")
    head = s3.head_object(Bucket=bucket, Key="lost")
    for name in ("ETag", "LastModified", "ContentLength", "ContentType", "Metadata"):
        assert head[name] == before[name], name  # type: ignore[literal-required]
    part = s3.get_object(Bucket=bucket, Key="lost", Range="bytes=100-199")
    assert part["Body"].read() == body[100:200]
    assert part["ContentRange"] == "bytes 100-199/700000"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: s3.get_object(Bucket=bucket, Key="lost")["Body"].read(), range(8)))
    assert answers == [body] * 8
    until(lambda: mirrored.beneath.ask("HEAD", f"/{bucket}/lost").status == 200)
    back = mirrored.beneath.ask("GET", f"/{bucket}/lost")
    assert back.body == body
    assert (back.headers["content-type"], back.headers["x-amz-meta-a"]) == ("image/x", "b")


def test_what_riak_cs_lost_is_a_source_of_copies_and_open_to_whom_the_policy_allows(
    mirrored: Mirrored, riak_cs: RiakCs
) -> None:
    """The copy at the target has no ACL: who may read only by an object's ACL does not get it (I8)."""
    s3, bucket = mirrored.s3, mirrored.bucket()
    body = secrets.token_bytes(300_000)
    for key in ("copied", "part", "open", "shut"):
        s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"a": "b"}, ACL="public-read")
    mirrored.settle()
    for key in ("copied", "part", "open", "shut"):
        mirrored.lose(bucket, key)
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/copied")
    copy = s3.get_object(Bucket=bucket, Key="copy")
    assert (copy["Body"].read(), copy["Metadata"]) == (body, {"a": "b"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="whole")["UploadId"]
    part = s3.upload_part_copy(
        Bucket=bucket, Key="whole", UploadId=upload, PartNumber=1, CopySource=f"{bucket}/part",
        CopySourceRange="bytes=10-1009",
    )["CopyPartResult"]["ETag"]  # fmt: skip
    s3.complete_multipart_upload(
        Bucket=bucket, Key="whole", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}
    )
    assert s3.get_object(Bucket=bucket, Key="whole")["Body"].read() == body[10:1010]
    other = riak_cs.create_user("other")
    bob = client(mirrored.gateway.url, other.key, other.secret)
    with pytest.raises(ClientError) as refused:
        bob.get_object(Bucket=bucket, Key="shut")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/open"}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    assert bob.get_object(Bucket=bucket, Key="open")["Body"].read() == body


def test_i4_what_was_deleted_is_not_read_from_the_target(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, mirrored.bucket()
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    mirrored.settle()
    mirrored.gateway.node.stop("agent")
    try:
        s3.delete_object(Bucket=bucket, Key="a")
        assert mirrored.copy(bucket, "a") == b"1"
        with pytest.raises(ClientError) as refused:
            s3.get_object(Bucket=bucket, Key="a")
        assert refused.value.response["Error"]["Code"] == "NoSuchKey"
    finally:
        mirrored.gateway.node.start("agent")
    mirrored.settle()
    assert mirrored.copy(bucket, "a") is None


def test_i1_an_agent_that_is_killed_loses_nothing(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, mirrored.bucket()
    names = [f"{number:03}" for number in range(120)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: s3.put_object(Bucket=bucket, Key=name, Body=name.encode()), names[:60]))
        mirrored.gateway.node.kill("agent")
        list(pool.map(lambda name: s3.put_object(Bucket=bucket, Key=name, Body=name.encode()), names[60:]))
    mirrored.gateway.node.start("agent")
    mirrored.settle()
    listed = mirrored.target.list_objects_v2(Bucket="mirror", Prefix=f"{bucket}/")
    assert [found["Key"] for found in listed["Contents"]] == [f"{bucket}/{name}" for name in names]


def test_i5_while_the_target_is_away_writes_go_on_and_nothing_is_said_to_be_missing(
    mirrored: Mirrored, seaweedfs: S3Server
) -> None:
    s3, bucket = mirrored.s3, mirrored.bucket()
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    mirrored.settle()
    mirrored.lose(bucket, "a")
    os.kill(seaweedfs.pid, signal.SIGSTOP)
    try:
        s3.put_object(Bucket=bucket, Key="b", Body=b"2")
        assert s3.get_object(Bucket=bucket, Key="b")["Body"].read() == b"2"
        for name in ("a", "never"):
            with pytest.raises(ClientError) as refused:
                s3.get_object(Bucket=bucket, Key=name)
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert mirrored.pending() >= 1
    finally:
        os.kill(seaweedfs.pid, signal.SIGCONT)
    mirrored.settle()
    assert mirrored.copy(bucket, "b") == b"2"
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "point",
    ["objects.fetched", "objects.copied", "objects.verified", "mirror.closed", "objects.target_deleted",
     "objects.tombstone_lifted"],
)  # fmt: skip
def test_i1_i4_an_agent_that_is_killed_at_any_step_finishes_after_its_restart(mirrored: Mirrored, point: str) -> None:
    s3, bucket, node = mirrored.s3, mirrored.bucket(), mirrored.gateway.node
    for name in "abcdefgh":
        s3.put_object(Bucket=bucket, Key=name, Body=b"old")
    mirrored.settle()
    node.stop("agent")
    for name in "abcd":
        s3.put_object(Bucket=bucket, Key=name, Body=b"new")
    for name in "gh":
        s3.delete_object(Bucket=bucket, Key=name)
    killed = node.start("agent", fault=f"{point}:2" if "objects" in point else point, wait=False)
    try:
        assert killed.wait(90) == -signal.SIGKILL, node.log("agent")[-3000:]
    finally:
        node.kill("agent")
        node.start("agent")
    mirrored.settle()
    expected = {**dict.fromkeys("abcd", b"new"), **dict.fromkeys("ef", b"old"), **dict.fromkeys("gh")}
    assert {name: mirrored.copy(bucket, name) for name in "abcdefgh"} == expected
    for name in "gh":
        with pytest.raises(ClientError, match="404"):
            s3.head_object(Bucket=bucket, Key=name)
    assert [path for path in node.folder.rglob("tombstones*/**/*") if path.is_file()] == []


@pytest.mark.parametrize("point", ["objects.write_journalled", "objects.delete_journalled", "objects.entombed"])
def test_i1_i4_a_gateway_that_is_killed_before_it_acknowledges(mirrored: Mirrored, point: str) -> None:
    """What was not acknowledged may have happened or not; the stores end equal, and nothing is left over."""
    s3, bucket, node = mirrored.s3, mirrored.bucket(), mirrored.gateway.node
    s3.put_object(Bucket=bucket, Key="a", Body=b"old")
    mirrored.settle()
    node.stop("gateway")
    node.start("gateway", fault=point)
    change: Callable[[], object] = partial(s3.delete_object, Bucket=bucket, Key="a")
    if point == "objects.write_journalled":
        change = partial(s3.put_object, Bucket=bucket, Key="a", Body=b"new")
    try:
        with pytest.raises((BotoCoreError, ClientError)):
            change()
        assert node.processes["gateway"].wait(30) == -signal.SIGKILL
    finally:
        node.kill("gateway")
        node.start("gateway")
    mirrored.settle()
    held = mirrored.beneath.ask("GET", f"/{bucket}/a")
    assert held.status == 200
    assert mirrored.copy(bucket, "a") == held.body == s3.get_object(Bucket=bucket, Key="a")["Body"].read()
    assert [path for path in node.folder.rglob("tombstones*/**/*") if path.is_file()] == []


def test_a_copy_onto_itself_that_changes_metadata_alone_reaches_the_target(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, mirrored.bucket()
    s3.put_object(Bucket=bucket, Key="a", Body=b"abc", ContentType="text/plain", Metadata={"colour": "red"})
    mirrored.settle()
    for metadata, kind in (({"colour": "blue"}, "text/plain"), ({"colour": "blue"}, "text/x-new")):
        s3.copy_object(
            Bucket=bucket, Key="a", CopySource={"Bucket": bucket, "Key": "a"}, MetadataDirective="REPLACE",
            Metadata=metadata, ContentType=kind,
        )  # fmt: skip
        mirrored.settle()
        held = mirrored.target.head_object(Bucket="mirror", Key=f"{bucket}/a")
        assert (held["Metadata"]["colour"], held["ContentType"]) == ("blue", kind)
    assert mirrored.copy(bucket, "a") == b"abc"


def test_tags_are_at_the_target_and_come_back_with_their_object(mirrored: Mirrored) -> None:
    s3, bucket = mirrored.s3, mirrored.bucket()

    def copied(key: str) -> str | None:
        head = mirrored.target.head_object(Bucket="mirror", Key=f"{bucket}/{key}")
        return head["Metadata"].get("millrace-tags")

    def tags(key: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}

    s3.put_object(Bucket=bucket, Key="before", Body=b"nothing in this bucket has tags")
    mirrored.settle()
    assert copied("before") is None
    body = secrets.token_bytes(300_000)
    for key in ("small", "large", "plain"):
        s3.put_object(Bucket=bucket, Key=key, Body=body if key == "large" else b"abc", Tagging="a=b%20c&d=")
    mirrored.settle()
    assert [copied(key) for key in ("small", "large", "plain")] == ["a=b%20c&d="] * 3
    s3.put_object_tagging(Bucket=bucket, Key="large", Tagging={"TagSet": [{"Key": "ü", "Value": "new"}]})
    s3.delete_object_tagging(Bucket=bucket, Key="plain")
    mirrored.settle()
    assert (copied("large"), copied("plain")) == ("%C3%BC=new", None)
    assert mirrored.copy(bucket, "large") == body
    for key in ("small", "large", "plain"):
        mirrored.lose(bucket, key)
    time.sleep(1.1)  # what is put back has another time than what was lost
    for key, expected in (("small", {"a": "b c", "d": ""}), ("large", {"ü": "new"}), ("plain", {})):
        assert tags(key) == expected  # of what is at the target only
        s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        until(lambda key=key: mirrored.beneath.ask("HEAD", f"/{bucket}/{key}").status == 200)  # type: ignore[misc]
        until(lambda key=key, expected=expected: tags(key) == expected)  # type: ignore[misc]
