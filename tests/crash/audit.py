"""What is on disk after a kill, read without the killed program's help."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.content import Guid
from controlplane.model.keys import BLOBS, Key, StoreName, blob_key
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ObjectStore


@dataclass
class Findings:
    """Everything that breaks a promise, in words; empty is good."""

    faults: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)


def after_gateway_kill(folder: Path, acknowledged: Iterable[str]) -> Findings:
    """Every acknowledged blob is whole in the primary, and journalled or already in the persistent store (I1)."""

    async def look() -> Findings:
        findings = Findings()
        primary, persistent = _store(folder, "primary"), _store(folder, "persistent")
        journal = SqliteJournal(folder / "data" / "journal.db", limit=10**9)
        await journal.open()
        try:
            open_keys = {task.draft.key for task in await journal.due(4e9, 10**6)}
        finally:
            await journal.aclose()
        for guid in acknowledged:
            found = await _digest(primary, blob_key(Guid(guid)))
            findings.expect(found == guid, f"{guid} was acknowledged, the primary has {found}")
            promised = blob_key(Guid(guid)) in open_keys or await _digest(persistent, blob_key(Guid(guid))) == guid
            findings.expect(promised, f"{guid} was acknowledged, but is neither journalled nor mirrored")
        return findings

    return asyncio.run(look())


def when_drained(folder: Path, stored: Iterable[str], deleted: Iterable[str]) -> Findings:
    """Acknowledged blobs are whole in both stores, deleted ones in neither, and no object anywhere is half."""

    async def look() -> Findings:
        findings = Findings()
        kept, gone = set(stored), set(deleted)
        for name in ("primary", "persistent"):
            store = _store(folder, name)
            held = await _all(store)
            for guid, digest in held.items():
                findings.expect(digest == guid, f"{name} holds {guid} with the bytes of {digest}: half or damaged")
            for guid in kept - held.keys():
                findings.faults.append(f"{guid} was acknowledged and is not in {name}")
            for guid in gone & held.keys():
                findings.faults.append(f"{guid} was deleted and is in {name}")
        spool = [path.name for path in (folder / "data" / "spool").iterdir()]
        findings.expect(not spool, f"left in the spool: {spool}")
        return findings

    return asyncio.run(look())


def _store(folder: Path, name: str) -> ObjectStore:
    return FilesystemStore(StoreName(name), folder / name, clock=SystemClock())


async def _digest(store: ObjectStore, key: Key) -> str | None:
    try:
        reader = await store.get(key)
    except NotFound:
        return None
    md5 = hashlib.md5()
    try:
        async for chunk in reader:
            md5.update(chunk)
    finally:
        await reader.aclose()
    return md5.hexdigest()


async def _all(store: ObjectStore) -> dict[str, str | None]:
    held: dict[str, str | None] = {}
    after: Key | None = None
    while True:
        page = await store.list(prefix=BLOBS, after=after)
        for info in page.objects:
            held[info.key.removeprefix(BLOBS)] = await _digest(store, info.key)
        if page.next_after is None:
            return held
        after = page.next_after
