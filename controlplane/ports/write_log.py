"""WriteLog: where every S3 write is reported before it is acknowledged, so that the mirror sees it at once (I1)."""

from __future__ import annotations

from typing import Protocol


class WriteLog(Protocol):
    async def ready(self, bucket: str, key: str) -> None:
        """To be asked before Riak CS is: a full journal pushes back before anything is written. Raises Full,
        Unavailable."""
        ...

    async def wrote(self, bucket: str, key: str, etag: str, size: int | None) -> None:
        """The key has this content now; durable when this returns. `etag` without quotes. Raises Full, Unavailable,
        StorageFull: the write must not be acknowledged then."""
        ...

    async def regranted(self, bucket: str, key: str) -> None:
        """The object's ACL is another one now, as far as a rule wants to know; durable when this returns. Raises like
        wrote()."""
        ...

    async def deleting(self, bucket: str, key: str) -> None:
        """The key is about to be deleted; durable when this returns, and to be called before Riak CS is asked, so that
        read-through does not bring the object back."""
        ...

    async def deleted(self, bucket: str, key: str) -> None:
        """The key is gone from Riak CS."""
        ...
