"""One writer per GUID at a time, within this node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from controlplane.model.content import Guid
from controlplane.ports.clock import Clock
from controlplane.ports.node_locks import NodeLocks

_PAUSE_FIRST_S: Final = 0.001
_PAUSE_MOST_S: Final = 0.016


class GuidLocks:
    """Locks that exist only while somebody holds or awaits them.

    `node`: with other processes that work on the same stores. Within a process they are handed on in order; between
    processes whoever looks first has it.
    """

    def __init__(self, node: NodeLocks | None = None, clock: Clock | None = None) -> None:
        if node is not None and clock is None:
            raise ValueError("waiting for other processes needs a clock")
        self._node = node
        self._clock = clock
        self._locks: dict[Guid, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, guid: Guid) -> AsyncIterator[None]:
        lock, users = self._locks.get(guid, (None, 0))
        if lock is None:
            lock = asyncio.Lock()
        self._locks[guid] = (lock, users + 1)
        try:
            async with lock:
                if self._node is None or self._clock is None:
                    yield
                    return
                await self._take(self._node, self._clock, guid)
                try:
                    yield
                finally:
                    self._node.release(guid)
        finally:
            lock, users = self._locks[guid]
            if users == 1:
                del self._locks[guid]
            else:
                self._locks[guid] = (lock, users - 1)

    async def _take(self, node: NodeLocks, clock: Clock, guid: Guid) -> None:
        pause = _PAUSE_FIRST_S
        while not node.try_exclusive(guid):
            await clock.sleep(pause)
            pause = min(pause * 2, _PAUSE_MOST_S)
