"""What a scan finds, in the journal: the mirror copies it like what clients wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from controlplane.model.scan_join import Difference, Kind
from controlplane.model.scan_state import Unit
from controlplane.model.task import Draft, Op
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Full
from controlplane.ports.journal import Journal

_LOOK_EVERY_S: Final = 0.5
_TOGETHER: Final = 128
"""Appended side by side: they share their fsyncs."""

_TO_COPY: Final = frozenset({Kind.MISSING, Kind.DIFFERENT, Kind.DAMAGED})


class JournalSink:
    """Implements services.scan_unit.Sink. A scan takes no more than `share` of the journal, so that clients' writes are
    never refused because of it; at that bound it waits, and drops nothing."""

    def __init__(self, journal: Journal, clock: Clock, *, share: float) -> None:
        self._journal = journal
        self._clock = clock
        self._share = share
        self._room = 0
        self.waiting = False
        """For the journal to have room."""

    async def take(self, unit: Unit, differences: Sequence[Difference]) -> int:
        """Extra objects are not told here: whether they go is decided at the end (services/scan_deletes.py)."""
        drafts = [
            # With the version's own ETag: it is copied whatever the target claims to have.
            Draft(Op.PUT_OBJECT, unit.bucket, one.key, etag=one.etag, object_size=one.size, rule=unit.rule.name)
            for one in differences
            if one.kind in _TO_COPY
        ]
        await self.append(drafts)
        return len(drafts)

    async def append(self, drafts: Sequence[Draft]) -> None:
        """All are durable when this returns. Raises Unavailable, StorageFull: then some may be."""
        left = list(drafts)
        while left:
            room = await self._wait_for_room()
            some = left[: min(room, _TOGETHER)]
            self._room -= len(some)
            now = self._clock.now()
            answers = await asyncio.gather(
                *(self._journal.append(draft, now) for draft in some), return_exceptions=True
            )
            refused: list[Draft] = []
            for draft, answer in zip(some, answers, strict=True):
                if isinstance(answer, Full):
                    refused.append(draft)
                elif isinstance(answer, BaseException):
                    raise answer
            left[: len(some)] = refused
            if refused:
                self._room = 0
                await self._clock.sleep(_LOOK_EVERY_S)

    async def _wait_for_room(self) -> int:
        """How many entries may be appended now: one at least."""
        if self._room > 0:
            return self._room
        try:
            while True:
                stats = await self._journal.stats()
                self._room = min(int(stats.limit * self._share) - stats.pending - stats.failed, _TOGETHER * 8)
                if self._room > 0:
                    return self._room
                self.waiting = True
                await self._clock.sleep(_LOOK_EVERY_S)
        finally:
            self.waiting = False
