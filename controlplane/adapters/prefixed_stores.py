"""The buckets of a service as folders of one object store: `<bucket>/<key>`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Unpack

from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.bulk_store import BulkStore
from controlplane.ports.object_store import Body, ByteRange, ObjectInfo, ObjectReader, ObjectStore, Page, PutOptions
from controlplane.ports.part_store import PartStore


class PrefixedStores:
    """Implements ports.bucket_stores.BucketStores over a store that it owns. A bucket's name has no slash, so two
    buckets never share a key."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def name(self) -> StoreName:
        return self._store.name

    def store(self, bucket: Bucket) -> ObjectStore:
        return _Folder(self._store, bucket)

    def bulk(self, bucket: Bucket) -> BulkStore | None:  # noqa: ARG002 - the port's
        return None

    def parts(self, bucket: Bucket) -> PartStore | None:  # noqa: ARG002 - the port's
        return None

    async def prepare(self, bucket: Bucket) -> None:
        """A folder is there as soon as something is in it."""

    async def has(self, bucket: Bucket) -> bool:  # noqa: ARG002 - the port's
        return True

    async def check(self) -> None:
        await self._store.check()

    async def aclose(self) -> None:
        await self._store.aclose()


class _Folder:
    """Implements ports.object_store.ObjectStore: what is under `<bucket>/`."""

    def __init__(self, store: ObjectStore, bucket: Bucket) -> None:
        self._store = store
        self._bucket = bucket
        self._prefix = f"{bucket}/"

    @property
    def name(self) -> StoreName:
        return self._store.name

    @property
    def bucket(self) -> Bucket:
        return self._bucket

    async def put(self, key: Key, body: Body, **options: Unpack[PutOptions]) -> ObjectInfo:
        info = await self._store.put(self._full(key), body, **options)
        return self._own(info)

    async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> ObjectReader:
        return _Reader(await self._store.get(self._full(key), byte_range=byte_range), key)

    async def head(self, key: Key) -> ObjectInfo:
        return self._own(await self._store.head(self._full(key)))

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        await self._store.delete(self._full(key), if_match=if_match)

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        from_key = None if after is None else self._full(after)
        page = await self._store.list(prefix=self._prefix + prefix, after=from_key, limit=limit)
        last = None if page.next_after is None else self._stripped(page.next_after)
        return Page(tuple(self._own(info) for info in page.objects), last)

    async def check(self) -> None:
        await self._store.check()

    async def aclose(self) -> None:
        """The store belongs to the whole."""

    def _full(self, key: Key) -> Key:
        return Key(self._prefix + key)

    def _stripped(self, key: Key) -> Key:
        return Key(key.removeprefix(self._prefix))

    def _own(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, key=self._stripped(info.key))


class _Reader:
    """Implements ports.object_store.ObjectReader under the key that was asked for."""

    def __init__(self, reader: ObjectReader, key: Key) -> None:
        self._reader = reader
        self.info = replace(reader.info, key=key)

    @property
    def length(self) -> int:
        return self._reader.length

    @property
    def file(self) -> tuple[int, int] | None:
        return self._reader.file

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._reader)

    async def aclose(self) -> None:
        await self._reader.aclose()
