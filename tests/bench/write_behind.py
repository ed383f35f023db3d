"""The agent draining a journal beside `rclone copy` of the same objects between the same two servers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Key, StoreName, blob_key
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.task import Draft, Op
from tests.bench.bucket_copiers import Rclone, Run, median
from tests.bench.processes import CannotRun, cpu_s, need, peak_rss_bytes, running
from tests.bench.table import Row
from tests.support.millrace_node import Node
from tests.support.ports import free_port
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, seaweedfs_server
from tests.support.secret_file import secret_file

SIZE = 4096
RULE = "bench"
_WHOLE_BYTES = 1 << 30
"""The source's objects go up in one piece, so that their ETags are MD5 for all who copy them."""
_FILLED_AT_ONCE_BYTES = 256 << 20
_RCLONE_TRIALS = (
    ("--transfers", "16", "--checkers", "16"),
    ("--transfers", "32", "--checkers", "32"),
    ("--transfers", "32", "--checkers", "32", "--no-traverse"),
    ("--transfers", "16", "--checkers", "16", "--no-check-dest", "--use-server-modtime", "--s3-no-check-bucket"),
    ("--transfers", "32", "--checkers", "32", "--no-check-dest", "--use-server-modtime", "--s3-no-check-bucket"),
)
"""All of them verify what they wrote (a HEAD of each object, like ours): --s3-no-head would not."""


@dataclass(frozen=True)
class Pair:
    """The two servers, each with its bucket."""

    source: str
    target: str
    objects: int
    of_s3: bool = False
    """S3 objects by a mirror rule, not blobs to the persistent store."""
    size: int = SIZE
    """Bytes of each."""


def in_memory(folder: Path, rounds: int, objects: int) -> list[Row]:
    """Between two servers that hold everything in memory: the copiers are the bottleneck."""
    with memory_server() as source, memory_server() as target:
        pair = Pair(source, target, objects)
        return _compared(folder, pair, rounds, f"write-behind, {objects:,} x 4 KiB; rclone", info=False)


def objects_in_memory(folder: Path, rounds: int, objects: int) -> list[Row]:
    """The same with S3 objects that a rule mirrors from bucket to bucket."""
    with memory_server() as source, memory_server() as target:
        pair = Pair(source, target, objects, of_s3=True)
        return _compared(folder, pair, rounds, f"mirror of S3 objects, {objects:,} x 4 KiB; rclone", info=True)


def seaweedfs(folder: Path, rounds: int, objects: int) -> list[Row]:
    """Between two real servers, which take most of the machine."""
    (folder / "weed").mkdir()
    with seaweedfs_server(folder / "weed") as source, seaweedfs_server(folder / "weed") as target:
        pair = Pair(source.url, target.url, objects)
        return _compared(folder, pair, rounds, f"  between two SeaweedFS, {objects:,} x 4 KiB; rclone", info=True)


def _compared(folder: Path, pair: Pair, rounds: int, what: str, *, info: bool) -> list[Row]:
    """Each round copies into a fresh prefix or an emptied bucket; the two take turns."""
    need("rclone")
    template = folder / "template"
    asyncio.run(fill(pair, template))
    trials = _RCLONE_TRIALS[4:] if pair.of_s3 else _RCLONE_TRIALS[:1] if info else _RCLONE_TRIALS
    best = min(trials, key=lambda options: _rclone(folder, pair, "trial-" + str(trials.index(options)), options).wall_s)
    ours: list[Run] = []
    peer: list[Run] = []
    for turn in range(rounds):
        # Fresh buckets: every copy is a first one.
        if turn % 2:
            ours.append(agent(folder, pair, f"ours-{turn}", template))
            peer.append(_rclone(folder, pair, f"peer-{turn}", best))
        else:
            peer.append(_rclone(folder, pair, f"peer-{turn}", best))
            ours.append(agent(folder, pair, f"ours-{turn}", template))
    mine, other = median(ours), median(peer)
    count = pair.objects
    faster, cheaper = ("", "") if info else (">= 2.0", "<= 0.33")
    rate = "{:,.0f} objects/s".format
    cost = "{:.3f} CPU-s/1000".format
    print(f"rclone was given: {' '.join(best)}", file=sys.stderr)
    return [
        Row(what, rate(count / mine.wall_s), rate(count / other.wall_s), other.wall_s / mine.wall_s, faster),
        Row(
            "  CPU of the copier",
            cost(mine.cpu_s / count * 1000),
            cost(other.cpu_s / count * 1000),
            mine.cpu_s / other.cpu_s,
            cheaper,
        ),
    ]


# -- the two copiers --------------------------------------------------------------------------------------------


def agent(folder: Path, pair: Pair, bucket: str, template: Path) -> Run:
    """The whole life of the agent's process, from its start until the journal is empty."""
    asyncio.run(make_bucket(pair.target, bucket))
    secret = secret_file(folder / "secret", SECRET_KEY)
    store = {"kind": "s3", "access_key": ACCESS_KEY, "secret_key": {"file": str(secret)}}
    room = folder / bucket
    # No gateway runs beside it, whose health it could probe.
    extra: dict[str, dict[str, Any]] = {"directory": {"lease_ttl_s": 3600, "probe_interval_s": 600}}
    target = {**store, "endpoints": [pair.target], "bucket": bucket}
    if pair.of_s3:
        extra["s3"] = {
            "endpoints": [pair.source],
            "admin_urls": [pair.source],
            "admin_key": ACCESS_KEY,
            "admin_secret": {"file": str(secret)},
        }
        extra["mirror"] = {"rules": [{"name": RULE, "buckets": "source", "target": target}]}
        node = Node(room, extra=extra)
    else:
        source = {**store, "endpoints": [pair.source], "bucket": "source"}
        node = Node(room, primary=source, persistent=target, extra=extra)
    shutil.copytree(template, node.data_dir)
    journal = sqlite3.connect(f"file:{node.data_dir}/journal.db?mode=ro", uri=True)
    try:
        began = time.monotonic()
        process = node.start("agent", wait=False)
        while journal.execute("SELECT 1 FROM entry LIMIT 1").fetchone():
            if process.poll() is not None or time.monotonic() - began > 600:
                raise CannotRun(f"the agent does not drain the journal: {node.log('agent')[-2000:]}")
            time.sleep(0.01)
        run = Run(time.monotonic() - began, cpu_s(process.pid), peak_rss_bytes(process.pid))
    finally:
        journal.close()
        node.stop()
    require_all(pair, bucket)
    shutil.rmtree(room)
    return run


def _rclone(folder: Path, pair: Pair, bucket: str, options: tuple[str, ...]) -> Run:
    asyncio.run(make_bucket(pair.target, bucket))
    run = Rclone(options).copy(pair.source, pair.target, bucket, folder)
    require_all(pair, bucket)
    return run


# -- servers and what they hold ---------------------------------------------------------------------------------


@contextlib.contextmanager
def memory_server() -> Iterator[str]:
    port = free_port()
    with running([sys.executable, "-m", "tests.bench.s3_memory", str(port)], port):
        yield f"http://127.0.0.1:{port}"


def _store(url: str, bucket: str) -> S3ObjectStore:
    options = S3Options((url,), bucket, access_key=ACCESS_KEY, secret_key=SECRET_KEY, part_bytes=_WHOLE_BYTES)
    return S3ObjectStore(StoreName("bench"), options, SystemClock(), random.Random(1))


async def make_bucket(url: str, bucket: str) -> None:
    store = _store(url, bucket)
    await store.create_bucket()
    await store.aclose()


async def fill(pair: Pair, data_dir: Path) -> None:
    """The objects in the source, as a gateway would have put them, and its journal and catalog in `data_dir`."""
    await make_bucket(pair.source, "source")
    store = _store(pair.source, "source")
    data_dir.mkdir()
    journal = SqliteJournal(data_dir / "journal.db", limit=1_000_000)
    await journal.open()
    catalog = SqliteCatalog(data_dir / "catalog.db")
    await catalog.open()
    numbers = iter(range(pair.objects))

    async def work() -> None:
        for number in numbers:
            body = random.Random(number).randbytes(pair.size)
            content = Content(Md5(md5(body).hexdigest()), Sha256(sha256(body).hexdigest()), pair.size)
            key = blob_key(content.md5)
            if pair.of_s3:
                info = await store.put(Key(f"{number:07}"), body)
                draft = Draft(Op.PUT_OBJECT, store.bucket, info.key, etag=info.etag, object_size=pair.size, rule=RULE)
                await journal.append(draft, time.time())
                continue
            info = await store.put(key, body, content=content)
            now = time.time()
            there = Location(StoreName("primary"), store.bucket, key, LocationState.MIRRORED, info.etag, now)
            wanted = Location(StoreName("persistent"), store.bucket, key, LocationState.PENDING)
            await catalog.record(Manifest(content, "application/octet-stream", now, (there, wanted)))
            await journal.append(Draft(Op.PUT, store.bucket, key, content, info.etag), now)

    await asyncio.gather(*(work() for _ in range(min(64, _FILLED_AT_ONCE_BYTES // pair.size))))
    await journal.aclose()
    await catalog.aclose()
    await store.aclose()


def require_all(pair: Pair, bucket: str) -> None:
    """A copy that is not complete must not win."""
    host, _, port = pair.target.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", f"/-/count/{bucket}")
    answer = connection.getresponse()
    held = int(answer.read()) if answer.status == 200 else asyncio.run(_count(pair.target, bucket))
    connection.close()
    if held != pair.objects:
        raise CannotRun(f"{held} of {pair.objects} objects are in the target bucket {bucket}")


async def _count(url: str, bucket: str) -> int:
    store = _store(url, bucket)
    held, after = 0, None
    while True:
        page = await store.list(after=after)
        held += len(page.objects)
        if page.next_after is None:
            break
        after = page.next_after
    await store.aclose()
    return held
