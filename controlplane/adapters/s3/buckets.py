"""The buckets of one S3 service, as many as are asked for, over one pool of connections."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from controlplane.adapters.bucket_checks import check_in_use, is_there
from controlplane.adapters.bucket_creation import BucketCreation
from controlplane.adapters.s3.options import S3Options
from controlplane.adapters.s3.pool import ConnectionPool
from controlplane.adapters.s3.store import S3ObjectStore
from controlplane.adapters.s3.write_conditions import WriteConditions
from controlplane.model.keys import Bucket, StoreName
from controlplane.ports.acl_store import AclStore
from controlplane.ports.bulk_store import BulkStore
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Rejected
from controlplane.ports.part_store import PartStore
from controlplane.ports.server_copy import ServerCopy

BUCKET: Final = "{bucket}"
"""Stands for the source bucket's name in the bucket and in the prefix of the options."""


class S3Buckets:
    """Implements ports.bucket_stores.BucketStores. `options.bucket` and `options.prefix` are templates: at least one
    names BUCKET, so that objects of two buckets never have one place.

    `create`: a bucket that is missing is made; else it must be there. `lenient`: check() is about the service only, not
    about what it allows: a bucket's policy can close it to its listing (policy-star-admin-list).
    """

    def __init__(
        self,
        name: StoreName,
        options: S3Options,
        clock: Clock,
        random: Random,
        *,
        create: bool = False,
        lenient: bool = False,
    ) -> None:
        if BUCKET not in options.bucket + options.prefix:
            raise ValueError(f"{BUCKET} must be in the bucket or in the prefix of {name}")
        self._name = name
        self._options = options
        self._clock = clock
        self._random = random
        self._creation = BucketCreation() if create else None
        self._lenient = lenient
        self._pool = ConnectionPool(options, clock, random)
        self._conditions = WriteConditions(clock, honoured=options.conditional_put)
        self._stores: dict[Bucket, S3ObjectStore] = {}

    @property
    def name(self) -> StoreName:
        return self._name

    @property
    def template(self) -> S3Options:
        return self._options

    def options(self, bucket: Bucket) -> S3Options:
        """Raises Rejected for a bucket name that would be too long at the target."""
        place = self._options.bucket.replace(BUCKET, bucket)
        if not 3 <= len(place) <= 63:
            raise Rejected(f"{place[:100]} cannot be a bucket's name: change the template {self._options.bucket}")
        return replace(self._options, bucket=place, prefix=self._options.prefix.replace(BUCKET, bucket))

    def store(self, bucket: Bucket) -> S3ObjectStore:
        known = self._stores.get(bucket)
        if known is None:
            known = S3ObjectStore(
                self._name, self.options(bucket), self._clock, self._random, self._pool, self._conditions
            )
            self._stores[bucket] = known
        return known

    def bulk(self, bucket: Bucket) -> BulkStore:
        return self.store(bucket).bulk

    def parts(self, bucket: Bucket) -> PartStore:
        return self.store(bucket).parts

    def acls(self, bucket: Bucket) -> AclStore:
        return self.store(bucket).acls

    async def prepare(self, bucket: Bucket) -> None:
        if self._creation is not None:
            store = self.store(bucket)
            await self._creation.once(store.bucket, store.create_bucket)

    async def check(self) -> None:
        """See check_in_use."""
        try:
            await check_in_use(self._stores.values(), of_many=BUCKET in self._options.bucket)
        except Rejected:
            if not self._lenient:
                raise

    async def has(self, bucket: Bucket) -> bool:
        return await is_there(self.store(bucket))

    async def aclose(self) -> None:
        if self._creation is not None:
            await self._creation.aclose()
        await self._pool.aclose()


class S3ServerCopies:
    """Implements ports.server_copy.ServerCopies: from the buckets of one S3Buckets to those of another, where both are
    one service. `source` gives the places only; whoever copies is the target's account."""

    def __init__(self, source: S3Buckets, target: S3Buckets) -> None:
        self._source = source
        self._target = target
        self._ways: dict[Bucket, ServerCopy] = {}

    def of(self, bucket: Bucket) -> ServerCopy:
        way = self._ways.get(bucket)
        if way is None:
            way = self._ways[bucket] = self._target.store(bucket).server_copy(self._source.options(bucket))
        return way
