"""One node of a shared scan as a process of its own, which a test may kill: started by tests/integration/scan.

    python -m tests.support.scan_agent ETCD_URLS CLUSTER NODE FOLDER

The stores are made up of numbers, the same in every process, and answer after a while. Says "ready", waits for a line
on standard input, takes part in one run, and prints what its tally says as JSON. What it finds is in FOLDER/NODE, a
line a key, written before it is reported.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from controlplane.adapters.etcd import EtcdDirectory, EtcdOptions
from controlplane.adapters.etcd.scan_board import EtcdScanBoards
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.copies import Copy
from controlplane.model.copy_record import CopyRecord
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_join import Difference, Kind
from controlplane.model.scan_state import Unit
from controlplane.model.tally import ScanTally
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ObjectInfo, Page
from controlplane.services.scan_maker import ScanMaker
from controlplane.services.scan_seat import ScanSeat
from controlplane.services.scan_stretches import StretchRecords
from controlplane.services.shared_documents import SharedDocuments
from controlplane.services.shared_scan import SharedScan
from controlplane.services.shared_scan_duty import SharedScanDuty
from tests.support.fakes import content_of

KEYS: Final = 30_000
PAGE: Final = 200
LATENCY_S: Final = 0.2
TTL_S: Final = 3.0
RULE: Final = MirrorRule("photos", "", "t")
BUCKET: Final = Bucket("photos")
_ETAG: Final = "e" * 32
_AT: Final = 1_700_000_000.0


def key(number: int) -> Key:
    return Key(f"{number % 26 + 97:c}/{number:08d}")


def kind(number: int) -> Kind | None:
    """What a scan must say of a key."""
    if number % 100 == 7:
        return Kind.MISSING
    if number % 150 == 8:
        return Kind.DIFFERENT
    return Kind.EXTRA if number % 500 == 9 else None


NUMBERS: Final = {key(number): number for number in range(KEYS)}


class Made:
    """One bucket, at the source or at the target."""

    def __init__(self, *, is_target: bool) -> None:
        self._is_target = is_target
        skipped = Kind.MISSING if is_target else Kind.EXTRA
        self._keys = sorted(at for at, number in NUMBERS.items() if kind(number) is not skipped)

    def _info(self, at: Key) -> ObjectInfo:
        number = NUMBERS[at]
        size = 2 if self._is_target and kind(number) is Kind.DIFFERENT else 1
        if not self._is_target:
            return ObjectInfo(at, size, _ETAG, _AT)
        return ObjectInfo(
            at, size, _ETAG, _AT, content=content_of(bytes(size)), metadata=CopyRecord(_ETAG, _AT).encoded()
        )

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        await asyncio.sleep(LATENCY_S)
        begin = 0 if after is None else bisect_right(self._keys, after)
        some = self._keys[begin : begin + limit]
        return Page([self._info(at) for at in some], some[-1] if begin + limit < len(self._keys) else None)

    async def head(self, at: Key) -> ObjectInfo:
        await asyncio.sleep(LATENCY_S / 10)
        number = NUMBERS[at]
        if kind(number) is (Kind.MISSING if self._is_target else Kind.EXTRA):
            raise NotFound(at)
        return self._info(at)


class Buckets:
    def __init__(self, *, is_target: bool) -> None:
        self._made = Made(is_target=is_target)

    def store(self, bucket: Bucket) -> Any:
        return self._made

    def bulk(self, bucket: Bucket) -> None:
        return None


class Written:
    """Implements Sink."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def take(self, unit: Unit, differences: Sequence[Difference]) -> int:
        os.write(self._file, "".join(f"{one.kind.value} {one.key}\n" for one in differences).encode())
        return len(differences)


async def main(urls: str, cluster: str, node: str, folder: str) -> None:
    clock = SystemClock()
    catalog = SqliteCatalog(Path(folder) / f"{node}.db")
    await catalog.open()
    rows = [Copy(at, _ETAG, 1, round(_AT), _ETAG) for at, number in NUMBERS.items() if kind(number) is None]
    await catalog.record_copies(StoreName("t"), BUCKET, rows)
    options = EtcdOptions(tuple(urls.split(",")))
    directory, boards = EtcdDirectory(options, cluster, clock), EtcdScanBoards(options, cluster)
    tally = ScanTally()
    documents = SharedDocuments(directory, "scan")
    seat = ScanSeat(boards, node, clock, tally, ttl_s=TTL_S)
    source: Any = Buckets(is_target=False)
    target: Any = Buckets(is_target=True)

    async def buckets(_: MirrorRule) -> Sequence[Bucket]:
        return [BUCKET]

    scans = ScanMaker(
        (RULE,),
        source=source,
        targets={"t": target},
        catalog=catalog,
        buckets=buckets,
        sink=Written(f"{folder}/{node}"),
        clock=clock,
        workers=2,
        page=PAGE,
        nodes=lambda: tally.nodes,
    )

    def new_scan() -> SharedScan:
        return SharedScan(
            scans,
            tally,
            node=node,
            seat=seat,
            stretches=StretchRecords(documents),
            catalog_is_shared=False,
            save_every_s=0.5,
            look_every_s=0.25,
        )

    duty = SharedScanDuty(new_scan, seat, documents, clock, tally, every_s=86_400.0)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await duty.once()
    print(json.dumps({"keys": tally.keys, "runs": tally.runs, "taken_over": tally.taken_over, "given": tally.given}))
    await catalog.aclose()
    await boards.aclose()
    await directory.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
