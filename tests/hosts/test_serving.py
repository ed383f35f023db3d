"""What the converged cluster does: S3 and blobs through the balancer, blocks where they belong, endpoints, figures."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import urllib.parse
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError

from controlplane.model.content import parse_guid
from controlplane.model.keys import blob_key
from tests.hosts.cluster import BALANCER, ETCD, GATEWAYS, NAMES, RIAK, RIAK_CS, Cluster
from tests.hosts.persistent_store import ACCESS_KEY, SECRET_KEY
from tests.hosts.traffic import client

pytestmark = pytest.mark.hosts_quick

BLOCK = 1024 * 1024


def http(cluster: Cluster, method: str, url: str, body: bytes = b"", *, token: str = "") -> tuple[int, bytes]:
    """Status and body, by curl within the hosts' network."""
    command = ["curl", "-s", "-m", "60", "-X", method, "--cacert", str(cluster.ca_file), "-w", "\n%{http_code}", url]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    if method in ("PUT", "POST"):
        command += ["--data-binary", "@-", "-H", "Content-Type: application/octet-stream"]
    with cluster.lab.network():
        done = subprocess.run(command, input=body, capture_output=True, check=True, timeout=90)
    answer, _, status = done.stdout.rpartition(b"\n")
    return int(status), answer


def prometheus(cluster: Cluster, path: str, **query: str) -> Any:
    url = f"http://{cluster.lab.address(BALANCER)}:9090/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with cluster.lab.network(), urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def test_s3_through_the_balancer(cluster: Cluster) -> None:
    body = os.urandom(3 * BLOCK + 17)
    with cluster.lab.network(), contextlib.closing(cluster.s3()) as s3:
        s3.create_bucket(Bucket="serving")
        etag = s3.put_object(Bucket="serving", Key="a/b c", Body=body)["ETag"]
        assert etag == f'"{hashlib.md5(body).hexdigest()}"'
        with s3.get_object(Bucket="serving", Key="a/b c")["Body"] as stream:
            assert stream.read() == body
        assert [row["Key"] for row in s3.list_objects(Bucket="serving")["Contents"]] == ["a/b c"]
        s3.delete_object(Bucket="serving", Key="a/b c")
        with pytest.raises(ClientError, match="404"):
            s3.head_object(Bucket="serving", Key="a/b c")


def test_every_node_shows_what_another_has_written(cluster: Cluster) -> None:
    urls = [f"http://{cluster.lab.address(name)}:8080" for name in RIAK_CS]
    with cluster.lab.network():
        for number, url in enumerate(urls):
            with contextlib.closing(cluster.s3(url)) as s3:
                s3.create_bucket(Bucket="everywhere")
                s3.put_object(Bucket="everywhere", Key=str(number), Body=url.encode())
        for url in urls:
            with contextlib.closing(cluster.s3(url)) as s3:
                assert len(s3.list_objects(Bucket="everywhere")["Contents"]) == len(urls)


def test_the_admin_of_riak_cs_is_not_for_the_public(cluster: Cluster) -> None:
    for path in ("/riak-cs/users", "/%72iak-cs/user", "//riak-cs/stats"):
        assert http(cluster, "GET", f"{cluster.s3_url}{path}")[0] == 403


def test_blocks_are_in_bitcask_and_manifests_are_not(cluster: Cluster) -> None:
    """A marker that fills three blocks lies in files of be_blocks, on as many hosts as there are copies."""
    marker = f"block-{os.urandom(12).hex()}-"
    with cluster.lab.network(), contextlib.closing(cluster.s3()) as s3:
        s3.create_bucket(Bucket="blocks")
        s3.put_object(Bucket="blocks", Key=f"key-{marker}", Body=(marker * 60000).encode())

    def hosts() -> set[str]:
        command = f"sync; grep -rlaF -e {marker} /var/lib/riak/bitcask | wc -l"
        return {name for name in RIAK if int(cluster.sudo(name, command, check=False))}

    cluster.wait(lambda: len(hosts()) >= 3, "three copies in bitcask", 30)
    for name in RIAK:
        inside = cluster.sudo(name, f"grep -raFo -e {marker}{marker} /var/lib/riak/leveldb | wc -l")
        assert inside == "0", f"blocks in leveldb on {name}"


def test_a_hot_bucket_is_in_memory(cluster: Cluster) -> None:
    """Read from another node than the one it was written to, and in no file of any host."""
    marker = f"hot-{os.urandom(12).hex()}"
    first, second = (f"http://{cluster.lab.address(name)}:8098/buckets/hot" for name in ("n1", "n3"))
    properties = json.dumps({"props": {"backend": "be_cache"}}).encode()
    command = [
        "curl",
        "-s",
        "-f",
        "-X",
        "PUT",
        "-H",
        "Content-Type: application/json",
        "-d",
        properties,
        f"{first}/props",
    ]
    with cluster.lab.network():
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    assert http(cluster, "PUT", f"{first}/keys/one", marker.encode())[0] == 204
    assert http(cluster, "GET", f"{second}/keys/one") == (200, marker.encode())
    for name in RIAK:
        assert cluster.sudo(name, f"sync; grep -rlaF -e {marker} /var/lib/riak | wc -l") == "0"


def test_a_blob_through_balancer_gateway_and_riak_cs_to_the_mirror(cluster: Cluster) -> None:
    """The whole way: acknowledged, read through every gateway, in Riak CS, and soon in the persistent store."""
    body = os.urandom(2 * BLOCK)
    guid = hashlib.md5(body).hexdigest()
    status, answer = http(cluster, "POST", f"{cluster.blob_url}/blobs", body, token=cluster.token)
    assert (status, json.loads(answer)["guid"]) == (201, guid)
    assert http(cluster, "GET", f"{cluster.blob_url}/blobs/{guid}")[0] == 401
    for name in GATEWAYS:
        url = f"http://{cluster.lab.address(name)}:8470/blobs/{guid}"
        assert http(cluster, "GET", url, token=cluster.token) == (200, body)
    key = blob_key(parse_guid(guid))
    user = json.loads((cluster.credentials_dir / "millrace.json").read_text())
    riak_cs = f"http://{cluster.lab.address('n2')}:8080"
    with cluster.lab.network(), contextlib.closing(client(riak_cs, user["access_key"], user["secret_key"])) as s3:
        assert s3.head_object(Bucket="millrace", Key=key)["ContentLength"] == len(body)
    with cluster.lab.network(), contextlib.closing(client("http://10.99.0.1:8333", ACCESS_KEY, SECRET_KEY)) as s3:

        def mirrored() -> bool:
            with contextlib.suppress(ClientError):
                return bool(s3.head_object(Bucket="mirror", Key=key)["ETag"] == f'"{guid}"')
            return False

        cluster.wait(mirrored, "a copy in the persistent store")


def test_endpoints_are_in_etcd(cluster: Cluster) -> None:
    """Every gateway is announced while its probe passes, and found by the program that clients use."""
    command = "millrace endpoints list --json"

    def announced() -> set[str]:
        text = cluster.sudo("n4", command, check=False)
        return {endpoint["url"] for endpoint in json.loads(text or "{}").get("endpoints", [])}

    wanted = {f"http://{cluster.lab.address(name)}:8470" for name in GATEWAYS}
    cluster.wait(lambda: announced() == wanted, f"endpoints {wanted}", 60)


def test_etcd_has_a_leader_three_members_and_lets_nobody_in(cluster: Cluster) -> None:
    address = cluster.lab.address(ETCD[0])
    etcdctl = f"etcdctl --cacert /etc/etcd/pki/client-ca.pem --endpoints https://{address}:2379"
    refused = cluster.lab.sh(ETCD[0], f"sudo ETCDCTL_API=3 {etcdctl} get / --prefix", check=False)
    assert refused.returncode != 0
    assert "user name is empty" in refused.stderr
    assert cluster.status(f"http://{address}:2379/version") in (0, 400), "etcd speaks without TLS"
    root = f"root:{(cluster.credentials_dir / 'etcd_root_password').read_text().strip()}"
    members = cluster.sudo(ETCD[0], f"ETCDCTL_API=3 ETCDCTL_USER={root} {etcdctl} member list")
    assert len(members.splitlines()) == len(ETCD)
    assert all("started" in line for line in members.splitlines())


def test_prometheus_sees_every_target(cluster: Cluster) -> None:
    def down() -> list[str]:
        targets = prometheus(cluster, "targets", state="active")["activeTargets"]
        return [f"{t['scrapePool']} {t['scrapeUrl']}: {t['lastError']}" for t in targets if t["health"] != "up"]

    cluster.wait(lambda: not down(), "all targets up", 60)
    targets = prometheus(cluster, "targets", state="active")["activeTargets"]
    found = {pool: sum(t["scrapePool"] == pool for t in targets) for pool in {t["scrapePool"] for t in targets}}
    assert found == {
        "prometheus": 1, "node": len(NAMES), "etcd": len(ETCD), "haproxy": 1,
        "millrace-gateway": len(GATEWAYS), "millrace-agent": len(GATEWAYS),
    }  # fmt: skip


def test_figures_of_riak_and_certificates_arrive(cluster: Cluster) -> None:
    def hosts(name: str) -> int:
        return len({row["metric"]["instance"] for row in prometheus(cluster, "query", query=name)["result"]})

    cluster.wait(lambda: hosts("riak_up") == len(RIAK), "figures of every Riak node", 90)
    cluster.wait(
        lambda: hosts("millrace_certificate_expires_timestamp_seconds") == 4,
        "certificates of etcd and of the balancer",
        30,
    )


def test_no_alert_burns_in_a_healthy_cluster(cluster: Cluster) -> None:
    alerts = prometheus(cluster, "alerts")["alerts"]
    assert [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"] == []
