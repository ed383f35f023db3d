"""Uploads that outlive this process: each part is an object under a hidden name, and the service composes them.

A session of Google's resumable uploads takes its bytes in order only, and so is no PartStore.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from google.cloud.storage import Blob

from controlplane.adapters.gcs.client import GcsClient
from controlplane.adapters.gcs.objects import listed_info
from controlplane.adapters.object_notes import notes_of, read_notes
from controlplane.adapters.upload_records import UploadRecord, UploadRecords, upload_folder
from controlplane.model.content import Content, Md5
from controlplane.model.keys import Key
from controlplane.ports.errors import Corrupt, NotFound
from controlplane.ports.object_store import ObjectInfo
from controlplane.ports.part_store import Part

MOST_SOURCES: Final = 32
"""Of one composition."""
_AT_ONCE: Final = 8


class GcsParts:
    """Implements ports.part_store.PartStore for one bucket under one prefix.

    Composed objects have no MD5, so their ETag is the service's own. Each part's MD5 was compared by the service, which
    composes by itself; its size is compared at the end.
    """

    def __init__(
        self,
        client: GcsClient,
        records: UploadRecords,
        *,
        bucket: str,
        prefix: str,
        named: Callable[[Key], Blob],
        hidden: Callable[[str], Blob],
        names: Callable[[str], Awaitable[Sequence[Blob]]],
        delete: Callable[[str], Awaitable[None]],
        refuse_if_there: Callable[[Key], Awaitable[None]],
        generation: Callable[[Key, str], Awaitable[int]],
    ) -> None:
        """`hidden` and `names` are about names without the store's prefix; blobs of `names` have theirs whole."""
        self._client = client
        self._records = records
        self._bucket = bucket
        self._prefix = prefix
        self._named = named
        self._hidden = hidden
        self._names = names
        self._delete = delete
        self._refuse_if_there = refuse_if_there
        self._generation = generation

    @property
    def part_bytes(self) -> int:
        return self._client.options.part_bytes

    async def begin(self, key: Key, content: Content, content_type: str, metadata: Mapping[str, str]) -> str:
        self._named(key)  # refuses what cannot be an object's name
        return await self._records.begin(key, UploadRecord(content_type, notes_of(content, content_type, metadata)))

    async def put_part(self, key: Key, upload_id: str, number: int, body: bytes | bytearray, md5: Md5) -> Part:
        await self._records.find(key, upload_id)
        found = await asyncio.to_thread(lambda: hashlib.md5(body, usedforsecurity=False).hexdigest())
        what = self._what(key, f"part {number}")
        if found != md5:
            raise Corrupt(f"{what} has MD5 {found}, promised was {md5}; it was not sent")
        blob = self._hidden(_part_name(key, upload_id, number, md5))
        blob.md5_hash = base64.b64encode(bytes.fromhex(md5)).decode()
        client = self._client
        await client.ask(
            what,
            lambda: blob.upload_from_file(
                io.BytesIO(body), size=len(body), checksum=None, timeout=client.timeout, retry=client.retry()
            ),
        )
        if listed_info(key, blob).etag != md5:
            raise Corrupt(f"{what} arrived with MD5 {listed_info(key, blob).etag}, sent was {md5}")
        return Part(md5, len(body))

    async def parts(self, key: Key, upload_id: str) -> Mapping[int, Part]:
        await self._records.find(key, upload_id)
        found: dict[int, Part] = {}
        for blob in await self._names(_parts_folder(key, upload_id)):
            number, _, md5 = blob.name.rpartition("/")[2].partition(".")
            info = listed_info(key, blob)
            if number.isdecimal() and info.etag == md5:
                found[int(number)] = Part(md5, info.size)
        return found

    async def complete(
        self,
        key: Key,
        upload_id: str,
        md5s: Sequence[Md5],
        content: Content,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        record = await self._records.find(key, upload_id)
        if if_absent:
            await self._refuse_if_there(key)  # better to learn it before much is composed
        generation = await self._generation(key, if_match) if if_match is not None else 0 if if_absent else None
        sources = [self._hidden(_part_name(key, upload_id, number, md5)) for number, md5 in enumerate(md5s, 1)]
        folder = f"{upload_folder(key)}{upload_id}/joined/"
        level = 0
        while len(sources) > MOST_SOURCES:
            joined: list[Blob] = []
            for at in range(0, len(sources), MOST_SOURCES):
                part = self._hidden(f"{folder}{level}-{at:06d}")
                await self._compose(key, part, sources[at : at + MOST_SOURCES], None)
                joined.append(part)
            sources, level = joined, level + 1
        whole = self._named(key)
        whole.metadata = dict(record.notes)
        whole.content_type = record.content_type
        await self._compose(key, whole, sources, generation)
        info = listed_info(key, whole)
        if info.size != content.size:
            generation = whole.generation
            await self._client.ask(
                self._what(key, "removing"),
                lambda: self._named(key).delete(if_generation_match=generation, timeout=self._client.timeout),
            )
            raise Corrupt(
                f"{self._what(key, 'completing')}: {info.size} bytes instead of {content.size}; it was removed"
            )
        await self._clear(key, upload_id)
        _, metadata = read_notes(record.notes)
        return ObjectInfo(key, info.size, info.etag, info.modified_at, record.content_type, content, metadata)

    async def abort(self, key: Key, upload_id: str) -> None:
        await self._clear(key, upload_id)

    async def uploads(self, key: Key) -> Sequence[str]:
        return await self._records.of(key)

    async def _compose(self, key: Key, into: Blob, sources: Sequence[Blob], generation: int | None) -> None:
        client, what = self._client, self._what(key, "composing parts")
        retry = client.retry() if generation is None else client.once()
        try:
            await client.ask(
                what,
                lambda: into.compose(
                    list(sources), if_generation_match=generation, timeout=client.timeout, retry=retry
                ),
            )
        except NotFound as error:
            raise NotFound(f"{what}: parts of the upload are not there any more: {error}") from error

    async def _clear(self, key: Key, upload_id: str) -> None:
        """Parts first: whatever is left after a crash still has its record, by which it is found."""
        prefix = self._prefix
        folder = f"{upload_folder(key)}{upload_id}/"
        left = [blob.name.removeprefix(prefix) for blob in await self._names(folder)]
        names = iter([name for name in left if not name.endswith("/begun")])

        async def some() -> None:
            for name in names:
                await self._delete(name)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        await self._records.forget(key, upload_id)

    def _what(self, key: Key, verb: str) -> str:
        return f"{verb} of gs://{self._bucket}/{key}"


def _parts_folder(key: Key, upload_id: str) -> str:
    return f"{upload_folder(key)}{upload_id}/parts/"


def _part_name(key: Key, upload_id: str, number: int, md5: str) -> str:
    return f"{_parts_folder(key, upload_id)}{number:06d}.{md5}"
