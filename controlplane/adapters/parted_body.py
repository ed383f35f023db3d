"""A body cut into parts for stores that take it so: verified before its last part is handed out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from controlplane.adapters.s3.digests import Digests, difference
from controlplane.adapters.s3.sources import PartSource, file_pieces
from controlplane.model.content import Content
from controlplane.ports.errors import Corrupt
from controlplane.ports.object_store import Body, LocalFile

_PIECE_BYTES: Final = 1024 * 1024


class PartedBody:
    """Parts of exactly `part_bytes`, but for the last; two of them are in memory at most, beside those that the caller
    still holds. A stream is consumed once.

    Invariant: the last part is handed out only after the whole was found to be `content` and to have `size` bytes, so
    a store that makes nothing visible before it has the last part never shows a wrong object.
    """

    def __init__(self, body: Body, *, size: int | None, content: Content | None, part_bytes: int) -> None:
        """Raises Corrupt when the size alone says that the body cannot be `content`."""
        if isinstance(body, bytes):
            announced: int | None = len(body)
        else:
            announced = body.size if isinstance(body, LocalFile) else size
        for claimed in (size, content.size if content is not None else None):
            if claimed is not None and announced is not None and claimed != announced:
                raise Corrupt(f"the body has {announced} bytes instead of {claimed}; nothing was stored")
        if announced is None and content is not None:
            announced = content.size
        self.content = content
        """What the body must be."""
        self._trusted = isinstance(body, LocalFile) and content is not None and body.verified == content
        self._digests = Digests()
        self._source = PartSource(_pieces(body), part_bytes, announced)
        self._held: bytearray | None = None
        self.size = announced
        """None: unknown before the end."""
        self.last = False
        """Whether the part that was handed out last was the last one."""

    async def next(self) -> bytearray:
        """The next part; the first one may be empty, then it is the only one. Raises Corrupt, and what the body's
        stream raises. Not to be called after the last part."""
        part = await self._read() if self._held is None else self._held
        self._held = None if self._source.ended else await self._read()
        if not self._held:
            self._verify()
            self.last = True
        return part

    def found(self) -> Content:
        """The digests of the whole, once the last part was handed out."""
        return self.content if self._trusted and self.content is not None else self._digests.content()

    async def _read(self) -> bytearray:
        part = await self._source.next_part()
        if part and not self._trusted:
            await self._digests.update(part)
        return part

    def _verify(self) -> None:
        if self.content is None or self._trusted:
            return
        differs = difference(self.content, self._digests.content())
        if differs:
            raise Corrupt(f"the body has {differs}; nothing was stored")


def _pieces(body: Body) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        return _slices(body)
    if isinstance(body, LocalFile):
        return file_pieces(body, 0, body.size, None)
    return body


async def _slices(data: bytes) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(data), _PIECE_BYTES):
        yield data[at : at + _PIECE_BYTES]
