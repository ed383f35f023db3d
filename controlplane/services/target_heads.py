"""What a target says of many keys: together where it can, one by one where it must."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from controlplane.model.keys import Key
from controlplane.ports.bulk_store import BulkStore
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ObjectInfo, ObjectStore
from controlplane.services.scan_admission import Admit, at_once

_TOGETHER: Final = 64
_SIDE_BY_SIDE: Final = 8


class TargetHeads:
    def __init__(self, store: ObjectStore, bulk: BulkStore | None, admit: Admit = at_once) -> None:
        self._admit = admit
        self._store = store
        self._bulk = bulk
        self._places = asyncio.Semaphore(_SIDE_BY_SIDE)
        self.asked = 0

    async def ask(self, keys: Sequence[Key]) -> list[ObjectInfo | None]:
        """In the order of the keys; None: the target says that it has no such object. Raises Unavailable, Rejected."""
        self.asked += len(keys)
        parts = [keys[at : at + _TOGETHER] for at in range(0, len(keys), _TOGETHER)]
        answers = await asyncio.gather(*(self._ask_some(part) for part in parts))
        return [info for part in answers for info in part]

    async def _ask_some(self, keys: Sequence[Key]) -> list[ObjectInfo | None]:
        async with self._places:
            await self._admit(len(keys))
            known: Sequence[ObjectInfo | None] = [None] * len(keys)
            if self._bulk is not None:
                known = await self._bulk.head_many(keys)
            # None says nothing there (see the port): whether the object is missing, only the store can tell.
            return [info if info is not None else await self._head(key) for key, info in zip(keys, known, strict=True)]

    async def _head(self, key: Key) -> ObjectInfo | None:
        try:
            return await self._store.head(key)
        except NotFound:
            return None
