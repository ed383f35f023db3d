"""Five gateways, fifty clients, one cold blob: the store is read once, and whoever dies, nobody gets a wrong one."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.proxy import Proxy, Way
from tests.chaos.s3_client import S3, Keys
from tests.support.etcd_cluster import EtcdCluster
from tests.support.millrace_node import TOKEN, Node
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, seaweedfs_server
from tests.support.secret_file import secret_file
from tests.support.waiting import until

GATEWAYS, CLIENTS = 5, 50
MIB = 1 << 20


@dataclass
class Five:
    nodes: list[Node]
    store: Proxy
    """Before the persistent store; counts what it answers."""
    s3: S3
    secret: str

    def cold(self, size: int) -> str:
        """A blob that only the persistent store has."""
        body = hashlib.shake_128(str(time.monotonic_ns()).encode()).digest(MIB) * (size // MIB)
        status, _, answer = self.nodes[0].request("POST", "/blobs", body)
        assert status == 201, answer
        guid = str(json.loads(answer)["guid"])
        until(lambda: self.nodes[0].metrics("gateway")["millrace_journal_pending_entries"] == 0, within_s=200)
        self.s3.close()
        assert self.s3.ask("DELETE", "primary", f"blobs/{guid}")[0] == 204
        return guid


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Five]:
    folder = tmp_path_factory.mktemp("stampede")
    with contextlib.ExitStack() as stack:
        weed = stack.enter_context(seaweedfs_server(folder))
        etcd = stack.enter_context(EtcdCluster(1))
        proxy = stack.enter_context(Proxy(weed.url, 1))
        texts = {"store": SECRET_KEY, "cluster": "the-clusters-secret"}
        secrets = {name: secret_file(folder / name, text) for name, text in texts.items()}
        table: dict[str, Any] = {
            "kind": "s3", "create_bucket": True, "access_key": ACCESS_KEY, "read_timeout_s": 20,
            "secret_key": {"file": str(secrets["store"])},
        }  # fmt: skip
        extra = {
            "cluster": {"secret": {"file": str(secrets["cluster"])}},
            "hot_cache": {"kind": "none"},
        }
        nodes = [
            Node(
                folder / f"n{number}",
                primary={**table, "endpoints": [weed.url], "bucket": "primary"},
                persistent={**table, "endpoints": [proxy.url], "bucket": "persistent"},
                etcd=etcd.urls,
                name=f"n{number}",
                extra=extra,
            )
            for number in range(GATEWAYS)
        ]
        for node in nodes:
            stack.callback(node.stop)
            node.start("gateway")
        nodes[0].start("agent")
        s3 = S3(weed.url, Keys(ACCESS_KEY, SECRET_KEY))
        stack.callback(s3.close)
        yield Five(nodes, proxy, s3, "the-clusters-secret")


class Stampede:
    """Clients that all ask at once, and what each of them got."""

    def __init__(self, nodes: list[Node], guid: str, clients: int) -> None:
        self.results: Counter[str] = Counter()
        self._guid = guid
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._read, args=(nodes[number % len(nodes)].port,)) for number in range(clients)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> Counter[str]:
        for thread in self._threads:
            thread.join()
        return self.results

    def _read(self, port: int) -> None:
        md5, result = hashlib.md5(), "broken off"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/blobs/{self._guid}", headers={"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            if answer.status == 200:
                left = int(answer.headers["content-length"])
                while data := answer.read(MIB):
                    md5.update(data)
                    left -= len(data)
                # http.client ends in silence where a connection with a length does.
                if not left:
                    result = "right" if md5.hexdigest() == self._guid else "WRONG"
            else:
                result = str(answer.status)
        connection.close()
        with self._lock:
            self.results[result] += 1


@pytest.mark.timeout(600)
def test_a_stampede_on_all_gateways_reads_the_persistent_store_once(five: Five, request: pytest.FixtureRequest) -> None:
    size = request.config.getoption("--stampede-mib") * MIB
    guid = five.cold(size)
    before = five.store.answered_bytes
    stampede = Stampede(five.nodes, guid, CLIENTS)
    stampede.start()
    assert stampede.join() == {"right": CLIENTS}
    read = five.store.answered_bytes - before
    assert size <= read < size * 1.01, f"{read / size:.2f} times the blob was read"
    assert sum(node.metrics("gateway").get('millrace_blob_fills_total{result="filled",store="peers"}', 0)
               for node in five.nodes) >= GATEWAYS - 1  # fmt: skip
    five.s3.close()  # it was idle for so long that the server may have closed it
    until(lambda: five.s3.ask("HEAD", "primary", f"blobs/{guid}")[0] == 200, within_s=30)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_when_the_provider_dies_in_the_middle_the_others_go_on_at_the_store(five: Five, how: signal.Signals) -> None:
    size = 24 * MIB
    guid = five.cold(size)
    before = five.store.answered_bytes
    # So slow that there is a middle.
    five.store.set_way(Way.SLOW)
    provider, others = five.nodes[1], [five.nodes[0], *five.nodes[2:]]
    first = Stampede([provider], guid, 1)
    first.start()
    until(lambda: five.store.answered_bytes - before > size // 8)
    rest = Stampede(others, guid, 12)
    rest.start()
    until(lambda: five.store.answered_bytes - before > size // 3)
    five.store.set_way(Way.PASS)
    provider.processes["gateway"].send_signal(how)
    try:
        results = rest.join()
    finally:
        if how is signal.SIGSTOP:
            provider.processes["gateway"].send_signal(signal.SIGCONT)
        else:
            provider.kill("gateway")
            provider.start("gateway")
    gone = first.join()
    assert not {"WRONG"} & (results.keys() | gone.keys())
    assert results == {"right": 12}


def test_only_the_clusters_secret_opens_what_is_being_fetched(five: Five) -> None:
    guid = hashlib.md5(b"x").hexdigest()
    node = five.nodes[0]
    for token, status in ((TOKEN, 403), ("another", 401), (five.secret, 404)):
        answer = node.request("GET", f"/peers/blobs/{guid}", headers={"Authorization": f"Bearer {token}"})
        assert answer[0] == status, (token, answer)
    # And it opens nothing else.
    assert node.request("GET", f"/blobs/{guid}", headers={"Authorization": f"Bearer {five.secret}"})[0] == 403


def test_without_etcd_each_gateway_fetches_for_itself(tmp_path: Path) -> None:
    """I10: a directory that is away costs a second, not the answer."""
    secret = secret_file(tmp_path / "secret", "s3cret")
    with EtcdCluster(1) as etcd:
        etcd.stop_member(0)
        node = Node(tmp_path / "n", etcd=etcd.urls, extra={"cluster": {"secret": {"file": str(secret)}}})
        try:
            node.start("gateway")
            guid = hashlib.md5(b"nobody has it").hexdigest()
            began = time.monotonic()
            assert node.request("GET", f"/blobs/{guid}")[0] == 404
            assert time.monotonic() - began < 15  # on a busy machine; a directory's own patience would be longer
        finally:
            node.stop()
