"""A service that copies between two fakes by itself, and can be made to refuse or to lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from controlplane.model.content import Content, Md5
from controlplane.model.keys import Bucket
from controlplane.ports.errors import Conflict, NotFound, Unavailable
from controlplane.ports.object_store import ByteRange, ObjectInfo
from controlplane.ports.part_store import Part
from tests.support.fakes import FakeStore, damage
from tests.support.part_store import FakeParts


class FakeServerCopy:
    """Implements ServerCopy. `lie`: "" honest; "refuse": it will not; "mute": it copies, and its answer proves nothing;
    "damage": what is at the target has one bit wrong, though it answered well."""

    most_bytes = 3 << 20

    def __init__(self, source: FakeStore, target: FakeStore, parts: FakeParts | None = None) -> None:
        self._source = source
        self._target = target
        self._parts = parts
        self.lie = ""
        self.copied: list[str] = []
        self.copied_parts: list[int] = []
        self.before: Callable[[], None] = lambda: None

    def takes(self, source: ObjectInfo) -> bool:
        return "/" not in source.key

    def _now(self, source: ObjectInfo) -> bytes:
        self.before()
        found = self._source._objects.get(source.key.encode())
        if found is None or found.info.etag != source.etag:
            raise Unavailable(f"{source.key} changed", 0.0)
        return found.data

    async def copy(
        self,
        source: ObjectInfo,
        content: Content,
        metadata: Mapping[str, str],
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo | None:
        data = self._now(source)
        if self.lie == "refuse":
            return None
        if if_absent and self._target.has(source.key):
            raise Conflict(f"{source.key} is there")
        self.copied.append(source.key)
        info = await self._target.put(
            source.key, data, content=content, content_type=source.content_type, metadata=metadata, if_match=if_match
        )
        if self.lie == "damage":
            damage(self._target, source.key)
        return None if self.lie == "mute" else info

    async def copy_part(
        self, source: ObjectInfo, upload_id: str, number: int, byte_range: ByteRange, md5: Md5
    ) -> Part | None:
        data = self._now(source)[byte_range.first : byte_range.last + 1]
        assert self._parts is not None
        if self.lie == "refuse" or hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
            return None
        if upload_id not in self._parts.open:
            raise NotFound(upload_id)
        self._parts.open[upload_id].parts[number] = data
        self.copied_parts.append(number)
        return Part(md5, len(data))


class FakeServerCopies:
    """Implements ServerCopies for one bucket."""

    def __init__(self, way: FakeServerCopy) -> None:
        self.way = way

    def of(self, bucket: Bucket) -> FakeServerCopy:
        return self.way


def as_multipart(store: FakeStore, key: str) -> None:
    """As if it had come in parts: its ETag is no MD5."""
    kept = store._objects[key.encode()]
    store._objects[key.encode()] = replace(kept, info=replace(kept.info, etag=f"{kept.info.etag}-3"))
