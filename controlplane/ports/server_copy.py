"""ServerCopy: objects copied by the service that has both ends, without their bytes coming here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from controlplane.model.content import Content, Md5
from controlplane.model.keys import Bucket
from controlplane.ports.object_store import ByteRange, ObjectInfo
from controlplane.ports.part_store import Part


class ServerCopy(Protocol):
    """From one store to another of the same service, under the same key.

    Only the very version that was seen at the source is copied. None: the service would not, or its answer does not
    prove what it did; then the bytes have to be streamed, over whatever may be there now. What is not None was proved
    as strictly as bytes that were sent: the service named their MD5.
    """

    def takes(self, source: ObjectInfo) -> bool:
        """Whether it is worth asking: the service does not go wrong on such keys, and has not refused lately."""
        ...

    @property
    def most_bytes(self) -> int:
        """Of one copy(). What is larger goes by parts."""
        ...

    async def copy(
        self,
        source: ObjectInfo,
        content: Content,
        metadata: Mapping[str, str],
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo | None:
        """What is at the target now, with this metadata and none of the source's. Raises Unavailable (also when the
        source is another version now, and may be when `if_match` is not met), Conflict (if_absent)."""
        ...

    async def copy_part(
        self, source: ObjectInfo, upload_id: str, number: int, byte_range: ByteRange, md5: Md5
    ) -> Part | None:
        """A part of an upload at the target that was begun by a PartStore. Raises NotFound (there is no such upload any
        more), Unavailable."""
        ...


class ServerCopies(Protocol):
    def of(self, bucket: Bucket) -> ServerCopy:
        """From a bucket of the source to its place at the target."""
        ...
