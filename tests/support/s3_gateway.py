"""Gateways as real processes in front of a Riak CS, for the tests of the S3 front and for the clients."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.etcd_cluster import Authority
from tests.support.millrace_node import Node
from tests.support.ports import free_port
from tests.support.riak_cs import RiakCs
from tests.support.secret_file import secret_file


@dataclass(frozen=True)
class S3Gateway:
    """A running one. `url` is its S3 front."""

    url: str
    node: Node
    ca_file: str = ""
    """To be trusted over TLS; empty over plain HTTP."""

    def pending(self) -> float:
        """Entries of the journal that wait to be mirrored; none may have failed."""
        metrics = self.node.metrics("gateway")
        assert metrics["millrace_journal_failed_entries"] == 0, self.node.cli("mirror", "failed").stdout
        return metrics["millrace_journal_pending_entries"]

    def settle(self, most_s: float = 120) -> None:
        """Waits until nothing is pending."""
        until = time.monotonic() + most_s
        while self.pending():
            assert time.monotonic() < until, self.node.log("agent")[-3000:]
            time.sleep(0.05)


@contextlib.contextmanager
def running(
    folder: Path,
    riak_cs: RiakCs,
    etcd: Sequence[str] = (),
    *,
    tls: Authority | None = None,
    name: str = "gateway1",
    s3: dict[str, Any] | None = None,
    extra: dict[str, dict[str, Any]] | None = None,
    primary: dict[str, Any] | None = None,
    persistent: dict[str, Any] | None = None,
) -> Iterator[S3Gateway]:
    """`s3` and `extra` are further settings; stores as Node has them. It is listening when the block begins."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = secret_file(folder / "admin-secret", riak_cs.secret + "\n")
    table: dict[str, Any] = {
        "port": free_port(),
        "endpoints": [riak_cs.url],
        "admin_urls": [riak_cs.admin_url],
        "admin_key": riak_cs.key,
        "admin_secret": {"file": str(secret)},
        **(s3 or {}),
    }
    tables = {"s3": table, "log": {"access": True}}
    if tls is not None:
        tables["s3.tls"] = {"cert_file": str(tls.cert_file), "key_file": str(tls.key_file)}
    more = {**tables, **(extra or {})}
    node = Node(folder / "node", primary, persistent, etcd=tuple(etcd), name=name, extra=more)
    node.start("gateway")
    scheme, ca_file = ("https", str(tls.ca_file)) if tls is not None else ("http", "")
    try:
        yield S3Gateway(f"{scheme}://127.0.0.1:{table['port']}", node, ca_file)
    finally:
        node.stop()
