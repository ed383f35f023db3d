"""What is done to manifests inside a write transaction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from controlplane.adapters.sqlite.catalog_schema import (
    CATALOG,
    decode_locations,
    decode_manifest,
    encode_locations,
)
from controlplane.adapters.sqlite.write_session import WriteSession
from controlplane.model.content import Guid
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.ports.catalog import Quarantined
from controlplane.ports.errors import Conflict

_UPDATED_AT_ONCE = (64, 16, 4, 1)


@lru_cache
def _updating(rows: int) -> tuple[str, str]:
    """Statements that read and write the locations of so many blobs, in one step each."""
    asked = ", ".join("?" * rows)
    given = ", ".join(["(?, ?)"] * rows)
    read = f"SELECT json_group_array(json_array(hex(guid), locations)) FROM manifest WHERE guid IN ({asked})"  # noqa: S608 - question marks
    write = f"UPDATE manifest SET locations = new.column2 FROM (VALUES {given}) new WHERE guid = new.column1"  # noqa: S608 - the same
    return read, write


@lru_cache
def _recording(rows: int) -> str:
    """A statement that records so many copies of one bucket, in one step."""
    given = ", ".join([f"(?1, ?2, {', '.join(f'?{6 * row + at}' for at in range(3, 9))})" for row in range(rows)])
    columns = "store, bucket, key, source_etag, size, source_mtime, target_etag, absent_since"
    return f"INSERT OR REPLACE INTO object_copy ({columns}) VALUES {given}"  # noqa: S608 - question marks


class CatalogSession(WriteSession):
    """How many locations are in which state is counted along, and written once a transaction."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, CATALOG)
        self._changes: Counter[tuple[StoreName, LocationState]] = Counter()

    def load(self) -> None:
        self._changes.clear()

    def store(self) -> None:
        changes = [(store, state.value, change) for (store, state), change in self._changes.items() if change]
        if changes:
            self.connection.executemany(
                "INSERT INTO location_count VALUES (?, ?, ?)"
                " ON CONFLICT (store, state) DO UPDATE SET blobs = blobs + excluded.blobs",
                changes,
            )

    def mark(self) -> object:
        return self._changes.copy()

    def restore(self, mark: object) -> None:
        if isinstance(mark, Counter):
            self._changes = mark

    def record(self, manifest: Manifest) -> None:
        known = self._find(manifest.guid)
        before: tuple[Location, ...] = ()
        if known is not None:
            before = known.locations
            if known.deleted_at is None and known.content != manifest.content:
                raise Conflict(
                    f"{self.name} knows the blob {manifest.guid} with SHA-256 {known.content.sha256} and "
                    f"{known.content.size} bytes, not {manifest.content.sha256} and {manifest.content.size}: "
                    "two contents with one MD5; the first stays"
                )
        named = {at.store: at for at in manifest.locations}
        after = (*named.values(), *(at for at in before if at.store not in named))
        self._count(before, after)
        content = manifest.content
        self.connection.execute(
            "INSERT OR REPLACE INTO manifest (guid, sha256, size, content_type, created_at, deleted_at, locations)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                bytes.fromhex(content.md5),
                bytes.fromhex(content.sha256),
                content.size,
                manifest.content_type,
                manifest.created_at,
                manifest.deleted_at,
                encode_locations(manifest.guid, after),
            ),
        )

    def set_locations(self, updates: Sequence[tuple[Guid, Location]]) -> None:
        by_guid: dict[Guid, list[Location]] = {}
        for guid, location in updates:
            by_guid.setdefault(guid, []).append(location)
        guids = list(by_guid)
        done = 0
        for rows in _UPDATED_AT_ONCE:
            while len(guids) - done >= rows:
                self._set_locations({guid: by_guid[guid] for guid in guids[done : done + rows]})
                done += rows

    def _set_locations(self, updates: Mapping[Guid, Sequence[Location]]) -> None:
        """Two statements for all: each step of a statement gives up the interpreter lock, and getting it back in a
        busy process costs more than the step."""
        read, write = _updating(len(updates))
        known: str = self.connection.execute(read, [bytes.fromhex(guid) for guid in updates]).fetchone()[0]
        texts = {Guid(guid.lower()): text for guid, text in json.loads(known)}
        values: list[object] = []
        for guid, locations in updates.items():
            # A guid that is not known is written in vain: the statement keeps its length.
            text = texts.get(guid, "")
            if text:
                before = decode_locations(guid, text)
                after = {at.store: at for at in before} | {at.store: at for at in locations}
                self._count(before, after.values())
                text = encode_locations(guid, after.values())
            values += (bytes.fromhex(guid), text)
        self.connection.execute(write, values)

    def entomb(self, guid: Guid, at: float) -> None:
        self.connection.execute(
            "INSERT INTO manifest (guid, sha256, size, content_type, created_at, deleted_at, locations)"
            " VALUES (?1, x'', 0, '', ?2, ?2, '[]')"
            " ON CONFLICT (guid) DO UPDATE SET deleted_at = ?2",
            (bytes.fromhex(guid), at),
        )

    def forget(self, guid: Guid) -> None:
        known = self._find(guid)
        if known is not None:
            self._count(known.locations, ())
            self.connection.execute("DELETE FROM manifest WHERE guid = ?", (bytes.fromhex(guid),))

    def quarantine(self, entry: Quarantined) -> None:
        content = entry.content
        self.connection.execute(
            "INSERT OR IGNORE INTO quarantine (md5, sha256, size, at, kept) VALUES (?, ?, ?, ?, ?)",
            (bytes.fromhex(content.md5), bytes.fromhex(content.sha256), content.size, entry.at, entry.kept),
        )

    def record_copies(self, store: StoreName, bucket: Bucket, copies: Sequence[Copy]) -> None:
        done = 0
        for rows in _UPDATED_AT_ONCE:
            while len(copies) - done >= rows:
                values: list[object] = [store, bucket]
                for copy in copies[done : done + rows]:
                    values += copy
                self.connection.execute(_recording(rows), values)
                done += rows

    def forget_copies(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> None:
        self.connection.executemany(
            "DELETE FROM object_copy WHERE store = ? AND bucket = ? AND key = ?",
            [(store, bucket, key) for key in keys],
        )

    def _find(self, guid: Guid) -> Manifest | None:
        row = self.connection.execute(
            "SELECT guid, sha256, size, content_type, created_at, deleted_at, locations FROM manifest WHERE guid = ?",
            (bytes.fromhex(guid),),
        ).fetchone()
        return None if row is None else decode_manifest(row)

    def _count(self, before: Iterable[Location], after: Iterable[Location]) -> None:
        for at in before:
            self._changes[at.store, at.state] -= 1
        for at in after:
            self._changes[at.store, at.state] += 1
