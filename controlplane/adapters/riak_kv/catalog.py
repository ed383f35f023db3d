"""The catalog of a cluster in Riak KV."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from controlplane.adapters.riak_kv import catalog_document as document
from controlplane.adapters.riak_kv.kv import CACHE, RiakKv
from controlplane.model.content import Guid, Sha256
from controlplane.model.copies import Copy
from controlplane.model.hybrid_clock import WRITERS, next_stamp_of
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.shared_manifest import SharedManifest, entombed, located, recorded
from controlplane.ports.catalog import Quarantined
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Unavailable

_PAGE: Final = 1000
_AT_ONCE: Final = 32
_TRIES: Final = 4
T = TypeVar("T")


class RiakCatalog:
    """See the port. set_locations(), record_copies() and forget_copies() write object by object, not in one
    transaction: the catalog is a cache (I9), and what a crash leaves out is found again.

    record() looks for a conflict (I3) and writes then. Two nodes that record colliding contents within the same
    milliseconds can both succeed: the later stamp counts everywhere, and the mirror meets the other at the target.
    counts() reads an index entry of every location at the store."""

    def __init__(self, kv: RiakKv, *, cluster: str, clock: Clock) -> None:
        self._kv = kv
        self._cluster = cluster
        self._bucket = f"{cluster}.catalog"
        self._quarantine = f"{cluster}.quarantine"
        self._clock = clock
        self._writer = secrets.randbelow(WRITERS)
        self._last_stamp = 0
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._closed = False

    async def open(self) -> None:
        """Nothing is asked yet: Riak KV may be away when a node starts (I10)."""

    async def get(self, guid: Guid) -> Manifest | None:
        self._require_open()
        fetched = await self._kv.fetch(self._bucket, guid)
        known = document.decode_manifest(fetched.values, self._name(guid))
        return known.manifest if known is not None else None

    async def by_sha256(self, sha256: Sha256) -> Manifest | None:
        self._require_open()
        if not sha256:
            return None
        async for _, guid in self._rows(self._bucket, "sha256_bin", sha256, sha256):
            found = await self.get(Guid(guid))
            if found is not None and found.content.sha256 == sha256:  # the index also lists what siblings said
                return found
        return None

    async def record(self, manifest: Manifest) -> None:
        def change(known: SharedManifest | None) -> SharedManifest:
            before = known.manifest if known is not None else None
            if before is not None and before.deleted_at is None and before.content != manifest.content:
                raise Conflict(
                    f"the catalog in Riak KV knows the blob {manifest.guid} with SHA-256 {before.content.sha256} and "
                    f"{before.content.size} bytes, not {manifest.content.sha256} and {manifest.content.size}: "
                    "two contents with one MD5; the first stays"
                )
            return recorded(known, manifest, self._stamp(known))

        self._require_open()
        await self._change(manifest.guid, change, new=True)

    async def set_locations(self, updates: Sequence[tuple[Guid, Location]]) -> None:
        self._require_open()
        by_guid: dict[Guid, list[Location]] = {}
        for guid, at in updates:
            by_guid.setdefault(guid, []).append(at)

        def changing(locations: list[Location]) -> Callable[[SharedManifest | None], SharedManifest | None]:
            return lambda known: None if known is None else located(known, locations, lambda: self._stamp(known))

        await self._all([self._change(guid, changing(found)) for guid, found in by_guid.items()])

    async def entomb(self, guid: Guid, at: float) -> None:
        self._require_open()
        await self._change(guid, lambda known: entombed(known, guid, at, self._stamp(known)))

    async def forget(self, guid: Guid) -> None:
        self._require_open()
        await self._delete(self._bucket, guid)

    async def list(self, after: Guid | None = None, limit: int = 1000) -> Sequence[Manifest]:
        self._require_open()
        found: list[Manifest] = []
        low = "0" if after is None else f"{after}0"  # behind the GUID itself
        while len(found) < limit:
            page = await self._kv.index(self._bucket, "guid_bin", low, "g", limit=min(limit - len(found), _PAGE))
            guids = list(dict.fromkeys(key for _, key in page.rows))
            manifests = await self._all([self.get(Guid(guid)) for guid in guids])
            found += [manifest for manifest in manifests if manifest is not None]
            if not page.continuation:
                break
            low = f"{guids[-1]}0"
        return found

    async def counts(self, store: StoreName) -> Mapping[LocationState, int]:
        """Every state is in the answer."""
        self._require_open()
        counted: dict[LocationState, int] = {}
        for state in LocationState:
            term = document.state_term(store, state)
            counted[state] = 0
            async for _ in self._rows(self._bucket, "at_bin", term, term):
                counted[state] += 1
        return counted

    async def quarantine(self, entry: Quarantined) -> None:
        self._require_open()
        key = document.quarantine_key(entry.content)
        fetched = await self._kv.fetch(self._quarantine, key)
        if not fetched.values:
            await self._kv.store(
                self._quarantine,
                key,
                document.encode_quarantined(entry),
                clock=fetched.clock,
                indexes=(("guid_bin", entry.content.md5),),
            )

    async def quarantined(self) -> Sequence[Quarantined]:
        """In order of time."""
        self._require_open()

        async def read(key: str) -> Quarantined | None:
            fetched = await self._kv.fetch(self._quarantine, key)
            where = f"the object {key} of the bucket {self._quarantine} in Riak KV"
            return document.decode_quarantined(fetched.values, where) if fetched.values else None

        keys = dict.fromkeys([key async for _, key in self._rows(self._quarantine, "guid_bin", "0", "g")])
        found = [entry for entry in await self._all([read(key) for key in keys]) if entry is not None]
        return sorted(found, key=lambda e: (e.at, e.content.md5, e.content.sha256, e.content.size))

    # -- copies of S3 objects -----------------------------------------------------------------------------------------

    async def record_copies(self, store: StoreName, bucket: Bucket, copies: Sequence[Copy]) -> None:
        self._require_open()
        where = document.copies_bucket(self._cluster, store, bucket)

        async def write(copy: Copy) -> None:
            key = document.copy_key(copy.key)
            fetched = await self._kv.fetch(where, key)
            term = document.copy_term(copy, self._stamp(None))
            # The term is the value, too: a fetch of one key does not say what is in its index.
            await self._kv.store(where, key, term.encode(), clock=fetched.clock, indexes=(("row_bin", term),))

        await self._all([write(copy) for copy in {copy.key: copy for copy in copies}.values()])

    async def copies(
        self,
        store: StoreName,
        bucket: Bucket,
        *,
        after: Key | None = None,
        until: Key | None = None,
        limit: int = 1000,
        absent: bool = False,
    ) -> Sequence[Copy]:
        self._require_open()
        if limit <= 0:
            return []
        where = document.copies_bucket(self._cluster, store, bucket)
        # What a sibling says of a key must be seen too, so the mark is looked at here and not by Riak.
        found: dict[Key, tuple[int, Copy]] = {}
        low, high = document.after_term(after), document.until_term(until)
        async for term, _ in self._rows(where, "row_bin", low, high, page=min(_PAGE, limit + 1)):
            stamp, copy = document.read_copy_term(term, f"the bucket {where} in Riak KV")
            if len(found) > limit and copy.key not in found:
                break
            if copy.key not in found or found[copy.key][0] < stamp:
                found[copy.key] = (stamp, copy)
            if absent and len(found) > limit:
                found = {key: row for key, row in found.items() if row[1].absent_since > 0 or key == copy.key}
        rows = [copy for _, copy in found.values() if copy.absent_since > 0 or not absent]
        return rows[:limit]

    async def copies_of(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> Mapping[Key, Copy]:
        """Rows that older versions wrote have no value, and are not known here."""
        self._require_open()
        where = document.copies_bucket(self._cluster, store, bucket)

        async def read(key: Key) -> Copy | None:
            fetched = await self._kv.fetch(where, document.copy_key(key), CACHE)
            rows = [
                document.read_copy_term(value.decode("ascii", "replace"), f"the bucket {where} in Riak KV")
                for value in fetched.values
                if value
            ]
            return max(rows)[1] if rows else None

        found = await self._all([read(key) for key in dict.fromkeys(keys)])
        return {copy.key: copy for copy in found if copy is not None}

    async def forget_copies(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> None:
        self._require_open()
        where = document.copies_bucket(self._cluster, store, bucket)
        await self._all([self._delete(where, document.copy_key(key)) for key in dict.fromkeys(keys)])

    async def aclose(self) -> None:
        """Idempotent; later calls raise Unavailable."""
        self._closed = True
        await self._kv.aclose()

    # -- objects ------------------------------------------------------------------------------------------------------

    async def _change(
        self, guid: Guid, change: Callable[[SharedManifest | None], SharedManifest | None], *, new: bool = False
    ) -> None:
        """`new`: a row that appears where there was none is looked at again, as far as Riak KV tells."""
        for left in reversed(range(_TRIES)):
            fetched = await self._kv.fetch(self._bucket, guid)
            known = document.decode_manifest(fetched.values, self._name(guid))
            changed = change(known)
            if changed is None:
                return
            try:
                await self._kv.store(
                    self._bucket,
                    guid,
                    document.encode_manifest(changed),
                    clock=fetched.clock,
                    indexes=document.manifest_indexes(changed),
                    if_absent=new and not fetched.values and left > 0,
                )
            except Conflict:
                continue
            return

    async def _delete(self, bucket: str, key: str) -> None:
        fetched = await self._kv.fetch(bucket, key)
        if fetched.values:
            await self._kv.delete(bucket, key, fetched.clock)

    async def _rows(
        self, bucket: str, field: str, low: str, high: str, *, page: int = _PAGE
    ) -> AsyncIterator[tuple[str, str]]:
        continuation = b""
        while True:
            found = await self._kv.index(bucket, field, low, high, limit=page, continuation=continuation)
            for row in found.rows:
                yield row
            if not found.continuation:
                return
            continuation = found.continuation

    async def _all(self, work: Sequence[Coroutine[Any, Any, T]]) -> tuple[T, ...]:
        """Some at once; the first failure is raised when everything has ended."""

        async def one(each: Coroutine[Any, Any, T]) -> T:
            async with self._turns:
                return await each

        results = await asyncio.gather(*(one(each) for each in work), return_exceptions=True)
        done: tuple[T, ...] = ()
        for result in results:
            if isinstance(result, BaseException):
                raise result
            done += (result,)
        return done

    def _stamp(self, known: SharedManifest | None) -> int:
        behind = max(self._last_stamp, known.highest_stamp if known is not None else 0)
        self._last_stamp = next_stamp_of(self._writer, behind, self._clock.now())
        return self._last_stamp

    def _name(self, key: str) -> str:
        return f"the object {key} of the bucket {self._bucket} in Riak KV"

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the catalog in Riak KV is closed: this process is stopping")
