"""The Vagrantfile: the machines it asks for, in every size, and that one run of site.yml provisions all of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.conftest import ROOT

OUTLINE = Path(__file__).with_name("vagrant_outline.rb")
COUNTS = (1, 2, 3, 4, 5)


def outline(nodes: int) -> dict[str, Any]:
    ruby = shutil.which("ruby")
    assert ruby, "no ruby program: it comes with the package vagrant (apt-get install vagrant)"
    run = subprocess.run(
        [ruby, OUTLINE, ROOT / "Vagrantfile"],
        env={**os.environ, "MILLRACE_NODES": str(nodes)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.fixture(params=COUNTS)
def cluster(request: pytest.FixtureRequest) -> tuple[int, dict[str, Any]]:
    return request.param, outline(request.param)


def test_its_machines_are_the_nodes_and_one_balancer(cluster: tuple[int, dict[str, Any]]) -> None:
    count, found = cluster
    machines = found["config"]["vm"]["machines"]
    assert list(machines) == ["balancer", *(f"node{n}" for n in range(1, count + 1))]
    addresses = [machine["vm"]["network"][0][1]["ip"] for machine in machines.values()]
    assert len(set(addresses)) == count + 1
    variables = yaml.safe_load((ROOT / "inventories/vagrant/group_vars/all/cluster.yml").read_text())
    network = variables["cluster_internal_network"].rsplit(".", 1)[0]
    assert all(address.startswith(f"{network}.") for address in addresses)


def test_both_providers_get_the_sizes_of_the_one_table(cluster: tuple[int, dict[str, Any]]) -> None:
    _, found = cluster
    for name, machine in found["config"]["vm"]["machines"].items():
        sizes = machine["vm"]["providers"]
        assert set(sizes) == {"libvirt", "virtualbox"}
        assert sizes["libvirt"] == sizes["virtualbox"]
        assert sizes["libvirt"]["memory"] == (1024 if name == "balancer" else 2048)


def test_the_last_machine_provisions_all_of_them_once(cluster: tuple[int, dict[str, Any]]) -> None:
    count, found = cluster
    machines = found["config"]["vm"]["machines"]
    provisioned = [name for name, machine in machines.items() if "provisioners" in machine["vm"]]
    assert provisioned == [list(machines)[-1]]
    assert found["parallel"] == "yes", "the others must be up before"
    ansible = machines[provisioned[0]]["vm"]["provisioners"]["ansible"]
    assert ansible["playbook"] == "playbooks/site.yml"
    assert ansible["limit"] == "all"
    nodes = [f"node{n}" for n in range(1, count + 1)]
    groups = ansible["groups"]
    assert groups["riak"] == groups["riak_cs"] == groups["controlplane"] == nodes
    assert groups["haproxy"] == ["balancer"]
    assert len(groups["etcd"]) % 2 == 1
    assert set(groups["etcd"]) <= set(nodes)
    assert {name: facts["cluster_internal_address"] for name, facts in ansible["host_vars"].items()} == {
        name: machine["vm"]["network"][0][1]["ip"] for name, machine in machines.items()
    }


def test_every_group_of_site_yml_is_there() -> None:
    groups = set(outline(3)["config"]["vm"]["machines"]["node3"]["vm"]["provisioners"]["ansible"]["groups"])
    plays = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    named = {play["hosts"].split("[")[0] for play in plays if not play.get("hosts", "{{").startswith("{{")}
    assert {name for hosts in named for name in hosts.split(":")} - {"all"} <= groups
