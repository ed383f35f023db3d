"""Inventories: readable, and the bridges between roles are in one place that no inventory sets again."""

import json

import pytest
import yaml

from tests.kit.conftest import ROOT

INVENTORIES = sorted(path for path in (ROOT / "inventories").iterdir() if path.is_dir())
NAMES = [path.name for path in INVENTORIES]


def bridged():
    files = (ROOT / "playbooks/group_vars/all").glob("*.yml")
    return {key for path in files for key in yaml.safe_load(path.read_text())}


@pytest.mark.parametrize("inventory", INVENTORIES, ids=NAMES)
def test_an_inventory_sets_no_bridge(inventory):
    for path in (inventory / "group_vars").rglob("*.yml"):
        assert bridged() & set(yaml.safe_load(path.read_text())) == set(), path


@pytest.mark.parametrize("inventory", INVENTORIES, ids=NAMES)
def test_an_inventory_can_be_read(inventory, tool):
    run = tool("ansible-inventory", "-i", inventory, "--list")
    assert run.returncode == 0, run.stderr
    groups = json.loads(run.stdout)
    if inventory.name != "vagrant":  # its machines come from the Vagrantfile
        assert groups["riak"]["hosts"]
        assert len(groups["etcd"]["hosts"]) % 2 == 1


def test_the_example_spans_three_zones_and_holds_no_secret():
    hosts = yaml.safe_load((ROOT / "inventories/example/hosts.yml").read_text())["all"]["hosts"]
    assert {host["cluster_zone"] for host in hosts.values()} == {"a", "b", "c"}
    vault = yaml.safe_load((ROOT / "inventories/example/vault.yml.template").read_text())
    assert set(vault.values()) == {""}
