"""Many clients at once want what only the far store has: workers of one gateway, and two gateways of a cluster, read it
there once, and whoever dies, nobody gets a wrong byte."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.chaos.proxy import Proxy, Way
from tests.integration.s3_gateway.test_mirror import client
from tests.integration.s3_gateway.wire import Wire
from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.millrace_node import TOKEN
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_gateway import S3Gateway
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, seaweedfs_server
from tests.support.secret_file import secret_file
from tests.support.waiting import until

CLIENTS: Final = 60
MIB: Final = 1 << 20


@dataclass
class World:
    gateways: list[S3Gateway]
    store: Proxy
    """Before the far store; counts what it answers."""
    alice: User
    near: Any
    """Client of SeaweedFS, which has blobs' primary too."""
    beneath: Wire

    def cold_object(self, body: bytes) -> list[str]:
        """A URL a gateway; only the target has it."""
        bucket = f"m-{secrets.token_hex(5)}"
        key = "cold"
        s3 = [client(gateway.url, self.alice.key, self.alice.secret) for gateway in self.gateways]
        s3[0].create_bucket(Bucket=bucket)
        s3[0].put_object(Bucket=bucket, Key=key, Body=body)
        self.settle()
        assert self.beneath.ask("DELETE", f"/{bucket}/{key}").status == 204
        return [each.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}) for each in s3]

    def cold_blob(self, body: bytes) -> list[str]:
        status, _, answer = self.gateways[0].node.request("POST", "/blobs", body)
        assert status == 201, answer
        self.settle()
        guid = json.loads(answer)["guid"]
        self.near.delete_object(Bucket="primary", Key=f"blobs/{guid}")
        return [f"{gateway.node.url}/blobs/{guid}" for gateway in self.gateways]

    def is_back(self, url: str) -> bool:
        path = urlsplit(url).path
        if not path.startswith("/blobs/"):
            return self.beneath.ask("HEAD", path).status == 200
        try:
            self.near.head_object(Bucket="primary", Key=path[1:])
        except ClientError:
            return False
        return True

    def settle(self) -> None:
        node = self.gateways[0].node
        until(lambda: node.metrics("gateway")["millrace_journal_pending_entries"] == 0, within_s=120)
        assert node.metrics("gateway")["millrace_journal_failed_entries"] == 0


@pytest.fixture(scope="module", params=["three workers", "two gateways of two workers"])
def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    riak_cs: RiakCs,
    alice: User,
    beneath: Wire,
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("cold")
    gateways, workers = (1, 3) if request.param == "three workers" else (2, 2)
    with contextlib.ExitStack() as stack:
        weed = stack.enter_context(seaweedfs_server(folder))
        proxy = stack.enter_context(Proxy(weed.url, 1))
        etcd = stack.enter_context(EtcdCluster(1)).urls if gateways > 1 else ()
        texts = {"store": SECRET_KEY, "cluster": "the-clusters-secret"}
        files = {name: secret_file(folder / name, text) for name, text in texts.items()}
        store: dict[str, Any] = {
            "kind": "s3", "create_bucket": True, "access_key": ACCESS_KEY, "read_timeout_s": 20,
            "secret_key": {"file": str(files["store"])},
        }  # fmt: skip
        far = {**store, "endpoints": [proxy.url]}
        rules = [{"buckets": "m-*", "read_through": True, "target": {**far, "bucket": "mirror"}}]
        extra: dict[str, dict[str, Any]] = {
            "gateway": {"workers": workers},
            "mirror": {"rules": rules},
            "hot_cache": {"kind": "none"},
        }
        if gateways > 1:
            extra["cluster"] = {"secret": {"file": str(files["cluster"])}}
        stores = {
            "primary": {**store, "endpoints": [weed.url], "bucket": "primary"},
            "persistent": {**far, "bucket": "persistent"},
        }
        running = [
            stack.enter_context(
                s3_gateway.running(folder / f"g{n}", riak_cs, etcd, name=f"cold{n}", extra=extra, **stores)
            )
            for n in range(gateways)
        ]
        running[0].node.start("agent")
        yield World(running, proxy, alice, client(weed.url, ACCESS_KEY, SECRET_KEY), beneath)


class Crowd:
    """Clients that all ask at once, each by a connection of its own."""

    def __init__(self, urls: list[str], body: bytes, clients: int) -> None:
        self.results: list[tuple[int, str]] = []
        """Each with the client's port: two may have the same one, towards two gateways or one after the other."""
        self.ports: list[int] = []
        """Of those that are connected, as far as they know: a worker may not have accepted them yet."""
        self._body = body
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._read, args=(urls[n % len(urls)],)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def join(self) -> list[tuple[int, str]]:
        for thread in self._threads:
            thread.join()
        return self.results

    def _read(self, url: str) -> None:
        at = urlsplit(url)
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=100)
        connection.connect()
        port, result, offset = connection.sock.getsockname()[1], "broken off", 0
        with self._lock:
            self.ports.append(port)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"{at.path}?{at.query}", headers=_token(at.path))
            answer = connection.getresponse()
            result = "broken off" if answer.status == 200 else str(answer.status)
            while answer.status == 200 and (data := answer.read(MIB)):
                if data != self._body[offset : offset + len(data)]:
                    result = "WRONG"
                    break
                offset += len(data)
            if answer.status == 200 and result != "WRONG" and offset == len(self._body):
                result = "right"
        connection.close()
        with self._lock:
            self.results.append((port, result))


def _token(path: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"} if path.startswith("/blobs/") else {}


def content(size: int) -> bytes:
    return hashlib.shake_128(os.urandom(16)).digest(MIB) * (size // MIB)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["object", "blob"])
@pytest.mark.parametrize("mib", [1, 0])
def test_the_far_store_is_read_once(what: str, mib: int, world: World, request: pytest.FixtureRequest) -> None:
    """`mib` 0: as many as --stampede-mib says."""
    body = content((mib or request.config.getoption("--stampede-mib")) * MIB)
    urls = world.cold_object(body) if what == "object" else world.cold_blob(body)
    before = world.store.answered_bytes
    results = Crowd(urls, body, CLIENTS).join()
    assert [result for _, result in results] == ["right"] * CLIENTS
    read = world.store.answered_bytes - before
    # Beside the bytes: the heads of its answers to all who asked whether it has it.
    assert len(body) <= read < len(body) * 1.01 + CLIENTS * 1500, f"{read / len(body):.2f} times its bytes were read"
    until(lambda: world.is_back(urls[0]))


def fetching(world: World) -> int:
    """The worker that writes into its spool."""
    for gateway in world.gateways:
        for pid in workers(gateway):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if "/spool/" in os.readlink(fd):
                        return pid
    return 0


def workers(gateway: S3Gateway) -> list[int]:
    pid = gateway.node.processes["gateway"].pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def clients_of(pid: int) -> set[int]:
    """The ports of whom it holds connections with."""
    sockets = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(fd))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[2].rpartition(":")[2], 16) for line in lines if f"socket:[{line[9]}]" in sockets}


def everyones_clients(world: World) -> set[int]:
    return set().union(*(clients_of(pid) for gateway in world.gateways for pid in workers(gateway)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["object", "blob"])
def test_when_the_worker_that_fetches_is_killed_the_others_answer(what: str, world: World) -> None:
    body = content(6 * MIB)
    urls = world.cold_object(body) if what == "object" else world.cold_blob(body)
    before = world.store.answered_bytes
    world.store.set_way(Way.SLOW)  # so that there is a middle
    try:
        first = Crowd(urls[:1], body, 1)
        until(lambda: world.store.answered_bytes - before > MIB)
        victim = fetching(world)
        assert victim
        rest = Crowd(urls, body, 20)
        # One that nobody has accepted would be lost with the victim too, and nobody could tell.
        until(lambda: len(rest.ports) == 20 and everyones_clients(world).issuperset(rest.ports))
        until(lambda: world.store.answered_bytes - before > 3 * MIB)
        lost = clients_of(victim)
        os.kill(victim, signal.SIGKILL)
        results = rest.join()
    finally:
        world.store.set_way(Way.PASS)
    assert [result for _, result in first.join()] == ["broken off"]
    assert {result for port, result in results if port not in lost} == {"right"}
    assert {result for port, result in results if port in lost} <= {"broken off"}
    until(lambda: all(gateway.node.ready("gateway")["ready"] for gateway in world.gateways))
    assert [result for _, result in Crowd(urls, body, 5).join()] == ["right"] * 5
