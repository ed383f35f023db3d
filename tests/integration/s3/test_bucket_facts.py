"""What a bucket does by itself: a server with lifecycle rules, Riak CS, and servers that refuse or are away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from controlplane.adapters.s3.bucket_facts import bucket_facts
from controlplane.cli import doctor_buckets
from controlplane.cli.doctor import Health
from controlplane.model.bucket_facts import BucketFacts, LifecycleRule, judge
from controlplane.ports.errors import NotFound, Unavailable
from controlplane.settings.secret import Secret
from controlplane.settings.tree import Settings
from tests.integration.s3.faulty_server import Fault, FaultyS3, error
from tests.integration.s3.faulty_store import options_for
from tests.support import riak_cs as upstreams
from tests.support.s3_clients import s3_client
from tests.support.s3_servers import S3Server, moto_server


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as running:
        yield running


def test_versioning_and_rules_are_read_as_they_were_set(moto: S3Server) -> None:
    client = s3_client(moto.url, "AK", "SK")
    client.create_bucket(Bucket="set")
    options = options_for(moto.url, bucket="set", read_timeout_s=10.0)
    assert bucket_facts(options) == BucketFacts("Off", ())
    client.put_bucket_versioning(Bucket="set", VersioningConfiguration={"Status": "Enabled"})
    client.put_bucket_lifecycle_configuration(
        Bucket="set",
        LifecycleConfiguration={
            "Rules": [
                {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
                {
                    "ID": "cold", "Status": "Enabled",
                    "Filter": {"And": {"Prefix": "p/", "Tags": [{"Key": "k", "Value": "v"}]}},
                    "Transitions": [
                        {"Days": 1, "StorageClass": "STANDARD_IA"}, {"Days": 90, "StorageClass": "GLACIER"},
                    ],
                },
                {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
                {
                    "ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
                },
            ]
        },
    )  # fmt: skip
    facts = bucket_facts(options)
    assert facts.versioning == "Enabled"
    assert set(facts.rules or ()) == {
        LifecycleRule("old", "logs/", expires="after 30 days"),
        LifecycleRule("cold", "p/", only_some=True, archives="to GLACIER after 90 days"),
        LifecycleRule("tidy", aborts_uploads_after_days=7),
    }
    with pytest.raises(NotFound, match="there is no bucket none"):
        bucket_facts(replace(options, bucket="none"))


def test_doctor_warns_of_a_rule_that_takes_copies_away(moto: S3Server) -> None:
    client = s3_client(moto.url, "AK", "SK")
    client.create_bucket(Bucket="copies")
    rule = {"ID": "month", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    client.put_bucket_lifecycle_configuration(Bucket="copies", LifecycleConfiguration={"Rules": [rule]})  # type: ignore[typeddict-item]
    front = {
        "endpoints": ["http://127.0.0.1:2"],
        "admin_urls": ["http://127.0.0.1:3"],
        "admin_key": "K",
        "admin_secret": Secret("S"),
    }
    target = {"kind": "s3", "endpoints": [moto.url], "access_key": "AK", "secret_key": Secret("SK")}
    rules = [
        {"name": "a", "buckets": "a", "target": {**target, "bucket": "copies", "prefix": "{bucket}/"}},
        {"name": "b", "buckets": "b", "target": {**target, "bucket": "missing"}},
    ]
    settings = Settings.model_validate({"s3": front, "mirror": {"rules": rules}})
    findings = [check.run() for check in doctor_buckets.checks(settings, 20)]
    assert [(each.check, each.health) for each in findings] == [
        ("a target bucket", Health.WARN),
        ("b target bucket", Health.WARN),
    ]
    assert "rule month expires objects after 30 days" in findings[0].found
    assert "there is no bucket missing" in findings[1].found


@pytest.mark.parametrize("signature", ["v4", "v2"])
def test_riak_cs_has_no_lifecycle_and_must_not_keep_versions(signature: str) -> None:
    with upstreams.upstream() as riak_cs:
        user = riak_cs.create_user(f"facts-{signature}")
        bucket = f"facts-{signature}"
        client = s3_client(riak_cs.url, user.key, user.secret)
        client.create_bucket(Bucket=bucket)
        try:
            options = options_for(
                riak_cs.url, bucket=bucket, access_key=user.key, secret_key=user.secret,
                signature=signature, list_version=1, read_timeout_s=20.0,
            )  # fmt: skip
            assert bucket_facts(options) == BucketFacts("Suspended", None)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            facts = bucket_facts(options)
            assert facts == BucketFacts("Enabled", None)
            assert judge(facts, "", riak_cs=True).broken
        finally:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
            client.delete_bucket(Bucket=bucket)


async def test_what_may_not_be_asked_is_told_and_an_outage_is_an_outage(server: FaultyS3) -> None:
    options = options_for(server.url, attempts=1, read_timeout_s=5.0)
    server.faults = [Fault(status=403, body=error("AccessDenied")), Fault(status=403, body=error("AccessDenied"))]
    facts = await asyncio.to_thread(bucket_facts, options)
    assert (facts.versioning, facts.rules) == ("", None)
    assert "s3:GetBucketVersioning" in facts.unsaid[0]
    assert "s3:GetLifecycleConfiguration" in facts.unsaid[1]
    server.faults = [Fault(status=503, body=error("SlowDown"))]
    with pytest.raises(Unavailable, match="SlowDown"):
        await asyncio.to_thread(bucket_facts, options)
    dead = replace(options, endpoints=("http://127.0.0.1:9",))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        await asyncio.to_thread(bucket_facts, dead)
    server.faults = [Fault(status=404, body=error("NoSuchBucket"))]
    with pytest.raises(NotFound):
        await asyncio.to_thread(bucket_facts, replace(options, endpoints=("http://127.0.0.1:9", server.url)))
