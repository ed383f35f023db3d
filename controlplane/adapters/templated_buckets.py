"""The buckets of one cloud's service, as many as are asked for, over one client."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from controlplane.adapters.bucket_checks import check_in_use, is_there
from controlplane.adapters.bucket_creation import BucketCreation
from controlplane.adapters.s3.buckets import BUCKET
from controlplane.model.keys import Bucket, StoreName
from controlplane.ports.bulk_store import BulkStore
from controlplane.ports.errors import Rejected
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.part_store import PartStore


class CloudStore(ObjectStore, Protocol):
    """What the stores of Azure and Google have in common."""

    @property
    def parts(self) -> PartStore: ...

    async def create_bucket(self) -> None: ...


class TemplatedBuckets:
    """Implements ports.bucket_stores.BucketStores. `bucket` and `prefix` are templates: at least one names BUCKET, so
    that objects of two buckets never have one place."""

    def __init__(
        self,
        name: StoreName,
        bucket: str,
        prefix: str,
        permitted: str,
        make: Callable[[str, str], CloudStore],
        close: Callable[[], Awaitable[None]],
        *,
        create: bool,
    ) -> None:
        """`permitted`: a pattern of the bucket names that the service has. `make(bucket, prefix)`: without I/O.
        `create`: a bucket that is missing is made."""
        if BUCKET not in bucket + prefix:
            raise ValueError(f"{BUCKET} must be in the bucket or in the prefix of {name}")
        self._name = name
        self._bucket = bucket
        self._prefix = prefix
        self._permitted: Final = re.compile(permitted)
        self._make = make
        self._close = close
        self._creation = BucketCreation() if create else None
        self._stores: dict[Bucket, CloudStore] = {}

    @property
    def name(self) -> StoreName:
        return self._name

    def store(self, bucket: Bucket) -> CloudStore:
        """Raises Rejected for a name that the service does not have."""
        known = self._stores.get(bucket)
        if known is None:
            place = self._bucket.replace(BUCKET, bucket)
            if not self._permitted.fullmatch(place):
                raise Rejected(
                    f"{place[:100]} cannot be a bucket's name there: put {BUCKET} into the prefix instead of the bucket"
                )
            known = self._stores[bucket] = self._make(place, self._prefix.replace(BUCKET, bucket))
        return known

    def bulk(self, bucket: Bucket) -> BulkStore | None:  # noqa: ARG002 - the port's
        return None

    def parts(self, bucket: Bucket) -> PartStore:
        return self.store(bucket).parts

    async def prepare(self, bucket: Bucket) -> None:
        if self._creation is not None:
            store = self.store(bucket)
            await self._creation.once(store.bucket, store.create_bucket)

    async def has(self, bucket: Bucket) -> bool:
        return await is_there(self.store(bucket))

    async def check(self) -> None:
        """See check_in_use."""
        await check_in_use(self._stores.values(), of_many=BUCKET in self._bucket)

    async def aclose(self) -> None:
        if self._creation is not None:
            await self._creation.aclose()
        await self._close()
