"""The scan: keys a second of CPU, memory and linearity up to 10 million keys; and a resync without changes beside
`rclone sync` of the same objects between the same two buckets of a real server."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import time
from contextlib import closing
from hashlib import md5, sha256
from pathlib import Path
from random import Random
from typing import Any

from controlplane.adapters.s3 import S3Buckets, S3Options
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.copy_record import CopyRecord
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.bulk_store import SmallPut
from tests.bench.processes import CannotRun, need
from tests.bench.scan_child import BUCKET, STRETCHES, TARGET, row
from tests.bench.table import Row
from tests.support.interpreter import PYTHON
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, seaweedfs_server

AIM_KEYS_PER_CPU_S = 300_000
AIM_RSS_MB = 200
_AT_ONCE = 64


def keys(folder: Path, per_million: int = 1_000_000) -> list[Row]:
    """Of 1, 2, 5 and 10 million keys that are equal at both ends; the catalog is a real one with all its rows."""
    catalog = folder / "catalog.db"
    _fill_catalog(catalog, per_million)
    rows: list[Row] = []
    per_key: dict[int, float] = {}
    for millions, prefix in ((1, "a/a/a/"), (2, "a/a/"), (5, "a/"), (10, "")):
        count = millions * per_million
        found = _child("synthetic", str(catalog), prefix, str(count), str(per_million))
        own = found["cpu_s"] - found["listing_cpu_s"]
        per_key[millions] = own / count
        rows += [
            Row(
                f"scan of {count:,} keys against {count:,}, keys a second of CPU",
                f"{count / own:,.0f} ({count / found['cpu_s']:,.0f} with making the listings), {found['wall_s']:.0f} s",
                f"aim {AIM_KEYS_PER_CPU_S:,}",
                count / own / AIM_KEYS_PER_CPU_S,
                ">= 1.00",
            ),
            Row(
                "the same, peak memory",
                f"{found['rss_mb']:.0f} MB",
                f"{AIM_RSS_MB} MB",
                found["rss_mb"] / AIM_RSS_MB,
                "<= 1.00",
            ),
        ]
    rows.append(
        Row(
            "the same, CPU a key at the most keys against the fewest",
            f"{per_key[10] * 1e6:.2f} us",
            f"{per_key[1] * 1e6:.2f} us",
            per_key[10] / per_key[1],
            "<= 1.25",
        )
    )
    return rows


def _fill_catalog(path: Path, per_million: int) -> None:
    """Straight in SQL, in order: through the port it would take longer than all scans."""

    async def make() -> None:
        catalog = SqliteCatalog(path)
        await catalog.open()
        await catalog.aclose()

    asyncio.run(make())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        for folder, millions in STRETCHES:
            connection.executemany(
                "INSERT INTO object_copy"
                " (store, bucket, key, source_etag, size, source_mtime, target_etag, absent_since)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?4, 0)",
                ((TARGET, BUCKET, *row(folder, n)) for n in range(millions * per_million)),
            )
            connection.commit()


def _child(*arguments: str) -> dict[str, Any]:
    command = [PYTHON, "-m", "tests.bench.scan_child", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    if done.returncode:
        raise CannotRun(f"a scan failed: {done.stderr[-1500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def resync(folder: Path, rounds: int, objects: int) -> list[Row]:
    """Nothing has changed. Ours knows the copies by its catalog; rclone knows those that it made itself by their
    metadata, which costs a HEAD each, and any by their listed MD5 (--checksum), which proves neither time nor
    metadata."""
    rclone = need("rclone")
    catalog = folder / "catalog.db"
    (folder / "weed").mkdir()
    with seaweedfs_server(folder / "weed") as server:
        asyncio.run(_fill(server.url, objects))
        config = folder / "rclone.conf"
        config.write_text(
            f"[s]\ntype = s3\nprovider = Other\nendpoint = {server.url}\naccess_key_id = {ACCESS_KEY}\n"
            f"secret_access_key = {SECRET_KEY}\nregion = us-east-1\n"
        )
        sync = [rclone, "--config", str(config), "sync", "--checkers", "32", "--transfers", "32", "--fast-list"]
        own = [*sync, "s:source", "s:rclone"]
        by_checksum = [*sync, "--checksum", "s:source", "s:target/source"]
        _timed(own)
        first = _child("stores", str(catalog), server.url, "source", "target")
        if (first["same"], first["differ"]) != (objects, 0):
            raise CannotRun(f"the first scan found {first}")
        ours: list[dict[str, Any]] = []
        theirs: dict[str, list[tuple[float, float]]] = {"default": [], "--checksum": []}
        for _ in range(rounds):
            ours.append(_child("stores", str(catalog), server.url, "source", "target"))
            theirs["default"].append(_timed(own))
            theirs["--checksum"].append(_timed(by_checksum))
        if any((each["same"], each["heads"]) != (objects, 0) for each in ours):
            raise CannotRun(f"a scan without changes found {ours}")
    wall, cpu = (statistics.median(each[name] for each in ours) for name in ("wall_s", "cpu_s"))
    rows: list[Row] = []
    for mode, aim in (("default", ">= 5.00"), ("--checksum", "")):
        their_wall, their_cpu = (statistics.median(each[at] for each in theirs[mode]) for at in (0, 1))
        what = f"resync without changes, {objects:,} objects; rclone sync ({mode})"
        rows += [
            Row(f"{what}, time", f"{wall:.1f} s", f"{their_wall:.1f} s", their_wall / wall, aim),
            Row(f"{what}, CPU", f"{cpu:.1f} s", f"{their_cpu:.1f} s", their_cpu / cpu),
        ]
    return rows


def _timed(command: list[str]) -> tuple[float, float]:
    """Seconds of the clock and of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    )
    if done.returncode:
        raise CannotRun(f"rclone failed: {done.stderr[-1500:]}")
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def _fill(url: str, objects: int) -> None:
    """The source's objects, and copies of them as the mirror makes them."""
    clock = SystemClock()

    def buckets(name: str, bucket: str, prefix: str) -> S3Buckets:
        options = S3Options((url,), bucket, prefix, access_key=ACCESS_KEY, secret_key=SECRET_KEY, list_version=1)
        return S3Buckets(StoreName(name), options, clock, Random(1), create=True)

    near, far, theirs = (
        buckets("source", "{bucket}", ""),
        buckets("target", "target", "{bucket}/"),
        buckets("x", "{bucket}", ""),
    )
    source = Bucket("source")
    for stores, bucket in ((near, source), (far, source), (theirs, Bucket("rclone"))):
        await stores.prepare(bucket)

    async def some(numbers: range) -> None:
        bodies = {Key(f"photo-{n:07d}"): f"bytes of {n}".encode() for n in numbers}
        contents = {
            key: Content(Md5(md5(body, usedforsecurity=False).hexdigest()), Sha256(sha256(body).hexdigest()), len(body))
            for key, body in bodies.items()
        }
        puts = [SmallPut(key, body, contents[key]) for key, body in bodies.items()]
        if any(info is None for info in await near.bulk(source).put_small(puts)):
            raise CannotRun("the source could not be filled")
        heads = await near.bulk(source).head_many(list(bodies))
        copies = [
            SmallPut(key, bodies[key], contents[key], metadata=CopyRecord(info.etag, info.modified_at, seq=1).encoded())
            for key, info in zip(bodies, heads, strict=True)
            if info is not None
        ]
        if len(copies) < len(bodies) or any(info is None for info in await far.bulk(source).put_small(copies)):
            raise CannotRun("the target could not be filled")

    for start in range(0, objects, 8 * _AT_ONCE):
        parts = [
            range(at, min(at + _AT_ONCE, objects)) for at in range(start, min(start + 8 * _AT_ONCE, objects), _AT_ONCE)
        ]
        await asyncio.gather(*map(some, parts))
    for stores in (near, far, theirs):
        await stores.aclose()
