"""Uploads that outlive this process: blocks, which the service keeps for a week, and a record of what they are for."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError

from controlplane.adapters.azure.failures import code_of, error_of
from controlplane.adapters.azure.upload import Draft, block_id, commit, stage
from controlplane.adapters.object_notes import notes_of, read_notes
from controlplane.adapters.upload_records import UploadRecord, UploadRecords
from controlplane.model.content import Content, Md5
from controlplane.model.keys import Key
from controlplane.ports.errors import Corrupt, NotFound, Unavailable
from controlplane.ports.object_store import ObjectInfo
from controlplane.ports.part_store import Part

_LOST: Final = "InvalidBlockList"


class AzureParts:
    """Implements ports.part_store.PartStore for one container under one prefix.

    abort() removes the record, and with it the upload; its blocks stay, invisible, until the service drops them: a week
    after the last one, or when anything is put under the key. That also happens to the blocks of an upload whose key is
    put meanwhile: then its parts are gone, and it is not completed.
    """

    def __init__(
        self,
        part_bytes: int,
        records: UploadRecords,
        draft: Callable[[Key, str, Mapping[str, str], bool], Draft],
        tag_of: Callable[[Key, str], Awaitable[str]],
    ) -> None:
        self._part_bytes = part_bytes
        self._records = records
        self._draft = draft
        self._tag_of = tag_of

    @property
    def part_bytes(self) -> int:
        return self._part_bytes

    async def begin(self, key: Key, content: Content, content_type: str, metadata: Mapping[str, str]) -> str:
        self._draft(key, content_type, {}, False)  # refuses what cannot be a blob's name
        return await self._records.begin(key, UploadRecord(content_type, notes_of(content, content_type, metadata)))

    async def put_part(self, key: Key, upload_id: str, number: int, body: bytes | bytearray, md5: Md5) -> Part:
        await self._records.find(key, upload_id)
        found = hashlib.md5(body, usedforsecurity=False).hexdigest()
        draft = self._draft(key, "", {}, False)
        if found != md5:
            raise Corrupt(f"{draft.what}: part {number} has MD5 {found}, promised was {md5}; it was not sent")
        await stage(draft.blob, draft.what, block_id(upload_id, number, md5), body)
        return Part(md5, len(body))

    async def parts(self, key: Key, upload_id: str) -> Mapping[int, Part]:
        await self._records.find(key, upload_id)
        draft = self._draft(key, "", {}, False)
        try:
            _, waiting = await draft.blob.get_block_list("uncommitted")
        except HttpResponseError as error:
            failed = error_of(error, draft.what)
            if isinstance(failed, NotFound):
                return {}  # no block was put so far
            raise failed from error
        except AzureError as error:
            raise error_of(error, draft.what) from error
        found: dict[int, Part] = {}
        for block in waiting:
            owner, _, rest = str(block.id).partition(".")
            number, _, md5 = rest.partition(".")
            if owner == upload_id and number.isdecimal():
                found[int(number)] = Part(md5, int(block.size or 0))
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
        draft = self._draft(key, record.content_type, record.notes, if_absent)
        if if_match is not None:
            draft = replace(draft, match=await self._tag_of(key, if_match))
        ids = [block_id(upload_id, number, md5) for number, md5 in enumerate(md5s, 1)]
        try:
            put = await commit(draft, ids, content.md5)
        except Unavailable as error:
            if not (isinstance(error.__cause__, HttpResponseError) and code_of(error.__cause__) == _LOST):
                raise
            await self._records.forget(key, upload_id)
            raise NotFound(f"{draft.what}: the service has dropped parts of upload {upload_id}") from error
        await self._records.forget(key, upload_id)
        _, metadata = read_notes(record.notes)
        return ObjectInfo(key, content.size, put.etag, put.modified_at, record.content_type, content, metadata)

    async def abort(self, key: Key, upload_id: str) -> None:
        await self._records.forget(key, upload_id)

    async def uploads(self, key: Key) -> Sequence[str]:
        return await self._records.of(key)
