"""Three nodes of real processes over a real three-node etcd, the Riak CS stand-in, and SeaweedFS as the target."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.proxy import Proxy
from tests.chaos.s3_client import S3, Keys
from tests.chaos.schedule import NODES
from tests.support import riak_cs as upstreams
from tests.support import riak_kv as upstreams_kv
from tests.support.etcd_cluster import EtcdCluster
from tests.support.millrace_node import Node
from tests.support.riak_cs import RiakCs
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, S3Server, free_port, seaweedfs_server
from tests.support.secret_file import secret_file

ROLES = ("gateway", "agent")
DISK_MIB = 192
"""Of each node's data directory, a file system of its own: so that it can be filled."""

SETTLE_S = 120.0


@dataclass
class Cluster:
    riak_cs: RiakCs
    seaweedfs: S3Server
    etcd: EtcdCluster
    source: Proxy
    target: Proxy
    user: Keys
    nodes: list[Node]
    urls: list[str]
    """Of the S3 fronts."""
    own_disks: bool
    """False: file systems could not be mounted here, so no disk can be filled."""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def at_source(self) -> S3:
        return S3(self.riak_cs.url, self.user, 30)

    @property
    def at_target(self) -> S3:
        return S3(self.seaweedfs.url, Keys(ACCESS_KEY, SECRET_KEY), 30)

    def is_running(self, node: Node, role: str) -> bool:
        process = node.processes.get(role)
        return process is not None and process.poll() is None

    def heal(self) -> None:
        """Everything runs; returns when it answers."""
        for node in self.nodes:
            for role in ROLES:
                if self.is_running(node, role):
                    node.processes[role].send_signal(signal.SIGCONT)
                else:
                    self.start(node, role)
            self.free_disk(node)
        until = time.monotonic() + SETTLE_S
        for node in self.nodes:
            for role in ROLES:
                starts = 0
                while True:
                    if not self.is_running(node, role):
                        starts += 1
                        assert starts < 4, f"{node.name} {role} does not start: {node.log(role)[-2000:]}"
                        self.start(node, role)
                    with contextlib.suppress(OSError, ValueError):
                        if node.ready(role)["ready"]:
                            break
                    assert time.monotonic() < until, f"{node.name} {role}: {node.log(role)[-3000:]}"
                    time.sleep(0.2)

    def start(self, node: Node, role: str) -> None:
        ended = node.processes.get(role)
        if ended is not None:
            # Not by the nemesis, which takes what it kills off the list. A service manager would start it again.
            self.counts[f"{role}s that ended by themselves"] += 1
        node.start(role, wait=False)

    def settle(self) -> None:
        """Wait until no journal holds anything; dead letters are tried anew, as an operator would.

        Raises AssertionError when the journals have not become shorter for SETTLE_S.
        """
        least, until = float("inf"), 0.0
        while True:
            left = {node.name: self._left(node) for node in self.nodes}
            if not any(left.values()):
                return
            if sum(left.values()) < least:
                least, until = sum(left.values()), time.monotonic() + SETTLE_S
            assert time.monotonic() < until, (left, [node.log("agent")[-2000:] for node in self.nodes])
            time.sleep(0.3)

    def _left(self, node: Node) -> float:
        metrics = node.metrics("gateway")
        failed = metrics["millrace_journal_failed_entries"]
        if failed:
            self.counts["dead letters"] += int(failed)
            retried = node.cli("mirror", "retry", "--all")
            assert retried.returncode == 0, retried.stderr
        return metrics["millrace_journal_pending_entries"] + failed

    def fill_disk(self, node: Node) -> None:
        with contextlib.suppress(OSError), (node.data_dir / "ballast").open("wb", buffering=0) as file:
            while file.write(b"\0" * 65536):
                pass

    def free_disk(self, node: Node) -> None:
        with contextlib.suppress(FileNotFoundError):
            (node.data_dir / "ballast").unlink()


@contextlib.contextmanager
def running(folder: Path, seed: int, journal: str = "sqlite") -> Iterator[Cluster]:
    """`journal`: "sqlite", one of each node's own, or "riak_kv", one that all agents share and divide by shards."""
    with contextlib.ExitStack() as stack:
        shared: dict[str, dict[str, Any]] = {}
        if journal == "riak_kv":
            riak_kv = stack.enter_context(upstreams_kv.standin(folder / "riak-kv"))
            shared = {
                "journal": {"kind": "riak_kv", "recount_s": 1},
                "riak_kv": {"endpoints": [riak_kv.http_url], "bucket_type": riak_kv.bucket_type},
            }
        riak_cs = stack.enter_context(upstreams.standin(folder / "riak-cs"))
        seaweedfs = stack.enter_context(seaweedfs_server(folder))
        etcd = stack.enter_context(EtcdCluster(3))
        source = stack.enter_context(Proxy(riak_cs.url, seed))
        target = stack.enter_context(Proxy(seaweedfs.url, seed + 1))
        user = riak_cs.create_user("chaos")
        nodes, urls = [], []
        own_disks = True
        secrets = _secrets(folder, riak_cs)
        for number in range(NODES):
            home = folder / f"node{number}"
            port = free_port()
            extra = {**_settings(riak_cs, source.url, target.url, secrets, port), **shared}
            node = Node(
                home, primary=_store(seaweedfs.url, "primary", secrets), etcd=etcd.urls, name=f"n{number}", extra=extra
            )
            node.data_dir.mkdir()
            own_disks = own_disks and stack.enter_context(_own_disk(node.data_dir))
            stack.callback(_end, node)
            nodes.append(node)
            urls.append(f"http://127.0.0.1:{port}")
        cluster = Cluster(riak_cs, seaweedfs, etcd, source, target, Keys(user.key, user.secret), nodes, urls, own_disks)
        cluster.heal()
        cluster.counts.clear()
        yield cluster


def _end(node: Node) -> None:
    for role in tuple(node.processes):
        node.kill(role)


def _secrets(folder: Path, riak_cs: RiakCs) -> dict[str, str]:
    found = {}
    for name, value in (("source", riak_cs.secret), ("target", SECRET_KEY)):
        path = secret_file(folder / f"{name}-secret", value)
        found[name] = str(path)
    return found


def _store(url: str, bucket: str, secrets: dict[str, str]) -> dict[str, Any]:
    return {
        "kind": "s3", "endpoints": [url], "bucket": bucket, "create_bucket": True, "access_key": ACCESS_KEY,
        "secret_key": {"file": secrets["target"]}, "read_timeout_s": 4, "part_bytes": 6 << 20,
    }  # fmt: skip


def _settings(
    riak_cs: RiakCs, source: str, target: str, secrets: dict[str, str], port: int
) -> dict[str, dict[str, Any]]:
    rule = {"buckets": "m-*", "read_through": True, "target": _store(target, "mirror", secrets)}
    return {
        "s3": {
            "port": port, "endpoints": [source], "admin_urls": [riak_cs.admin_url], "admin_key": riak_cs.key,
            "admin_secret": {"file": secrets["source"]}, "read_timeout_s": 4,
        },
        "cluster": {"mode": "on", "lease_ttl_s": 5},
        "mirror": {"rules": [rule], "retry": {"first_s": 0.2, "most_s": 3.0}},
    }  # fmt: skip


@contextlib.contextmanager
def _own_disk(folder: Path) -> Iterator[bool]:
    """A small file system at `folder`; False, and nothing done, where mounting is not allowed."""
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0750", "millrace-chaos", str(folder)]
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
