"""Scans of a real Riak CS and SeaweedFS: what was lost, damaged or left over is found, and repaired by the agent."""

from __future__ import annotations

import json
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.s3_gateway.wire import Wire
from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_clients import s3_client
from tests.support.s3_gateway import S3Gateway
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, seaweedfs_server
from tests.support.secret_file import secret_file

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

pytestmark = pytest.mark.timeout(300)
"""Most of them run several commands, each a process that loads the program: on a busy machine that takes minutes."""


def client(url: str, key: str, secret: str) -> S3Client:
    return s3_client(url, key, secret, retries={"max_attempts": 1}, read_timeout=60)


@dataclass
class Scanned:
    """A gateway and an agent whose one rule mirrors `s-*` to SeaweedFS. The agent scans when a test says so."""

    gateway: S3Gateway
    s3: S3Client
    target: S3Client
    beneath: Wire

    def bucket(self) -> str:
        name = f"s-{secrets.token_hex(5)}"
        self.s3.create_bucket(Bucket=name)
        return name

    def fill(self, bucket: str, count: int) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: self.put(bucket, f"k{n:04d}", f"bytes {n}".encode()), range(count)))

    def put(self, bucket: str, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=bucket, Key=key, Body=body)

    def settle(self) -> None:
        self.gateway.settle()

    def copies(self, bucket: str) -> dict[str, bytes]:
        found = self.target.list_objects(Bucket="mirror", Prefix=f"{bucket}/").get("Contents", [])
        keys = [each["Key"] for each in found]
        return {
            key.removeprefix(f"{bucket}/"): self.target.get_object(Bucket="mirror", Key=key)["Body"].read()
            for key in keys
        }

    def mirror(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """A command's exit code, and its lines of JSON."""
        ran = self.gateway.node.cli("mirror", *arguments, "--json")
        lines = [json.loads(line) for line in ran.stdout.splitlines()]
        assert ran.stdout or ran.stderr
        return ran.returncode, lines

    def mirror_document(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        ran = self.gateway.node.cli("mirror", *arguments, "--json")
        assert ran.stdout or ran.returncode, ran.stderr
        return ran.returncode, json.loads(ran.stdout or "{}")

    def lose(self, bucket: str, key: str) -> None:
        """Behind the gateway's back."""
        assert self.beneath.ask("DELETE", f"/{bucket}/{key}").status == 204


@pytest.fixture(scope="module")
def scanned(
    riak_cs: RiakCs,
    s3_folder: Path,
    s3_etcd: EtcdCluster,
    alice: User,
    beneath: Wire,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scanned]:
    folder = s3_folder / "scanned"
    folder.mkdir()
    secret = secret_file(folder / "target-secret", SECRET_KEY)
    with seaweedfs_server(tmp_path_factory.mktemp("seaweedfs")) as seaweedfs:
        target = {
            "kind": "s3", "endpoints": [seaweedfs.url], "bucket": "mirror", "create_bucket": True,
            "access_key": ACCESS_KEY, "secret_key": {"file": str(secret)}, "attempts": 1, "read_timeout_s": 5,
        }  # fmt: skip
        extra: dict[str, dict[str, Any]] = {
            "mirror": {
                "rules": [{"name": "all", "buckets": "s-*", "target": target}],
                "retry": {"first_s": 0.2, "most_s": 2.0},
                "scan": {"grace_s": 0.5, "deletes": True, "most_share": 0.5},
            }
        }
        with s3_gateway.running(folder, riak_cs, s3_etcd.urls, name="scanning", extra=extra) as gateway:
            gateway.node.start("agent")
            s3 = client(gateway.url, alice.key, alice.secret)
            yield Scanned(gateway, s3, client(seaweedfs.url, ACCESS_KEY, SECRET_KEY), beneath)


def kinds(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {line["key"]: line["kind"] for line in lines if "key" in line}


def test_a_lost_a_damaged_and_an_extra_copy_are_found_and_repaired(scanned: Scanned) -> None:
    bucket = scanned.bucket()
    scanned.fill(bucket, 30)
    scanned.settle()
    before = scanned.copies(bucket)
    assert scanned.mirror("diff", bucket)[0] == 0
    scanned.target.delete_object(Bucket="mirror", Key=f"{bucket}/k0003")
    said = scanned.target.head_object(Bucket="mirror", Key=f"{bucket}/k0004")
    scanned.target.put_object(
        Bucket="mirror", Key=f"{bucket}/k0004", Body=b"BYTES 4", Metadata=said["Metadata"], ContentType="text/plain"
    )
    scanned.target.put_object(Bucket="mirror", Key=f"{bucket}/somebody's", Body=b"not ours")
    scanned.lose(bucket, "k0005")
    code, lines = scanned.mirror("diff", bucket)
    assert code == 1
    assert kinds(lines) == {"k0003": "missing", "k0004": "different", "k0005": "extra", "somebody's": "foreign"}
    time.sleep(0.6)
    code, lines = scanned.mirror("backfill", bucket, "--allow-deletes", "1")
    assert (code, lines[-1]["summary"]["enqueued"], lines[-1]["summary"]["deletes_enqueued"]) == (0, 2, 1)
    scanned.settle()
    del before["k0005"]
    assert scanned.copies(bucket) == {**before, "somebody's": b"not ours"}
    assert scanned.mirror("diff", bucket)[0] == 0
    assert scanned.mirror("verify", bucket, "--read")[0] == 0


def test_i6_the_guard_holds_back_and_an_empty_bucket_deletes_nothing(scanned: Scanned) -> None:
    bucket = scanned.bucket()
    scanned.fill(bucket, 4)
    scanned.settle()
    for n in range(3):
        scanned.lose(bucket, f"k{n:04d}")
    scanned.mirror("diff", bucket)
    time.sleep(0.6)
    ran = scanned.gateway.node.cli("mirror", "backfill", bucket, "--allow-deletes", "2", "--json")
    summary = json.loads(ran.stdout.splitlines()[-1])["summary"]
    assert (ran.returncode, summary["deletes_enqueued"], summary["held_back_buckets"]) == (1, 0, 1)
    assert ran.stderr.count(b"nothing is deleted") == 1
    scanned.lose(bucket, "k0003")
    code, lines = scanned.mirror("backfill", bucket, "--allow-deletes", "100")
    assert (code, lines[-1]["summary"]["deletes_enqueued"]) == (1, 0)
    assert len(scanned.copies(bucket)) == 4


def test_a_multipart_object_is_known_by_its_etag_of_the_source(scanned: Scanned) -> None:
    bucket = scanned.bucket()
    upload = scanned.s3.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": scanned.s3.upload_part(
            Bucket=bucket, Key="large", UploadId=upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in ((1, bytes(5 << 20)), (2, b"the end"))
    ]  # fmt: skip
    scanned.s3.complete_multipart_upload(
        Bucket=bucket, Key="large", UploadId=upload, MultipartUpload={"Parts": parts}  # type: ignore[typeddict-item]
    )  # fmt: skip
    scanned.settle()
    code, lines = scanned.mirror("diff", bucket)
    assert (code, lines[-1]["summary"]["same"], lines[-1]["summary"]["heads"]) == (0, 1, 1)
    code, lines = scanned.mirror("diff", bucket)
    assert (code, lines[-1]["summary"]["same"], lines[-1]["summary"]["heads"]) == (0, 1, 0)


def test_a_bucket_that_was_never_mirrored_is_backfilled_by_prefix(scanned: Scanned) -> None:
    bucket = scanned.bucket()
    for name in ("a/1", "a/2", "b/1"):
        assert scanned.beneath.ask("PUT", f"/{bucket}/{name}", body=name.encode()).status == 200
    assert scanned.mirror("backfill", "all", "--prefix", "a/")[0] == 0
    scanned.settle()
    assert scanned.copies(bucket) == {"a/1": b"a/1", "a/2": b"a/2"}
    assert kinds(scanned.mirror("diff", bucket)[1]) == {"b/1": "missing"}


@pytest.mark.parametrize("what", ["nothing-like-this", "S-*"])
def test_what_no_rule_mirrors_is_not_found(scanned: Scanned, what: str) -> None:
    ran = scanned.gateway.node.cli("mirror", "diff", what)
    assert ran.returncode == 3
    assert b"nothing to compare" in ran.stderr


@pytest.mark.parametrize("fault", ["scan.told:2", "scan.saved:1"])
def test_the_agents_scan_goes_on_after_sigkill_and_repairs_all(scanned: Scanned, fault: str) -> None:
    """It is killed in the middle; the next one ends it, and what was lost is there again."""
    node = scanned.gateway.node
    bucket = scanned.bucket()
    scanned.fill(bucket, 40)
    scanned.settle()
    before = scanned.copies(bucket)
    assert len(before) == 40
    for n in range(0, 40, 4):
        scanned.target.delete_object(Bucket="mirror", Key=f"{bucket}/k{n:04d}")
    config = node.config.read_text()
    node.stop("agent")
    try:
        node.config.write_text(config.replace("scan = { ", "scan = { interval_s = 1.0, "))
        assert "interval_s" in node.config.read_text()
        agent = node.start("agent", fault=fault)
        assert agent.wait(60) == -signal.SIGKILL
        node.start("agent")
        until = time.monotonic() + 120

        def runs() -> float:
            assert time.monotonic() < until, node.log("agent")[-3000:]
            return node.metrics("agent").get("millrace_scan_runs_total", 0)

        # The first to end may have begun before this bucket was made: one that an earlier agent left under way.
        while scanned.copies(bucket) != before:
            runs()
            time.sleep(0.2)
        ended = runs()
        while runs() == ended:
            time.sleep(0.2)
        scanned.settle()
        assert scanned.copies(bucket) == before
        metrics = node.metrics("agent")
        assert metrics["millrace_scan_last_timestamp_seconds"] > 0
        assert metrics["millrace_scan_keys_total"] > 0
        _, facts = scanned.mirror_document("status")
        last = facts["scan"]["last"]
        assert (facts["scan"]["error"], last["failed_buckets"]) == ("", 0)
        assert sum(last["nodes"].values()) == last["totals"]["listed_at_source"] >= 40
        assert b"keys compared" in node.cli("mirror", "status").stdout
        node.stop("agent")  # it shall find all of them at once: one after the other they may go
        for n in range(30):
            scanned.lose(bucket, f"k{n:04d}")
        node.start("agent")
        until = time.monotonic() + 60
        told = f"{bucket}/: nothing is deleted at the target: 30 deletions"
        while told not in node.cli("mirror", "status").stdout.decode():
            assert time.monotonic() < until, node.log("agent")[-3000:]
        assert scanned.copies(bucket) == before
    finally:
        node.stop("agent")
        node.config.write_text(config)
        node.start("agent")


def test_a_lost_bucket_is_restored_and_the_catalog_rebuilt(scanned: Scanned) -> None:
    bucket = scanned.bucket()
    scanned.fill(bucket, 12)
    scanned.put(bucket, "empty", b"")
    tags = [{"Key": "a", "Value": "b"}]
    scanned.s3.put_object_tagging(Bucket=bucket, Key="empty", Tagging={"TagSet": tags})  # type: ignore[typeddict-item]
    scanned.settle()
    for key in [f"k{n:04d}" for n in range(12)] + ["empty"]:
        scanned.lose(bucket, key)
    code, lines = scanned.mirror_document("restore", bucket, "--prefix", "k")
    assert (code, lines["restored"], lines["failed"]) == (0, 12, 0)
    code, lines = scanned.mirror_document("restore", bucket)
    assert (code, lines["restored"]) == (0, 1)
    assert scanned.s3.get_object(Bucket=bucket, Key="k0007")["Body"].read() == b"bytes 7"
    assert scanned.s3.get_object(Bucket=bucket, Key="empty")["Body"].read() == b""
    assert scanned.s3.get_object_tagging(Bucket=bucket, Key="empty")["TagSet"] == tags
    ran = scanned.gateway.node.cli("catalog", "rebuild", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["copies"] >= 13
    code, lines = scanned.mirror_document("prewarm", bucket)
    assert code == 3  # the rule does not read through
    assert scanned.mirror("diff", bucket)[0] == 0


def test_status_tells_the_rate_of_the_time_that_was_watched(scanned: Scanned) -> None:
    """While somebody writes objects of one size: bytes and objects of the same copies. And nothing when nobody does."""
    bucket, size, stop = scanned.bucket(), 3000, threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        while not stop.is_set():
            scanned.put(bucket, f"k{written:06d}", bytes(size))
            written += 1

    def of_the_rule(status: dict[str, Any]) -> dict[str, Any]:
        return next(rule for rule in status["rules"] if rule.get("buckets") == "s-*")

    scanned.settle()
    copied = of_the_rule(scanned.mirror_document("status")[1])["copied"]
    writer = threading.Thread(target=write)
    writer.start()
    try:
        until = time.monotonic() + 60
        while of_the_rule(scanned.mirror_document("status")[1])["copied"] == copied:
            assert time.monotonic() < until, "nothing is copied"
        began = time.monotonic()
        code, status = scanned.mirror_document("status", "--rate", "4")
        took = time.monotonic() - began
    finally:
        stop.set()
        writer.join()
    rule = of_the_rule(status)
    assert code == 0
    assert took >= 4
    assert 0 < rule["copied_per_s"] <= written / 4
    assert rule["copied_bytes_per_s"] == pytest.approx(rule["copied_per_s"] * size, rel=0.01)
    scanned.settle()
    code, status = scanned.mirror_document("status", "--rate", "0.2")
    assert (code, of_the_rule(status)["copied_per_s"], of_the_rule(status)["copied_bytes_per_s"]) == (0, 0, 0)
    assert of_the_rule(status)["copied"] == copied + written
    code, status = scanned.mirror_document("status")
    assert "copied_per_s" not in of_the_rule(status)
    told = scanned.gateway.node.cli("mirror", "status", "--rate", "0.2").stdout.decode()
    assert "0 objects/s, 0 B/s" in told
    assert "objects/s" not in scanned.gateway.node.cli("mirror", "status").stdout.decode()


def test_restore_goes_up_to_an_entry_of_the_journal(scanned: Scanned) -> None:
    bucket = scanned.bucket()
    for key in ("first", "second", "third"):
        scanned.put(bucket, key, key.encode())
        scanned.settle()
    said = scanned.target.head_object(Bucket="mirror", Key=f"{bucket}/second")["Metadata"]
    for key in ("first", "second", "third"):
        scanned.lose(bucket, key)
    refused = scanned.gateway.node.cli("mirror", "restore", bucket, "--up-to", "1", "--as-of", "1")
    assert (refused.returncode, b"give one of them" in refused.stderr) == (2, True)
    code, found = scanned.mirror_document("restore", bucket, "--up-to", said["millrace-seq"])
    assert (code, found["restored"], found["newer"], found["failed"]) == (0, 2, 1, 0)
    listed = [entry["Key"] for entry in scanned.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == ["first", "second"]
    code, found = scanned.mirror_document("restore", bucket)
    assert (code, found["restored"], found["newer"]) == (0, 1, 0)
    assert scanned.s3.get_object(Bucket=bucket, Key="third")["Body"].read() == b"third"
