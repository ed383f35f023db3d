"""Hosts come and go: replaced while they live and when they are dead, removed, added, all under load and with every
object read afterwards. The tests follow on each other on one cluster."""

from pathlib import Path

import pytest

from tests.hosts.cluster import Cluster
from tests.hosts.lifecycle import Kept, data_bytes, inventory, shares, whole

LONGEST_S = 15
"""Of one request, its retries included, while a host loses its power."""


@pytest.fixture(scope="module")
def kept(cluster: Cluster) -> Kept:
    kept = Kept(cluster, "kept-membership")
    kept.write()
    return kept


def test_a_host_takes_the_place_of_a_living_one(cluster: Cluster, kept: Kept, tmp_path: Path) -> None:
    hosts = inventory(tmp_path, ["n1", "n2", "n3", "n4", "n5"])
    before = shares(cluster, "n1")
    with cluster.traffic("replace") as traffic:
        run = cluster.playbook("replace_node", "-e", "old=n4", "-e", "new=n5", inventory=hosts)
        print(f"replace_node: {run.seconds:.0f} s")
    whole(traffic)
    after = shares(cluster, "n1")
    assert after["n5"] == before["n4"] > 0
    assert "n4" not in after
    assert data_bytes(cluster, "n5") > 1_000_000
    assert data_bytes(cluster, "n4") < 100_000, "its data has not moved away"
    assert cluster.sudo("n4", "systemctl is-active riak riak-cs", check=False).split() == ["inactive"] * 2
    assert kept.missing(["n1", "n2", "n3", "n5"]) == []


def test_a_host_takes_the_place_of_a_dead_one(cluster: Cluster, kept: Kept, tmp_path: Path) -> None:
    hosts = inventory(tmp_path, ["n1", "n2", "n3", "n5", "n4"])
    with cluster.traffic("dead") as traffic:
        cluster.lab.crash("n3")
        traffic.wait_for(20)
        run = cluster.playbook("replace_node", "-e", "old=n3", "-e", "new=n4", "-e", "dead=true", inventory=hosts)
        print(f"replace_node with dead=true: {run.seconds:.0f} s")
    whole(traffic)
    assert traffic.counts.longest_s < LONGEST_S
    after = shares(cluster, "n1")
    assert after.keys() == {"n1", "n2", "n4", "n5"}
    assert after["n4"] > 0
    assert kept.missing(["n1", "n2", "n4", "n5"]) == []


def test_a_host_is_removed(cluster: Cluster, kept: Kept, tmp_path: Path) -> None:
    hosts = inventory(tmp_path, ["n1", "n2", "n5", "n4"])
    with cluster.traffic("remove") as traffic:
        run = cluster.playbook("remove_node", "-e", "node=n5", inventory=hosts)
        print(f"remove_node: {run.seconds:.0f} s")
    whole(traffic)
    assert shares(cluster, "n1").keys() == {"n1", "n2", "n4"}
    assert data_bytes(cluster, "n5") < 100_000, "its data has not moved away"
    assert kept.missing(["n1", "n2", "n4"]) == []
    few = cluster.playbook(
        "remove_node", "-e", "node=n4", inventory=inventory(tmp_path, ["n1", "n2", "n4"]), check=False
    )
    assert few.code != 0
    assert "add a host first" in few.output
    assert shares(cluster, "n1").keys() == {"n1", "n2", "n4"}


def test_two_hosts_join_and_one_loses_its_network(cluster: Cluster, kept: Kept, tmp_path: Path) -> None:
    """n3 comes back from the dead, without its old data, as a new host. It is the one that is cut: n5 has haproxy."""
    cluster.lab.partition("n3", "n1", "n2", "n4", "n5")
    cluster.lab.start("n3")
    cluster.sudo("n3", "systemctl disable --now riak-cs riak; rm -rf /var/lib/riak/*")
    cluster.lab.heal("n3")
    hosts = inventory(tmp_path, ["n1", "n2", "n4", "n5", "n3"])
    with cluster.traffic("add") as traffic:
        impatient = ("-e", "riak_retries=10", "-e", "riak_gate_down_patience=3")
        play = cluster.start("add_node", "-e", "new_nodes=n5,n3", *impatient, inventory=hosts)
        play.wait_for(r"TASK \[riak : Plan and commit once\]")
        cluster.lab.partition("n3")
        broken = play.finish()
        assert broken.code != 0
        assert "TASK [controlplane : " not in broken.output, "it went on after the join had failed"
        traffic.wait_for(20)
        cluster.lab.heal("n3")
        run = cluster.playbook("add_node", "-e", "new_nodes=n5,n3", inventory=hosts)
        print(f"add_node with two hosts: {run.seconds:.0f} s")
    whole(traffic)
    after = shares(cluster, "n1")
    assert after.keys() == {"n1", "n2", "n3", "n4", "n5"}
    assert all(share > 10 for share in after.values()), after
    assert min(data_bytes(cluster, name) for name in ("n3", "n5")) > 500_000
    assert kept.missing(["n1", "n2", "n3", "n4", "n5"]) == []
