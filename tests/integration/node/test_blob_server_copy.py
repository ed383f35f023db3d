"""Blobs whose two stores are buckets of one service: the service copies, and the agent never reads the bytes."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.content import Md5
from controlplane.model.keys import StoreName, blob_key
from controlplane.ports.object_store import ObjectInfo
from controlplane.services.proving import read_content
from tests.chaos.proxy import Proxy
from tests.support.fakes import content_of
from tests.support.millrace_node import Node
from tests.support.s3_buckets import make_bucket
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, seaweedfs_server
from tests.support.secret_file import secret_file

pytestmark = pytest.mark.timeout(300)
BLOB = random.Random(11).randbytes((3 << 20) + 77)


def test_from_bucket_to_bucket_no_byte_comes_here(tmp_path: Path) -> None:
    secret = secret_file(tmp_path / "secret", SECRET_KEY)
    with seaweedfs_server(tmp_path) as server, Proxy(server.url, 1) as between:
        options = [S3Options((server.url,), name, "", "us-east-1", ACCESS_KEY, SECRET_KEY) for name in ("near", "far")]
        for each in options:
            asyncio.run(make_bucket(each))
        stores: list[dict[str, Any]] = [
            {
                "kind": "s3", "endpoints": [between.url], "bucket": each.bucket, "access_key": ACCESS_KEY,
                "secret_key": {"file": str(secret)},
            }
            for each in options
        ]  # fmt: skip
        node = Node(tmp_path / "node", primary=stores[0], persistent=stores[1])
        try:
            node.start("gateway")
            status, _, answer = node.request("POST", "/blobs", BLOB)
            assert status == 201, answer
            guid = Md5(json.loads(answer)["guid"])
            before = between.answered_bytes
            node.start("agent")
            deadline = time.monotonic() + 60
            while node.metrics("gateway")["millrace_journal_pending_entries"]:
                assert time.monotonic() < deadline, node.log("agent")[-2000:]
                time.sleep(0.1)
            assert between.answered_bytes - before < len(BLOB) // 2
            figures = node.metrics("agent")
            assert figures['millrace_rule_copied_bytes_total{rule="blobs"}'] == len(BLOB)
        finally:
            node.stop()
        held = asyncio.run(_require_whole(options[1], guid))
        assert held.content == content_of(BLOB)


async def _require_whole(options: S3Options, guid: Md5) -> ObjectInfo:
    store = S3ObjectStore(StoreName("far"), options, SystemClock(), random.Random(1))
    try:
        assert await read_content(store, blob_key(guid)) == content_of(BLOB)
        return await store.head(blob_key(guid))
    finally:
        await store.aclose()
