"""Proving what a store really holds, by its bytes (I2)."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable

from controlplane.model.content import Content, Guid, Md5, Sha256
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Corrupt
from controlplane.ports.object_store import ObjectInfo, ObjectReader, ObjectStore

HOLD_BACK = 256 * 1024
"""So many of the last bytes stay back until the whole is proved: a reader never has all of a wrong blob (I2)."""


class Digester:
    """MD5, SHA-256 and size of bytes that come in pieces."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._size = 0

    def update(self, data: bytes) -> None:
        self._md5.update(data)
        self._sha256.update(data)
        self._size += len(data)

    def content(self) -> Content:
        return Content(Md5(self._md5.hexdigest()), Sha256(self._sha256.hexdigest()), self._size)


def digest(data: bytes) -> Content:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Content(Md5(md5), Sha256(hashlib.sha256(data).hexdigest()), len(data))


def check_identity(guid: Guid, claimed: Content | None, found: Content, store: StoreName) -> None:
    """Raise Corrupt unless `found` is the blob: its MD5 is the GUID, and it is what the store's metadata claims."""
    if found.md5 != guid or (claimed is not None and claimed != found):
        raise Corrupt(
            f"the copy of {guid} in {store} is damaged: it has MD5 {found.md5}, SHA-256 {found.sha256}, {found.size} "
            f"bytes{f', expected SHA-256 {claimed.sha256}, {claimed.size} bytes' if claimed else ''}; it was not served"
        )


async def proved(reader: ObjectReader, check: Callable[[Content], None]) -> AsyncIterator[bytes]:
    """The reader's bytes; the last HOLD_BACK of them only after `check` has accepted the whole."""
    digester = Digester()
    held: deque[bytes] = deque()
    held_bytes = 0
    async for chunk in reader:
        await asyncio.to_thread(digester.update, chunk)
        held.append(chunk)
        held_bytes += len(chunk)
        while held_bytes - len(held[0]) >= HOLD_BACK:
            held_bytes -= len(held[0])
            yield held.popleft()
    check(digester.content())
    for chunk in held:
        yield chunk


async def content_in(reader: ObjectReader) -> Content:
    """The digests of the bytes that the reader has, in a thread beside their coming. Raises Unavailable."""
    digester = Digester()
    async for chunk in reader:
        await asyncio.to_thread(digester.update, chunk)
    return digester.content()


async def read_content(store: ObjectStore, key: Key) -> Content:
    """The digests of the object's bytes as they are now, read in full. Raises NotFound, Unavailable."""
    digester = Digester()
    reader = await store.get(key)
    try:
        async for chunk in reader:
            digester.update(chunk)
    finally:
        await reader.aclose()
    return digester.content()


async def content_of(store: ObjectStore, info: ObjectInfo) -> Content:
    """The content that the store's metadata claims; read from the bytes when there is no metadata."""
    return info.content or await read_content(store, info.key)
