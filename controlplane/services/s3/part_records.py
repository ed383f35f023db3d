"""The checksums of the parts of uploads that are not complete yet. Riak CS keeps none, and lists parts without them.

All is in the names of empty objects of the private bucket, so that one listing tells of a thousand parts:

    u/<bucket>/<sha256 of upload id>/a/<algorithm>.<type>                        how the upload began
    u/<bucket>/<sha256 of upload id>/p/<number>/<etag>.<size>.<algorithm>.<hex>  a part, by its digest

A record is about bytes, not about a moment: a part that is sent again has another one, and the ETag that Riak CS has
says which counts. So records are never changed, and any number of gateways may write them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from controlplane.model.keys import Key
from controlplane.ports.object_store import ObjectStore
from controlplane.s3.body_checksums import HashedBody
from controlplane.s3.checksums import Algorithm, Checksum, ChecksumType
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.multipart_checksums import Kind, PartSum

ROOT: Final = "u/"
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class UploadRecords:
    kind: Kind | None = None
    """None: the upload asked for no checksums."""
    parts: dict[tuple[int, str], tuple[PartSum, ...]] = field(default_factory=dict)
    """By number and ETag."""

    def checksum(self, number: int, etag: str) -> StoredChecksum | None:
        """That of the algorithm which the upload began with; of another one when it asked for none."""
        found = [kept.checksum for kept in self.parts.get((number, etag), ())]
        if self.kind is not None:
            found = [one for one in found if one.algorithm is self.kind.algorithm]
        return StoredChecksum(found[0].algorithm, found[0].text) if found else None


class PartRecords:
    """`store` is the private bucket. Every method raises Unavailable."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def begin(self, bucket: str, upload_id: str, kind: Kind) -> None:
        """Durable when this returns, as is `stored`."""
        await self._store.put(Key(f"{_folder(bucket, upload_id)}a/{kind.algorithm.value}.{kind.type.value}"), b"")

    async def stored(self, bucket: str, upload_id: str, number: int, part: HashedBody) -> None:
        """A part without a checksum needs no record: Riak CS knows its ETag and size."""
        if part.checksum is not None:
            name = f"{part.md5}.{part.size}.{part.checksum.algorithm.value}.{part.checksum.digest.hex()}"
            await self._store.put(Key(f"{_folder(bucket, upload_id)}p/{number}/{name}"), b"")

    async def kind(self, bucket: str, upload_id: str) -> Kind | None:
        folder = f"{_folder(bucket, upload_id)}a/"
        page = await self._store.list(prefix=folder, limit=1)
        return _kind_in(page.objects[0].key.removeprefix(folder)) if page.objects else None

    async def of(self, bucket: str, upload_id: str) -> UploadRecords:
        folder = _folder(bucket, upload_id)
        kind: Kind | None = None
        parts: dict[tuple[int, str], tuple[PartSum, ...]] = {}
        for key in await self._keys(folder):
            name = key.removeprefix(folder)
            if name.startswith("a/"):
                kind = _kind_in(name.removeprefix("a/"))
            elif (part := _part_in(name.removeprefix("p/"))) is not None:
                at = (part[0], part[1])
                parts[at] = (*parts.get(at, ()), part[2])
        return UploadRecords(kind, parts)

    async def forget(self, bucket: str, upload_id: str) -> None:
        """After the upload was completed or aborted. Records that stay do no harm: an upload id is never used again."""
        await self._delete(await self._keys(_folder(bucket, upload_id)))

    async def forget_bucket(self, bucket: str) -> None:
        await self._delete(await self._keys(f"{ROOT}{bucket}/"))

    async def _keys(self, folder: str) -> list[Key]:
        found: list[Key] = []
        after: Key | None = None
        while True:
            page = await self._store.list(prefix=folder, after=after)
            found += [listed.key for listed in page.objects]
            if page.next_after is None:
                return found
            after = page.next_after

    async def _delete(self, keys: Sequence[Key]) -> None:
        for at in range(0, len(keys), _AT_ONCE):
            await asyncio.gather(*map(self._store.delete, keys[at : at + _AT_ONCE]))


def _folder(bucket: str, upload_id: str) -> str:
    return f"{ROOT}{bucket}/{sha256(upload_id.encode('utf-8', 'surrogateescape')).hexdigest()}/"


def _kind_in(name: str) -> Kind | None:
    """None for what a later release may have written."""
    algorithm, _, kind = name.partition(".")
    try:
        return Kind(Algorithm(algorithm), ChecksumType(kind))
    except ValueError:
        return None


def _part_in(name: str) -> tuple[int, str, PartSum] | None:
    number, _, rest = name.partition("/")
    try:
        etag, size, algorithm, digest = rest.split(".")
        return int(number), etag, PartSum(Checksum(Algorithm(algorithm), bytes.fromhex(digest)), int(size))
    except ValueError:
        return None
