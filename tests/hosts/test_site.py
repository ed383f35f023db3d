"""site.yml: from bare machines to a cluster, and again, and in check mode."""

from __future__ import annotations

import contextlib
import re

import pytest

from tests.hosts.cluster import BALANCER, NAMES, RIAK, Cluster
from tests.hosts.conftest import Stage

ROLES = ("preflight", "host", "etcd", "riak", "stanchion", "riak_cs", "controlplane", "haproxy", "monitoring")
OWN_TRACES = (
    "/tmp/",
    "/var/tmp/",
    "/run/",
    "/var/log/",
    "/home/deploy/.ansible/",
    "/root/.ansible/",
    "/var/lib/systemd/",
)
"""What a session leaves on a host whatever it does there."""
ONE_OF_EACH = "n1,n5"
"""Hosts that every role is for, at least one."""
LOOKING = ("/var/cache/apt/", "/var/lib/apt/")
"""Caches of apt, which its own tools renew when they are asked what there is."""


def written(cluster: Cluster) -> dict[str, set[str]]:
    paths = {name: cluster.lab.written(name) for name in NAMES}
    return {
        name: {path for path in found if not path.startswith(OWN_TRACES + LOOKING)} for name, found in paths.items()
    }


def test_check_mode_before_anything_exists(bare: Cluster) -> None:
    """It goes through to the end, says what it would do, and does nothing."""
    before = written(bare)
    run = bare.playbook("site", "--check", "--limit", ONE_OF_EACH)
    assert {"riak", "riak-cs", "etcd", "haproxy", "prometheus"} & set(
        installed(bare, "n1") + installed(bare, "n5")
    ) == set()
    assert run.changed > 0
    assert written(bare) == before


@pytest.mark.hosts_quick
def test_from_nothing(site: Stage, cluster: Cluster) -> None:
    """All of it in one run: a ring of all hosts, etcd with all members, every service running and started at boot."""
    assert cluster.ring() == {cluster.lab.address(name): "valid" for name in RIAK}
    for name in NAMES:
        assert cluster.sudo(name, "systemctl --failed --plain --no-legend") == ""
    if site.run is not None:
        assert {name for name, counts in site.run.recap.items() if counts["failed"] or counts["unreachable"]} == set()


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    run = cluster.playbook("site")
    assert run.changed_tasks == []
    assert run.changed == 0


def test_check_mode_of_a_converged_cluster_finds_nothing_to_do(cluster: Cluster) -> None:
    run = cluster.playbook("site", "--check", "--limit", ONE_OF_EACH)
    assert run.changed_tasks == []
    assert run.changed == 0


def test_every_role_can_be_run_alone(cluster: Cluster) -> None:
    """By its tag; preflight always goes first, and no other role is touched."""
    listing = cluster.playbook("site", "--list-tags").output
    assert {role for role in ROLES if role in listing} == set(ROLES)
    run = cluster.playbook("site", "--tags", "haproxy")
    assert run.changed_tasks == []
    assert "TASK [haproxy : " in run.output
    # Ansible itself looks at the arguments of every role, whatever the tags.
    others = set(ROLES) - {"haproxy", "preflight"}
    assert [role for role in others if re.search(rf"TASK \[{role} : (?!Validating arguments)", run.output)] == []


def test_a_changed_setting_is_rolled_out_while_clients_go_on(cluster: Cluster) -> None:
    """One node after the other restarts with the new file, and no request fails."""
    starts = {name: started(cluster, name) for name in RIAK}
    with cluster.traffic("changed-setting") as traffic:
        run = cluster.playbook("site", "--tags", "riak,riak_cs", "-e", "riak_transfer_limit=3")
    assert traffic.counts.failures == []
    assert run.changed > 0
    assert {name for name in RIAK if started(cluster, name) != starts[name]} == set(RIAK)
    for name in RIAK:
        assert "transfer_limit = 3" in cluster.sudo(name, "cat /etc/riak/riak.conf")


def test_s3_is_served_by_gateways_and_moves_while_clients_go_on(cluster: Cluster) -> None:
    """cluster_s3_front: the balancer turns to Riak CS, which cuts listings off silently, and back to the gateways."""
    with cluster.lab.network(), contextlib.closing(cluster.s3()) as s3:
        s3.create_bucket(Bucket="listing")
        for number in range(3):
            s3.put_object(Bucket="listing", Key=f"key-{number}", Body=b"x")
    assert listed_in_pages(cluster) == ["key-0", "key-1", "key-2"]
    balancer = ("site", "--tags", "haproxy", "--limit", BALANCER)
    with cluster.traffic("moving") as traffic:
        cluster.playbook(*balancer, "-e", "cluster_s3_front=riak_cs")
        traffic.wait_for(60)
        assert listed_in_pages(cluster) == ["key-0", "key-1"]
        cluster.playbook(*balancer)
        traffic.wait_for(60)
    assert traffic.counts.failures == []
    assert listed_in_pages(cluster) == ["key-0", "key-1", "key-2"]


def listed_in_pages(cluster: Cluster) -> list[str]:
    """By version 2, whose tokens Riak CS does not give."""
    with cluster.lab.network(), contextlib.closing(cluster.s3()) as s3:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="listing", PaginationConfig={"PageSize": 2})
        return [row["Key"] for page in pages for row in page["Contents"]]


def installed(cluster: Cluster, name: str) -> list[str]:
    return cluster.sudo(name, "dpkg-query -W -f '${Package}\\n'").split()


def started(cluster: Cluster, name: str) -> str:
    return cluster.sudo(name, "systemctl show --property=ActiveEnterTimestampMonotonic riak.service")
