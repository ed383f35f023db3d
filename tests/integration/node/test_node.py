"""A whole node of real processes, with a real etcd and a real S3 server: what an operator and a client see."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.etcd_cluster import EtcdCluster
from tests.support.millrace_node import Node
from tests.support.ports import free_port
from tests.support.s3_clients import s3_client
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, moto_server
from tests.support.secret_file import secret_file
from tests.support.waiting import until

BUCKET = "mirror"


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(3) as cluster:
        yield cluster


@pytest.fixture
def node(tmp_path: Path, etcd: EtcdCluster) -> Iterator[Node]:
    made = Node(tmp_path / "node", etcd=etcd.urls)
    yield made
    made.stop()


def endpoints(node: Node) -> list[str]:
    listed = node.cli("endpoints", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return [endpoint["node"] for endpoint in json.loads(listed.stdout)["endpoints"]]


def granted_s(etcd: EtcdCluster, key: str) -> int:
    """The time to live of the lease that a key hangs on."""
    (found,) = etcd.call("/v3/kv/range", {"key": b64encode(key.encode()).decode()})["kvs"]
    return int(etcd.call("/v3/lease/timetolive", {"ID": found["lease"]})["grantedTTL"])


def drained(node: Node) -> bool:
    return node.metrics("gateway")["millrace_journal_pending_entries"] == 0


def s3_table(folder: Path, url: str) -> dict[str, Any]:
    """The persistent store's table, with its secret in a file of `folder`."""
    secret = secret_file(folder / "secret", SECRET_KEY)
    return {
        "kind": "s3", "endpoints": [url], "bucket": BUCKET, "access_key": ACCESS_KEY,
        "secret_key": {"file": str(secret)}, "create_bucket": True, "part_bytes": 6 * 1024 * 1024,
    }  # fmt: skip


def test_blobs_reach_s3_and_come_back_from_it(tmp_path: Path, etcd: EtcdCluster) -> None:
    """In by the API, at the target byte by byte, and read through from there when the primary has lost them (I2)."""
    with moto_server(tmp_path) as aws:
        persistent = s3_table(tmp_path, aws.url)
        node = Node(tmp_path / "node", persistent=persistent, etcd=etcd.urls, extra={"hot_cache": {"kind": "none"}})
        try:
            node.start("gateway")
            node.start("agent")
            bodies = [b"", b"small", os.urandom(300_000), os.urandom(12_000_000)]
            guids = [json.loads(node.request("POST", "/blobs", body)[2])["guid"] for body in bodies]
            until(lambda: drained(node), "all mirrored")
            s3 = s3_client(aws.url, ACCESS_KEY, SECRET_KEY)
            for guid, body in zip(guids, bodies, strict=True):
                assert s3.get_object(Bucket=BUCKET, Key=f"blobs/{guid}")["Body"].read() == body
            for path in (tmp_path / "node" / "primary" / "objects").rglob("*"):
                if path.is_file():
                    path.unlink()
            for guid, body in zip(guids, bodies, strict=True):
                status, headers, found = node.request("GET", f"/blobs/{guid}")
                assert (status, found) == (200, body)
                assert headers["millrace-sha256"] == hashlib.sha256(body).hexdigest()
            objects = tmp_path / "node" / "primary" / "objects"
            until(
                lambda: sum(path.is_file() for path in objects.rglob("*")) >= len(bodies),
                "what was fetched is kept in the primary",
            )
            assert node.request("DELETE", f"/blobs/{guids[1]}")[0] == 204
            until(lambda: drained(node), "the delete mirrored")
            assert node.request("GET", f"/blobs/{guids[1]}")[0] == 404
            keys = {item["Key"] for item in s3.list_objects(Bucket=BUCKET)["Contents"]}
            assert f"blobs/{guids[1]}" not in keys
        finally:
            node.stop()


def test_the_endpoint_is_there_while_the_node_serves_and_leaves_at_once_on_sigterm(node: Node) -> None:
    """I7, with real processes."""
    node.start("agent")
    time.sleep(2)
    assert endpoints(node) == [], "no gateway answers, so nothing is published"
    node.start("gateway")
    until(lambda: endpoints(node) == ["node1"], "published once the probe passes")
    node.stop("agent")
    assert endpoints(node) == []


def test_the_endpoint_leaves_when_the_gateway_dies(node: Node) -> None:
    """I7: the probe fails, and the agent withdraws it."""
    node.start("gateway")
    node.start("agent")
    until(lambda: endpoints(node) == ["node1"], "published")
    node.kill("gateway")
    until(lambda: endpoints(node) == [], "withdrawn, though the agent keeps the lease alive")
    node.start("gateway")
    until(lambda: endpoints(node) == ["node1"], "published again")


def test_the_endpoint_leaves_within_the_lease_when_the_whole_node_dies(node: Node, etcd: EtcdCluster) -> None:
    """I7: nobody is left to withdraw it."""
    node.start("gateway")
    node.start("agent")
    until(lambda: endpoints(node) == ["node1"], "published")
    assert granted_s(etcd, "/millrace/v1/test/endpoints/blobs/node1") == 5
    node.kill("agent")
    node.kill("gateway")
    until(lambda: endpoints(node) == [], "the lease ended")


def test_it_starts_and_serves_without_etcd_and_says_so(tmp_path: Path) -> None:
    """I10: the directory is away from the start, then comes."""
    with EtcdCluster(1) as cluster:
        cluster.stop_member(0)
        node = Node(tmp_path / "node", etcd=cluster.urls)
        try:
            node.start("gateway")
            node.start("agent")
            status, _, answer = node.request("POST", "/blobs", b"written while etcd is away")
            assert status == 201
            until(lambda: drained(node), "mirrored while etcd is away")
            check = node.ready("agent")["checks"]["directory"]
            assert not check["ok"]
            assert check["error"]
            assert node.ready("agent")["ready"], "the agent's work goes on"
            until(lambda: node.metrics("agent")["millrace_directory_errors_total"] > 0, "counted")
            assert '"level": "warning"' in node.log("agent")
            cluster.restart_member(0)
            until(lambda: endpoints(node) == ["node1"], "published once etcd is there")
            guid = json.loads(answer)["guid"]
            assert node.request("GET", f"/blobs/{guid}")[2] == b"written while etcd is away"
        finally:
            node.stop()


def test_it_starts_and_serves_without_the_persistent_store_and_says_so(tmp_path: Path, etcd: EtcdCluster) -> None:
    """I10, I1: acknowledged and journalled, pushed back at the bound, never dropped, and no dead letter is made."""
    with moto_server(tmp_path) as aws:
        persistent = s3_table(tmp_path, aws.url)
    # The server is gone, its port is free again: nobody answers there.
    extra = {"journal": {"limit": 5}, "mirror": {"retry": {"first_s": 0.2, "most_s": 1}}}
    node = Node(tmp_path / "node", persistent=persistent, etcd=etcd.urls, extra=extra)
    try:
        node.start("gateway")
        node.start("agent")
        for number in range(5):
            assert node.request("POST", "/blobs", b"blob %d" % number)[0] == 201
        status, headers, answer = node.request("POST", "/blobs", b"one too many")
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert json.loads(answer)["type"] == "urn:millrace:problem:journal-full"
        assert node.ready("gateway")["ready"]
        assert not node.ready("gateway")["checks"]["persistent"]["ok"]
        missing = hashlib.md5(b"nobody knows").hexdigest()
        assert node.request("GET", f"/blobs/{missing}")[0] == 503, "an outage is never 'not found' (I5)"
        time.sleep(2)
        assert node.metrics("gateway")["millrace_journal_failed_entries"] == 0, "an outage makes no dead letters"
    finally:
        node.stop()


def test_a_gateway_that_stops_finishes_what_it_has_begun(node: Node) -> None:
    """SIGTERM in the middle of an upload: it is received, acknowledged, and kept."""
    process = node.start("gateway")
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    connection.putrequest("POST", "/blobs")
    connection.putheader("Authorization", "Bearer a-token-of-the-tests")
    connection.putheader("Content-Length", "1000000")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    going_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.sock.recv(len(going_on), socket.MSG_WAITALL) == going_on
    connection.send(b"x" * 500_000)
    process.terminate()
    time.sleep(0.3)
    connection.send(b"x" * 500_000)
    answer = connection.getresponse()
    assert answer.status == 201
    guid = json.loads(answer.read())["guid"]
    connection.close()
    assert process.wait(60) == 0
    node.processes.pop("gateway")
    node.start("gateway")
    assert node.request("GET", f"/blobs/{guid}")[2] == b"x" * 1_000_000


def test_a_second_gateway_on_the_same_data_is_refused_and_harms_nothing(node: Node, tmp_path: Path) -> None:
    node.start("gateway")
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    connection.putrequest("POST", "/blobs")
    connection.putheader("Authorization", "Bearer a-token-of-the-tests")
    connection.putheader("Content-Length", "4000000")
    connection.endheaders()
    connection.send(b"y" * 2_000_000)
    refused = node.cli("gateway", "--config", str(node.config))
    assert refused.returncode != 0
    assert b"another millrace gateway" in refused.stderr
    assert b"Traceback" not in refused.stderr
    connection.send(b"y" * 2_000_000)
    assert connection.getresponse().status == 201
    connection.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_same_endpoint_set_is_in_the_v2_keyspace(tmp_path: Path) -> None:
    """directory.v2 = true, read back by python-etcd; gone from both keyspaces on SIGTERM."""
    import etcd as python_etcd

    with EtcdCluster(1, enable_v2=True) as cluster:
        node = Node(tmp_path / "node", etcd=cluster.urls, extra={"directory": {"v2": True}})
        client = python_etcd.Client(host="127.0.0.1", port=urlsplit(cluster.urls[0]).port)
        try:
            node.start("gateway")
            node.start("agent")
            until(lambda: endpoints(node) == ["node1"], "published in v3")
            found = json.loads(client.read("/millrace/v1/test/endpoints/blobs/node1").value)
            assert found["url"] == node.url
            node.stop("agent")
            with pytest.raises(python_etcd.EtcdKeyNotFound):
                client.read("/millrace/v1/test/endpoints/blobs/node1")
        finally:
            node.stop()


def test_doctor_finds_everything_well_on_a_whole_node(tmp_path: Path, etcd: EtcdCluster) -> None:
    with moto_server(tmp_path) as aws:
        node = Node(tmp_path / "node", persistent=s3_table(tmp_path, aws.url), etcd=etcd.urls)
        try:
            node.start("gateway")
            node.start("agent")
            found = node.cli("doctor", "--json")
        finally:
            node.stop()
    checks = {check["check"]: check["result"] for check in json.loads(found.stdout)["checks"]}
    assert found.returncode == 0, checks
    assert checks["persistent store"] == "ok"
    assert set(checks.values()) <= {"ok", "warn"}


def test_dev_runs_beside_another_one(tmp_path: Path) -> None:
    """`millrace dev --port N`, with nothing configured: up, a blob in and out, down on SIGTERM."""
    folder = tmp_path / "dev"
    port = free_port()
    with (tmp_path / "dev.log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "controlplane.cli.main", "dev", "--data-dir", str(folder), "--port", str(port)],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        token = folder / "dev.token"
        until(lambda: token.exists() and answers(port), "dev serves")
        environ = dict(os.environ, MILLRACE_URL=f"http://127.0.0.1:{port}", MILLRACE_TOKEN_FILE=str(token))
        millrace = [sys.executable, "-m", "controlplane.cli.main", "blob"]
        put = subprocess.run([*millrace, "put", "-"], input=b"from dev", env=environ, capture_output=True, check=True)
        guid = put.stdout.split()[0].decode()
        got = subprocess.run([*millrace, "get", guid, "-o", "-"], env=environ, capture_output=True, check=True)
        assert got.stdout == b"from dev"
    finally:
        running.terminate()
        assert running.wait(60) == 0, (tmp_path / "dev.log").read_text()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
