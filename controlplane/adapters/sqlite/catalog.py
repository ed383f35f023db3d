"""The catalog in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from controlplane.adapters.sqlite.catalog_schema import CATALOG, decode_manifest
from controlplane.adapters.sqlite.catalog_session import CatalogSession
from controlplane.adapters.sqlite.reader import ReaderThread
from controlplane.adapters.sqlite.schema import connect
from controlplane.adapters.sqlite.writer import WriterThread
from controlplane.model.content import Content, Guid, Md5, Sha256
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.ports.catalog import Quarantined
from controlplane.ports.errors import Rejected, Unavailable

_BY_GUID = "SELECT guid, sha256, size, content_type, created_at, deleted_at, locations FROM manifest WHERE guid = ?"
_BY_SHA256 = (
    "SELECT guid, sha256, size, content_type, created_at, deleted_at, locations FROM manifest"
    " WHERE sha256 = ? AND sha256 <> x'' ORDER BY guid LIMIT 1"
)
_PAGE = (
    "SELECT guid, sha256, size, content_type, created_at, deleted_at, locations FROM manifest"
    " WHERE guid > ? ORDER BY guid LIMIT ?"
)
_COPIES = (
    "SELECT key, source_etag, size, source_mtime, target_etag, absent_since FROM object_copy"
    " WHERE store = ? AND bucket = ?"
)
_ASKED_AT_ONCE = 256
_to_copy = partial(tuple.__new__, Copy)
"""Copy._make() without its steps in Python: a scan reads millions."""

_POINT_BUSY_TIMEOUT_S = 0.05
_POINT_CACHE_KIB = 8192


class SqliteCatalog:
    """See the port. get() and by_sha256() read on the calling thread: microseconds, and they wait for no writer.

    A manifest's locations come in the order in which record() named them, those that it did not name after them;
    set_locations() keeps a known store's place. Digests must be lower-case hex, as model.content says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = WriterThread(CatalogSession(path))
        self._reader = ReaderThread(path, CATALOG)
        self._points: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Create the file when there is none. Raises Corrupt for a damaged file (it can be removed: see the message),
        Rejected for one of a newer version, Unavailable and StorageFull."""
        await self._writer.open()
        try:
            await self._reader.open()
            self._points = connect(self._path, busy_timeout_s=_POINT_BUSY_TIMEOUT_S, cache_kib=_POINT_CACHE_KIB)
        except sqlite3.Error as error:
            await self.aclose()
            raise CATALOG.fault(error, self._path) from error
        except BaseException:
            await self.aclose()
            raise

    async def get(self, guid: Guid) -> Manifest | None:
        return self._point(_BY_GUID, _digest(guid))

    async def by_sha256(self, sha256: Sha256) -> Manifest | None:
        if not sha256:
            return None
        return self._point(_BY_SHA256, _digest(sha256))

    def _point(self, query: str, digest: bytes) -> Manifest | None:
        if self._points is None:
            raise Unavailable(f"{CATALOG.name(self._path)} is not open: this process is starting or stopping")
        try:
            row = self._points.execute(query, (digest,)).fetchone()
        except sqlite3.Error as error:
            raise CATALOG.fault(error, self._path) from error
        return None if row is None else decode_manifest(row)

    async def record(self, manifest: Manifest) -> None:
        _digest(manifest.content.md5)
        _digest(manifest.content.sha256)
        await self._writer.submit(lambda session: session.record(manifest))

    async def set_locations(self, updates: Sequence[tuple[Guid, Location]]) -> None:
        if updates:
            for guid, _ in updates:
                _digest(guid)
            taken = tuple(updates)
            await self._writer.submit(lambda session: session.set_locations(taken))

    async def entomb(self, guid: Guid, at: float) -> None:
        _digest(guid)
        await self._writer.submit(lambda session: session.entomb(guid, at))

    async def forget(self, guid: Guid) -> None:
        _digest(guid)
        await self._writer.submit(lambda session: session.forget(guid))

    async def list(self, after: Guid | None = None, limit: int = 1000) -> Sequence[Manifest]:
        start = b"" if after is None else _digest(after)
        if limit <= 0:
            return []

        def read(connection: sqlite3.Connection) -> Sequence[Manifest]:
            rows = connection.execute(_PAGE, (start, limit)).fetchall()
            return [decode_manifest(row) for row in rows]

        return await self._reader.read(read)

    async def counts(self, store: StoreName) -> Mapping[LocationState, int]:
        """Every state is in the answer."""

        def read(connection: sqlite3.Connection) -> dict[str, int]:
            return dict(
                connection.execute("SELECT state, blobs FROM location_count WHERE store = ?", (store,)).fetchall()
            )

        counted = await self._reader.read(read)
        return {state: counted.get(state.value, 0) for state in LocationState}

    async def quarantine(self, entry: Quarantined) -> None:
        _digest(entry.content.md5)
        _digest(entry.content.sha256)
        await self._writer.submit(lambda session: session.quarantine(entry))

    async def quarantined(self) -> Sequence[Quarantined]:
        """In order of time."""

        def read(connection: sqlite3.Connection) -> Sequence[tuple[Any, ...]]:
            return connection.execute(
                "SELECT md5, sha256, size, at, kept FROM quarantine ORDER BY at, md5, sha256, size"
            ).fetchall()

        return [
            Quarantined(Content(Md5(md5.hex()), Sha256(sha256.hex()), size), at, bool(kept))
            for md5, sha256, size, at, kept in await self._reader.read(read)
        ]

    async def record_copies(self, store: StoreName, bucket: Bucket, copies: Sequence[Copy]) -> None:
        if copies:
            taken = tuple(copies)
            await self._writer.submit(lambda session: session.record_copies(store, bucket, taken))

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
        if limit <= 0:
            return []
        query = _COPIES
        values: list[str | int] = [store, bucket]
        for condition, value in ((" AND key > ?", after), (" AND key <= ?", until)):
            if value is not None:
                query += condition
                values.append(value)
        if absent:
            query += " AND absent_since > 0"
        query += " ORDER BY key LIMIT ?"
        values.append(limit)

        def read(connection: sqlite3.Connection) -> Sequence[Copy]:
            return list(map(_to_copy, connection.execute(query, values)))

        return await self._reader.read(read)

    async def copies_of(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> Mapping[Key, Copy]:
        def read(connection: sqlite3.Connection) -> Mapping[Key, Copy]:
            found: dict[Key, Copy] = {}
            # One statement for many: each gives up the interpreter lock, and a busy loop is slow to give it back.
            for at in range(0, len(keys), _ASKED_AT_ONCE):
                some = keys[at : at + _ASKED_AT_ONCE]
                query = f"{_COPIES} AND key IN ({', '.join('?' * len(some))})"
                for row in connection.execute(query, (store, bucket, *some)).fetchall():
                    copy = _to_copy(row)
                    found[copy.key] = copy
            return found

        return await self._reader.read(read)

    async def forget_copies(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> None:
        if keys:
            taken = tuple(keys)
            await self._writer.submit(lambda session: session.forget_copies(store, bucket, taken))

    async def aclose(self) -> None:
        """Finish what is queued and close; later calls raise Unavailable. Idempotent."""
        points, self._points = self._points, None
        try:
            await self._writer.aclose()
        finally:
            await self._reader.aclose()
            if points is not None:
                points.close()


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Rejected(f"the catalog is asked about {text[:80]!r}, which is not a digest in hex digits") from error
