"""Riak CS's garbage collection on real hosts: one node has it, and another takes it over when that node loses power."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from tests.hosts.cluster import Cluster

AGENTS = ("n3", "n4")
"""The Riak CS nodes with an agent, once n3 has one too."""
TTL_S, LATE_S = 45, 20
"""The lease, of three commands of the stand-in; a round of the lock, two commands of Riak CS, and this machine."""
REAL_TTL_S, REAL_LATE_S = 120, 60
"""With the real Riak CS, each command of which starts an Erlang node: the lease that is shipped."""


@pytest.fixture(scope="module")
def agents(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A second Riak CS node gets an agent: from here on the agents see to the garbage, and no timer does. This changes
    the two, and n1, whose timer was on."""
    extra = tmp_path_factory.mktemp("inventory") / "agents.yml"
    lease = {} if cluster.packages.real else {"gc": {"lease_ttl_s": TTL_S, "command_timeout_s": TTL_S / 3}}
    members = {name: {"cluster_gateway_settings": lease} for name in AGENTS}
    extra.write_text(yaml.safe_dump({"all": {"children": {"controlplane": {"hosts": members}}}}))
    hosts = ",".join(("n1", *AGENTS))
    cluster.playbook("site", "-i", str(extra), "--tags", "host,riak_cs,controlplane", "--limit", hosts)
    return cluster


def longest_s(cluster: Cluster) -> float:
    """Until the duty has moved."""
    return REAL_TTL_S + REAL_LATE_S if cluster.packages.real else TTL_S + LATE_S


def status(cluster: Cluster, name: str) -> dict[str, object]:
    text = cluster.sudo(name, "millrace gc status --json", check=False)
    found: dict[str, object] = json.loads(text) if text.startswith("{") else {"holder": None}
    return found


def holder(cluster: Cluster, name: str) -> str:
    return str(status(cluster, name)["holder"])


def test_no_timer_is_on_and_one_agent_has_the_duty(agents: Cluster) -> None:
    agents.wait(lambda: holder(agents, "n3") in AGENTS, "somebody has the duty", longest_s(agents))
    assert holder(agents, "n3") == holder(agents, "n4")
    for name in ("n1", "n2", *AGENTS):
        assert "infinity (i.e. gc is disabled)" in agents.sudo(name, "riak-cs admin gc status")
    duties = sum(float(metric(agents, name, "millrace_gc_duty_held")) for name in AGENTS)
    assert duties == 1
    one = holder(agents, "n3")
    assert float(metric(agents, one, "millrace_gc_batches_total")) >= 1


def test_the_socket_is_for_the_agent_alone(agents: Cluster) -> None:
    host = agents.host("n4")
    socket = host.file("/run/millrace-riak-cs-gc.sock")
    assert (socket.user, socket.group, socket.mode) == ("root", "millrace", 0o660)
    assert host.file("/usr/local/lib/millrace/riak-cs-gc").mode == 0o755
    refused = agents.sudo("n4", "setpriv --reuid=nobody --clear-groups millrace gc status 2>&1; echo code $?")
    assert "code 0" not in refused
    assert not agents.host("n1").file("/run/millrace-riak-cs-gc.sock").exists


def test_an_agent_that_is_killed_has_its_riak_cs_halted_and_comes_back_to_its_duty(agents: Cluster) -> None:
    one = holder(agents, "n3")
    before = agents.sudo(one, "systemctl show -P MainPID millrace-agent")
    agents.sudo(one, "riak-cs admin gc set-interval 900")  # as if it had been at it
    agents.sudo(one, "systemctl kill --signal=KILL millrace-agent")
    agents.wait(
        lambda: agents.sudo(one, "systemctl show -P MainPID millrace-agent") not in ("0", before), "another process"
    )
    assert "infinity" in agents.sudo(one, "riak-cs admin gc status"), "ExecStopPost came before it"
    agents.wait(lambda: status(agents, one).get("healthy") is True, "healthy again", longest_s(agents))
    assert holder(agents, one) == one


def test_the_duty_moves_within_the_lease_when_its_node_loses_power(agents: Cluster) -> None:
    dead = holder(agents, "n3")
    other = AGENTS[1 - AGENTS.index(dead)]
    agents.lab.crash(dead)
    began = time.monotonic()
    try:
        agents.wait(lambda: holder(agents, other) == other, f"{other} has the duty", longest_s(agents))
        print(f"\nthe duty moved from {dead} to {other} in {time.monotonic() - began:.0f} s")
    finally:
        agents.lab.start(dead)
    agents.wait(lambda: holder(agents, dead) == other, f"{dead} is back, and leaves it to {other}", agents.patience_s)
    agents.wait_until_serving()


def metric(cluster: Cluster, name: str, metric: str) -> str:
    text = cluster.sudo(name, f"curl -s http://{cluster.lab.address(name)}:8472/metrics")
    return next(line.split()[-1] for line in text.splitlines() if line.startswith(metric + " "))


def test_the_exposed_group_is_not_given_to_people(agents: Cluster) -> None:
    assert agents.sudo("n4", "getent group millrace").split(":")[3] == ""
    assert Path("/run/millrace-riak-cs-gc.sock").name in agents.sudo("n4", "systemctl list-sockets --no-legend")
