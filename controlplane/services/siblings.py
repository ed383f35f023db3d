"""The other workers of this gateway: one of them fetches what all of them want, and the others follow it."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError, NotFound
from controlplane.ports.node_locks import NodeLocks
from controlplane.ports.object_store import ObjectReader
from controlplane.ports.peers import Asker, Peers

log = logging.getLogger(__name__)

_WAIT_S: Final = 5.0
"""Somebody holds the lock and nobody shows the fetch: it is just beginning, or hangs. Then each fetches for itself."""
_PAUSE_FIRST_S: Final = 0.01
_PAUSE_MOST_S: Final = 0.2


class Siblings:
    """Who holds the lock of a name fetches it. The kernel frees the lock of a process that dies, so nothing is waited
    for that cannot come: a sibling that hangs costs the peers' time-out, and never an answer."""

    def __init__(self, locks: NodeLocks, peers: Peers, urls: tuple[str, ...], clock: Clock) -> None:
        """`urls`: where each of the others answers; not this one."""
        self._locks = locks
        self._peers = peers
        self._urls = urls
        self._clock = clock
        self._held: set[str] = set()

    def fetches(self, name: str) -> bool:
        """Whether this worker does, for all."""
        return name in self._held

    async def follow_or_claim(self, name: str) -> ObjectReader | None:
        """What a sibling fetches, as it arrives there; None: this worker is to fetch it. release() it in any case."""
        until = self._clock.monotonic() + _WAIT_S
        pause = _PAUSE_FIRST_S
        while not self._locks.try_exclusive(name):
            reader = await self.find(name, Asker.WORKER)
            if reader is not None:
                return reader
            if self._clock.monotonic() > until:
                log.warning("no other worker shows that it fetches %s, though one does: fetching it here too", name)
                return None
            await self._clock.sleep(pause)
            pause = min(2 * pause, _PAUSE_MOST_S)
        self._held.add(name)
        return None

    def release(self, name: str) -> None:
        """The fetch has ended, or another one is followed."""
        if name in self._held:
            self._held.remove(name)
            self._locks.release(name)

    async def find(self, name: str, asker: Asker) -> ObjectReader | None:
        """From the first that shows it. All are asked at once: one that hangs holds up nobody."""
        asking = {asyncio.ensure_future(self._ask(url, name, asker)) for url in self._urls}
        found: ObjectReader | None = None
        try:
            while asking and found is None:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    found = await _one_of(found, task.result())
        finally:
            for task in asking:
                task.cancel()
            for late in await asyncio.gather(*asking, return_exceptions=True):
                if late is not None and not isinstance(late, BaseException):
                    await late.aclose()
        return found

    async def _ask(self, url: str, name: str, asker: Asker) -> ObjectReader | None:
        try:
            return await self._peers.open(url, name, asker)
        except NotFound:
            return None
        except MillraceError as error:
            log.warning("another worker of this gateway cannot be asked for %s: %s", name, error)
            return None


async def _one_of(found: ObjectReader | None, other: ObjectReader | None) -> ObjectReader | None:
    if found is None or other is None:
        return found or other
    await other.aclose()
    return found
