"""Doctor knows the S3 front: nodes, the admin port and its key, the lock's etcd; readiness and metrics show it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from tests.integration.s3_gateway.wire import Wire
from tests.support import s3_gateway
from tests.support.ports import free_port
from tests.support.riak_cs import RiakCs
from tests.support.s3_gateway import S3Gateway


def results(gateway: S3Gateway) -> dict[str, tuple[str, str]]:
    told = json.loads(gateway.node.cli("doctor", "--json").stdout)
    return {check["check"]: (check["result"], check["found"]) for check in told["checks"]}


def test_all_is_well(gateway: S3Gateway, riak_cs: RiakCs) -> None:
    found = results(gateway)
    assert found[f"Riak CS {riak_cs.url}"][0] == "ok"
    assert found[f"Riak CS admin {riak_cs.admin_url}"][0] == "ok"
    assert found["S3 conditional writes"][0] == "ok"


def test_a_dead_node_a_wrong_key_and_no_etcd_are_named(riak_cs: RiakCs, s3_folder: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    settings = {"endpoints": [riak_cs.url, dead], "admin_key": "WRONGKEY"}
    with s3_gateway.running(s3_folder / "ill", riak_cs, name="ill", s3=settings) as ill:
        found = results(ill)
        assert found[f"Riak CS {riak_cs.url}"][0] == "ok"
        assert found[f"Riak CS {dead}"][0] == "fail"
        assert dead in found[f"Riak CS {dead}"][1]
        assert found[f"Riak CS admin {riak_cs.admin_url}"][0] == "fail"
        assert found["S3 conditional writes"][0] == "warn"
        # Our own wrong key is an outage for callers, never a refusal of theirs (I5).
        assert Wire(ill.url, riak_cs.create_user("eve")).ask("GET", "/").outcome == (503, "ServiceUnavailable")


def test_metrics_count_by_operation_and_readiness_asks_riak_cs(gateway: S3Gateway, wire: Wire) -> None:
    assert wire.ask("GET", "/").status == 200
    admin = f"http://127.0.0.1:{gateway.node.admin_port}"
    metrics = urllib.request.urlopen(f"{admin}/metrics").read().decode()
    assert 'millrace_s3_requests_total{operation="ListBuckets",status="200"}' in metrics
    ready = json.loads(urllib.request.urlopen(f"{admin}/readyz").read())
    assert "riak_cs" in json.dumps(ready)
