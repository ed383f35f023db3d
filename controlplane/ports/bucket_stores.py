"""BucketStores: all buckets of one service as object stores: a mirrored Riak CS, or a place it is mirrored to."""

from __future__ import annotations

from typing import Protocol

from controlplane.model.keys import Bucket, StoreName
from controlplane.ports.bulk_store import BulkStore
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.part_store import PartStore


class BucketStores(Protocol):
    @property
    def name(self) -> StoreName: ...

    def store(self, bucket: Bucket) -> ObjectStore:
        """Where the objects of this (source) bucket are; made when first asked for, without I/O. It belongs to this
        object: nobody else closes it. Its keys are the objects' own."""
        ...

    def bulk(self, bucket: Bucket) -> BulkStore | None:
        """The way to many small objects of store(bucket) at once; None: there is none."""
        ...

    def parts(self, bucket: Bucket) -> PartStore | None:
        """The way to put objects of store(bucket) part by part; None: there is none."""
        ...

    async def prepare(self, bucket: Bucket) -> None:
        """See to it that objects of this bucket can be put. Costs nothing when that was done before.
        Raises Unavailable, Rejected."""
        ...

    async def has(self, bucket: Bucket) -> bool:
        """Whether the bucket exists. Raises Unavailable."""
        ...

    async def check(self) -> None:
        """Prove that the service answers with these credentials. Raises Unavailable, NotFound, Rejected."""
        ...

    async def aclose(self) -> None: ...
