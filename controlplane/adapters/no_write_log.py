"""For a gateway whose S3 writes are not mirrored (`s3.journal = false`)."""

from __future__ import annotations


class NoWriteLog:
    """Implements ports.write_log.WriteLog."""

    async def ready(self, bucket: str, key: str) -> None: ...

    async def wrote(self, bucket: str, key: str, etag: str, size: int | None) -> None: ...

    async def regranted(self, bucket: str, key: str) -> None: ...

    async def deleting(self, bucket: str, key: str) -> None: ...

    async def deleted(self, bucket: str, key: str) -> None: ...
