"""MemoryObjectStore: implements ports.object_store.ObjectStore in memory, and fails on demand for tests."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, NotFound, Rejected, StorageFull
from controlplane.ports.object_store import Body, ByteRange, LocalFile, ObjectInfo, Page

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Object:
    info: ObjectInfo
    data: bytes


class MemoryObjectStore:
    """Nothing survives the process. if_absent and if_match are atomic.

    `fault(op, key)` is called before each operation ("put", "get", "head", "delete", "list" with the prefix as key,
    "check" with an empty key) and may raise what the port allows; `latency` seconds pass before each operation.
    """

    def __init__(self, name: StoreName, *, clock: Clock, limit_bytes: int | None = None) -> None:
        self.fault: Callable[[str, Key], None] | None = None
        self.latency = 0.0
        self._name = name
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._objects: dict[bytes, _Object] = {}
        self._sorted: list[bytes] = []

    @property
    def name(self) -> StoreName:
        return self._name

    @property
    def bucket(self) -> Bucket:
        return Bucket(self._name)

    async def _begin(self, op: str, key: str) -> None:
        if self.latency:
            await self._clock.sleep(self.latency)
        if self.fault is not None:
            self.fault(op, Key(key))

    async def put(
        self,
        key: Key,
        body: Body,
        *,
        size: int | None = None,
        content: Content | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        raw = _raw(key)
        await self._begin("put", key)
        self._refuse(raw, if_absent, if_match)
        data = await self._whole(body, key)
        md5 = Md5(hashlib.md5(data, usedforsecurity=False).hexdigest())
        for expected in (size, None if content is None else content.size):
            if expected is not None and expected != len(data):
                raise Corrupt(f"object {key!r}: the body has {len(data)} bytes instead of {expected}")
        if content is not None and content != Content(md5, Sha256(hashlib.sha256(data).hexdigest()), len(data)):
            raise Corrupt(f"object {key!r}: the body's digests are not those of {content.md5}")
        self._refuse(raw, if_absent, if_match)  # again: another put may have ended while the body came in
        self._reserve(raw, len(data))
        info = ObjectInfo(key, len(data), md5, self._clock.now(), content_type, content, dict(metadata or {}))
        if raw not in self._objects:
            bisect.insort(self._sorted, raw)
        self._objects[raw] = _Object(info, data)
        return info

    def _refuse(self, raw: bytes, if_absent: bool, if_match: str | None) -> None:
        found = self._objects.get(raw)
        if if_absent and found is not None:
            raise Conflict(f"store {self._name} has an object {raw.decode()!r} already")
        if if_match is not None and (found is None or found.info.etag != if_match):
            there = "none" if found is None else f"one with ETag {found.info.etag}"
            raise Conflict(f"store {self._name} has {there} under {raw.decode()!r}, not the one with ETag {if_match}")

    async def _whole(self, body: Body, key: Key) -> bytes:
        if isinstance(body, bytes):
            self._check_room(key, len(body))
            return body
        if isinstance(body, LocalFile):
            self._check_room(key, body.size)
            data = body.path.read_bytes()
            if len(data) != body.size:
                raise Corrupt(f"object {key!r}: the body has {len(data)} bytes instead of {body.size}")
            return data
        whole = bytearray()
        async for chunk in body:
            whole += chunk
            self._check_room(key, len(whole))
        return bytes(whole)

    def _check_room(self, key: Key, size: int) -> None:
        """Stop a body that can never fit before all of it is in memory."""
        if self._limit_bytes is not None and size > self._limit_bytes:
            raise StorageFull(f"store {self._name} holds {self._limit_bytes} bytes: object {key!r} is larger")

    def _reserve(self, raw: bytes, size: int) -> None:
        before = self._objects.get(raw)
        after = self._bytes + size - (0 if before is None else before.info.size)
        if self._limit_bytes is not None and after > self._limit_bytes:
            raise StorageFull(
                f"store {self._name} is full: delete something, or raise its limit of {self._limit_bytes}"
            )
        self._bytes = after

    async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> MemoryReader:
        await self._begin("get", key)
        found = self._find(key)
        first, end = 0, found.info.size
        if byte_range is not None:
            first, end = byte_range.first, byte_range.last + 1
            if not 0 <= first < end <= found.info.size:
                raise Rejected(
                    f"bytes {first} to {byte_range.last} are not within object {key!r} of {found.info.size} bytes"
                )
        return MemoryReader(found.info, memoryview(found.data)[first:end])

    async def head(self, key: Key) -> ObjectInfo:
        await self._begin("head", key)
        return self._find(key).info

    def _find(self, key: Key) -> _Object:
        found = self._objects.get(_raw(key))
        if found is None:
            raise NotFound(f"store {self._name} has no object {key!r}")
        return found

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        raw = _raw(key)
        await self._begin("delete", key)
        if raw in self._objects:
            self._refuse(raw, False, if_match)
        removed = self._objects.pop(raw, None)
        if removed is not None:
            self._bytes -= removed.info.size
            del self._sorted[bisect.bisect_left(self._sorted, raw)]

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        if limit < 1:
            raise Rejected(f"a listing's limit is at least 1, not {limit}")
        await self._begin("list", prefix)
        start = prefix.encode()
        at = bisect.bisect_left(self._sorted, start)
        if after is not None:
            at = max(at, bisect.bisect_right(self._sorted, after.encode()))
        keys = [raw for raw in self._sorted[at : at + limit + 1] if raw.startswith(start)]
        objects = tuple(
            replace(self._objects[raw].info, content_type="application/octet-stream", content=None, metadata={})
            for raw in keys[:limit]
        )
        return Page(objects, objects[-1].key if len(keys) > limit else None)

    async def check(self) -> None:
        await self._begin("check", "")

    async def aclose(self) -> None:
        """Nothing to close; the objects stay readable."""


def _raw(key: Key) -> bytes:
    if not key:
        raise Rejected("a key has at least one character")
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"the key {key[:80]!r} is not Unicode text: {error.reason}") from error


class MemoryReader:
    """Implements ports.object_store.ObjectReader."""

    file = None

    def __init__(self, info: ObjectInfo, data: memoryview) -> None:
        self._info = info
        self._data = data

    @property
    def info(self) -> ObjectInfo:
        return self._info

    @property
    def length(self) -> int:
        return len(self._data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), _CHUNK_BYTES):
            yield bytes(self._data[at : at + _CHUNK_BYTES])

    async def aclose(self) -> None:
        """Nothing to close: the bytes are freed with the reader."""
