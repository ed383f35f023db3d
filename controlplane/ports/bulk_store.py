"""BulkStore: many small objects in one go, where a store can do that cheaper than one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from controlplane.model.content import Content
from controlplane.model.keys import Key
from controlplane.model.made_often import made_often
from controlplane.ports.object_store import ObjectInfo

MOST_BYTES = 32 * 1024
"""Of one object. A batch is in memory as a whole, and is hashed on the spot."""


class SmallObject(NamedTuple):
    """An object with its bytes."""

    info: ObjectInfo
    body: bytes


@made_often
@dataclass(frozen=True, slots=True)
class SmallPut:
    """Like ObjectStore.put of bytes with `content`; the caller has proved that `body` is `content`."""

    key: Key
    body: bytes
    content: Content
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    if_absent: bool = False
    if_match: str | None = None


class BulkStore(Protocol):
    """An accelerator beside ObjectStore, not a way around it.

    Each answer stands for the object asked for at its place, or is None: then it could not be had in this way, for
    whatever reason, and ObjectStore has to be asked. None never means that an object is missing, that a put had no
    effect, or that the store is away (I5). Nothing is raised but cancellation.
    """

    async def get_small(self, keys: Sequence[Key]) -> Sequence[SmallObject | None]:
        """Whole objects of at most MOST_BYTES."""
        ...

    async def put_small(self, puts: Sequence[SmallPut]) -> Sequence[ObjectInfo | None]:
        """What is there now. An ETag that is an MD5 is that of the body."""
        ...

    async def head_many(self, keys: Sequence[Key]) -> Sequence[ObjectInfo | None]: ...
