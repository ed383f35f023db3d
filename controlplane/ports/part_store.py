"""PartStore: objects put part by part, over hours and restarts, where a store can do that (S3 multipart uploads)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from controlplane.model.content import Content, Md5
from controlplane.model.keys import Key
from controlplane.ports.object_store import ObjectInfo


@dataclass(frozen=True, slots=True)
class Part:
    """What a store holds of an upload under one number."""

    etag: str
    size: int


class PartStore(Protocol):
    """Beside ObjectStore, for the same keys. Nothing is visible under a key before complete()."""

    @property
    def part_bytes(self) -> int:
        """The size of parts that suits the store; all but the last must have one size."""
        ...

    async def begin(self, key: Key, content: Content, content_type: str, metadata: Mapping[str, str]) -> str:
        """Begin an upload of an object that will have these digests; its id. Raises Unavailable, Rejected."""
        ...

    async def put_part(self, key: Key, upload_id: str, number: int, body: bytes | bytearray, md5: Md5) -> Part:
        """Put a part, numbered from 1, replacing what was there. `md5` is that of `body`, and compared with what the
        store says. Raises NotFound (there is no such upload any more), Corrupt, Unavailable."""
        ...

    async def parts(self, key: Key, upload_id: str) -> Mapping[int, Part]:
        """Raises NotFound (there is no such upload any more), Unavailable."""
        ...

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
        """Make the object of all its parts visible, which have these MD5s in their order, and return what is there.

        `if_absent` and `if_match` are those of ObjectStore.put; when they are not met the upload stays as it is.
        Raises NotFound (there is no such upload any more: aborted, or completed before and forgotten), Conflict (one of
        the two), Corrupt (what is visible now is not what was put), Unavailable."""
        ...

    async def abort(self, key: Key, upload_id: str) -> None:
        """Remove the parts; what is not there is no error. Raises Unavailable."""
        ...

    async def uploads(self, key: Key) -> Sequence[str]:
        """The ids of all unfinished uploads of exactly this key. Raises Unavailable."""
        ...


@runtime_checkable
class WithParts(Protocol):
    """An ObjectStore that has a PartStore for its keys."""

    @property
    def parts(self) -> PartStore: ...
