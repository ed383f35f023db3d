"""Lifecycle from boto3's request to the agent's deletion: gateway, agent, etcd and Riak CS as real processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import StoreName
from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_clients import s3_client
from tests.support.s3_gateway import S3Gateway

PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def sweeping(riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster) -> Iterator[S3Gateway]:
    """A node with an agent that sweeps every second, over documents of its own."""
    settings = {"lifecycle_interval_s": 1, "private_bucket": "millrace-lifecycle-test"}
    target = {"kind": "filesystem", "path": str(s3_folder / "lifecycle-mirror")}
    mirror = {"mirror": {"rules": [{"buckets": "lifecycle-mirrored", "target": target}]}}
    with s3_gateway.running(
        s3_folder / "lifecycle", riak_cs, s3_etcd.urls, name="lifecycle1", s3=settings, extra=mirror
    ) as started:
        started.node.start("agent")
        yield started


@pytest.fixture(scope="module")
def s3(sweeping: S3Gateway, alice: User) -> Any:
    return s3_client(sweeping.url, alice.key, alice.secret)


def keys(s3: Any, bucket: str) -> list[str]:
    return [at["Key"] for at in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def rule(**more: Any) -> dict[str, Any]:
    return {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Date": PAST}, **more}


def put_rules(s3: Any, bucket: str, *rules: dict[str, Any]) -> None:
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})


def until_gone(s3: Any, bucket: str, left: list[str]) -> None:
    deadline = time.monotonic() + 60
    while keys(s3, bucket) != left:
        assert time.monotonic() < deadline, keys(s3, bucket)
        time.sleep(0.2)


def test_objects_expire_by_prefix_and_by_tag(s3: Any, sweeping: S3Gateway) -> None:
    bucket = "lifecycle-objects"
    s3.create_bucket(Bucket=bucket)
    for key in ("old/a", "old/b +ü", "new/a"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.put_object(Bucket=bucket, Key="new/tagged", Body=b"x", Tagging="keep=no")
    put_rules(s3, bucket, rule(), rule(ID="t", Filter={"Tag": {"Key": "keep", "Value": "no"}}))
    found = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert [(at["ID"], at["Expiration"]["Date"]) for at in found] == [("r", PAST), ("t", PAST)]
    until_gone(s3, bucket, ["new/a"])
    # The last is counted a moment after it is gone.
    deadline = time.monotonic() + 30
    while (metrics := sweeping.node.metrics("agent"))["millrace_lifecycle_expired_total"] < 3:
        assert time.monotonic() < deadline, metrics
        time.sleep(0.2)
    assert metrics["millrace_lifecycle_expired_total"] == 3
    assert metrics["millrace_lifecycle_duty_held"] == 1
    assert metrics["millrace_lifecycle_errors_total"] == 0


def test_the_mirror_follows(s3: Any, s3_folder: Path) -> None:
    bucket = "lifecycle-mirrored"
    s3.create_bucket(Bucket=bucket)
    for key in ("old/a", "new/a"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    until_mirrored(s3_folder, ["lifecycle-mirrored/new/a", "lifecycle-mirrored/old/a"])
    put_rules(s3, bucket, rule())
    until_gone(s3, bucket, ["new/a"])
    until_mirrored(s3_folder, ["lifecycle-mirrored/new/a"])


def until_mirrored(folder: Path, wanted: list[str]) -> None:
    async def there() -> list[str]:
        store = FilesystemStore(StoreName("mirror"), folder / "lifecycle-mirror", clock=SystemClock())
        return [at.key for at in (await store.list()).objects]

    deadline = time.monotonic() + 60
    while (found := asyncio.run(there())) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_a_disabled_rule_and_a_deleted_one_do_nothing(s3: Any, sweeping: S3Gateway) -> None:
    bucket = "lifecycle-off"
    s3.create_bucket(Bucket=bucket)
    put_rules(s3, bucket, rule(Status="Disabled"))
    s3.put_object(Bucket=bucket, Key="old/a", Body=b"x")
    other = "lifecycle-deleted"
    s3.create_bucket(Bucket=other)
    put_rules(s3, other, rule())
    s3.delete_bucket_lifecycle(Bucket=other)
    s3.put_object(Bucket=other, Key="old/a", Body=b"x")
    begun = sweeping.node.metrics("agent")["millrace_lifecycle_sweeps_total"]
    deadline = time.monotonic() + 60
    while sweeping.node.metrics("agent")["millrace_lifecycle_sweeps_total"] < begun + 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert keys(s3, bucket) == keys(s3, other) == ["old/a"]


def test_rules_go_with_their_bucket(s3: Any) -> None:
    bucket = "lifecycle-again"
    s3.create_bucket(Bucket=bucket)
    put_rules(s3, bucket, rule())
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)
