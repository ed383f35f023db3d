"""What is wrong is said in one message before anything is done, and the hosts are as they were.

Bare hosts, and inventories that are wrong in one thing. What a host's packages, files, sockets, accounts and units are
is compared before and after. preflight.yml is the first play of site.yml, which is run where it counts most.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts.cluster import Cluster, Run
from tests.hosts.conftest import Stage
from tests.hosts.control_node import INVENTORY

HOSTS = ("n1", "n2")
LOOK = """
dpkg-query -W -f 'package ${Package} ${Version} ${Status}\\n'
find /etc /usr/local /opt /srv /usr/lib/systemd/system -xdev \\
  \\( -type d -printf 'folder %p %m %u %g\\n' -o -printf 'file %p %m %u %g %s %T@\\n' \\)
find /var/lib /var/cache /var/log /usr/lib -xdev -maxdepth 1 -printf 'folder %p %m %u %g\\n'
ss -Hltunp | awk '{print "socket", $1, $5, $7}'
getent passwd | sed 's/^/account /'
systemctl list-unit-files --no-legend | grep -v transient | sed 's/^/unit /'
systemctl list-units --all --no-legend --plain --type=service,socket,timer,mount \\
  | awk '$1 !~ /^(user|session|run-|systemd-|squatter)/ {print "state", $1, $3}'
"""


@dataclass
class Wrong:
    """The inventory of two sound hosts, to be spoilt."""

    hosts: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def children(self) -> dict[str, Any]:
        found: dict[str, Any] = self.hosts["all"]["children"]
        return found

    def write(self, folder: Path) -> Path:
        (folder / "group_vars/all").mkdir(parents=True)
        (folder / "hosts.yml").write_text(yaml.safe_dump(self.hosts))
        lab = (INVENTORY / "group_vars/all/cluster.yml").read_text()
        (folder / "group_vars/all/cluster.yml").write_text(lab)
        (folder / "group_vars/all/spoilt.yml").write_text(yaml.safe_dump(self.settings))
        return folder


def sound() -> Wrong:
    both: dict[str, Any] = {"hosts": {name: {} for name in HOSTS}}
    one: dict[str, Any] = {"hosts": {"n1": {}}}
    lab = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]
    return Wrong(
        {
            "all": {
                "vars": lab["vars"],
                "hosts": {name: dict(lab["hosts"][name]) for name in HOSTS},
                "children": {"riak": both, "riak_cs": both, "etcd": one, "controlplane": one},
            }
        },
        {"cluster_is_small": True},
    )


@pytest.fixture(scope="module")
def hosts(stage: Stage) -> Cluster:
    """Bare ones, for all tests of this module: none of them may change anything."""
    return stage.lay_bare()


@pytest.fixture(scope="module")
def untouched(hosts: Cluster) -> Callable[[], None]:
    """Compares the hosts with what they were at first."""

    def look() -> list[set[str]]:
        with ThreadPoolExecutor() as pool:
            return [set(text.splitlines()) for text in pool.map(lambda name: hosts.sudo(name, LOOK), HOSTS)]

    before = look()
    assert all(len(seen) > 500 for seen in before)

    def compare() -> None:
        for name, was, now in zip(HOSTS, before, look(), strict=True):
            assert was == now, f"{name} changed: {sorted(was ^ now)[:20]}"

    return compare


def refused(cluster: Cluster, wrong: Wrong, folder: Path, playbook: str = "preflight", **more: str) -> list[str]:
    """The findings that the playbook ended with; no task has changed anything."""
    run = cluster.playbook(playbook, inventory=wrong.write(folder / "inventory"), check=False, **more)
    assert run.code != 0
    assert run.changed == 0
    return findings(run)


def findings(run: Run) -> list[str]:
    """The lines of the message: said for one host, and no other task has failed."""
    fatal = re.findall(r"^fatal: \[(\S+)\]", run.output, re.MULTILINE)
    assert len(fatal) == 1, run.output[-3000:]
    said = re.search(r"Nothing was changed\. Wrong \((\d+)\):((?:\s+- [^\n]+(?:\n +[^-\s][^\n]*)*)+)", run.output)
    assert said, run.output[-3000:]
    lines = [" ".join(line.split()) for line in re.split(r"\n\s*- ", "\n" + said[2].strip().removeprefix("- "))]
    found = [line.removeprefix("- ").strip() for line in lines if line.strip()]
    assert len(found) == int(said[1]), found
    return found


def same_address(wrong: Wrong) -> None:
    wrong.hosts["all"]["hosts"]["n2"]["cluster_internal_address"] = "10.99.0.11"


def no_address(wrong: Wrong) -> None:
    del wrong.hosts["all"]["hosts"]["n2"]["cluster_internal_address"]


def no_group(wrong: Wrong) -> None:
    del wrong.children["riak_cs"]
    del wrong.children["controlplane"]


def even_etcd(wrong: Wrong) -> None:
    wrong.children["etcd"] = {"hosts": {"n1": {}, "n2": {}}}


def setting(**values: Any) -> Callable[[Wrong], None]:
    return lambda wrong: wrong.settings.update(values)


CASES: dict[str, tuple[Callable[[Wrong], None], str]] = {
    "one address for two hosts": (same_address, r"inventory: n1, n2 share the address 10\.99\.0\.11: give each"),
    "a host without an address": (no_address, r"n2: cluster_internal_address is '', which is no IP address: set it"),
    "a group without hosts": (no_group, r"inventory: the inventory has no host in the group riak_cs: name its hosts"),
    "two members of etcd": (even_etcd, r"inventory: 2 etcd members tolerate no more failures than 1: use an odd"),
    "more copies than nodes": (
        setting(cluster_is_small=False),
        r"inventory: 2 Riak hosts cannot hold 3 copies on distinct nodes: add hosts",
    ),
    "the stock file's phantom backend": (
        setting(riak_settings={"multi_backend.name.leveled.journal_size": 1}),
        r"n1, n2: riak_settings sets multi_backend\.name\.leveled\.journal_size.*: remove it.*leveldb without",
    ),
    "a backend by bucket property": (
        setting(riak_settings={"storage_backend": "multi"}),
        r"n1, n2: riak_settings sets storage_backend.*: remove it",
    ),
    "the short form beside the long one": (
        setting(riak_settings={"cs_version": 30203}),
        r"n1, n2: riak_settings sets cs_version.*: remove it",
    ),
    "manifests without indexes": (
        setting(riak_default_backend="bitcask"),
        r"n1, n2: riak_default_backend is bitcask: set it to leveldb or leveled",
    ),
    "too little disk": (
        setting(cluster_min_disk_gb=900000),
        r"n1, n2: /var/lib/riak has [\d.]+ GiB free; make 900000 GiB free",
    ),
    "no cookie": (setting(cluster_riak_cookie=""), r"n1, n2: cluster_riak_cookie is not set: put it in the vault"),
    "a cookie from a manual": (
        setting(cluster_riak_cookie="riak"),
        r"n1, n2: cluster_riak_cookie is too short or a placeholder: put a random value",
    ),
    "no password of etcd's root": (
        setting(cluster_etcd_root_password=""),
        r"n1(, n2)?: cluster_etcd_root_password is not set: put it in the vault",
    ),
    "several nodes, and no network for Stanchion": (
        setting(cluster_internal_netmask=""),
        r"n1, n2: 2 Riak CS nodes share one Stanchion, and cluster_internal_netmask is not set",
    ),
    "Stanchion's network is another one": (
        setting(cluster_internal_network="10.98.0.0"),
        r"n1, n2: its address is not in 10\.98\.0\.0/24, where Stanchion may bind: set",
    ),
}
TOGETHER = (
    ("one address for two hosts", "the stock file's phantom backend", "no cookie", "two members of etcd"),
    ("a host without an address", "a backend by bucket property", "several nodes, and no network for Stanchion"),
    ("Stanchion's network is another one", "manifests without indexes", "more copies than nodes"),
    ("a group without hosts", "too little disk", "a cookie from a manual", "no password of etcd's root"),
    ("the short form beside the long one",),
)
"""What can be wrong at once without hiding another thing; a run on hosts takes its time."""


def test_every_case_is_run() -> None:
    assert sorted(name for names in TOGETHER for name in names) == sorted(CASES)


@pytest.mark.parametrize("names", TOGETHER, ids=[names[0] for names in TOGETHER])
def test_each_thing_wrong_is_one_finding_and_nothing_is_changed(
    hosts: Cluster, untouched: Callable[[], None], tmp_path: Path, names: tuple[str, ...]
) -> None:
    wrong = sound()
    for name in names:
        CASES[name][0](wrong)
    found = refused(hosts, wrong, tmp_path)
    assert len(found) == len(names), found
    for name in names:
        assert len([line for line in found if re.search(CASES[name][1], line)]) == 1, (name, found)
    untouched()


def test_versions_that_do_not_fit_each_other(hosts: Cluster, untouched: Callable[[], None], tmp_path: Path) -> None:
    found = refused(hosts, sound(), tmp_path, MILLRACE_RIAK_CS_VERSION="2.1.1")
    # The folder does not hold such a package either; that is another thing to put right.
    about = [line for line in found if "must hold exactly one" not in line]
    assert len(about) == 1
    assert re.search(r"Riak CS 2\.1\.1 does not go with Riak KV [\d.]+: set riak_cs_version", about[0]), found
    untouched()


def test_a_version_that_nobody_knows(hosts: Cluster, untouched: Callable[[], None], tmp_path: Path) -> None:
    found = refused(hosts, sound(), tmp_path, MILLRACE_RIAK_VERSION="4.0.0")
    about = [line for line in found if "must hold exactly one" not in line]
    assert len(about) == 1
    assert re.search(r"riak\S* 4\.0\.0 is not supported: .* one of the series 2\.9, 3\.0, 3\.2", about[0]), found
    untouched()


def test_a_port_that_somebody_holds_is_named_with_its_unit_and_host(
    hosts: Cluster, untouched: Callable[[], None], tmp_path: Path
) -> None:
    hosts.sudo("n2", "systemd-run --quiet --unit=squatter python3 -m http.server 8087")
    hosts.wait(lambda: bool(hosts.sudo("n2", "ss -Hltn 'sport = :8087'")), "a listener on 8087")
    try:
        found = refused(hosts, sound(), tmp_path, "site")
    finally:
        hosts.sudo("n2", "systemctl stop squatter")
    assert found == [
        "n2: port 8087 (Riak protocol buffers) is taken by squatter.service: stop it, or give it another port"
    ]
    untouched()


def test_a_ring_of_another_name_is_not_taken_over(
    hosts: Cluster, untouched: Callable[[], None], tmp_path: Path
) -> None:
    hosts.sudo("n1", "mkdir -p /var/lib/riak/ring /var/tmp/was && touch /var/lib/riak/ring/riak_core_ring.default.1")
    hosts.sudo("n1", "mkdir /etc/riak && printf 'nodename = riak@127.0.0.1\nring_size = 16\n' > /etc/riak/riak.conf")
    try:
        found = refused(hosts, sound(), tmp_path)
        assert hosts.sudo("n1", "cat /etc/riak/riak.conf; ls /var/lib/riak/ring").split()[2] == "riak@127.0.0.1"
    finally:
        hosts.sudo("n1", "rm -r /var/lib/riak /etc/riak")
    assert len(found) == 1
    assert found[0].startswith("n1: a ring of riak@127.0.0.1 lives here, and this inventory calls it riak@10.99.0.11")


def test_a_sound_inventory_is_let_through(hosts: Cluster, untouched: Callable[[], None], tmp_path: Path) -> None:
    run = hosts.playbook("preflight", inventory=sound().write(tmp_path / "inventory"))
    assert run.changed == 0
    untouched()
