"""Tags of objects of Riak CS, as the S3 front keeps them in its private bucket: read by the mirror, never written."""

from __future__ import annotations

from typing import Final

from controlplane.model.copy_record import Tags
from controlplane.model.keys import Bucket
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Rejected
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.sigv2 import http_date
from controlplane.services.s3.object_records import identity_of
from controlplane.services.s3.subresources import Kind, Subresources

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

    async def any_in(self, bucket: Bucket, *, now: bool = False) -> bool:
        """Whether objects of the bucket may have tags. Raises Unavailable, Rejected."""
        try:
            return await self._subresources.bucket_document(bucket, Kind.OBJECTS, fresh=now) is not None
        except Rejected:
            if await self._source.has(self._private):
                raise
            return False
