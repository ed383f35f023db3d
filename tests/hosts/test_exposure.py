"""What a converged host shows: files and who may read them, services, and sockets and whom they listen to."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.hosts.cluster import BALANCER, ETCD, GATEWAYS, NAMES, RIAK, RIAK_CS, Cluster

pytestmark = pytest.mark.hosts_quick

PUBLIC = {22: set(NAMES), 443: {BALANCER}, 8443: {BALANCER}}
"""Ports that may listen on every address, and on which hosts."""
OUTSIDE, OUTSIDER = "203.0.113", "203.0.113.1"
"""A network that is not the cluster's."""
SERVICES = {
    "nftables": NAMES,
    "prometheus-node-exporter": NAMES,
    "riak": RIAK,
    "riak-cs": RIAK_CS,
    "etcd": ETCD,
    "millrace-gateway": GATEWAYS,
    "millrace-agent": GATEWAYS,
    "haproxy": (BALANCER,),
    "prometheus": (BALANCER,),
}
INTERNAL = {
    "riak": (8087, 8098, 8099, 6000),
    "riak_cs": (8000, 8080, 6020),
    "etcd": (2379, 2380, 2381),
    "gateway": (8470, 8471, 8472),
}
MEMBERS = {"riak": RIAK, "riak_cs": RIAK_CS, "etcd": ETCD, "gateway": GATEWAYS}


def listening(cluster: Cluster, name: str) -> dict[int, set[str]]:
    """Addresses by TCP port."""
    found: dict[int, set[str]] = {}
    for line in cluster.sudo(name, "ss --no-header --listening --numeric --tcp").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        found.setdefault(int(port), set()).add(address.strip("[]").removeprefix("::ffff:"))
    return found


@pytest.mark.parametrize("unit", SERVICES)
def test_services_run_and_start_at_boot(cluster: Cluster, unit: str) -> None:
    for name in SERVICES[unit]:
        service = cluster.host(name).service(unit)
        assert service.is_running, f"{unit} on {name}"
        assert service.is_enabled, f"{unit} on {name}"


@pytest.mark.parametrize("name", NAMES)
def test_no_service_runs_where_it_should_not(cluster: Cluster, name: str) -> None:
    """Riak CS is installed on hosts of the ring that need not serve it, and packages start what they bring."""
    wanted = {unit for unit, hosts in SERVICES.items() if name in hosts}
    running = cluster.sudo(name, f"systemctl is-active {' '.join(SERVICES)} || true").split()
    assert {unit for unit, state in zip(SERVICES, running, strict=True) if state == "active"} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_only_public_ports_listen_on_every_address(cluster: Cluster, name: str) -> None:
    """The rest is bound to the internal address or to loopback: protocol buffers, admin, epmd, distribution, peers."""
    own = {cluster.lab.address(name), "127.0.0.1", "127.0.0.54", "::1"}
    open_to_all = {port for port, addresses in listening(cluster, name).items() if addresses - own}
    assert open_to_all == {port for port, hosts in PUBLIC.items() if name in hosts}


@pytest.mark.parametrize("kind", INTERNAL)
def test_internal_ports_listen_on_the_internal_address(cluster: Cluster, kind: str) -> None:
    for name in MEMBERS[kind]:
        found = listening(cluster, name)
        for port in INTERNAL[kind]:
            if port == 8099 and not cluster.packages.real:
                continue  # the stand-in hands over on its distribution port
            assert cluster.lab.address(name) in found.get(port, set()), f"{port} on {name}"


def test_who_comes_from_elsewhere_reaches_nothing_but_the_public_ports(cluster: Cluster) -> None:
    """From a network that is not the cluster's, to the internal address as well: the firewall of each host decides."""
    lab = cluster.lab
    lab.ctl(["ip", "address", "replace", f"{OUTSIDER}/24", "dev", "br0"])
    try:
        for name in NAMES:
            lab.ctl(["ip", "netns", "exec", f"{lab.prefix}-{name}", "ip", "address", "replace",
                     f"{OUTSIDE}.{10 + int(name[1:])}/24", "dev", "eth0"])  # fmt: skip
        for name in NAMES:
            wanted = {port for port, hosts in PUBLIC.items() if name in hosts}
            ports = set(listening(cluster, name))
            for address in (lab.address(name), f"{OUTSIDE}.{10 + int(name[1:])}"):
                assert reached(cluster, address, ports) == wanted, f"{name} at {address}"
    finally:
        lab.ctl(["ip", "address", "del", f"{OUTSIDER}/24", "dev", "br0"])
        for name in NAMES:
            lab.ctl(["ip", "netns", "exec", f"{lab.prefix}-{name}", "ip", "address", "del",
                     f"{OUTSIDE}.{10 + int(name[1:])}/24", "dev", "eth0"])  # fmt: skip


def reached(cluster: Cluster, address: str, ports: set[int]) -> set[int]:
    """The ports that accept a connection from the outsider; what the firewall drops takes the time-out, all at once."""
    script = (
        "import asyncio, sys\n"
        "async def one(port):\n"
        "    try:\n"
        f"        c = asyncio.open_connection({address!r}, port, local_addr=({OUTSIDER!r}, 0))\n"
        "        (await asyncio.wait_for(c, 2))[1].close()\n"
        "        print(port)\n"
        "    except (OSError, TimeoutError): pass\n"
        "async def main():\n"
        "    await asyncio.gather(*(one(int(p)) for p in sys.argv[1:]))\n"
        "asyncio.run(main())\n"
    )
    done = cluster.lab.ctl(["python3", "-c", script, *map(str, sorted(ports))])
    return set(map(int, done.stdout.split()))


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_can_be_read_by_others(cluster: Cluster, name: str) -> None:
    """User nobody looks for every secret of this cluster in every file and command line of the host."""
    lab, script = cluster.lab, Path(__file__).with_name("secret_search.py")
    lab.copy(name, script)
    command = ["ssh", "-F", str(lab.ssh_config), name, f"sudo runuser -u nobody -- python3 /tmp/{script.name}"]
    wanted = json.dumps(
        secret_values(cluster) | {"a private key": "PRIVATE KEY-----", "planted": "planted-by-the-test"}
    )
    lab.sh(name, "echo planted-by-the-test >/tmp/planted")
    done = subprocess.run(command, input=wanted, text=True, capture_output=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    found = {path: labels for path, labels in found.items() if not is_example(path, labels)}
    if cluster.packages.real:
        found = {path: labels for path, labels in found.items() if not is_erlangs(path, labels)}
    assert found.pop("/tmp/planted") == ["planted"], "the search finds nothing at all"
    assert found == {}


def is_example(path: str, labels: list[str]) -> bool:
    """botocore ships documents of AWS, some with keys of nobody."""
    return "/site-packages/botocore/data/" in path and labels == ["a private key"]


def is_erlangs(path: str, labels: list[str]) -> bool:
    """The emulator is given its cookie on its command line, from the vm.args that Riak's own start renders: who has an
    account on a host of the ring can read it there (docs/operations.md, Security)."""
    return path.startswith("command line of beam.smp (") and labels == ["riak_cookie"]


def secret_values(cluster: Cluster) -> dict[str, str]:
    """Those of this cluster, from the control node; the real thing must be found nowhere."""
    folder = cluster.credentials_dir
    plain = {path.name: path.read_text().strip() for path in folder.iterdir() if path.is_file()}
    values = {name: text for name, text in plain.items() if not name.endswith(".json")}
    for name in ("admin.json", "millrace.json"):
        values[name] = re.findall(r'"secret_key": "([^"]+)"', plain[name])[0]
    return values


def test_the_control_node_keeps_secrets_to_itself(cluster: Cluster) -> None:
    for path in cluster.credentials_dir.rglob("*"):
        if path.is_file() and path.suffix != ".pem":
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    ("name", "path", "mode", "owner", "group"),
    [
        ("n1", "/etc/riak/riak.conf", 0o640, "riak", "riak"),
        ("n1", "/etc/riak/advanced.config", 0o640, "riak", "riak"),
        ("n1", "/etc/riak-cs/riak-cs.conf", 0o640, "riak_cs", "riak_cs"),
        ("n1", "/etc/etcd/pki/member.key", 0o640, "root", "etcd"),
        ("n1", "/etc/etcd/pki/peer.key", 0o640, "root", "etcd"),
        ("n1", "/etc/etcd/millrace.env", 0o640, "root", "etcd"),
        ("n4", "/etc/millrace/millrace.toml", 0o640, "root", "millrace"),
        ("n4", "/etc/millrace/secrets/riak-cs", 0o640, "root", "millrace"),
        ("n4", "/var/lib/millrace/journal.db", 0o600, "millrace", "millrace"),
        ("n5", "/etc/haproxy/tls/public.pem", 0o600, "root", "root"),
        ("n1", "/etc/nftables.conf", 0o755, "root", "root"),
        ("n1", "/etc/sysctl.d/90-millrace.conf", 0o644, "root", "root"),
    ],
)
def test_files(cluster: Cluster, name: str, path: str, mode: int, owner: str, group: str) -> None:
    file = cluster.host(name).file(path)
    assert (file.mode, file.user, file.group) == (mode, owner, group)


def test_services_do_not_run_as_root(cluster: Cluster) -> None:
    users = {
        "riak": "riak",
        "riak-cs": "riak_cs",
        "etcd": "etcd",
        "millrace-gateway": "millrace",
        "millrace-agent": "millrace",
    }
    for unit, user in users.items():
        name = SERVICES[unit][0]
        pid = cluster.sudo(name, f"systemctl show --value --property=MainPID {unit}")
        assert cluster.sudo(name, f"ps --no-headers -o user:20 --pid {pid}") == user


@pytest.mark.parametrize("unit", ["millrace-gateway", "millrace-agent"])
def test_the_control_plane_is_confined(cluster: Cluster, unit: str) -> None:
    """By systemd's own measure, from 0 (nothing is allowed) to 10; an unconfined service has 9.2 and more."""
    for name in GATEWAYS:
        said = cluster.sudo(name, f"systemd-analyze security --no-pager {unit} 2>&1 | tail -1")
        (score,) = re.findall(r"exposure level for .*: ([\d.]+) ", said)
        assert float(score) <= 2.0, said


def test_limits_reach_the_running_processes(cluster: Cluster) -> None:
    """As far as the machine that boots the hosts lets them: a container cannot go beyond its own hard limit."""
    for unit, name, wanted in (("riak", "n1", 524288), ("riak-cs", "n1", 524288), ("millrace-gateway", "n4", 65536)):
        assert cluster.sudo(name, f"systemctl show --value --property=LimitNOFILE {unit}") == str(wanted)
        pid = cluster.sudo(name, f"systemctl show --value --property=MainPID {unit}")
        running, most = (
            int(re.findall(r"Max open files\s+\d+\s+(\d+)", cluster.sudo(name, f"cat /proc/{process}/limits"))[0])
            for process in (pid, 1)
        )
        assert running == min(wanted, most)
