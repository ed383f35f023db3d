"""The documents of S3 that Riak CS cannot hold, kept as objects of one private bucket that only the admin's key opens.

Riak CS would take a PUT ?tagging for the object itself and a PUT ?cors for a CreateBucket (recordings
sub-object-after-tagging, sub-put-cors). Layout below the store's prefix:

    b/<kind>/<bucket>             a bucket's document, as its client sent it in substance
    o/<bucket>/<sha256 of key>    a record of one object (documents.object_extras), bound to that very object
    u/<bucket>/...                the checksums of parts of uploads that are not complete (services.s3.part_records)

Invariants: a record never describes another object than the one it was written for (an overwrite, by whatever way,
drops it); a bucket's documents do not outlive it (`forget_bucket` when it is deleted and when it is made), and where a
reader says who owns the bucket, not those of another owner either, who had the name before and deleted the bucket past
the gateways.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from typing import Final

from controlplane.model.keys import Key
from controlplane.ports.changes import Changes
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Corrupt, NotFound
from controlplane.ports.object_store import ObjectStore, Page
from controlplane.s3.documents.object_extras import (
    NOTHING,
    ObjectExtras,
    UnreadableExtras,
    decode_extras,
    encode_extras,
    key_of_record,
)

MAX_BYTES: Final = 4 * 1024 * 1024
"""The largest document: 10,000 parts with checksums fit."""
_MOST_KEPT: Final = 10_000
_OWNER: Final = "bucket-owner"
"""User metadata of a bucket's document: the canonical id of who owned the bucket."""


class Kind(Enum):
    """The documents of a bucket. The value is part of the layout."""

    __hash__ = object.__hash__

    TAGGING = "tagging"
    CORS = "cors"
    LIFECYCLE = "lifecycle"
    POLICY = "policy"
    """Riak CS takes few policies, opens nothing for most, and closes the bucket's listing as soon as there is one
    (recordings policy-put-aws-arn, policy-star-anon-get, policy-star-admin-list): it is not told."""
    OBJECTS = "objects"
    """A mark: objects of this bucket may have records. Without it nobody looks for one, so that plain reads and deletes
    in buckets without tags cost no second request."""
    RECORDS = "records"
    """A mark: objects of this bucket may have records that tell only checksums and parts. Deletes and overwrites look
    for those; reads need not, since such an object says so itself (s3.own_metadata.RECORDED)."""


@dataclass(frozen=True, slots=True)
class _Document:
    body: bytes
    owner: str
    """Empty: not known."""


@lru_cache(maxsize=4096)
def _bucket_key(bucket: str, kind: Kind) -> Key:
    return Key(f"b/{kind.value}/{bucket}")


def record_key(bucket: str, key: str) -> Key:
    """Where the record of an object is in the private bucket."""
    return Key(f"o/{bucket}/{sha256(key.encode()).hexdigest()}")


class Subresources:
    """`store` is the private bucket. `keep_s`: how long a bucket's document is taken as it was last read; what this
    gateway changes counts at once, what another one changes within that time. `changes`: by whom other processes of
    this node tell what they changed; times are monotonic."""

    def __init__(self, store: ObjectStore, clock: Clock, keep_s: float, changes: Changes | None = None) -> None:
        self._changes = changes
        self._store = store
        self._clock = clock
        self._keep_s = keep_s
        self._kept: OrderedDict[Key, tuple[_Document | None, float]] = OrderedDict()
        self._reading: set[Key] = set()
        """Who comes while somebody reads a document anew takes it as it was: a thousand readers ask once."""

    async def bucket_document(self, bucket: str, kind: Kind, *, owner: str = "", fresh: bool = False) -> bytes | None:
        """None when the bucket has none, or had it under another owner than this one (a canonical id). `fresh`: not
        what was read a moment ago. Raises Unavailable."""
        at = _bucket_key(bucket, kind)
        kept = self._known(at)
        now = self._clock.monotonic()
        if kept is not None and not fresh and (now - kept[1] < self._keep_s or at in self._reading):
            found = kept[0]
        else:
            self._reading.add(at)
            try:
                found = await self._read(at)
            finally:
                self._reading.discard(at)
            if self._known(at) is kept:  # not changed by this gateway meanwhile
                self._keep(at, found, now)
        if found is None or (owner and found.owner and found.owner != owner):
            return None
        return found.body

    def known_absent(self, bucket: str, *kinds: Kind) -> bool:
        """Whether it is known without a look that the bucket has none of these documents."""
        since = self._clock.monotonic() - self._keep_s
        for kind in kinds:
            kept = self._known(_bucket_key(bucket, kind))
            if kept is None or kept[0] is not None or kept[1] <= since:
                return False
        return True

    async def put_bucket_document(self, bucket: str, kind: Kind, document: bytes, *, owner: str = "") -> None:
        """`owner`: the bucket's, by its canonical id. Durable when this returns. Raises Unavailable, StorageFull."""
        at = _bucket_key(bucket, kind)
        await self._store.put(at, document, metadata={_OWNER: owner} if owner else None)
        self._changed(at, _Document(document, owner))

    async def delete_bucket_document(self, bucket: str, kind: Kind) -> None:
        """Deleting what is not there succeeds. Raises Unavailable."""
        at = _bucket_key(bucket, kind)
        await self._store.delete(at)
        self._changed(at, None)

    async def forget_bucket(self, bucket: str) -> None:
        """Everything about a bucket and its objects. To be called after a bucket was deleted, and before a new one is
        acknowledged: a crash after the first step must not give the next owner of the name these documents.

        The objects' records go first and their mark last, so that an interrupted call can be repeated."""
        if await self._has_records(bucket):
            prefix = f"o/{bucket}/"
            after: Key | None = None
            while True:
                page = await self._store.list(prefix=prefix, after=after)
                for record in page.objects:
                    await self._store.delete(record.key)
                if page.next_after is None:
                    break
                after = page.next_after
        for kind in Kind:
            await self.delete_bucket_document(bucket, kind)

    async def extras(self, bucket: str, key: str, identity: str, *, certain: bool = False) -> ObjectExtras:
        """What is kept of this very object; empty when nothing is. Raises Unavailable, Corrupt.

        `certain` looks for the record even if the bucket is not known to have any, which may be `keep_s` old: for who
        asks for the tags themselves."""
        if not certain and await self.bucket_document(bucket, Kind.OBJECTS) is None:
            return NOTHING
        record = await self._read(record_key(bucket, key))
        if record is None:
            return NOTHING
        try:
            return decode_extras(record.body, key, identity)
        except UnreadableExtras as error:
            raise Corrupt(
                f"the record of tags and checksums of {bucket}/{key[:200]} cannot be read ({error}): "
                f"delete {record_key(bucket, key)} from the bucket {self._store.bucket} to go on without it"
            ) from error

    async def records(self, bucket: str, after: Key | None, limit: int) -> Page:
        """What is kept of objects of a bucket, as the store lists it. Raises Unavailable."""
        return await self._store.list(prefix=f"o/{bucket}/", after=after, limit=limit)

    async def key_in(self, record: Key) -> Key | None:
        """The key of the object that a record is about; None: there is no such record. Raises Unavailable, Corrupt."""
        found = await self._read(record)
        try:
            return None if found is None else Key(key_of_record(found.body))
        except UnreadableExtras as error:
            raise Corrupt(
                f"{record} in the bucket {self._store.bucket} cannot be read ({error}): delete it to go on without it"
            ) from error

    async def keep_extras(self, bucket: str, key: str, identity: str, extras: ObjectExtras) -> None:
        """Replace what is kept of an object. `identity` tells it from every other object that was or will be under this
        key. Durable when this returns. Raises Unavailable, StorageFull."""
        if extras.empty:
            await self.forget_object(bucket, key)
            return
        mark = Kind.OBJECTS if extras.tags else Kind.RECORDS
        if await self.bucket_document(bucket, mark) is None:
            await self.put_bucket_document(bucket, mark, b"<Objects/>")
        record = encode_extras(key, identity, extras)
        await self._store.put(record_key(bucket, key), record, content_type="application/json")

    async def forget_object(self, bucket: str, key: str) -> None:
        """After an object was deleted. A record that stays because this fails does no harm: it is bound to the object
        that is gone. Raises Unavailable."""
        if await self._has_records(bucket):
            await self._store.delete(record_key(bucket, key))

    async def _has_records(self, bucket: str) -> bool:
        """Whether objects of the bucket may have any. Raises Unavailable."""
        return (
            await self.bucket_document(bucket, Kind.OBJECTS) is not None
            or await self.bucket_document(bucket, Kind.RECORDS) is not None
        )

    async def buckets_with(self, kind: Kind) -> AsyncIterator[str]:
        """The buckets that have a document of this kind, by name. Raises Unavailable."""
        prefix, after = f"b/{kind.value}/", None
        while True:
            page = await self._store.list(prefix=prefix, after=after)
            for listed in page.objects:
                yield listed.key.removeprefix(prefix)
            if page.next_after is None:
                return
            after = page.next_after

    async def _read(self, key: Key) -> _Document | None:
        try:
            reader = await self._store.get(key)
        except NotFound:
            return None
        try:
            if reader.length > MAX_BYTES:
                raise Corrupt(f"{self._store.bucket}/{key} has {reader.length} bytes: no document of the S3 front")
            body = b"".join([chunk async for chunk in reader])
            return _Document(body, reader.info.metadata.get(_OWNER, ""))
        finally:
            await reader.aclose()

    def _known(self, key: Key) -> tuple[_Document | None, float] | None:
        """What was read last, unless another process of this node has changed it since."""
        kept = self._kept.get(key)
        if kept is None or self._changes is None or self._changes.last(key) <= kept[1]:
            return kept
        return None

    def _changed(self, key: Key, document: _Document | None) -> None:
        """By this process, just now."""
        now = self._clock.monotonic()
        if self._changes is not None:
            self._changes.mark(key, now)
        self._keep(key, document, now)

    def _keep(self, key: Key, document: _Document | None, at: float) -> None:
        self._kept[key] = (document, at)
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
