"""Tombstones of S3 objects: deletes that have not reached every store yet, where all nodes see them (I4)."""

from __future__ import annotations

import json
from hashlib import sha256

from controlplane.model.keys import Bucket, Key
from controlplane.ports.clock import Clock
from controlplane.ports.object_store import ObjectStore
from controlplane.services.presence import exists


class ObjectTombstones:
    """Objects of the store that also holds the blobs: `tombstones/s3/<bucket>/<sha256 of the key>`. One is written
    before the object leaves Riak CS, and lifted when the delete has reached the targets or the key lives again."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def put(self, bucket: Bucket, key: Key) -> None:
        """Durable when this returns. Raises Unavailable, StorageFull."""
        said = json.dumps({"bucket": bucket, "key": key, "at": self._clock.now()})
        await self._store.put(_place(bucket, key), said.encode(), content_type="application/x-millrace-tombstone")

    async def has(self, bucket: Bucket, key: Key) -> bool:
        """Raises Unavailable: an outage is neither yes nor no (I5)."""
        return await exists(self._store, _place(bucket, key))

    async def lift(self, bucket: Bucket, key: Key) -> None:
        await self._store.delete(_place(bucket, key))


def _place(bucket: Bucket, key: Key) -> Key:
    digest = sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return Key(f"tombstones/s3/{bucket}/{digest}")
