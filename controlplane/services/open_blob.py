"""A blob that is about to be sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from controlplane.model.content import Content
from controlplane.ports.hot_cache import Hit
from controlplane.ports.object_store import ByteRange


@dataclass(slots=True)
class OpenBlob:
    """A blob that is about to be sent. `release` must be called exactly once, whatever happened."""

    content: Content
    content_type: str
    file: tuple[int, int] | None
    """(descriptor, offset of the blob's first byte) when the whole blob lies in a local file."""
    chunks: Callable[[ByteRange], AsyncIterator[bytes]]
    """The bytes of a range; raises Corrupt or Unavailable instead of ending early or completing what is not proved."""
    release: Callable[[], None]


def from_bytes(content: Content, content_type: str, data: bytes, release: Callable[[], None]) -> OpenBlob:
    async def chunks(part: ByteRange) -> AsyncIterator[bytes]:
        yield data[part.first : part.last + 1]

    return OpenBlob(content, content_type, None, chunks, release)


def from_file(content: Content, content_type: str, file: tuple[int, int], release: Callable[[], None]) -> OpenBlob:
    """`file`: (descriptor, offset); its bytes are sent by descriptor, never in chunks."""

    def chunks(part: ByteRange) -> AsyncIterator[bytes]:
        raise AssertionError(f"bytes {part} of a local file are sent by descriptor, not in chunks")

    return OpenBlob(content, content_type, file, chunks, release)


def from_hit(hit: Hit, release: Callable[[], None]) -> OpenBlob:
    if hit.data is not None:
        return from_bytes(hit.content, hit.content_type, hit.data, release)
    return from_file(hit.content, hit.content_type, (hit.fd, 0), release)
