"""A gateway of three processes: one to its clients, whatever becomes of its parts."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.millrace_node import TOKEN, Node
from tests.support.waiting import until

WORKERS = 3
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One for all: each test leaves it as it found it."""
    made = Node(tmp_path_factory.mktemp("node"), extra={"gateway": {"workers": WORKERS}})
    made.start("gateway")
    yield made
    made.stop()


def workers(node: Node) -> set[int]:
    """Process ids of the supervisor's children."""
    pid = node.processes["gateway"].pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def connected_to(node: Node, connection: socket.socket) -> int:
    """Which worker holds the other end of a client's connection."""
    client, server = connection.getsockname()[1], connection.getpeername()[1]
    wanted = f":{server:04X} 0100007F:{client:04X} "
    for line in Path("/proc/net/tcp").read_text().splitlines():
        if wanted in line:
            inode = line.split()[9]
            for pid in workers(node):
                for fd in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if os.readlink(fd) == f"socket:[{inode}]":
                            return pid
    return 0


@pytest.fixture
def each(node: Node) -> Iterator[dict[int, http.client.HTTPConnection]]:
    """A kept connection to every worker, by its process id."""
    found = to_each(node)
    yield found
    for connection in found.values():
        connection.close()


def to_each(node: Node) -> dict[int, http.client.HTTPConnection]:
    found: dict[int, http.client.HTTPConnection] = {}
    for _ in range(300):
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
        connection.request("GET", "/blobs/" + "0" * 32, headers=AUTH)
        connection.getresponse().read()
        pid = connected_to(node, connection.sock)
        if pid and pid not in found:
            found[pid] = connection
        else:
            connection.close()
        if len(found) == WORKERS:
            return found
    raise AssertionError(f"only {len(found)} of {WORKERS} workers accept connections")


def begun(connection: http.client.HTTPConnection) -> None:
    """Ends the head of a request whose body comes later; returns when its worker waits for that."""
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    going_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.sock.recv(len(going_on), socket.MSG_WAITALL) == going_on


def asked(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    connection.request(method, path, body, AUTH)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_it_is_ready_when_all_serve_and_tells_the_sum(node: Node, each: dict[int, http.client.HTTPConnection]) -> None:
    assert len(workers(node)) == WORKERS
    assert node.ready("gateway")["ready"]
    before = node.metrics("gateway")
    for connection in each.values():
        for n in range(4):
            assert asked(connection, "POST", "/blobs", f"{n} {id(connection)}".encode())[0] == 201
    after = node.metrics("gateway")
    assert after["millrace_blobs_stored_total"] - before["millrace_blobs_stored_total"] == 4 * WORKERS
    assert after["millrace_journal_pending_entries"] - before["millrace_journal_pending_entries"] == 4 * WORKERS
    assert (after["millrace_gateway_workers"], after["millrace_gateway_workers_serving"]) == (WORKERS, WORKERS)
    assert after["millrace_hot_cache_limit_bytes"] <= 2 << 30


def test_i4_what_one_deleted_no_other_serves(each: dict[int, http.client.HTTPConnection]) -> None:
    """Also not from its own hot cache, in which it lies validated a moment ago."""
    connections = list(each.values())
    for size in (100, 300_000):
        for deleter in connections:
            body = os.urandom(size)
            guid = hashlib.md5(body).hexdigest()
            assert asked(connections[0], "POST", "/blobs", body)[0] == 201
            for connection in connections:
                assert asked(connection, "GET", f"/blobs/{guid}") == (200, body)
                assert asked(connection, "GET", f"/blobs/{guid}") == (200, body)
            assert asked(deleter, "DELETE", f"/blobs/{guid}")[0] == 204
            assert [asked(connection, "GET", f"/blobs/{guid}")[0] for connection in connections] == [404] * WORKERS


def test_a_killed_worker_loses_nothing_and_is_replaced(node: Node) -> None:
    """SIGKILL under load, three times: every write that was acknowledged is there and journalled (I1)."""
    acknowledged: list[tuple[str, bytes]] = []
    stop = threading.Event()

    def write(lane: int) -> None:
        count = 0
        connection: http.client.HTTPConnection | None = None
        while not stop.is_set():
            count += 1
            body = f"{lane}/{count}".encode() * (1 if count % 7 else 60_000)
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
                status, said = asked(connection, "POST", "/blobs", body)
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
                continue
            if status == 201:
                acknowledged.append((json.loads(said)["guid"], body))
            else:
                assert status == 503, said
        if connection is not None:
            connection.close()

    lanes = [threading.Thread(target=write, args=(lane,)) for lane in range(6)]
    for lane in lanes:
        lane.start()
    node.request("POST", "/blobs", b"before")
    before = node.metrics("gateway")["millrace_blobs_stored_total"]
    for _ in range(3):
        victims = workers(node)
        time.sleep(0.3)
        os.kill(min(victims), signal.SIGKILL)
        until(partial(_replaced, node, min(victims)), "replaced")
    until(lambda: bool(node.ready("gateway")["ready"]), "ready again")
    until(lambda: len(acknowledged) > 50, "written")
    stop.set()
    for lane in lanes:
        lane.join()
    for guid, body in acknowledged:
        status, _, found = node.request("GET", f"/blobs/{guid}")
        assert (status, found) == (200, body), guid
    after = node.metrics("gateway")
    assert after["millrace_journal_pending_entries"] >= len(acknowledged)
    assert after["millrace_gateway_worker_restarts_total"] == 3
    assert after["millrace_blobs_stored_total"] >= before  # counters do not step back with a worker's death
    assert not list((node.data_dir / "spool").rglob("*.part"))
    node.start("agent")
    until(lambda: node.metrics("gateway")["millrace_journal_pending_entries"] == 0, "mirrored")
    for guid, body in acknowledged:
        assert (tmp := node.folder / "persistent").exists()
        assert any(path.read_bytes() == body for path in tmp.rglob(f"*{guid}*") if path.is_file()), guid
    node.stop("agent")


def test_it_is_not_ready_while_one_is_away(node: Node) -> None:
    stopped = min(workers(node))
    os.kill(stopped, signal.SIGKILL)
    seen = node.ready("gateway")
    if seen["ready"]:  # asked within the second that an answer is remembered
        until(lambda: not node.ready("gateway")["ready"] or len(workers(node)) == WORKERS, "seen")
    until(lambda: bool(node.ready("gateway")["ready"]), "ready again")
    assert len(workers(node)) == WORKERS


def test_on_sigterm_every_request_in_progress_is_finished(
    node: Node, each: dict[int, http.client.HTTPConnection]
) -> None:
    bodies = {pid: os.urandom(600_000) for pid in each}
    for pid, connection in each.items():
        connection.putrequest("POST", "/blobs")
        connection.putheader("Authorization", AUTH["Authorization"])
        connection.putheader("Content-Length", str(len(bodies[pid])))
        begun(connection)
        connection.send(bodies[pid][:300_000])
    gateway = node.processes["gateway"]
    gateway.send_signal(signal.SIGTERM)
    until(lambda: not _connects(node.port), "nobody new is let in")
    for pid, connection in each.items():
        connection.send(bodies[pid][300_000:])
        assert connection.getresponse().status == 201
    assert gateway.wait(60) == 0
    node.processes.pop("gateway")
    node.start("gateway")
    for body in bodies.values():
        assert node.request("GET", f"/blobs/{hashlib.md5(body).hexdigest()}")[2] == body


def test_without_their_supervisor_workers_end_and_hold_the_lock_until_then(
    node: Node, each: dict[int, http.client.HTTPConnection]
) -> None:
    left = workers(node)
    slow = next(iter(each.values()))
    slow.putrequest("POST", "/blobs")
    slow.putheader("Authorization", AUTH["Authorization"])
    slow.putheader("Content-Length", "10")
    begun(slow)
    slow.send(b"12345")
    node.kill("gateway")
    refused = node.start("gateway", wait=False)
    assert refused.wait(60) == 5
    assert "another millrace gateway" in node.log("gateway")
    slow.send(b"67890")
    assert slow.getresponse().status == 201
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "all have ended")
    node.start("gateway")
    assert node.ready("gateway")["ready"]


def test_what_keeps_a_worker_from_serving_is_told_and_ends_the_gateway(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", extra={"gateway": {"workers": WORKERS}})
    (tmp_path / "node" / "primary").write_text("no folder")
    gateway = node.start("gateway", wait=False)
    assert gateway.wait(60) not in (0, None)
    assert "primary" in node.log("gateway")


def test_fewer_workers_leave_no_folders(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", extra={"gateway": {"workers": WORKERS}})
    try:
        node.start("gateway")
        assert (node.data_dir / "spool" / "worker-2").is_dir()
        node.stop()
        node.config.write_text(node.config.read_text().replace(f"workers = {WORKERS}", "workers = 1"))
        node.start("gateway")
        assert not list(node.data_dir.glob("*/worker-*"))
        assert node.ready("gateway")["ready"]
    finally:
        node.stop()


def _replaced(node: Node, gone: int) -> bool:
    return gone not in workers(node) and len(workers(node)) == WORKERS


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
