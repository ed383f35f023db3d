"""Two real agents, a real etcd, a Riak CS socket beside each: one collects, and the duty moves when its node dies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.etcd_cluster import EtcdCluster
from tests.support.millrace_node import Node
from tests.support.riak_cs_socket import Cluster, RiakCsSocket
from tests.support.waiting import until

TTL_S = 6.0
ROUND_S = TTL_S / 6
LATE_S = 10.0
"""etcd ends a lease up to two seconds late; the rest is a busy machine. To the second, in virtual time:
tests/unit/services/test_gc_duty.py."""


class Pair:
    def __init__(self, folder: Path, etcd: EtcdCluster, closing: ExitStack) -> None:
        self.cluster = Cluster()
        self.etcd = etcd
        self.nodes: dict[str, Node] = {}
        self.sockets: dict[str, RiakCsSocket] = {}
        for name in ("a", "b"):
            socket = closing.enter_context(RiakCsSocket(folder / f"{name}.sock", name, self.cluster))
            gc = {
                "socket": str(socket.path), "interval_s": 1, "lease_ttl_s": TTL_S, "command_timeout_s": 2, "check_s": 2
            }  # fmt: skip
            node = Node(folder / name, etcd=etcd.urls, name=name, extra={"gc": gc, "node": {"cluster": folder.name}})
            closing.callback(node.stop)
            self.nodes[name], self.sockets[name] = node, socket
            node.start("agent")

    def holder(self) -> str:
        """The name of the node that collects, once one does; it says so by its metrics too."""
        until(lambda: len(self.cluster.collecting) == 1, "one node collects")
        (name,) = self.cluster.collecting
        assert self.nodes[name].metrics("agent")["millrace_gc_duty_held"] == 1
        return name

    def other(self, name: str) -> str:
        return "a" if name == "b" else "b"


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(1) as cluster:
        yield cluster


@pytest.fixture
def pair(tmp_path: Path, etcd: EtcdCluster) -> Iterator[Pair]:
    with ExitStack() as closing:
        pair = Pair(tmp_path, etcd, closing)
        yield pair
        assert pair.cluster.overlaps == []


def gc_status(node: Node) -> tuple[int, dict[str, object]]:
    run = node.cli("gc", "status", "--json")
    assert run.stdout, run.stderr
    facts: dict[str, object] = json.loads(run.stdout)
    return run.returncode, facts


def test_one_collects_and_the_command_tells_who(pair: Pair) -> None:
    holder = pair.holder()
    other = pair.other(holder)
    time.sleep(3)
    assert pair.cluster.collecting == {holder}
    assert pair.nodes[other].metrics("agent")["millrace_gc_duty_held"] == 0
    for name in (holder, other):
        code, facts = gc_status(pair.nodes[name])
        assert code == 0
        assert (facts["holder"], facts["node"], facts["collecting"]) == (holder, name, name == holder)


def test_the_duty_moves_within_the_lease_when_the_holders_node_dies(pair: Pair) -> None:
    dead = pair.holder()
    pair.nodes[dead].kill("agent")
    pair.sockets[dead].say(f"pause {time.time() + 9:.0f}")  # its Riak CS dies with it
    successor = pair.other(dead)
    took = until(lambda: pair.cluster.collecting == {successor}, "the other one collects")
    assert took < TTL_S + ROUND_S + LATE_S
    pair.nodes[dead].start("agent")
    time.sleep(2 * ROUND_S)
    assert pair.cluster.collecting == {successor}


def test_an_agent_that_is_stopped_leaves_nothing_behind_and_the_other_need_not_wait(pair: Pair) -> None:
    leaving = pair.holder()
    pair.nodes[leaving].stop("agent")
    assert leaving not in pair.cluster.collecting
    other = pair.other(leaving)
    assert gc_status(pair.nodes[other])[1]["holder"] != leaving
    until(lambda: pair.cluster.collecting == {other}, "the other one collects")


def test_a_holder_whose_etcd_is_gone_halts_before_its_lease_could_have_ended(pair: Pair) -> None:
    holder = pair.holder()
    pair.etcd.stop_member(0)
    try:
        took = until(lambda: not pair.cluster.collecting, "it halts by itself")
        assert took < TTL_S + LATE_S
        code = pair.nodes[holder].cli("gc", "status", "--json").returncode
        assert code == 4, "an outage is not 'nobody holds it' (I5)"
    finally:
        pair.etcd.restart_member(0)
    pair.holder()


def test_a_timer_left_on_by_an_older_configuration_is_switched_off(pair: Pair) -> None:
    pair.holder()
    for socket in pair.sockets.values():
        socket.timer = True
    until(lambda: not any(s.timer for s in pair.sockets.values()), "both timers off")
    pair.holder()


def test_doctor_tells_of_it(pair: Pair) -> None:
    holder = pair.holder()

    def finding(name: str) -> dict[str, str]:
        found = json.loads(pair.nodes[name].cli("doctor", "--json").stdout)["checks"]
        return next(each for each in found if each["check"] == "garbage collection")

    for name in (holder, pair.other(holder)):
        assert finding(name)["result"] == "ok"
        assert f"the duty is {holder}'s" in finding(name)["found"]
    pair.sockets[holder].answer = "Node 'riak-cs@10.0.0.1' is not responding to pings\n"
    pair.cluster.collecting.discard(holder)  # a dead node collects nothing
    assert finding(holder)["result"] == "fail"


def test_halt_by_hand_and_a_node_without_a_part_in_it(pair: Pair, tmp_path: Path, etcd: EtcdCluster) -> None:
    holder = pair.holder()
    done = pair.nodes[holder].cli("gc", "halt")
    assert (done.returncode, done.stdout) == (0, b"no garbage is collected here\n")
    stranger = Node(tmp_path / "c", etcd=etcd.urls, name="c")
    refused = stranger.cli("gc", "status")
    assert refused.returncode == 2
    assert b"gc.socket" in refused.stderr
