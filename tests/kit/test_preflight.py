"""Preflight says everything that is wrong at once, and nothing about a sound inventory."""

import ctypes
import hashlib
import multiprocessing
import re
import socket
from multiprocessing.connection import Connection

import pytest
import yaml

from tests.kit.conftest import ROOT, load

findings = load("roles/preflight/filter_plugins/preflight_findings.py").preflight_findings

NETWORK = {"cluster_internal_network": "10.0.0.0", "cluster_internal_netmask": "255.255.255.0"}
ASKED = {"before": 1000.0, "after": 1003.0}


def host(name="n1", address="10.0.0.1", members=("n1",), seen=None, facts=None, riak=None, **wanted):
    return {
        "seen": {"time": 1001.0, "listeners": {}, "free_bytes": {"/d": 50 * 1024**3}, "versions": {}, "ring": {}}
        | (seen or {}),
        "facts": {"distribution": "Debian", "release": "12", "family": "Debian", "memory_mb": 4096} | (facts or {}),
        "wanted": {
            "platforms": {"Debian": ["12", "13"]},
            "min_memory_mb": 512,
            "packages": [
                {"package": "riak", "version": "3.2.3", "series": ["3.2"], "source": "repository", "folder": ""}
            ],
            "upgrading": False,
            "disks": [{"path": "/d", "free_gb": 10}],
            "ports": [{"port": 8087, "purpose": "Riak protocol buffers", "units": ["riak.service"]}],
            "max_clock_skew_s": 5,
            "internal_addresses": {"cluster_internal_address": address},
            "allow_public_addresses": False,
            "secrets": {"cluster_riak_cookie": "kDkz81mZq0PqLx72"},
            "min_secret_length": 16,
            "riak": {
                "version": "3.2.3",
                "nodename": f"riak@{address}",
                "cookie": "c",
                "members": list(members),
                "ring_size": 64,
                "n_val": 1,
                "default_backend": "leveldb",
                "settings": {},
            }
            | (riak or {}),
            "allow_few_nodes": False,
            "pair": {"riak": "3.2.3", "riak_cs": "3.2.4"},
            "cs_by_riak": {"3.0": ["3.0", "3.1"], "3.2": ["3.2"]},
            "stanchion": {"members": 2, "merged": True, "address": address, "network": NETWORK},
            "s3_front": {"value": "gateway", "gateways": ["n1"], "balancers": ["n1"]},
            "needed_groups": {"riak": list(members)},
            "odd_groups": {"etcd": list(members)[:1]},
        }
        | wanted,
    }


def said(*hosts):
    return "\n".join(findings({f"n{number}": one for number, one in enumerate(hosts, 1)}, ASKED))


def test_a_sound_host_has_no_findings():
    assert said(host()) == ""


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (
            host(pair={"riak": "3.2.3", "riak_cs": "2.1.1"}),
            "Riak CS 2.1.1 does not go with Riak KV 3.2.3: set riak_cs_version to one of the series 3.2",
        ),
        (
            host(
                stanchion={"members": 2, "merged": True, "address": "10.0.0.1", "network": dict.fromkeys(NETWORK, "")}
            ),
            "cluster_internal_network and cluster_internal_netmask is not set",
        ),
        (
            host(stanchion={"members": 3, "merged": True, "address": "10.0.1.1", "network": NETWORK}),
            "its address is not in 10.0.0.0/24, where Stanchion may bind",
        ),
        (
            host(
                stanchion={
                    "members": 2,
                    "merged": True,
                    "address": "10.0.0.1",
                    "network": NETWORK | {"cluster_internal_netmask": "255.0.255.0"},
                }
            ),
            "10.0.0.0 with the netmask 255.0.255.0 is no network",
        ),
        (host(facts={"release": "10"}), "Debian 10 is not supported"),
        (host(facts={"distribution": "Arch", "release": "7"}), "Arch 7 is not supported"),
        (host(facts={"memory_mb": 256}), "256 MB of memory"),
        (host(seen={"free_bytes": {"/d": 3 * 1024**3}}), "/d has 3.0 GiB free; make 10 GiB free"),
        (host(seen={"listeners": {"8087": ["nginx.service"]}}), "port 8087 (Riak protocol buffers) is taken by nginx"),
        (host(seen={"time": 1100.0}), "clock is 97 s off"),
        (host(seen={"time": 900.0}), "clock is 100 s off"),
        (
            host(seen={"versions": {"riak": "3.0.16"}}),
            "riak 3.0.16 is installed and 3.2.3 is wanted: run playbooks/upgrade",
        ),
        (host(address="8.8.8.8", stanchion={}), "must be an address of the internal network"),
        (host(address="0.0.0.0", stanchion={}), "must be an address of the internal network"),
        (host(address="node1", stanchion={}), "no IP address"),
        (host(secrets={"cluster_riak_cookie": ""}), "cluster_riak_cookie is not set"),
        (host(secrets={"cluster_riak_cookie": "riak"}), "too short or a placeholder"),
        (host(secrets={"cluster_riak_cookie": "changeme-changeme-changeme"}), "too short or a placeholder"),
        (host(riak={"ring_size": 48}), "must be a power of 2"),
        (host(riak={"ring_size": 2048}), "must be a power of 2"),
        (host(riak={"settings": {"storage_backend": "multi"}}), "riak_settings sets storage_backend"),
        (
            host(riak={"settings": {"multi_backend.name.leveled.journal_size": 1}}),
            "riak_settings sets multi_backend.name",
        ),
        (host(riak={"settings": {"cs_version": 30203}}), "riak_settings sets cs_version"),
        (host(riak={"settings": {"leveldb.maximum_memory.percent": 5}}), "riak_settings sets leveldb."),
        (host(riak={"default_backend": "bitcask"}), "manifests need"),
        (host(riak={"n_val": 3}), "1 Riak hosts cannot hold 3 copies"),
        (host(members=("n2",)), "n1 is not in riak_members"),
        (host(seen={"ring": {"nodename": "riak@127.0.0.1", "ring_size": 64}}), "a ring of riak@127.0.0.1 lives here"),
        (host(seen={"ring": {"nodename": "riak@10.0.0.1", "ring_size": 16}}), "the ring here has 16 partitions"),
        (host(odd_groups={"etcd": ["a", "b"]}), "2 etcd members tolerate no more failures than 1"),
        (host(needed_groups={"riak": []}), "no host in the group riak"),
        (
            host(s3_front={"value": "gatway", "gateways": ["n1"], "balancers": ["n1"]}),
            "cluster_s3_front is 'gatway': set it to gateway, or to riak_cs",
        ),
        (
            host(s3_front={"value": "gateway", "gateways": [], "balancers": ["n1"]}),
            "the group controlplane has no host: name its hosts, or set cluster_s3_front to riak_cs",
        ),
        (
            host(
                packages=[
                    {"package": "riak", "version": "4.0", "series": ["3.2"], "source": "repository", "folder": ""}
                ]
            ),
            "riak 4.0 is not supported",
        ),
    ],
)
def test_one_thing_wrong_is_one_finding(one, words):
    text = said(one)
    assert words in text
    assert len(text.splitlines()) == 1, text


def test_own_units_may_hold_their_ports_on_a_second_run():
    assert said(host(seen={"listeners": {"8087": ["riak.service"]}})) == ""


def test_an_upgrade_may_meet_other_versions():
    assert said(host(seen={"versions": {"riak": "3.0.16"}}, upgrading=True)) == ""


def test_hosts_must_agree():
    members = ("n1", "n2")
    text = said(
        host(members=members),
        host(members=members, riak={"ring_size": 32, "version": "3.0.16", "cookie": "d", "nodename": "riak@10.0.0.1"}),
    )
    assert "riak_version differs between the Riak hosts (3.0.16, 3.2.3): set it once" in text
    assert "riak_ring_size differs" in text
    assert "the cookie differs between the Riak hosts: set it once" in text
    assert "'d'" not in text


def test_hosts_that_share_an_address_are_named_once():
    members = ("n1", "n2")
    text = said(host(members=members), host(members=members))
    assert text == "inventory: n1, n2 share the address 10.0.0.1: give each host its own"


def test_hosts_that_share_a_node_name_alone_are_named_too():
    members = ("n1", "n2")
    text = said(host(members=members), host(members=members, address="10.0.0.2", riak={"nodename": "riak@10.0.0.1"}))
    assert text == "inventory: n1, n2 share the node name riak@10.0.0.1: give each its own"


def test_s3_clients_may_reach_riak_cs_itself_where_that_is_said():
    assert said(host(s3_front={"value": "riak_cs", "gateways": [], "balancers": ["n1"]})) == ""
    assert said(host(s3_front={"value": "gateway", "gateways": [], "balancers": []})) == ""


def test_one_node_needs_no_network_for_stanchion_and_older_ones_do_not_either():
    alone = {"members": 1, "merged": True, "address": "10.0.0.1", "network": dict.fromkeys(NETWORK, "")}
    assert said(host(stanchion=alone)) == ""
    assert said(host(stanchion=alone | {"members": 4, "merged": False})) == ""


def test_every_finding_says_what_to_do():
    """What is wrong, and after a colon or a semicolon an order."""
    one = host(
        facts={"release": "9", "memory_mb": 1},
        seen={"free_bytes": {"/d": 1}, "listeners": {"8087": ["x"]}, "time": 0.0, "versions": {"riak": "3.0.16"}},
        secrets={"a": "", "b": "short"},
        riak={"ring_size": 7, "n_val": 9, "settings": {"cs_version": 1}, "default_backend": "bitcask"},
        pair={"riak": "3.2.3", "riak_cs": "2.1.1"},
        odd_groups={"etcd": ["a", "b"]},
        needed_groups={"riak_cs": []},
    )
    lines = said(one).splitlines()
    assert len(lines) == 15
    for line in lines:
        about = re.split(r"[:;] ", line, maxsplit=1)[1]
        assert re.search(r"[:;] (add|give|install|it must|make|name|put|remove|run|set|stop|use)|; give", about), line


def test_everything_wrong_is_said_at_once():
    one = host(secrets={"a": "", "b": ""}, facts={"release": "9"}, riak={"ring_size": 7})
    assert len(said(one).splitlines()) == 4


def test_package_folders(tmp_path):
    def package(folder):
        return [{"package": "riak", "version": "3.2.3", "series": ["3.2"], "source": "folder", "folder": str(folder)}]

    assert "is empty or missing" in said(host(packages=package(tmp_path / "none")))
    (tmp_path / "other.deb").write_bytes(b"")
    assert "must hold exactly one riak_3.2.3*.deb; it holds 0" in said(host(packages=package(tmp_path)))
    (tmp_path / "riak_3.2.3-OTP25_amd64.deb").write_bytes(b"deb")
    assert "has no SHA256SUMS" in said(host(packages=package(tmp_path)))
    (tmp_path / "SHA256SUMS").write_text("00  riak_3.2.3-OTP25_amd64.deb\n")
    assert "SHA256SUMS says 00" in said(host(packages=package(tmp_path)))
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(b'deb').hexdigest()} *./riak_3.2.3-OTP25_amd64.deb\n")
    assert said(host(packages=package(tmp_path))) == ""


def listen_as(name: str, port_goes_to: Connection) -> None:
    """A process of this name that listens; it ends with its parent's word."""
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)  # PR_SET_NAME
    with socket.create_server(("127.0.0.1", 0)) as server:
        port_goes_to.send(server.getsockname()[1])
        port_goes_to.recv()


@pytest.mark.parametrize(("name", "is_in_the_way"), [("epmd", False), ("squatter", True)])
def test_epmd_is_known_by_its_name_wherever_it_was_started(name: str, is_in_the_way: bool) -> None:
    """A command of a stopped node brings it along, and leaves it in the session that it was typed in."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=listen_as, args=(name, there))
    process.start()
    try:
        assert here.poll(100)
        port = here.recv()
        (holders,) = load("roles/preflight/library/preflight_host.py").listeners([port]).values()
    finally:
        here.send("enough")
        process.join(60)
    rows = yaml.safe_load((ROOT / "playbooks/group_vars/all/preflight.yml").read_text())["__riak_ports"]
    (row,) = [row for row in rows if row["port"] == 4369]
    assert "'epmd'" in row["units"]
    wanted = [{"port": port, "purpose": "epmd", "units": ["riak.service", "epmd"]}]
    text = said(host(seen={"listeners": {str(port): holders}}, ports=wanted))
    assert ("is taken by" in text) is is_in_the_way, (holders, text)
