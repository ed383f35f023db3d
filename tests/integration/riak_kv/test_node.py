"""Real processes whose journal and catalog are in Riak KV, with a tier behind their caches: what one node's gateway
promised another node's agent copies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.etcd_cluster import EtcdCluster
from tests.support.hot_servers import redis_server
from tests.support.millrace_node import Node
from tests.support.riak_kv import RiakNode, given_or_standin
from tests.support.waiting import until


@pytest.fixture(scope="module")
def riak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    with given_or_standin(tmp_path_factory.mktemp("riak")) as node:
        yield node


def tables(riak: RiakNode, kind: str, servers: list[str], cluster: str) -> dict[str, dict[str, object]]:
    return {
        "node": {"cluster": cluster},
        "journal": {"kind": "riak_kv"},
        "catalog": {"kind": "riak_kv"},
        "riak_kv": {
            "endpoints": [riak.http_url],
            "bucket_type": riak.bucket_type,
            "hot_bucket_type": riak.cache_type,
        },
        "hot_cache": {"kind": kind},
        "hot_cache.tier": {"servers": servers, "timeout_s": 5.0, "prefix": cluster},
        "cluster": {"mode": "on", "lease_ttl_s": 5},
    }


def test_one_nodes_promises_are_kept_by_another(tmp_path: Path, riak: RiakNode) -> None:
    shared = {name: {"kind": "filesystem", "path": str(tmp_path / name)} for name in ("primary", "persistent")}
    cluster = riak.cluster()
    with EtcdCluster(1) as etcd, redis_server(tmp_path / "redis") as redis:
        kinds = {"front": ("redis", [redis]), "back": ("riak_kv", [])}
        nodes = {
            name: Node(
                tmp_path / name,
                primary=shared["primary"],
                persistent=shared["persistent"],
                etcd=etcd.urls,
                name=name,
                extra=tables(riak, kind, servers, cluster),
            )
            for name, (kind, servers) in kinds.items()
        }
        front, back = nodes["front"], nodes["back"]
        try:
            front.start("gateway")
            body = os.urandom(5000)
            guid = hashlib.md5(body).hexdigest()
            assert front.request("PUT", f"/blobs/{guid}", body)[0] == 201
            assert front.request("GET", f"/blobs/{guid}")[2] == body
            assert json.loads(front.cli("mirror", "status", "--json").stdout)["pending"] == 1
            back.start("agent")
            until(lambda: any(path.is_file() and path.stat().st_size for path in (tmp_path / "persistent").rglob(guid)))
            until(lambda: json.loads(front.cli("mirror", "status", "--json").stdout)["pending"] == 0)
            doctor = front.cli("doctor", "--json")
            results = {check["check"]: check["result"] for check in json.loads(doctor.stdout)["checks"]}
            assert results[f"Riak KV {riak.http_url}"] == "ok"
            assert results["hot tier"] == "ok"
            assert results["journal"] == "ok"
            assert results["catalog"] == "ok"
            back.start("gateway")
            assert back.request("GET", f"/blobs/{guid}")[2] == body
            assert back.request("DELETE", f"/blobs/{guid}")[0] == 204
            assert back.request("GET", f"/blobs/{guid}")[0] == 404
            until(lambda: front.request("GET", f"/blobs/{guid}")[0] == 404, within_s=10)  # within tombstone_recheck_s
        finally:
            for node in nodes.values():
                node.stop()
