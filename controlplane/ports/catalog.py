"""Catalog: manifests by GUID and by SHA-256, and the copies of S3 objects. A cache of what the stores say: it can be
rebuilt (I9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.model.content import Content, Guid, Sha256
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import Location, LocationState, Manifest


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A content that was refused because its MD5 belongs to another (I3)."""

    content: Content
    at: float
    """Unix seconds."""
    kept: bool
    """Whether its bytes were kept under quarantine/."""


class Catalog(Protocol):
    async def get(self, guid: Guid) -> Manifest | None:
        """The manifest, tombstone or not; None when the catalog knows nothing of it (which proves nothing)."""
        ...

    async def by_sha256(self, sha256: Sha256) -> Manifest | None: ...

    async def record(self, manifest: Manifest) -> None:
        """Insert, or replace everything but locations of stores that `manifest` does not name.

        A manifest without deleted_at lifts a tombstone (the blob was written again).
        Raises Conflict, changing nothing, when the catalog has another SHA-256 or size for the GUID and that
        manifest is not a tombstone (I3)."""
        ...

    async def set_locations(self, updates: Sequence[tuple[Guid, Location]]) -> None:
        """Upsert locations, in one transaction. GUIDs that the catalog does not know are ignored."""
        ...

    async def entomb(self, guid: Guid, at: float) -> None:
        """Set deleted_at; create a bare tombstone (empty content: SHA-256 "", size 0) for an unknown GUID."""
        ...

    async def forget(self, guid: Guid) -> None:
        """Remove the row and its locations (the delete has reached every store)."""
        ...

    async def list(self, after: Guid | None = None, limit: int = 1000) -> Sequence[Manifest]:
        """Manifests with guid > after in order of guid, tombstones included."""
        ...

    async def counts(self, store: StoreName) -> Mapping[LocationState, int]:
        """How many blobs are in which state at that store."""
        ...

    async def quarantine(self, entry: Quarantined) -> None:
        """Remember a refused content; a second time for the same content changes nothing."""
        ...

    async def quarantined(self) -> Sequence[Quarantined]: ...

    async def record_copies(self, store: StoreName, bucket: Bucket, copies: Sequence[Copy]) -> None:
        """Insert or replace, by key, what is known of the copies of a source bucket at a target, in one
        transaction; of several with one key the last counts."""
        ...

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
        """At most `limit` copies with after < key <= until, in order of the keys' UTF-8 bytes (None: no such bound).
        `absent`: only those that the source did not list when it was last looked for."""
        ...

    async def copies_of(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> Mapping[Key, Copy]:
        """What is known of the copies under these keys; a key without a row is not in the answer."""
        ...

    async def forget_copies(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> None:
        """Remove rows; unknown keys are ignored."""
        ...

    async def aclose(self) -> None: ...
