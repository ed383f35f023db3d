"""One scan in a process of its own, so that its CPU and memory are its own: started by tests/bench/scan.py.

    python -m tests.bench.scan_child synthetic CATALOG PREFIX KEYS
    python -m tests.bench.scan_child stores CATALOG URL SOURCE_BUCKET TARGET_BUCKET

Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from controlplane.adapters.memory.journal import MemoryJournal
from controlplane.adapters.s3 import S3Buckets, S3Options
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_join import Listed
from controlplane.model.scan_ranges import initial
from controlplane.model.scan_state import Unit, UnitState
from controlplane.model.tally import ScanTally
from controlplane.ports.listing import ListedPage
from controlplane.ports.object_store import ObjectStore
from controlplane.services.scan_maker import ScanMaker
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_run import ScanRun
from controlplane.services.scan_unit import UnitScan
from controlplane.services.target_heads import TargetHeads
from controlplane.wiring.scan import calm_collector
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY

BUCKET: Final = Bucket("bench")
TARGET: Final = StoreName("target")
STRETCHES: Final = (("a/a/a/", 1), ("a/a/b/", 1), ("a/b/", 3), ("b/", 5))
"""Folders of one bucket, and how many millions of keys are in each: "a/a/a/" has 1, "a/a/" 2, "a/" 5, all have 10."""


def row(folder: str, number: int) -> tuple[str, str, int, int]:
    """Key, ETag, size and time of an object."""
    key = f"{folder}object-{number:09d}.jpg"
    return key, f"{number:032x}", 1000 + number % 1000, 1_700_000_000 + number


class Synthetic:
    """Implements Listing: what a server with so many keys answers, made on the spot. `spent_s`: CPU that it took."""

    def __init__(self, stretches: Sequence[tuple[str, int]]) -> None:
        self._stretches = stretches
        self._firsts = [folder for folder, _ in stretches]
        self.spent_s = 0.0

    async def page(self, after: Key | None, limit: int) -> ListedPage:
        began = time.process_time()
        at, number = 0, 0
        if after is not None:
            at = max(bisect_right(self._firsts, after) - 1, 0)
            folder, count = self._stretches[at]
            number = bisect_right(range(count), str(after), key=lambda n: row(folder, n)[0])
            if number == count:
                at, number = at + 1, 0
        rows: list[Listed] = []
        while len(rows) < limit and at < len(self._stretches):
            folder, count = self._stretches[at]
            end = min(count, number + limit - len(rows))
            rows += [Listed(*row(folder, n)) for n in range(number, end)]  # type: ignore[arg-type]
            number = end
            if number >= count:
                at, number = at + 1, 0
        self.spent_s += time.process_time() - began
        return ListedPage(rows, more=at < len(self._stretches))


class Nobody:
    """A store that must not be asked: nothing differs."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the scan asked the store for {name}")


async def synthetic(catalog_path: str, prefix: str, keys: int, per_million: int) -> dict[str, float]:
    stretches = [(folder, millions * per_million) for folder, millions in STRETCHES if folder.startswith(prefix)]
    catalog = SqliteCatalog(Path(catalog_path))
    await catalog.open()
    clock = SystemClock()
    unit = Unit(MirrorRule(BUCKET, "", TARGET), BUCKET, prefix)
    state = UnitState(initial((), 1))
    source, target = Synthetic(stretches), Synthetic(stretches)
    store: ObjectStore = Nobody()  # type: ignore[assignment]
    scan = UnitScan(
        unit,
        state,
        rules=(unit.rule,),
        source=source,
        target=target,
        heads=TargetHeads(store, None),
        catalog=catalog,
        sink=JournalSink(MemoryJournal(10), clock, share=1.0),
        clock=clock,
        workers=4,
    )
    began, before = time.monotonic(), time.process_time()
    await scan.run()
    spent, wall = time.process_time() - before, time.monotonic() - began
    await catalog.aclose()
    assert state.counts.same == state.counts.listed_at_source == state.counts.listed_at_target == keys, state.counts
    return {
        "cpu_s": spent,
        "listing_cpu_s": source.spent_s + target.spent_s,
        "wall_s": wall,
        "ranges": len(state.ranges),
    }


async def stores(catalog_path: str, url: str, source: str, target: str) -> dict[str, float]:
    clock = SystemClock()
    catalog = SqliteCatalog(Path(catalog_path))
    await catalog.open()

    def buckets(name: str, bucket: str, prefix: str) -> S3Buckets:
        options = S3Options((url,), bucket, prefix, access_key=ACCESS_KEY, secret_key=SECRET_KEY, list_version=1)
        return S3Buckets(StoreName(name), options, clock, Random(1))

    near, far = buckets("source", "{bucket}", ""), buckets("target", target, "{bucket}/")

    async def only(_: MirrorRule) -> list[Bucket]:
        return [Bucket(source)]

    scans = ScanMaker(
        (MirrorRule(source, "", "target"),),
        source=near,
        targets={"target": far},
        catalog=catalog,
        buckets=only,
        sink=JournalSink(MemoryJournal(1_000_000), clock, share=1.0),
        clock=clock,
        workers=4,
    )
    began, before = time.monotonic(), time.process_time()
    report = await ScanRun(scans, ScanTally()).run()
    spent, wall = time.process_time() - before, time.monotonic() - began
    await near.aclose()
    await far.aclose()
    await catalog.aclose()
    assert not report.failed, report.units
    counts = report.totals
    return {"cpu_s": spent, "wall_s": wall, "same": counts.same, "differ": counts.differences, "heads": counts.heads}


def main(arguments: Sequence[str]) -> None:
    calm_collector()
    kind, *rest = arguments
    if kind == "synthetic":
        catalog, prefix, keys, per_million = rest
        result = asyncio.run(synthetic(catalog, prefix, int(keys), int(per_million)))
    else:
        result = asyncio.run(stores(*rest))
    result["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
