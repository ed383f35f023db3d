"""Tags of objects of Riak CS, as the S3 front keeps them in its private bucket: read by the mirror, never written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final

from controlplane.model.copy_record import Tags
from controlplane.model.keys import Bucket, Key
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.clock import Clock
from controlplane.ports.errors import NotFound, Rejected
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.sigv2 import http_date
from controlplane.services.s3.object_records import identity_of
from controlplane.services.s3.subresources import Kind, Subresources
from controlplane.services.scan_tags import TaggedRecord

_KEEP_S: Final = 5.0


class SourceTags:
    """In a bucket none of whose objects has tags, `of` costs nothing but a look at the bucket's mark now and then."""

    def __init__(self, source: BucketStores, private: Bucket, clock: Clock) -> None:
        """`private`: the front's bucket. It is not made here: without a front nothing has tags."""
        self._source = source
        self._private = private
        self._subresources = Subresources(source.store(private), clock, _KEEP_S)
        self._coming: dict[Bucket, asyncio.Future[bool]] = {}
        self._under_way: dict[Bucket, asyncio.Future[bool]] = {}

    async def of(self, bucket: Bucket, info: ObjectInfo, *, now: bool = False) -> Tags:
        """The tags of this very object. Without `now` a bucket that got its first tagged object within the last seconds
        may still be taken for one without. Raises Unavailable, Corrupt (the record cannot be read), Rejected."""
        try:
            if not await self.any_in(bucket, now=now):
                return ()
            # As the front had it from the same headers.
            seen = {"etag": f'"{info.etag}"', "last-modified": http_date(int(info.modified_at))}
            return (await self._subresources.extras(bucket, info.key, identity_of(seen), certain=True)).tags
        except Rejected:
            if await self._source.has(self._private):
                raise
            return ()

    async def records(self, bucket: Bucket, after: Key | None, limit: int) -> tuple[Sequence[TaggedRecord], bool]:
        """Implements services.scan_tags.TagRecords."""
        try:
            page = await self._subresources.records(bucket, after, limit)
        except (Rejected, NotFound):
            if await self._source.has(self._private):
                raise
            return (), False
        rows = [TaggedRecord(at.key, at.etag, at.size, round(at.modified_at)) for at in page.objects]
        return rows, page.next_after is not None

    async def key_in(self, record: Key) -> Key | None:
        return await self._subresources.key_in(record)

    async def any_in(self, bucket: Bucket, *, now: bool = False) -> bool:
        """Whether objects of the bucket may have tags. Raises Unavailable, Rejected."""
        return await (self._look(bucket) if now else self._has_mark(bucket, fresh=False))

    async def _has_mark(self, bucket: Bucket, *, fresh: bool) -> bool:
        try:
            return await self._subresources.bucket_document(bucket, Kind.OBJECTS, fresh=fresh) is not None
        except Rejected:
            if await self._source.has(self._private):
                raise
            return False

    def _look(self, bucket: Bucket) -> Awaitable[bool]:
        """What is asked after this call is made. All who come while another look is under way share the next."""
        coming = self._coming.get(bucket)
        if coming is None or coming.done():
            coming = self._coming[bucket] = asyncio.ensure_future(self._look_after(bucket, self._under_way.get(bucket)))
            coming.add_done_callback(_heard)
        return asyncio.shield(coming)

    async def _look_after(self, bucket: Bucket, before: asyncio.Future[bool] | None) -> bool:
        if before is not None:
            await asyncio.wait([before])
        # Who comes from here on may know of tags that this look misses.
        current = self._under_way[bucket] = self._coming.pop(bucket)
        try:
            return await self._has_mark(bucket, fresh=True)
        finally:
            if self._under_way.get(bucket) is current:
                del self._under_way[bucket]


def _heard(look: asyncio.Future[bool]) -> None:
    """Nobody may have waited to its end: then its error is not to be told as one that nobody has seen."""
    if not look.cancelled():
        look.exception()
