"""A store that takes parts, in memory, whose every step can be made to fail or to lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.model.content import Content, Md5
from controlplane.model.keys import Key
from controlplane.ports.errors import Corrupt, NotFound
from controlplane.ports.object_store import ObjectInfo
from controlplane.ports.part_store import Part
from controlplane.s3.etag import multipart_etag
from tests.support.fakes import FakeStore


@dataclass
class _Upload:
    key: Key
    content: Content
    content_type: str
    metadata: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class FakeParts:
    """Implements PartStore over a FakeStore. `fault(op, number)` is called before each step."""

    part_bytes = 1 << 20

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.open: dict[str, _Upload] = {}
        self.fault: Callable[[str, int], None] = lambda op, number: None
        self.sent: list[int] = []
        """Numbers of the parts that were put, in their order."""
        self.begun = 0

    async def begin(self, key: Key, content: Content, content_type: str, metadata: Mapping[str, str]) -> str:
        self.fault("begin", 0)
        self.begun += 1
        upload_id = f"upload-{self.begun}"
        self.open[upload_id] = _Upload(key, content, content_type, dict(metadata))
        return upload_id

    async def put_part(self, key: Key, upload_id: str, number: int, body: bytes | bytearray, md5: Md5) -> Part:
        self.fault("put_part", number)
        found = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if found != md5:
            raise Corrupt(f"part {number} has MD5 {found}, promised was {md5}")
        self._of(key, upload_id).parts[number] = bytes(body)
        self.sent.append(number)
        return Part(found, len(body))

    async def parts(self, key: Key, upload_id: str) -> Mapping[int, Part]:
        self.fault("parts", 0)
        return {
            number: Part(hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data))
            for number, data in self._of(key, upload_id).parts.items()
        }

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
        self.fault("complete", 0)
        upload = self._of(key, upload_id)
        whole = b"".join(upload.parts[number] for number in range(1, len(md5s) + 1))
        info = await self._store.put(
            key,
            whole,
            content=upload.content,
            content_type=upload.content_type,
            metadata=upload.metadata,
            if_absent=if_absent,
            if_match=if_match,
        )
        etag = multipart_etag([bytes.fromhex(md5) for md5 in md5s])
        if self._store.has(key):  # it may lie
            kept = self._store._objects[key.encode()]
            self._store._objects[key.encode()] = replace(kept, info=replace(kept.info, etag=etag))
        del self.open[upload_id]
        return replace(info, etag=etag)

    async def abort(self, key: Key, upload_id: str) -> None:
        self.fault("abort", 0)
        self.open.pop(upload_id, None)

    async def uploads(self, key: Key) -> Sequence[str]:
        self.fault("uploads", 0)
        return [upload_id for upload_id, upload in self.open.items() if upload.key == key]

    def _of(self, key: Key, upload_id: str) -> _Upload:
        upload = self.open.get(upload_id)
        if upload is None or upload.key != key:
            raise NotFound(f"there is no upload {upload_id} of {key}")
        return upload
