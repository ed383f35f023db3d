"""What the real code takes on this machine for one key, row, entry and decision: the ground of `millrace simulate`."""

from __future__ import annotations

import hashlib
import time
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

from controlplane.adapters.memory.object_store import MemoryObjectStore
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scale import Measured
from controlplane.model.scan_join import Difference, Listed
from controlplane.model.scan_ranges import initial
from controlplane.model.scan_state import Unit, UnitState
from controlplane.model.sharding import assignment
from controlplane.model.task import Draft, Op
from controlplane.ports.catalog import Catalog
from controlplane.ports.listing import ListedPage
from controlplane.services.scan_unit import UnitScan
from controlplane.services.target_heads import TargetHeads

_BUCKET = Bucket("photos")
_STORE = StoreName("target")
_RULE = MirrorRule(_BUCKET, "", _STORE)
_AT = 1_700_000_000
_key = itemgetter(0)


async def measure(folder: Path, *, agents: int, keys: int, key_bytes: int) -> Measured:
    """In an empty directory: `keys` rows and entries are written there. Raises StorageFull, Unavailable."""
    copies = [_copy(number, key_bytes) for number in range(keys)]
    catalog = SqliteCatalog(folder / "catalog.db")
    await catalog.open()
    try:
        for start in range(0, keys, 1000):
            await catalog.record_copies(_STORE, _BUCKET, copies[start : start + 1000])
        scan_keys_s = await _scan_keys_s(catalog, copies)
    finally:
        await catalog.aclose()
    return Measured(
        scan_keys_s=scan_keys_s,
        catalog_row_bytes=(folder / "catalog.db").stat().st_size / keys,
        journal_entry_bytes=await _journal_entry_bytes(folder / "journal.db", copies[:5000]),
        plan_s=_plan_s(agents),
    )


def _copy(number: int, key_bytes: int) -> Copy:
    etag = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    return Copy(Key(f"{number:0{key_bytes}d}"), etag, 4096 + number % 1000, _AT, etag)


class _Pages:
    """A listing at hand: what is left of a scan is its own work."""

    def __init__(self, rows: Sequence[Listed]) -> None:
        self._rows = rows

    async def page(self, after: Key | None, limit: int) -> ListedPage:
        start = 0 if after is None else bisect_right(self._rows, after, key=_key)
        rows = self._rows[start : start + limit]
        return ListedPage(rows, start + limit < len(self._rows))


class _NothingFound:
    async def take(self, unit: Unit, differences: Sequence[Difference]) -> int:
        raise AssertionError(f"equal listings of {unit.bucket} were found to differ: {differences[:1]}")


async def _scan_keys_s(catalog: Catalog, copies: Sequence[Copy]) -> float:
    """Both listings and the catalog agree: what nearly every page of a scan is."""
    clock = SystemClock()
    state = UnitState(initial((), 1))
    scan = UnitScan(
        Unit(_RULE, _BUCKET, ""),
        state,
        rules=(_RULE,),
        source=_Pages([Listed(copy.key, copy.source_etag, copy.size, copy.source_mtime) for copy in copies]),
        target=_Pages([Listed(copy.key, copy.target_etag, copy.size, _AT + 9) for copy in copies]),
        heads=TargetHeads(MemoryObjectStore(_STORE, clock=clock), None),
        catalog=catalog,
        sink=_NothingFound(),
        clock=clock,
        workers=1,
    )
    begun = time.process_time()
    await scan.run()
    spent = time.process_time() - begun
    if state.counts.same != len(copies):
        raise AssertionError(f"{state.counts.same} of {len(copies)} equal keys were found equal")
    return len(copies) / spent


async def _journal_entry_bytes(path: Path, copies: Sequence[Copy]) -> float:
    journal = SqliteJournal(path, limit=2 * len(copies))
    await journal.open()
    try:
        for copy in copies:
            draft = Draft(Op.PUT_OBJECT, _BUCKET, copy.key, etag=copy.source_etag, object_size=copy.size)
            await journal.append(draft, float(_AT))
    finally:
        await journal.aclose()
    return path.stat().st_size / len(copies)


def _plan_s(agents: int) -> float:
    """When one of the members is gone."""
    members = {f"agent{number:04d}": 100 for number in range(agents)}
    assignment(members)
    members.popitem()
    begun = time.process_time()
    assignment(members)
    return time.process_time() - begun
