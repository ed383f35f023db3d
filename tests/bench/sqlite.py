"""What the SQLite journal and catalog do on this disk: `python tests/bench/sqlite.py [DIRECTORY] [--entries N]`.

Appends a second at three concurrencies (and from two processes), due() and stats() on a deep journal, catalog look-ups.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from controlplane.adapters.sqlite.catalog import SqliteCatalog  # noqa: E402
from controlplane.adapters.sqlite.journal import SqliteJournal  # noqa: E402
from controlplane.model.content import Content, Md5, Sha256  # noqa: E402
from controlplane.model.keys import Bucket, Key, StoreName, blob_key  # noqa: E402
from controlplane.model.manifest import Location, LocationState, Manifest  # noqa: E402
from controlplane.model.task import Draft, Op  # noqa: E402

BUCKET = Bucket("blobs")


def content(number: int) -> Content:
    name = str(number).encode()
    return Content(Md5(hashlib.md5(name).hexdigest()), Sha256(hashlib.sha256(name).hexdigest()), number)


def draft(number: int) -> Draft:
    what = content(number)
    return Draft(Op.PUT, BUCKET, blob_key(what.md5), what, what.md5)


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def say(what: str, figure: str) -> None:
    print(f"{what:<58} {figure}", flush=True)


async def appends(path: Path, total: int, concurrency: int, first: int = 0) -> float:
    journal = SqliteJournal(path, limit=10_000_000)
    await journal.open()
    numbers = iter(range(first, first + total))

    async def work() -> None:
        for number in numbers:
            await journal.append(draft(number), time.time())

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    spent = time.perf_counter() - began
    await journal.aclose()
    return total / spent


async def timed(rounds: int, call: Callable[[], Awaitable[object]]) -> str:
    spans = []
    for _ in range(rounds):
        began = time.perf_counter()
        await call()
        spans.append((time.perf_counter() - began) * 1000)
    return f"median {statistics.median(spans):.2f} ms, worst {max(spans):.2f} ms"


async def backlog(path: Path, now: float) -> int:
    """Entries that came due and have not been sifted."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT count(*) FROM entry WHERE stage = 1 AND waits = 1 AND due_at <= ?"
        return int(connection.execute(query, (now,)).fetchone()[0])


async def deep_journal(path: Path, entries: int) -> None:
    journal = SqliteJournal(path, limit=10_000_000)
    await journal.open()
    started = time.time() - 3600
    began = time.perf_counter()
    for first in range(0, entries, 1000):
        await asyncio.gather(*(journal.append(draft(n), started) for n in range(first, min(first + 1000, entries))))
    say(f"fill with {entries:,} entries", f"{entries / (time.perf_counter() - began):,.0f}/s, RSS {rss_mb():.0f} MB")
    now = time.time()
    say("due(256), all ready", await timed(30, lambda: journal.due(now, 256)))
    skip = [task.seq for task in await journal.due(now, 256)]
    say("due(256), 256 skipped", await timed(30, lambda: journal.due(now, 256, skip)))
    say("stats()", await timed(30, journal.stats))

    began = time.perf_counter()
    seqs: list[int] = []
    while len(seqs) < entries // 2:
        chunk = [task.seq for task in await journal.due(now, 1000)]
        await asyncio.gather(*(journal.postpone(s, attempts=1, due_at=now + 600, error="away") for s in chunk))
        seqs += chunk
    say(f"postpone {len(seqs):,} in front", f"{len(seqs) / (time.perf_counter() - began):,.0f}/s")
    say("due(256), half postponed, none of those due", await timed(30, lambda: journal.due(now, 256)))
    say("due(256), 900 of them came due", "")
    for seq in seqs[:900]:
        await journal.postpone(seq, attempts=1, due_at=now - 1, error="away")
    say("    ", await timed(30, lambda: journal.due(now, 256)))
    later = now + 601
    say("due(256), all of them came due at once, first calls", await timed(30, lambda: journal.due(later, 256)))
    calls = 30
    while len(await journal.due(later, 1)) and await backlog(path, later) > 1000:
        calls += 1
    say(f"due(256), after {calls} calls", await timed(30, lambda: journal.due(later, 256)))
    say("stats()", await timed(30, journal.stats))

    hot = [Draft(Op.PUT, BUCKET, Key("hot"), None) for _ in range(1000)]
    for _ in range(max(entries // 10_000, 1)):
        await asyncio.gather(*(journal.append(d, started) for d in hot))
    say(
        f"due(256), and {max(entries // 10_000, 1) * 1000:,} behind one key",
        await timed(30, lambda: journal.due(later, 256)),
    )
    batch = [task.seq for task in await journal.due(later, 256)]
    began = time.perf_counter()
    await journal.close(batch)
    say("close() of 256", f"{(time.perf_counter() - began) * 1000:.2f} ms")
    say("RSS", f"{rss_mb():.0f} MB; file {path.stat().st_size / 1e6:.0f} MB")
    await journal.aclose()


async def catalog_figures(path: Path, entries: int) -> None:
    catalog = SqliteCatalog(path)
    await catalog.open()
    primary, persistent = StoreName("primary"), StoreName("persistent")

    def manifest(number: int) -> Manifest:
        what = content(number)
        places = tuple(
            Location(store, BUCKET, blob_key(what.md5), LocationState.MIRRORED, what.md5, 1.0)
            for store in (primary, persistent)
        )
        return Manifest(what, "application/octet-stream", 1.0, places)

    began = time.perf_counter()
    for first in range(0, entries, 1000):
        await asyncio.gather(*(catalog.record(manifest(n)) for n in range(first, min(first + 1000, entries))))
    say(f"record() of {entries:,} manifests", f"{entries / (time.perf_counter() - began):,.0f}/s")
    step = 7919
    spread, few = [content(n * step % entries) for n in range(20_000)], [content(n % 100) for n in range(20_000)]
    calls: dict[str, tuple[Sequence[Content], Callable[[Content], Awaitable[object]]]] = {
        "get()": (spread, lambda what: catalog.get(what.md5)),
        "by_sha256()": (spread, lambda what: catalog.by_sha256(what.sha256)),
        "get() of the same 100": (few, lambda what: catalog.get(what.md5)),
    }
    for name, (wanted, call) in calls.items():
        began = time.perf_counter()
        for what in wanted:
            if await call(what) is None:
                raise SystemExit(f"{name} lost {what.md5}")
        say(name, f"{(time.perf_counter() - began) / len(wanted) * 1e6:.1f} us")
    say("counts()", await timed(30, lambda: catalog.counts(primary)))
    say("list(1000)", await timed(30, lambda: catalog.list(None, 1000)))
    busy = [(content(n).md5, Location(persistent, BUCKET, Key("k"), LocationState.FAILED)) for n in range(256)]
    say("set_locations() of 256", await timed(10, lambda: catalog.set_locations(busy)))
    say("RSS", f"{rss_mb():.0f} MB; file {path.stat().st_size / 1e6:.0f} MB")
    await catalog.aclose()


def spin(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(500))
        time.sleep(0)


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", nargs="?", default=None)
    arguments.add_argument("--entries", type=int, default=1_000_000)
    arguments.add_argument("--append", type=int, nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.append:
        rate = await appends(Path(given.directory), given.append[1], 64, given.append[0])
        print(f"{rate:.0f}")
        return
    with tempfile.TemporaryDirectory(dir=given.directory) as where:
        room = Path(where)
        for concurrency, total in ((1, 1000), (16, 8000), (256, 30_000)):
            rates = [await appends(room / f"append-{concurrency}-{n}.db", total, concurrency) for n in range(3)]
            say(f"append(), {concurrency} at once", f"{statistics.median(rates):,.0f}/s")
        stop = threading.Event()
        spinner = threading.Thread(target=spin, args=(stop,))
        spinner.start()
        say("append(), 256 at once, another thread busy", f"{await appends(room / 'busy.db', 10_000, 256):,.0f}/s")
        stop.set()
        spinner.join()
        shared = room / "shared.db"
        await appends(shared, 1, 1)
        both = [
            subprocess.Popen(
                [sys.executable, __file__, str(shared), "--append", str(n * 100_000), "20000"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in (1, 2)
        ]
        say(
            "append(), two processes on one file, 64 at once each", " + ".join(p.communicate()[0].strip() for p in both)
        )
        await deep_journal(room / "deep.db", given.entries)
        await catalog_figures(room / "catalog.db", given.entries)


if __name__ == "__main__":
    asyncio.run(main())
