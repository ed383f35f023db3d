"""A catalog in this process's memory: for tests and trials. Nothing outlives the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from controlplane.model.content import Content, Guid, Sha256
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.ports.catalog import Quarantined
from controlplane.ports.errors import Conflict, Unavailable


class MemoryCatalog:
    """See the port. A manifest's locations come in the order in which record() named them, those that it did not name
    after them; set_locations() keeps a known store's place. Most calls look at every manifest."""

    def __init__(self) -> None:
        self._manifests: dict[Guid, Manifest] = {}
        self._quarantined: dict[Content, Quarantined] = {}
        self._copies: dict[tuple[StoreName, Bucket], dict[Key, Copy]] = {}
        self._closed = False

    async def open(self) -> None:
        """Nothing to do."""

    async def get(self, guid: Guid) -> Manifest | None:
        self._require_open()
        return self._manifests.get(guid)

    async def by_sha256(self, sha256: Sha256) -> Manifest | None:
        self._require_open()
        if not sha256:
            return None
        found = [manifest for manifest in self._manifests.values() if manifest.content.sha256 == sha256]
        return min(found, key=lambda manifest: manifest.guid, default=None)

    async def record(self, manifest: Manifest) -> None:
        self._require_open()
        known = self._manifests.get(manifest.guid)
        if known is not None and known.deleted_at is None and known.content != manifest.content:
            raise Conflict(
                f"the catalog in memory knows the blob {manifest.guid} with SHA-256 {known.content.sha256} and "
                f"{known.content.size} bytes, not {manifest.content.sha256} and {manifest.content.size}: "
                "two contents with one MD5; the first stays"
            )
        named = {at.store: at for at in manifest.locations}
        kept = () if known is None else tuple(at for at in known.locations if at.store not in named)
        self._manifests[manifest.guid] = replace(manifest, locations=(*named.values(), *kept))

    async def set_locations(self, updates: Sequence[tuple[Guid, Location]]) -> None:
        self._require_open()
        for guid, location in updates:
            known = self._manifests.get(guid)
            if known is not None:
                locations = {at.store: at for at in known.locations} | {location.store: location}
                self._manifests[guid] = replace(known, locations=tuple(locations.values()))

    async def entomb(self, guid: Guid, at: float) -> None:
        self._require_open()
        known = self._manifests.get(guid, Manifest(Content(guid, Sha256(""), 0), "", at))
        self._manifests[guid] = replace(known, deleted_at=at)

    async def forget(self, guid: Guid) -> None:
        self._require_open()
        self._manifests.pop(guid, None)

    async def list(self, after: Guid | None = None, limit: int = 1000) -> Sequence[Manifest]:
        self._require_open()
        guids = sorted(guid for guid in self._manifests if after is None or guid > after)
        return [self._manifests[guid] for guid in guids[: max(limit, 0)]]

    async def counts(self, store: StoreName) -> Mapping[LocationState, int]:
        """Every state is in the answer."""
        self._require_open()
        places = (manifest.location(store) for manifest in self._manifests.values())
        counted = Counter(at.state for at in places if at is not None)
        return {state: counted[state] for state in LocationState}

    async def quarantine(self, entry: Quarantined) -> None:
        self._require_open()
        self._quarantined.setdefault(entry.content, entry)

    async def quarantined(self) -> Sequence[Quarantined]:
        """In order of time."""
        self._require_open()
        return sorted(
            self._quarantined.values(),
            key=lambda entry: (entry.at, entry.content.md5, entry.content.sha256, entry.content.size),
        )

    async def record_copies(self, store: StoreName, bucket: Bucket, copies: Sequence[Copy]) -> None:
        self._require_open()
        self._copies.setdefault((store, bucket), {}).update((copy.key, copy) for copy in copies)

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
        # Code points are in the order of their UTF-8 bytes.
        self._require_open()
        known = self._copies.get((store, bucket), {})
        keys = sorted(
            key
            for key, copy in known.items()
            if (after is None or key > after)
            and (until is None or key <= until)
            and (copy.absent_since > 0 or not absent)
        )
        return [known[key] for key in keys[: max(limit, 0)]]

    async def copies_of(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> Mapping[Key, Copy]:
        self._require_open()
        known = self._copies.get((store, bucket), {})
        return {key: known[key] for key in keys if key in known}

    async def forget_copies(self, store: StoreName, bucket: Bucket, keys: Sequence[Key]) -> None:
        self._require_open()
        known = self._copies.get((store, bucket), {})
        for key in keys:
            known.pop(key, None)

    async def aclose(self) -> None:
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the catalog in memory is closed: this process is stopping")
