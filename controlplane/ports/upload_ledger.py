"""UploadLedger: which uploads in parts this node has begun, so that a restart goes on and nothing is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.model.content import Content, Md5
from controlplane.model.keys import Bucket, Key


@dataclass(frozen=True, slots=True)
class Upload:
    """An object on its way to the target of a rule. Which parts have arrived, the target knows."""

    rule: str
    bucket: Bucket
    """At the source."""
    key: Key
    upload_id: str
    """Empty: about to be begun; when this is found after a crash, the target may have an upload that nobody knows."""
    version: str
    """Of the source: an upload of another version is of no use."""
    content: Content
    """Of the whole, from the first reading."""
    part_bytes: int
    part_md5s: tuple[Md5, ...]
    begun_at: float
    """Unix seconds; of one that takes long, when it was last told to be under way."""


class UploadLedger(Protocol):
    async def record(self, upload: Upload) -> None:
        """Remember it durably, in place of what was remembered of this rule, bucket and key."""
        ...

    async def find(self, rule: str, bucket: Bucket, key: Key) -> Upload | None: ...

    async def forget(self, rule: str, bucket: Bucket, key: Key) -> None: ...

    async def all(self) -> Sequence[Upload]:
        """In order of begun_at."""
        ...

    async def aclose(self) -> None: ...
