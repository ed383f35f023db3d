"""Digests of a body on its way. Large pieces are hashed in threads: hashlib releases the interpreter's lock."""

from __future__ import annotations

import asyncio
from binascii import a2b_hex, b2a_base64
from collections.abc import Iterable
from hashlib import md5, sha256
from typing import Final

from controlplane.model.content import Content, Md5, Sha256

INLINE_BELOW: Final = 32 * 1024
"""Bytes that are hashed faster than a thread is reached."""


class Digests:
    """MD5, SHA-256 and size of what passed."""

    __slots__ = ("_md5", "_sha256", "size")

    def __init__(self) -> None:
        self._md5 = md5()
        self._sha256 = sha256()
        self.size = 0

    def take(self, data: bytes | bytearray | memoryview) -> None:
        self._md5.update(data)
        self._sha256.update(data)
        self.size += len(data)

    async def update(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) < INLINE_BELOW:
            self.take(data)
        else:
            await asyncio.to_thread(self.take, data)

    def content(self) -> Content:
        return Content(Md5(self._md5.hexdigest()), Sha256(self._sha256.hexdigest()), self.size)


async def digest(data: bytes | memoryview) -> Content:
    digests = Digests()
    if len(data) < INLINE_BELOW:
        digests.take(data)
    else:
        await digests.update(data)
    return digests.content()


def md5_of(pieces: Iterable[bytes | memoryview]) -> bytes:
    """The raw 16 bytes, as multipart ETags are made of."""
    total = md5()
    for piece in pieces:
        total.update(piece)
    return total.digest()


def content_md5(hex_digest: str) -> str:
    """The Content-MD5 header for a digest in hex."""
    return b2a_base64(a2b_hex(hex_digest), newline=False).decode()


def difference(expected: Content, found: Content) -> str:
    """What differs, for people; empty when nothing does."""
    if expected.size != found.size:
        return f"{found.size} bytes instead of {expected.size}"
    if expected.md5 != found.md5:
        return f"MD5 {found.md5} instead of {expected.md5}"
    if expected.sha256 != found.sha256:
        return f"SHA-256 {found.sha256} instead of {expected.sha256} under the same MD5 {found.md5}"
    return ""
