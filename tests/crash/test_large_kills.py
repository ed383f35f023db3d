"""SIGKILL at every step of a large copy, on a real agent between two real S3 buckets: it goes on where it was."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.sqlite.upload_ledger import SqliteUploadLedger
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.content import Md5
from controlplane.model.keys import StoreName, blob_key
from tests.support.millrace_node import Node
from tests.support.s3_buckets import make_bucket
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, seaweedfs_server
from tests.support.secret_file import secret_file

PART = 5 << 20
BLOB = random.Random(7).randbytes(3 * PART + 12_345)
STEPS = (
    "large.announced",
    "large.begun",
    "large.recorded",
    "large.part:2",
    "large.sent",
    "large.completed",
    "mirror.copied",
    "mirror.recorded",
)


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_a_large_copy_killed_at_every_step_arrives_whole_and_leaves_no_parts(tmp_path: Path) -> None:
    secret = secret_file(tmp_path / "secret", SECRET_KEY)
    with seaweedfs_server(tmp_path) as server:
        options = S3Options((server.url,), "target", access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        asyncio.run(make_bucket(options))
        store: dict[str, Any] = {
            "kind": "s3",
            "endpoints": [server.url],
            "access_key": ACCESS_KEY,
            "secret_key": {"file": str(secret)},
            "part_bytes": PART,
            "bucket": "target",
        }
        mirror = {"large_bytes": 2 * PART, "part_buffers": 1, "retry": {"first_s": 0.05, "most_s": 0.2}}
        limits = {"gateway": {"max_blob_bytes": 1 << 30}}
        node = Node(tmp_path / "node", persistent=store, extra={"mirror": mirror, **limits})
        try:
            node.start("gateway")
            status, _, answer = node.request("POST", "/blobs", BLOB)
            assert status == 201, answer
            guid = json.loads(answer)["guid"]
            for step in STEPS:
                agent = node.start("agent", fault=step, wait=False)
                assert agent.wait(60) == -9, f"{step} was never reached: {node.log('agent')[-2000:]}"
                node.processes.pop("agent")
            node.start("agent")
            deadline = time.monotonic() + 60
            while node.metrics("gateway")["millrace_journal_pending_entries"]:
                assert time.monotonic() < deadline, node.log("agent")[-2000:]
                time.sleep(0.1)
            figures = node.metrics("agent")
            assert figures['millrace_rule_copied_objects_total{rule="blobs"}'] <= 1
            assert figures['millrace_rule_failed_entries{rule="blobs"}'] == 0
        finally:
            node.stop()
        asyncio.run(_require_whole(options, Md5(guid), node.data_dir / "uploads.db"))


async def _require_whole(options: S3Options, guid: Md5, ledger_path: Path) -> None:
    store = S3ObjectStore(StoreName("target"), options, SystemClock(), random.Random(1))
    key = blob_key(guid)
    reader = await store.get(key)
    digest = hashlib.sha256()
    async for chunk in reader:
        digest.update(chunk)
    await reader.aclose()
    assert digest.hexdigest() == hashlib.sha256(BLOB).hexdigest()
    info = await store.head(key)
    assert info.content is not None
    assert (info.content.md5, info.content.size) == (guid, len(BLOB))
    assert info.etag.endswith("-4")
    assert await store.parts.uploads(key) == []
    await store.aclose()
    ledger = SqliteUploadLedger(ledger_path)
    await ledger.open()
    assert await ledger.all() == []
    await ledger.aclose()
