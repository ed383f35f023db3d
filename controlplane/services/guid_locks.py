"""One writer per GUID at a time, within this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.model.content import Guid


class GuidLocks:
    """Locks that exist only while somebody holds or awaits them."""

    def __init__(self) -> None:
        self._locks: dict[Guid, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, guid: Guid) -> AsyncIterator[None]:
        lock, users = self._locks.get(guid, (None, 0))
        if lock is None:
            lock = asyncio.Lock()
        self._locks[guid] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[guid]
            if users == 1:
                del self._locks[guid]
            else:
                self._locks[guid] = (lock, users - 1)
