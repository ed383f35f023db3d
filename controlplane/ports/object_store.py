"""ObjectStore: where objects live (Riak CS, AWS S3, files, memory). One store is one bucket under one prefix."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, TypedDict, runtime_checkable

from controlplane.model.content import Content
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.made_often import made_often


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A whole local file as a body. Whoever passes it keeps it unchanged until the call returns, and owns its removal.

    A store on the same file system may link it instead of copying: the name may be unlinked afterwards, but the
    bytes are shared from then on and must never be written again.
    """

    path: Path
    size: int
    verified: Content | None = None
    """The digests that the owner computed while writing the file; where they equal the content that is asked for,
    a store need not hash the bytes again."""


Body: TypeAlias = bytes | LocalFile | AsyncIterator[bytes]
"""What is put: bytes in memory, a local file, or a stream of non-empty chunks."""


@made_often
@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object."""

    key: Key
    size: int
    etag: str
    """Without quotes. The MD5 of the bytes for objects put in one part; `<md5>-<parts>` for multipart."""
    modified_at: float
    """Unix seconds, by the store's clock: for people, never for ordering."""
    content_type: str = "application/octet-stream"
    content: Content | None = None
    """The digests that Millrace stored beside the object (x-amz-meta-millrace-*); None for objects of others,
    and always None in listings."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Other user metadata (lower-case names without x-amz-meta-); empty in listings."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What else was stored with it for its readers (lower-case names: cache-control, content-disposition,
    content-encoding, content-language, expires), where the store has such; empty in listings."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes first..last, both inclusive, within the object."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class ObjectReader(Protocol):
    """An open object. Iterate it once for its bytes; always `aclose()` it, also after a partial read.

    Iteration raises Unavailable when the connection breaks or ends short: a short read never looks complete.
    """

    @property
    def info(self) -> ObjectInfo: ...

    @property
    def length(self) -> int:
        """Bytes that the iteration yields (less than info.size for a range)."""
        ...

    @property
    def file(self) -> tuple[int, int] | None:
        """(file descriptor, offset) when the bytes lie in a local file, valid until aclose(): for sendfile."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class BlockReading(Protocol):
    """An ObjectReader that can do with fewer copies."""

    def in_blocks(self) -> AsyncIterator[bytes | memoryview]:
        """In place of its iteration. A view holds memory that is read into again when the view is gone."""
        ...


def pieces_of(reader: ObjectReader) -> AsyncIterator[bytes | memoryview]:
    """The bytes of an open object, for who passes them on and takes them in any form: iterate it once."""
    return reader.in_blocks() if isinstance(reader, BlockReading) else aiter(reader)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing, in ascending order of the keys' UTF-8 bytes."""

    objects: tuple[ObjectInfo, ...]
    next_after: Key | None
    """Pass as `after` for the next page; None: this was the last."""


class Expected(TypedDict, total=False):
    """What must be under a key for a put to replace it, as ObjectStore.put takes it. Empty: whatever is there."""

    if_absent: bool
    if_match: str | None


class PutOptions(TypedDict, total=False):
    """The options of ObjectStore.put, for stores that hand them on as they are."""

    size: int | None
    content: Content | None
    content_type: str
    metadata: Mapping[str, str] | None
    if_absent: bool
    if_match: str | None


class ObjectStore(Protocol):
    @property
    def name(self) -> StoreName: ...

    @property
    def bucket(self) -> Bucket: ...

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
        """Store the body durably under `key`, replacing what was there, and return what is there now.

        `size`: bytes, when known for a stream; a stream that yields another count raises Corrupt.
        `content`: the digests that the body must have; they are checked (MD5 and SHA-256, size) before the call
        succeeds, and kept beside the object. On a mismatch Corrupt is raised and nothing is left under `key`
        (what was there before stays).
        `if_absent`: raise Conflict, changing nothing, when the key exists. Atomic where the store can; see the adapter.
        `if_match`: raise Conflict, changing nothing, unless the object that is there has this ETag, as head() says it.
        A store that cannot compare puts without; see the adapter. Not together with `if_absent`.
        A stream is consumed at most once, so a put of a stream is never retried inside. What the stream itself raises
        reaches the caller unchanged, and nothing is left under `key`.
        Raises Unavailable (outcome unknown), StorageFull, Rejected, Corrupt, Conflict.
        """
        ...

    async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> ObjectReader:
        """Open an object. Raises NotFound, Unavailable, Rejected (a range outside of the object)."""
        ...

    async def head(self, key: Key) -> ObjectInfo:
        """Raises NotFound, Unavailable."""
        ...

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        """Remove the object; removing what is not there succeeds. `if_match`: raise Conflict, changing nothing, when
        another object is there than the one with this ETag; a store that cannot compare removes. Raises Unavailable."""
        ...

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        """At most `limit` objects whose keys begin with `prefix` and are greater than `after`.

        Raises Unavailable: a failing listing is never an empty one.
        """
        ...

    async def check(self) -> None:
        """Prove that the store is reachable and the bucket usable with these credentials (for doctor and readiness).

        Raises Unavailable, NotFound (no such bucket), Rejected (credentials)."""
        ...

    async def aclose(self) -> None: ...
