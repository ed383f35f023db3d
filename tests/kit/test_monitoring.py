"""The role monitoring: each alert fires when it should and not before, names real metrics, and has a runbook."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from controlplane.model.rule_stats import RuleStats
from controlplane.model.tally import (
    BlobTally,
    GcTally,
    LifecycleTally,
    MirrorTally,
    PublishTally,
    RequestTally,
    ScanTally,
    ShardTally,
)
from controlplane.ports.journal import JournalStats
from controlplane.status.exposition import render
from controlplane.status.sources import Sources
from tests.kit.test_families import Role

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "monitoring"
RULES = ROLE / "files" / "rules" / "millrace.yml"

Series = dict[str, str]
"""Values by series, as promtool writes them; one value each 30 s."""


def constant(value: float, count: int = 200) -> str:
    return f"{value}x{count}"


def gateway(name: str, **labels: str) -> str:
    return series(name, job="millrace-gateway", instance="n1", **labels)


def agent(name: str, **labels: str) -> str:
    return series(name, job="millrace-agent", instance="n1", **labels)


def series(name: str, **labels: str) -> str:
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def journal(pending: int, failed: int = 0) -> Series:
    return {
        gateway("millrace_journal_pending_entries"): constant(pending),
        gateway("millrace_journal_failed_entries"): constant(failed),
        gateway("millrace_journal_limit_entries"): constant(1000),
    }


def refused(status: str, rate: str, method: str = "PUT") -> Series:
    return {gateway("millrace_http_requests_total", method=method, status=status): rate}


def etcd_members(*up: int) -> Series:
    return {series("up", job="etcd", instance=f"n{number}"): constant(one) for number, one in enumerate(up)}


def disk(
    available: float, metric: str = "node_filesystem_avail_bytes", whole: str = "node_filesystem_size_bytes"
) -> Series:
    place = {"job": "node", "instance": "n1", "mountpoint": "/var", "fstype": "ext4", "device": "/dev/vda1"}
    return {series(metric, **place): constant(available), series(whole, **place): constant(1000)}


def fsync(slow: int) -> Series:
    name = "etcd_disk_wal_fsync_duration_seconds_bucket"
    return {
        series(name, job="etcd", instance="n1", le="0.1"): f"0+{10 - slow}x200",
        series(name, job="etcd", instance="n1", le="1"): "0+10x200",
        series(name, job="etcd", instance="n1", le="+Inf"): "0+10x200",
    }


DAY = 86_400
RISING, FLAT = "0+1x200", "5x200"
EXPIRES = series("millrace_certificate_expires_timestamp_seconds", job="node", instance="n1", path="/etc/x.pem")
BACKUP = series("millrace_backup_last_success_timestamp_seconds", job="node", instance="n1", part="etcd")
MTIME = series(
    "node_textfile_mtime_seconds", job="node", instance="n1", file="/var/lib/prometheus/node-exporter/riak.prom"
)
HAPROXY = {"job": "haproxy", "instance": "n1", "proxy": "s3"}
RING = series("riak_ring_members", instance="n1"), series("riak_connected_nodes", instance="n1")


def gc_duty(*held: int) -> dict[str, str]:
    return {
        series("millrace_gc_duty_held", job="millrace-agent", instance=f"n{n}"): constant(one)
        for n, one in enumerate(held, 1)
    }


CASES: dict[str, tuple[Series, Series]] = {
    "MillraceGatewayDown": ({gateway("up"): constant(0)}, {gateway("up"): constant(1)}),
    "MillraceAgentDown": ({agent("up"): constant(0)}, {agent("up"): constant(1)}),
    "MillraceEndpointWithdrawn": (
        {agent("millrace_endpoint_published"): constant(0)},
        {agent("millrace_endpoint_published"): constant(1)},
    ),
    "MillraceDirectoryErrors": (
        {agent("millrace_directory_errors_total"): RISING},
        {agent("millrace_directory_errors_total"): FLAT},
    ),
    "MillraceShardsWithoutOwner": (
        {agent("millrace_cluster_shards_owned"): constant(255)},
        {agent("millrace_cluster_shards_owned"): constant(256)},
    ),
    "MillraceWritesRefused": (refused("503", RISING), refused("503", RISING, "GET") | refused("201", RISING)),
    "MillraceServerErrors": (refused("500", RISING, "GET"), refused("404", RISING) | refused("500", FLAT)),
    "MillraceCollision": (
        {gateway("millrace_blob_collisions_total"): "0x100 1x100"},
        {gateway("millrace_blob_collisions_total"): FLAT},
    ),
    "MillraceCorruptCopy": (
        {gateway("millrace_blobs_corrupt_total"): "0x100 1x100"},
        {gateway("millrace_blobs_corrupt_total"): FLAT},
    ),
    "MillraceJournalFilling": (journal(450, 100), journal(450)),
    "MillraceJournalNearlyFull": (journal(901), journal(899)),
    "MillraceMirrorLate": (
        {gateway("millrace_journal_oldest_age_seconds"): constant(901)},
        {gateway("millrace_journal_oldest_age_seconds"): constant(899)},
    ),
    "MillraceMirrorStalled": (
        {series("millrace_rule_stalled_seconds", job="millrace-agent", instance="n1", rule="far"): "900x100"},
        {series("millrace_rule_stalled_seconds", job="millrace-agent", instance="n1", rule="far"): "30x100"},
    ),
    "MillraceDeadLetters": (journal(0, 1), journal(500)),
    "MillraceStoreAway": (
        {agent("millrace_mirror_store_outages_total"): RISING},
        {agent("millrace_mirror_store_outages_total"): FLAT},
    ),
    "MillraceScanLate": (
        {
            agent("millrace_scan_interval_seconds"): constant(600, 400),
            agent("millrace_scan_last_timestamp_seconds"): constant(0, 400),
            agent("millrace_scan_keys_total"): "5x400",
        },
        # The one that scanned has ended since; a scan of a large store takes longer than it should, and goes on.
        {
            agent("millrace_scan_interval_seconds"): constant(600, 400),
            agent("millrace_scan_last_timestamp_seconds"): "7000x20 0x380",
            agent("millrace_scan_keys_total"): "5x400",
            series("millrace_scan_interval_seconds", job="millrace-agent", instance="off"): constant(0, 400),
        },
    ),
    "MillraceScanFailing": (
        {agent("millrace_scan_failed_buckets_total"): "0x40 2x160"},
        {agent("millrace_scan_failed_buckets_total"): FLAT},
    ),
    "MillraceScanGuard": (
        {agent("millrace_scan_guard_refusals_total"): "0x40 1x160"},
        {agent("millrace_scan_guard_refusals_total"): FLAT},
    ),
    "MillraceGcNobody": (gc_duty(0, 0), gc_duty(0, 1)),
    "MillraceGcTwice": (gc_duty(1, 1), gc_duty(0, 1)),
    "MillraceGcFailing": (
        {**gc_duty(1), series("millrace_gc_errors_total", job="millrace-agent", instance="n1"): RISING},
        {**gc_duty(0), series("millrace_gc_errors_total", job="millrace-agent", instance="n1"): RISING},
    ),
    "MillraceLifecycleStalled": (
        {agent("millrace_lifecycle_last_sweep_timestamp_seconds"): constant(-27 * 3600)},
        {agent("millrace_lifecycle_last_sweep_timestamp_seconds"): constant(0)},
    ),
    "MillraceLifecycleFailing": (
        {agent("millrace_lifecycle_errors_total"): RISING},
        {agent("millrace_lifecycle_errors_total"): FLAT},
    ),
    "EtcdMemberDown": (etcd_members(1, 1, 0), etcd_members(1, 1, 1)),
    "EtcdQuorumLost": (etcd_members(1, 0, 0), etcd_members(1, 1, 0)),
    "EtcdNoLeader": (
        {series("etcd_server_has_leader", job="etcd", instance="n1"): constant(0)},
        {series("etcd_server_has_leader", job="etcd", instance="n1"): constant(1)},
    ),
    "EtcdDatabaseFilling": (
        {
            series("etcd_mvcc_db_total_size_in_bytes", job="etcd", instance="n1"): constant(81),
            series("etcd_server_quota_backend_bytes", job="etcd", instance="n1"): constant(100),
        },
        {
            series("etcd_mvcc_db_total_size_in_bytes", job="etcd", instance="n1"): constant(79),
            series("etcd_server_quota_backend_bytes", job="etcd", instance="n1"): constant(100),
        },
    ),
    "EtcdDiskSlow": (fsync(5), fsync(0)),
    "RiakNodeDown": ({series("riak_up", instance="n1"): constant(0)}, {series("riak_up", instance="n1"): constant(1)}),
    "RiakFiguresStale": ({MTIME: constant(0)}, {MTIME: "0+30x200"}),
    "RiakRingSplit": (
        {RING[0]: constant(5), RING[1]: constant(3)},
        {RING[0]: constant(5), RING[1]: constant(4)},
    ),
    "RiakRequestsDropped": (
        {series("riak_dropped_vnode_requests_total", instance="n1"): RISING},
        {series("riak_dropped_vnode_requests_total", instance="n1"): FLAT},
    ),
    "RiakSiblings": (
        {series("riak_node_get_fsm_siblings_100", instance="n1"): constant(51)},
        {series("riak_node_get_fsm_siblings_100", instance="n1"): constant(7)},
    ),
    "HaproxyDown": ({series("up", **HAPROXY): constant(0)}, {series("up", **HAPROXY): constant(1)}),
    "HaproxyServerDown": (
        {series("haproxy_server_status", **HAPROXY, server="n2", state="UP"): constant(0)},
        {
            series("haproxy_server_status", **HAPROXY, server="n2", state="UP"): constant(1),
            series("haproxy_server_status", **HAPROXY, server="n2", state="DOWN"): constant(0),
        },
    ),
    "HaproxyNoServer": (
        {series("haproxy_backend_active_servers", **HAPROXY): constant(0)},
        {series("haproxy_backend_active_servers", **HAPROXY): constant(1)},
    ),
    "NodeDown": (
        {series("up", job="node", instance="n1"): constant(0)},
        {series("up", job="node", instance="n1"): constant(1)},
    ),
    "DiskFilling": (disk(149), disk(151)),
    "DiskNearlyFull": (disk(49), disk(51)),
    "InodesFilling": (
        disk(99, "node_filesystem_files_free", "node_filesystem_files"),
        disk(101, "node_filesystem_files_free", "node_filesystem_files"),
    ),
    "ClockOff": (
        {series("node_timex_sync_status", job="node", instance="n1"): constant(0)},
        {
            series("node_timex_sync_status", job="node", instance="n1"): constant(1),
            series("node_timex_offset_seconds", job="node", instance="n1"): constant(-0.01),
        },
    ),
    "CertificateExpires": ({EXPIRES: constant(20 * DAY)}, {EXPIRES: constant(22 * DAY)}),
    "CertificateExpiresSoon": ({EXPIRES: constant(2 * DAY)}, {EXPIRES: constant(4 * DAY)}),
    "CertificateUnreadable": (
        {series("millrace_certificate_readable", job="node", instance="n1", path="/etc/x.pem"): constant(0, 400)},
        {series("millrace_certificate_readable", job="node", instance="n1", path="/etc/x.pem"): constant(1, 400)},
    ),
    "BackupLate": ({BACKUP: constant(-3 * DAY)}, {BACKUP: constant(-1 * DAY)}),
    "PrometheusReloadFailed": (
        {series("prometheus_config_last_reload_successful", job="prometheus"): constant(0)},
        {series("prometheus_config_last_reload_successful", job="prometheus"): constant(1)},
    ),
    "PrometheusCannotAlert": (
        {
            series("prometheus_notifications_alertmanagers_discovered", job="prometheus"): constant(0),
            series("prometheus_notifications_dropped_total", job="prometheus"): RISING,
        },
        {
            series("prometheus_notifications_alertmanagers_discovered", job="prometheus"): constant(0),
            series("prometheus_notifications_dropped_total", job="prometheus"): FLAT,
        },
    ),
}
LATE = {
    "MillraceScanLate": "110m",
    "CertificateExpires": "75m",
    "CertificateUnreadable": "150m",
    "BackupLate": "75m",
    "MillraceCollision": "60m",
}
"""When to look; others at 40m."""


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def fires(tmp_path: Path, alert: str, at: str, given: Series) -> bool:
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    test = {
        "interval": "30s",
        "input_series": [{"series": one, "values": values} for one, values in given.items()],
        "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": [{"labels": "{}", "value": 1}]}],
    }
    file = tmp_path / "one.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    return subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, check=False).returncode == 0


def test_a_scan_that_goes_on_is_not_late_and_where_none_come_by_themselves_none_is_missed(tmp_path: Path) -> None:
    late = CASES["MillraceScanLate"][0]
    assert fires(tmp_path, "MillraceScanLate", "110m", late)
    assert not fires(tmp_path, "MillraceScanLate", "110m", late | {agent("millrace_scan_keys_total"): RISING + "00"})
    assert not fires(tmp_path, "MillraceScanLate", "110m", late | {agent("millrace_scan_interval_seconds"): "0x400"})


def test_the_s3_front_counts_too(tmp_path: Path) -> None:
    s3 = {gateway("millrace_s3_requests_total", operation="GetObject", status="500"): RISING}
    assert fires(tmp_path, "MillraceServerErrors", "40m", s3)


def test_every_alert_has_a_case() -> None:
    assert CASES.keys() == rules().keys()


def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    tests = []
    for alert, (firing, quiet) in CASES.items():
        at = LATE.get(alert, "40m" if alert != "MillraceCorruptCopy" else "60m")
        expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
        for name, given, expected in (("fires", firing, [{"labels": "{}", "value": 1}]), ("quiet", quiet, [])):
            tests.append(
                {
                    "name": f"{alert} {name}",
                    "interval": "30s",
                    "input_series": [{"series": one, "values": values} for one, values in given.items()],
                    "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": expected}],
                }
            )
    file = tmp_path / "alerts.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def exposed() -> set[str]:
    """Names of the metrics that gateway and agent expose."""
    sources = Sources(
        RequestTally(),
        BlobTally(),
        MirrorTally(),
        PublishTally(),
        gc=GcTally(),
        lifecycle=LifecycleTally(),
        shards=ShardTally(),
        scan=ScanTally(found={"missing": 1}, last_found={"missing": 1}),
        s3=RequestTally(),
    )
    stats = JournalStats(pending=0, pending_bytes=0, failed=0, limit=1, oldest_enqueued_at=None)
    text = render(sources, stats, 0.0, {"far": RuleStats()}).decode()
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    return names | {f"{name}_bucket" for name in names}


def written_by_the_role() -> set[str]:
    return {
        "millrace_certificate_expires_timestamp_seconds",
        "millrace_certificate_readable",
        "millrace_backup_last_success_timestamp_seconds",
    }


def dashboards() -> list[Path]:
    return sorted((ROLE / "files" / "dashboards").glob("*.json"))


def test_rules_and_dashboards_name_metrics_that_exist() -> None:
    hot = {f"millrace_hot_cache_{name}" for name in ("bytes", "limit_bytes", "hits_total", "misses_total")}
    known = exposed() | written_by_the_role() | hot
    texts = [RULES.read_text(), *(path.read_text() for path in dashboards())]
    used = {name for text in texts for name in re.findall(r"\bmillrace_[a-z0-9_]+", text)}
    assert used - known == set()
    riak = load("riak_stats")
    figures = {f"riak_{name}" for name in (*riak.COUNTERS, *riak.GAUGES)}
    figures |= {"riak_up", "riak_ring_members", "riak_connected_nodes", "riak_ring_partitions"}
    assert {name for text in texts for name in re.findall(r"\briak_[a-z0-9_]+", text)} - figures == set()


@pytest.mark.parametrize("path", dashboards(), ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == f"millrace-{path.stem}"
    places = [panel["gridPos"] for panel in board["panels"]]
    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    (variable,) = board["templating"]["list"]
    assert (variable["type"], variable["query"], variable["name"]) == ("datasource", "prometheus", "source")
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        for target in panel.get("targets", [None]) if panel["type"] != "row" else []:
            assert target["expr"]
            for part in (panel, target):
                assert part["datasource"] == {"type": "prometheus", "uid": "${source}"}
    for one in places:
        for other in places:
            apart = one is other or (
                one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            )  # fmt: skip
            assert apart, (one, other)


def test_every_expression_of_a_dashboard_is_one(tmp_path: Path) -> None:
    """By promtool, as if each were a rule."""
    found = [
        target["expr"] for path in dashboards() for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    ]  # fmt: skip
    rows = [{"record": f"dashboard:number:{number}", "expr": text} for number, text in enumerate(found)]
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rows}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(rows) > 40


def test_what_is_measured_of_scans_duties_and_rules_is_shown() -> None:
    text = "".join(path.read_text() for path in dashboards())
    shown = set(re.findall(r"\bmillrace_[a-z0-9_]+", text))
    for prefix in ("millrace_scan_", "millrace_rule_", "millrace_gc_duty", "millrace_cluster_shards", "millrace_s3_"):
        assert {name for name in shown if name.startswith(prefix)}, prefix


def test_every_alert_has_a_runbook() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    named = {section.split("\n", 1)[0].strip(): section for section in sections}
    assert named.keys() == rules().keys()
    for name, section in named.items():
        for word in ("**Means:**", "**Look:**", "**Do:**"):
            assert word in section, f"{name} lacks {word}"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROLE / "files" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_riak_node_that_does_not_answer_is_down_and_nothing_else() -> None:
    riak = load("riak_stats")
    assert riak.read("http://127.0.0.1:9/stats") is None
    assert [line for line in riak.exposition(None).splitlines() if not line.startswith("#")] == ["riak_up 0"]


def test_connections_of_riak_cs_do_not_count_as_members() -> None:
    riak = load("riak_stats")
    text = riak.exposition(
        {
            "ring_members": ["riak@a", "riak@b"],
            "connected_nodes": ["riak@b", "riak-cs@a"],
            "ring_ownership": "[{'riak@a',9},{'riak@b',7}]",
            "node_gets_total": 5,
            "leveldb_read_block_error": "undefined",
        }
    )
    lines = text.splitlines()
    assert "riak_connected_nodes 1" in lines
    assert "riak_ring_members 2" in lines
    assert 'riak_ring_partitions{node="riak@b"} 7' in lines
    assert "riak_node_gets_total 5" in lines


def test_the_certificate_that_expires_first_counts_and_a_missing_one_is_said(tmp_path: Path) -> None:
    certificates = load("certificates")
    blocks = []
    for days in ("30", "10"):
        key, cert = tmp_path / "key.pem", tmp_path / f"{days}.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/O=test", "-days", days, "-keyout", str(key), "-out", str(cert)]
        subprocess.run(command, check=True, capture_output=True)
        blocks.append(cert.read_text())
    chain = tmp_path / "chain.pem"
    chain.write_text(blocks[0] + key.read_text() + blocks[1])
    assert certificates.expires_at(str(chain)) == certificates.expires_at(str(tmp_path / "10.pem"))
    text = certificates.exposition([str(tmp_path / "*.pem"), str(tmp_path / "missing.crt")])
    assert f'millrace_certificate_readable{{path="{tmp_path}/missing.crt"}} 0' in text
    assert f'millrace_certificate_readable{{path="{chain}"}} 1' in text


def test_the_textfile_is_replaced_whole_and_can_be_read(tmp_path: Path) -> None:
    target = tmp_path / "x.prom"
    load("certificates").write_whole(str(target), "a 1\n")
    load("riak_stats").write_whole(str(target), "b 2\n")
    assert target.read_text() == "b 2\n"
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_grafana_is_told_of_prometheus_and_of_the_dashboards() -> None:
    place = {"monitoring_grafana_dir": "/etc/grafana/provisioning", "monitoring_listen_address": "10.0.0.5"}
    role = Role("monitoring", "Debian", ansible_managed="by Ansible", **place)
    files = {
        name: yaml.safe_load(str(role.value((ROLE / f"templates/grafana-{name}.yml.j2").read_text())))
        for name in ("datasources", "dashboards")
    }
    (source,) = files["datasources"]["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://10.0.0.5:9090")
    (provider,) = files["dashboards"]["providers"]
    written = {task["ansible.builtin.copy"]["dest"] for task in role.tasks("server") if "ansible.builtin.copy" in task}
    folder = provider["options"]["path"]
    assert folder + "/" in {str(role.value(text)) for text in written if "grafana" in text}
    for name in files:
        (task,) = [one for one in role.tasks("server") if f"grafana-{name}" in str(one.get("ansible.builtin.template"))]
        where = str(role.value(task["ansible.builtin.template"]["dest"]))
        assert where == f"/etc/grafana/provisioning/{name}/millrace.yml"
