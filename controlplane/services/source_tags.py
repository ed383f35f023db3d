"""Tags of objects of Riak CS, as the S3 front keeps them in its private bucket: read by the mirror, never written."""

from __future__ import annotations

from collections.abc import Sequence
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
        try:
            return await self._subresources.bucket_document(bucket, Kind.OBJECTS, fresh=now) is not None
        except Rejected:
            if await self._source.has(self._private):
                raise
            return False
