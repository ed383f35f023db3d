"""One published endpoint: its key under a lease of its own."""

from __future__ import annotations

import asyncio
import logging

from controlplane.adapters.etcd.keyspace import Keyspace, LeaseLost, whole_seconds
from controlplane.ports.errors import Unavailable

_log = logging.getLogger(__name__)


class Announcement:
    """Keeps one key alive. Calls are taken one after the other.

    A lease holds this one key only, so a key that another incarnation of the node took over survives our withdrawal,
    and a lease that a former incarnation left expires without touching ours.
    """

    def __init__(self, keyspace: Keyspace, key: str) -> None:
        self._keyspace = keyspace
        self._key = key
        self._lease = 0
        self._ttl = 0
        self._busy = asyncio.Lock()

    async def announce(self, value: str, ttl_s: float) -> None:
        async with self._busy:
            if whole_seconds(ttl_s) != self._ttl:
                await self._release()
            if self._lease:
                try:
                    await self._renew(value)
                    return
                except LeaseLost as error:
                    _log.warning("the lease of %s in etcd was lost (%s): announcing anew", self._key, error)
                    self._lease = 0
            await self._claim(value, whole_seconds(ttl_s))

    async def withdraw(self) -> None:
        async with self._busy:
            if self._lease:
                await self._release()
                return
            # Nothing of ours, but perhaps what a former incarnation left.
            lease = await self._keyspace.delete_unless_leased(self._key)
            if lease:
                await self._keyspace.revoke(lease)

    async def _claim(self, value: str, ttl: int) -> None:
        for last in (False, True):
            # Kept before the put: if its outcome stays unknown, the next call still renews or revokes this lease.
            self._lease, _ = await self._keyspace.grant(ttl)
            self._ttl = ttl
            try:
                await self._keyspace.put(self._key, value, self._lease)
                return
            except LeaseLost as error:
                self._lease = 0
                if last:
                    raise Unavailable(
                        f"a new lease of {self._key} was gone at once: does someone revoke it?"
                    ) from error

    async def _renew(self, value: str) -> None:
        await self._keyspace.keep_alive(self._lease)
        there = await self._keyspace.read(self._key)
        if there is None or there.lease != self._lease or there.value != value.encode():
            await self._keyspace.put(self._key, value, self._lease)

    async def _release(self) -> None:
        if self._lease:
            await self._keyspace.revoke(self._lease)
            self._lease = 0
