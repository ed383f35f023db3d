"""Agents as real processes over a real etcd: they divide the shards, and take over those of one that dies."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.adapters.etcd import EtcdOptions
from controlplane.adapters.etcd.shard_directory import EtcdShardDirectory
from controlplane.ports.shards import Seen
from tests.support.etcd_cluster import EtcdCluster
from tests.support.millrace_node import Node
from tests.support.waiting import until

TTL_S = 4
SLACK_S = 2.0
"""Promised beside the TTL; etcd takes up to one of them. tests/unit/services/test_shard_ownership.py holds it to the
second, in virtual time."""
BUSY_S = 8.0
"""What a busy machine may take beside it, for real processes."""
OWNED = "millrace_cluster_shards_owned"


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(3) as cluster:
        yield cluster


@pytest.fixture
def nodes(tmp_path: Path, etcd: EtcdCluster) -> Iterator[list[Node]]:
    extra = {"cluster": {"mode": "on", "lease_ttl_s": TTL_S}, "node": {"cluster": tmp_path.name.replace("_", "-")}}
    made = [Node(tmp_path / f"n{n}", etcd=etcd.urls, name=f"n{n}", extra=extra) for n in range(3)]
    try:
        for node in made:
            node.start("agent", wait=False)
        until(lambda: sum(owned(node) for node in made) == 256 and all(map(owned, made)))
        yield made
    finally:
        for node in made:
            with contextlib.suppress(KeyError):
                node.processes["agent"].send_signal(signal.SIGCONT)
            node.stop()


def owned(node: Node) -> int:
    try:
        return int(node.metrics("agent")[OWNED])
    except (OSError, KeyError):
        return 0


def seen(etcd: EtcdCluster, node: Node) -> Seen:
    """What etcd has of the members and their shards."""

    async def look() -> Seen:
        directory = EtcdShardDirectory(EtcdOptions(etcd.urls), node.extra["node"]["cluster"])
        try:
            return await directory.seen()
        finally:
            await directory.aclose()

    return asyncio.run(look())


def test_a_killed_agents_shards_are_others_within_the_ttl_and_two_seconds(nodes: list[Node]) -> None:
    nodes[0].kill("agent")
    took_s = until(lambda: owned(nodes[1]) + owned(nodes[2]) == 256)
    assert took_s < TTL_S + SLACK_S + BUSY_S
    nodes[0].start("agent")
    until(lambda: owned(nodes[0]) > 0 and sum(map(owned, nodes)) == 256)


def test_an_orderly_stop_gives_shards_back_at_once(nodes: list[Node], etcd: EtcdCluster) -> None:
    nodes[0].stop("agent")
    left = seen(etcd, nodes[0])
    assert left.members.keys() == {"n1", "n2"}, "the others need not wait for its lease"
    until(lambda: owned(nodes[1]) + owned(nodes[2]) == 256)


def test_a_paused_agent_finds_that_it_lost_its_shards_and_joins_anew(nodes: list[Node]) -> None:
    process = nodes[0].processes["agent"]
    process.send_signal(signal.SIGSTOP)
    until(lambda: owned(nodes[1]) + owned(nodes[2]) == 256)
    process.send_signal(signal.SIGCONT)
    until(lambda: owned(nodes[0]) > 0 and sum(map(owned, nodes)) == 256)
    assert nodes[0].metrics("agent")["millrace_cluster_sessions_lost_total"] >= 1
