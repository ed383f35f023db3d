"""Blobs in, mirrored, verified, found: with a real etcd, moto's server as AWS, and a SIGKILL in the middle.

Prints what happens and a table at the end; exit code 0 only when every object was proved equal at the target.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.demo.files import Source, collect
from tests.support.etcd_cluster import EtcdCluster
from tests.support.millrace_node import TOKEN, Node
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, moto_server
from tests.support.secret_file import secret_file

FILES = 2000
TREE = Path("/usr/share")
BUCKET = "millrace-demo"
UPLOADERS = 4
_STALL_S = 60
"""When the journal has not shrunk for so long, waiting for it is given up, and the check tells what is missing."""

console = Console(highlight=False)


@dataclass
class Result:
    objects: int
    size: int
    upload_s: float
    mirrored_s: float
    lags: Sequence[float]
    verified: int
    pending_at_kill: int
    endpoints: Sequence[str]


def main() -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="millrace-demo-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        console.print("[bold]1[/] a real etcd, and moto's server in place of AWS S3")
        etcd = stack.enter_context(EtcdCluster(1, folder=folder / "etcd"))
        aws = stack.enter_context(moto_server(folder))
        console.print(f"  etcd at {etcd.urls[0]}, S3 at {aws.url}")
        console.print("[bold]2[/] Millrace: a gateway and an agent over an embedded primary store")
        node = _node(folder, etcd.urls, aws.url)
        stack.callback(node.stop)
        node.start("gateway")
        node.start("agent")
        console.print(f"  blobs at {node.url}, settings in {node.config.name}")
        sources = collect(TREE, FILES, folder)
        console.print(f"[bold]3[/] {len(sources)} files of {TREE} and elsewhere go in; the agent is killed on the way")
        result = _run(node, aws.url, sources)
        _find(node, sources)
    _report(result, time.monotonic() - started)
    return 0 if result.verified == result.objects and result.endpoints else 1


def _node(folder: Path, etcd: Sequence[str], s3_url: str) -> Node:
    secret = secret_file(folder / "aws-secret", SECRET_KEY)
    persistent = {
        "kind": "s3",
        "endpoints": [s3_url],
        "bucket": BUCKET,
        "access_key": ACCESS_KEY,
        "secret_key": {"file": str(secret)},
        "create_bucket": True,
    }
    return Node(folder / "node", persistent=persistent, etcd=tuple(etcd))


def _run(node: Node, s3_url: str, sources: Sequence[Source]) -> Result:
    columns = (TextColumn("  {task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(UPLOADERS) as pool:
        total = len(sources)
        uploading = progress.add_task("uploaded", total=total)
        mirroring = progress.add_task("mirrored", total=total)
        begun = time.monotonic()
        pending_at_kill = -1
        # The large one goes first: its copy is under way when the agent dies.
        uploads = [pool.submit(_upload, node, source) for source in reversed(sources)]
        for done, upload in enumerate(as_completed(uploads), 1):
            upload.result()
            progress.update(uploading, completed=done)
            if done == total * 2 // 5:
                node.kill("agent")
                pending_at_kill = _pending(node)
                progress.console.print(
                    f"  agent killed with SIGKILL: {done} acknowledged, {pending_at_kill} in the journal"
                )
            if done == total * 3 // 5:
                progress.console.print(f"  agent started again: {_pending(node)} in the journal")
                node.start("agent")
            if done % 50 == 0:
                progress.update(mirroring, completed=max(0, done - _pending(node)))
        upload_s = time.monotonic() - begun
        least, deadline = total, time.monotonic() + _STALL_S
        while (pending := _pending(node)) and time.monotonic() < deadline:
            if pending < least:
                least, deadline = pending, time.monotonic() + _STALL_S
            progress.update(mirroring, completed=total - pending)
            time.sleep(0.2)
        mirrored_s = time.monotonic() - begun
        progress.update(mirroring, completed=total - pending)
        checking = progress.add_task("verified", total=total)
        verified = 0
        for good in pool.map(_verifier(s3_url), sources):
            verified += good
            progress.advance(checking)
    return Result(
        objects=len(sources),
        size=sum(source.size for source in sources),
        upload_s=upload_s,
        mirrored_s=mirrored_s,
        lags=_lags(node, sources),
        verified=verified,
        pending_at_kill=pending_at_kill,
        endpoints=_endpoints(node),
    )


def _upload(node: Node, source: Source) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    try:
        with source.path.open("rb") as body:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Length": str(source.size)}
            connection.request("POST", "/blobs", body, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status not in (200, 201) or (found["guid"], found["sha256"]) != (source.guid, source.sha256):
        raise SystemExit(f"upload of {source.path}: status {answer.status}, {found}")


def _pending(node: Node) -> int:
    """Asked of the gateway's admin port: it shares the journal with the agent."""
    metrics = node.metrics("gateway")
    if metrics["millrace_journal_failed_entries"]:
        raise SystemExit(f"dead letters: {node.cli('mirror', 'failed').stdout.decode()}")
    return int(metrics["millrace_journal_pending_entries"])


def _verifier(s3_url: str) -> Any:
    """An independent reader: boto3 against the target, digests against the file on this machine."""
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=UPLOADERS),
    )

    def verify(source: Source) -> bool:
        body = s3.get_object(Bucket=BUCKET, Key=f"blobs/{source.guid}")["Body"]
        md5, sha256 = hashlib.md5(), hashlib.sha256()
        while chunk := body.read(1 << 20):
            md5.update(chunk)
            sha256.update(chunk)
        return (md5.hexdigest(), sha256.hexdigest()) == (source.guid, source.sha256)

    return verify


def _lags(node: Node, sources: Sequence[Source]) -> list[float]:
    """Seconds from acknowledgement to proved copy, of every object, from the node's catalog."""
    import asyncio

    from controlplane.adapters.sqlite.catalog import SqliteCatalog
    from controlplane.model.content import Guid
    from controlplane.model.keys import StoreName

    async def read() -> list[float]:
        catalog = SqliteCatalog(node.data_dir / "catalog.db")
        await catalog.open()
        try:
            lags = []
            for source in sources:
                manifest = await catalog.get(Guid(source.guid))
                at = manifest.location(StoreName("persistent")) if manifest is not None else None
                if manifest is not None and at is not None and at.verified_at is not None:
                    lags.append(at.verified_at - manifest.created_at)
            return lags
        finally:
            await catalog.aclose()

    return asyncio.run(read())


def _endpoints(node: Node) -> list[str]:
    listed = node.cli("endpoints", "list", "--json")
    if listed.returncode != 0:
        raise SystemExit(f"millrace endpoints list: {listed.stderr.decode()}")
    return [endpoint["url"] for endpoint in json.loads(listed.stdout)["endpoints"]]


def _find(node: Node, sources: Sequence[Source]) -> None:
    """By GUID alone: the command asks etcd for an endpoint and verifies what it gets."""
    source = sources[len(sources) // 2]
    console.print(f"[bold]4[/] millrace blob get {source.guid}, the endpoint found in etcd")
    got = node.cli("blob", "get", source.guid, "-o", "-")
    if got.returncode != 0 or hashlib.sha256(got.stdout).hexdigest() != source.sha256:
        raise SystemExit(f"millrace blob get: exit code {got.returncode}: {got.stderr.decode()}")
    console.print(f"  {len(got.stdout)} bytes, the same as {source.path}")


def _report(result: Result, seconds: float) -> None:
    lags = sorted(result.lags)
    percentiles = statistics.quantiles(lags, n=100) if len(lags) > 1 else [0.0] * 99
    table = Table(show_header=False, title="What was done")
    rows = (
        ("objects", f"{result.objects}"),
        ("bytes", f"{result.size:,}"),
        ("seconds until all were acknowledged", f"{result.upload_s:.1f}"),
        ("seconds until all were mirrored", f"{result.mirrored_s:.1f}"),
        ("journal entries when the agent was killed", f"{result.pending_at_kill}"),
        ("lag p50 / p99, seconds", f"{percentiles[49]:.2f} / {percentiles[98]:.2f}"),
        ("verified by an independent read", f"{result.verified} of {result.objects}"),
        ("endpoints in etcd", ", ".join(result.endpoints)),
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"{seconds:.0f} seconds in all; every process started here is stopped.")


if __name__ == "__main__":
    sys.exit(main())
