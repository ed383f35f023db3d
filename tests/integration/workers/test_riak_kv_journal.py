"""A gateway of two processes whose journal is in Riak KV: both append to one, and a death loses nothing of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.etcd_cluster import EtcdCluster
from tests.support.millrace_node import TOKEN, Node
from tests.support.riak_kv import RiakNode, given_or_standin
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

WORKERS = 2
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def riak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    with given_or_standin(tmp_path_factory.mktemp("riak")) as node:
        yield node


@pytest.fixture
def node(tmp_path: Path, riak: RiakNode) -> Iterator[Node]:
    extra: dict[str, dict[str, object]] = {
        "node": {"cluster": riak.cluster()},
        "gateway": {"workers": WORKERS},
        "journal": {"kind": "riak_kv"},
        "catalog": {"kind": "riak_kv"},
        "riak_kv": {"endpoints": [riak.http_url], "bucket_type": riak.bucket_type},
        "cluster": {"mode": "on", "lease_ttl_s": 5},
    }
    with EtcdCluster(1) as etcd:
        made = Node(tmp_path / "node", etcd=etcd.urls, extra=extra)
        try:
            made.start("gateway")
            yield made
        finally:
            made.stop()


def workers(node: Node) -> set[int]:
    """Process ids of the supervisor's children."""
    pid = node.processes["gateway"].pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def status(node: Node) -> dict[str, int]:
    """What the journal in Riak KV says, to a process of its own."""
    found: dict[str, int] = json.loads(node.cli("mirror", "status", "--json").stdout)
    return found


class Writers:
    """Blobs over several connections, which are made anew when they break; what was acknowledged is kept."""

    def __init__(self, node: Node, lanes: int = 4) -> None:
        self._node = node
        self.acknowledged: dict[str, bytes] = {}
        self.odd: list[int] = []
        """Statuses that are neither an acknowledgement nor "come again"."""
        self._stop = threading.Event()
        self._lanes = [threading.Thread(target=self._write, args=(lane,)) for lane in range(lanes)]

    def __enter__(self) -> Self:
        for lane in self._lanes:
            lane.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for lane in self._lanes:
            lane.join()

    def _write(self, lane: int) -> None:
        count = 0
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            count += 1
            body = f"{lane}/{count}".encode()
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._node.port, timeout=30)
                connection.request("POST", "/blobs", body, AUTH)
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
                continue
            if answer.status == 201:
                self.acknowledged[json.loads(said)["guid"]] = body
            elif answer.status != 503:
                self.odd.append(answer.status)
            if count % 5 == 0:  # the next connection may be another worker's
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


def test_i1_both_append_to_one_journal_and_a_killed_worker_loses_nothing(node: Node) -> None:
    assert len(workers(node)) == WORKERS
    with Writers(node) as writers:
        until(lambda: len(writers.acknowledged) >= 20, "written")
        for _ in range(2):
            victim = max(workers(node))
            os.kill(victim, signal.SIGKILL)
            until(lambda victim=victim: victim not in workers(node) and len(workers(node)) == WORKERS, "replaced")  # type: ignore[misc]
            held = len(writers.acknowledged)
            until(lambda held=held: len(writers.acknowledged) >= held + 10, "writes go on")  # type: ignore[misc]
    until(lambda: bool(node.ready("gateway")["ready"]), "ready again")
    acknowledged = writers.acknowledged
    assert writers.odd == []
    assert node.metrics("gateway")["millrace_gateway_worker_restarts_total"] == 2
    # Every acknowledged write has its entry, in a journal that no process of the gateway holds.
    assert status(node)["pending"] >= len(acknowledged)
    for guid, body in acknowledged.items():
        assert node.request("GET", f"/blobs/{guid}")[::2] == (200, body), guid
    node.start("agent")
    until(lambda: status(node)["pending"] == 0, "mirrored")
    assert status(node)["failed"] == 0
    copies = {path.name for path in (node.folder / "persistent").rglob("*") if path.is_file()}
    assert set(acknowledged) <= copies


def test_i1_writes_through_each_worker_are_entries_and_all_processes_may_die(node: Node) -> None:
    """Each worker by itself, then SIGKILL of the supervisor and both: a new gateway and an agent find all of it."""
    before = status(node)["pending"]
    assert before == 0
    with Writers(node) as writers:
        until(lambda: len(writers.acknowledged) >= 20, "written")
        for resting in sorted(workers(node)):
            # The kernel gives a new connection to whoever accepts: now only the other one does.
            os.kill(resting, signal.SIGSTOP)
            try:
                held = len(writers.acknowledged)
                until(lambda held=held: len(writers.acknowledged) >= held + 5, "the other one writes")  # type: ignore[misc]
            finally:
                os.kill(resting, signal.SIGCONT)
    victims = [node.processes["gateway"].pid, *workers(node)]
    for pid in victims[1:]:
        os.kill(pid, signal.SIGKILL)
    node.kill("gateway")
    assert status(node)["pending"] >= len(writers.acknowledged)
    node.start("gateway")
    node.start("agent")
    until(lambda: status(node)["pending"] == 0, "mirrored")
    for guid, body in writers.acknowledged.items():
        assert node.request("GET", f"/blobs/{guid}")[::2] == (200, body), guid
    copies = {path.name for path in (node.folder / "persistent").rglob("*") if path.is_file()}
    assert set(writers.acknowledged) <= copies
