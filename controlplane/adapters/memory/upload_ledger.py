"""An upload ledger in this process's memory: for tests and trials."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.model.keys import Bucket, Key
from controlplane.ports.upload_ledger import Upload


class MemoryUploadLedger:
    """Implements ports.upload_ledger.UploadLedger. Nothing outlives the process."""

    def __init__(self) -> None:
        self._uploads: dict[tuple[str, Bucket, Key], Upload] = {}

    async def record(self, upload: Upload) -> None:
        self._uploads[upload.rule, upload.bucket, upload.key] = upload

    async def find(self, rule: str, bucket: Bucket, key: Key) -> Upload | None:
        return self._uploads.get((rule, bucket, key))

    async def forget(self, rule: str, bucket: Bucket, key: Key) -> None:
        self._uploads.pop((rule, bucket, key), None)

    async def all(self) -> Sequence[Upload]:
        return sorted(self._uploads.values(), key=lambda upload: upload.begun_at)

    async def aclose(self) -> None:
        """Nothing to close."""
