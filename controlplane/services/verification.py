"""Proving what a store really holds, by reading it."""

from __future__ import annotations

import hashlib

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Key
from controlplane.ports.object_store import ObjectInfo, ObjectStore


async def read_content(store: ObjectStore, key: Key) -> Content:
    """The digests of the object's bytes as they are now, read in full. Raises NotFound, Unavailable."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    reader = await store.get(key)
    try:
        async for chunk in reader:
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    finally:
        await reader.aclose()
    return Content(Md5(md5.hexdigest()), Sha256(sha256.hexdigest()), size)


async def content_of(store: ObjectStore, info: ObjectInfo) -> Content:
    """The content that the store's metadata claims; read from the bytes when there is no metadata."""
    return info.content or await read_content(store, info.key)
