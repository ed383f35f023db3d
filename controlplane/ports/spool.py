"""Spool: where a body is held while it is received and hashed, before any store sees it."""

from __future__ import annotations

from typing import Protocol

from controlplane.model.content import Content
from controlplane.ports.object_store import LocalFile


class Spooled(Protocol):
    """A complete body and its digests."""

    @property
    def content(self) -> Content: ...

    @property
    def body(self) -> bytes | LocalFile: ...

    def discard(self) -> None:
        """Drop it; what a store has linked or copied stays. Idempotent."""
        ...


class SpoolWriter(Protocol):
    """A body on its way in. End it with finish() or discard(), exactly one of them."""

    @property
    def written(self) -> int:
        """Bytes that read() can give."""
        ...

    async def write(self, chunk: bytes | memoryview) -> None:
        """Take a chunk; waits when hashing or the disk is behind, so that memory is bounded.

        Raises StorageFull, Unavailable."""
        ...

    async def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes already written, from `offset`; for those who follow a body that is still growing."""
        ...

    async def finish(self) -> Spooled:
        """All is written and hashed. Raises StorageFull, Unavailable."""
        ...

    def discard(self) -> None: ...


class Spool(Protocol):
    def open(self, size: int | None = None) -> SpoolWriter:
        """A new body; `size` when it is known: too little room on the disk raises StorageFull at once."""
        ...
