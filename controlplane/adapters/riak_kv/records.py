"""The journal's records in Riak KV: read, changed and written one at a time within this process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from controlplane.adapters.riak_kv.journal_document import (
    LAST,
    decode_record,
    encode_record,
    indexes_of,
    seq_digits,
)
from controlplane.adapters.riak_kv.kv import RiakKv
from controlplane.model.key_record import KeyRecord
from controlplane.ports.clock import Clock

REMEMBERED_S: Final = 600.0
"""So long it is remembered what was closed: far longer than any change of a record takes."""
_PLACES: Final = 100_000
_AT_ONCE: Final = 32
PAGE: Final = 1000

Change = Callable[[KeyRecord | None], KeyRecord | None]
ShardOf = Callable[[str, str], int]


class Records:
    """Writers in other processes do not wait: what they write meanwhile becomes a sibling, and is joined."""

    def __init__(self, kv: RiakKv, bucket: str, clock: Clock, shard_of: ShardOf) -> None:
        self._kv = kv
        self.bucket = bucket
        self._clock = clock
        self._shard_of = shard_of
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._places: OrderedDict[int, str] = OrderedDict()
        """The records of tasks met of late, by seq."""
        self._fetching = asyncio.Semaphore(_AT_ONCE)

    async def get(self, key: str) -> KeyRecord | None:
        """Raises Unavailable, Corrupt."""
        async with self._fetching:
            fetched = await self._kv.fetch(self.bucket, key)
        record = decode_record(fetched.values, self._name(key))
        self._remember(key, record)
        return record

    async def get_all(self, keys: list[str]) -> list[KeyRecord | None]:
        return list(await asyncio.gather(*(self.get(key) for key in keys)))

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Whoever asks first within this process changes a record first."""
        async with self._hold(key):
            yield

    async def change(self, key: str, change: Change) -> tuple[KeyRecord | None, KeyRecord | None]:
        """The record before and after; the same object when `change` had nothing to change."""
        async with self._hold(f"{key}/change"):
            fetched = await self._kv.fetch(self.bucket, key)
            before = decode_record(fetched.values, self._name(key))
            after = change(before)
            if after is None or (after is before and len(fetched.values) < 2):
                return before, before
            # What is forgotten was closed long before any change that is under way now began.
            kept = after.pruned(int((self._clock.now() - REMEMBERED_S) * 1000))
            indexes = indexes_of(kept, self._shard_of(kept.bucket, kept.key))
            await self._kv.store(self.bucket, key, encode_record(kept), clock=fetched.clock, indexes=indexes)
            self._remember(key, kept)
            return before, after

    async def sweep(self, before: float) -> int:
        """Delete records without tasks whose last one was closed before that time (Unix seconds); how many."""
        swept = 0
        page = await self._kv.index(self.bucket, "idle_bin", "0", f"{int(before * 1000):012x}", limit=PAGE)
        for _, key in page.rows:
            async with self._hold(f"{key}/change"):
                fetched = await self._kv.fetch(self.bucket, key)
                record = decode_record(fetched.values, self._name(key))
                if record is not None and not record.entries:
                    await self._kv.delete(self.bucket, key, fetched.clock)
                    swept += 1
        return swept

    async def place_of(self, seq: int) -> str | None:
        """The key of the record that a task is in, if it is open."""
        known = self._places.get(seq)
        if known is not None:
            return known
        digits = seq_digits(seq)
        page = await self._kv.index(self.bucket, "seq_bin", digits, digits, limit=1)
        return page.rows[0][1] if page.rows else None

    async def rows(
        self, field: str, low: str, high: str = LAST, *, page: int = PAGE, regex: str = ""
    ) -> AsyncIterator[tuple[str, str]]:
        """(term, key) of the index, from all pages."""
        continuation = b""
        while True:
            found = await self._kv.index(
                self.bucket, field, low, high, limit=page, continuation=continuation, regex=regex
            )
            for row in found.rows:
                yield row
            if not found.continuation:
                return
            continuation = found.continuation

    def _remember(self, key: str, record: KeyRecord | None) -> None:
        for seq in record.entries if record is not None else ():
            self._places[seq] = key
            self._places.move_to_end(seq)
        while len(self._places) > _PLACES:
            self._places.popitem(last=False)

    def _name(self, key: str) -> str:
        return f"the object {key} of the bucket {self.bucket} in Riak KV"

    @asynccontextmanager
    async def _hold(self, key: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
