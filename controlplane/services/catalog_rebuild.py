"""The catalog made anew from what the stores say (I9): a row for every blob, and for every copy of an S3 object.

What is in the catalog already is corrected, not removed: for a clean one, its file is removed first. Nothing is written
to any store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.model.content import MalformedDigest, parse_guid
from controlplane.model.keys import BLOBS, TOMBSTONES, Bucket, Key, guid_of
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.mirror_rules import MirrorRule
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Missing, NotFound
from controlplane.ports.object_store import ObjectInfo, ObjectStore
from controlplane.services.copy_judging import orphan
from controlplane.services.target_heads import TargetHeads

log = logging.getLogger(__name__)

_PAGE: Final = 1000


@dataclass(slots=True)
class Rebuilt:
    blobs: int = 0
    """Places of blobs: one that is in both stores counts twice."""
    copies: int = 0
    tombstones: int = 0
    foreign: int = 0
    """Objects that nobody's mirror has put there, and blobs without their digests: they get no row."""
    collisions: int = 0
    """Blobs whose SHA-256 or size is another than the one that the catalog has for the GUID (I3)."""


class CatalogRebuild:
    def __init__(self, catalog: Catalog, clock: Clock, moved: Callable[[int], None] = lambda _: None) -> None:
        self._catalog = catalog
        self._clock = clock
        self._moved = moved
        self.result = Rebuilt()

    async def blobs(self, stores: Sequence[ObjectStore], primary: ObjectStore) -> None:
        """All blobs of the stores, then the tombstones, which only the primary has. Raises what a store may."""
        for store in stores:
            async for infos in _looked_at(store, TargetHeads(store, None), BLOBS):
                await asyncio.gather(*(self._blob(store, info) for info in infos))
                self._moved(len(infos))
        async for infos in _looked_at(primary, None, TOMBSTONES):
            for info in infos:
                try:
                    guid = parse_guid(info.key.removeprefix(TOMBSTONES))
                except MalformedDigest:
                    continue  # an S3 object's: the catalog has none of these
                await self._catalog.entomb(guid, info.modified_at)
                self.result.tombstones += 1

    async def copies(
        self,
        rules: Sequence[MirrorRule],
        targets: Mapping[str, BucketStores],
        buckets: Callable[[MirrorRule], Awaitable[Sequence[Bucket]]],
    ) -> None:
        """The copies of S3 objects at all targets. Raises what a store may."""
        for rule in rules:
            for bucket in await buckets(rule):
                target = targets[rule.target]
                store = target.store(bucket)
                heads = TargetHeads(store, target.bulk(bucket))
                async for infos in _looked_at(store, heads, rule.prefix):
                    rows = [row for row in (orphan(info, 0.0) for info in infos) if row is not None]
                    await self._catalog.record_copies(target.name, bucket, rows)
                    self.result.copies += len(rows)
                    self.result.foreign += len(infos) - len(rows)
                    self._moved(len(infos))

    async def _blob(self, store: ObjectStore, info: ObjectInfo) -> None:
        try:
            guid = guid_of(info.key)
        except MalformedDigest:
            guid = None
        if guid is None or info.content is None or info.content.md5 != guid:
            self.result.foreign += 1
            return
        at = Location(store.name, store.bucket, info.key, LocationState.MIRRORED, info.etag, self._clock.now())
        try:
            await self._catalog.record(Manifest(info.content, info.content_type, info.modified_at, (at,)))
        except Conflict as error:
            self.result.collisions += 1
            log.error("the blob %s in %s: %s", guid, store.name, error)  # noqa: TRY400 - expected, told in full
            return
        self.result.blobs += 1


async def _looked_at(store: ObjectStore, heads: TargetHeads | None, prefix: str) -> AsyncIterator[Sequence[ObjectInfo]]:
    """Pages of what is below a prefix, each object asked for by a HEAD where there is something to ask. A bucket that
    does not exist is empty: nothing was ever copied there."""
    after: Key | None = None
    while True:
        try:
            page = await store.list(prefix=prefix, after=after, limit=_PAGE)
        except (NotFound, Missing):
            return
        if heads is None:
            yield page.objects
        else:
            found = await heads.ask([info.key for info in page.objects])
            yield [info for info in found if info is not None]
        if page.next_after is None:
            return
        after = page.next_after
