"""S3 objects from Riak CS to Azure and to Google Cloud Storage, through the journal, scanned, verified, and back."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from azure.storage.blob import ContainerClient
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.integration.s3_gateway.wire import Wire
from tests.support import s3_gateway
from tests.support.cloud_servers import ACCOUNT, ACCOUNT_KEY, azurite_server, gcs_server
from tests.support.etcd_cluster import EtcdCluster
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_clients import s3_client
from tests.support.s3_gateway import S3Gateway
from tests.support.secret_file import secret_file

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

pytestmark = pytest.mark.timeout(300)
"""Several commands, each a process that loads the program: on a busy machine that takes minutes."""

LARGE = 5 << 20


@dataclass
class Cloud:
    """A cloud's store as its vendor's own client sees it: what is there, and how to lose and to damage it."""

    target: dict[str, Any]
    names: Callable[[], list[str]]
    read: Callable[[str], bytes]
    delete: Callable[[str], None]
    damage: Callable[[str, bytes], None]
    """Other bytes of the same length under the same metadata."""


@contextlib.contextmanager
def azure(folder: Path) -> Iterator[Cloud]:
    key = secret_file(folder / "azure-key", ACCOUNT_KEY)
    with azurite_server(folder) as server:
        target = {
            "kind": "azure", "endpoint": server.url, "bucket": "mirror", "create_bucket": True, "account": ACCOUNT,
            "secret_key": {"file": str(key)}, "attempts": 1, "read_timeout_s": 5, "part_bytes": 5 << 20,
        }  # fmt: skip
        with ContainerClient(server.url, "mirror", {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}) as container:

            def damage(name: str, data: bytes) -> None:
                said = container.get_blob_client(name).get_blob_properties()
                container.upload_blob(name, data, metadata=said.metadata, overwrite=True)

            yield Cloud(
                target,
                lambda: [str(name) for name in container.list_blob_names()],
                lambda name: bytes(container.download_blob(name).readall()),
                container.delete_blob,
                damage,
            )


@contextlib.contextmanager
def gcs(folder: Path) -> Iterator[Cloud]:
    with gcs_server(folder) as server:
        target = {
            "kind": "gcs", "endpoint": server.url, "bucket": "mirror", "create_bucket": True, "project": "test",
            "attempts": 1, "read_timeout_s": 5, "part_bytes": 5 << 20,
        }  # fmt: skip
        options = {"api_endpoint": server.url}
        client = storage.Client("test", credentials=AnonymousCredentials(), client_options=options)
        bucket = client.bucket("mirror")

        def damage(name: str, data: bytes) -> None:
            blob = bucket.get_blob(name)
            damaged = bucket.blob(name)
            damaged.metadata = blob.metadata
            damaged.upload_from_string(data)

        yield Cloud(
            target,
            lambda: [blob.name for blob in client.list_blobs("mirror")],
            lambda name: bytes(bucket.blob(name).download_as_bytes()),
            bucket.delete_blob,
            damage,
        )
        client.close()


@dataclass
class Mirrored:
    """A gateway and an agent whose one rule mirrors `c-*` to the cloud, read-through included."""

    gateway: S3Gateway
    s3: S3Client
    cloud: Cloud
    beneath: Wire

    def settle(self) -> None:
        self.gateway.settle()

    def mirror(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        ran = self.gateway.node.cli("mirror", *arguments, "--json")
        assert ran.stdout, ran.stderr
        return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()]

    def lose(self, bucket: str, key: str) -> None:
        """Riak CS loses it, behind the gateway's back."""
        assert self.beneath.ask("DELETE", f"/{bucket}/{quote(key)}").status == 204


@pytest.fixture(scope="module", params=[azure, gcs])
def mirrored(
    request: pytest.FixtureRequest, riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster, alice: User, beneath: Wire
) -> Iterator[Mirrored]:
    name = request.param.__name__
    folder = s3_folder / f"to-{name}"
    folder.mkdir()
    with request.param(folder) as cloud:
        rules = [{"name": "cloud", "buckets": "c-*", "read_through": True, "target": cloud.target}]
        mirror = {"rules": rules, "large_bytes": LARGE, "retry": {"first_s": 0.2, "most_s": 2.0}}
        extra: dict[str, dict[str, Any]] = {"mirror": mirror}
        with s3_gateway.running(folder, riak_cs, s3_etcd.urls, name=f"to-{name}", extra=extra) as gateway:
            gateway.node.start("agent")
            s3 = s3_client(gateway.url, alice.key, alice.secret, retries={"max_attempts": 1}, read_timeout=60)
            yield Mirrored(gateway, s3, cloud, beneath)


def test_doctor_tries_the_store(mirrored: Mirrored) -> None:
    bucket = f"c-{secrets.token_hex(5)}"
    mirrored.s3.create_bucket(Bucket=bucket)
    mirrored.s3.put_object(Bucket=bucket, Key="k", Body=b"x")  # the first copy makes the bucket at the target
    mirrored.settle()
    told = json.loads(mirrored.gateway.node.cli("doctor", "--json").stdout)
    found = {check["check"]: (check["result"], check["found"]) for check in told["checks"]}
    result, said = found["cloud target store"]
    assert result == "ok", said
    assert "it compares before it replaces or removes" in said
    assert mirrored.cloud.target["endpoint"] in said
    assert mirrored.cloud.names() == [f"{bucket}/k"]
    shown = json.dumps(told) + mirrored.gateway.node.cli("check-config", "--json").stdout.decode()
    assert ACCOUNT_KEY not in shown
    mirrored.s3.delete_object(Bucket=bucket, Key="k")
    mirrored.settle()
    assert mirrored.cloud.names() == []


def test_journal_copy_verify_scan_restore(mirrored: Mirrored) -> None:
    s3, cloud, bucket = mirrored.s3, mirrored.cloud, f"c-{secrets.token_hex(5)}"
    s3.create_bucket(Bucket=bucket)
    bodies = {f"k{n:02d}": b"bytes of %d" % n for n in range(12)} | {"a folder/": b"", "ü/a b+c": b"odd"}
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda key: s3.put_object(Bucket=bucket, Key=key, Body=bodies[key], Metadata={"of": "k-1"}), bodies
            )
        )
    bodies["large"] = secrets.token_bytes(2 * LARGE + 12_345)  # in parts that outlive a restart
    s3.put_object(Bucket=bucket, Key="large", Body=bodies["large"], ContentType="video/x", CacheControl="max-age=5")
    mirrored.settle()
    assert {name: cloud.read(name) for name in cloud.names()} == {f"{bucket}/{key}": b for key, b in bodies.items()}
    assert mirrored.mirror("diff", bucket)[0] == 0
    assert mirrored.mirror("verify", bucket, "--read")[0] == 0

    cloud.delete(f"{bucket}/k03")
    cloud.damage(f"{bucket}/k04", b"BYTES OF 4")
    s3.put_object(Bucket=bucket, Key="k05", Body=b"another")
    bodies["k05"] = b"another"
    s3.delete_object(Bucket=bucket, Key="k06")
    del bodies["k06"]
    mirrored.settle()
    code, lines = mirrored.mirror("diff", bucket)
    assert (code, {line["key"]: line["kind"] for line in lines if "key" in line}) == (
        1,
        {"k03": "missing", "k04": "different"},
    )
    assert mirrored.mirror("backfill", bucket)[0] == 0
    mirrored.settle()
    assert mirrored.mirror("verify", bucket, "--read")[0] == 0
    assert {name: cloud.read(name) for name in cloud.names()} == {f"{bucket}/{key}": b for key, b in bodies.items()}

    lost = ["k01", "large", "a folder/"]
    for key in lost:
        mirrored.lose(bucket, key)
    assert s3.get_object(Bucket=bucket, Key="k01")["Body"].read() == bodies["k01"]  # read through
    ran = mirrored.gateway.node.cli("mirror", "restore", bucket, "--json")
    assert (ran.returncode, json.loads(ran.stdout)["failed"]) == (0, 0), ran.stderr
    for key in lost:
        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == bodies[key]
    assert (got["Metadata"], s3.head_object(Bucket=bucket, Key="large")["ContentType"]) == ({"of": "k-1"}, "video/x")
    assert mirrored.gateway.node.cli("catalog", "rebuild").returncode == 0
    assert mirrored.mirror("diff", bucket)[0] == 0
