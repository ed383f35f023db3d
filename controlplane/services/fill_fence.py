"""Keeps clients' writes and fills of one key apart: Riak CS has no create-if-absent, a fill could overwrite a write."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from controlplane.model.keys import Bucket, Key
from controlplane.ports.clock import Clock

_WRITE_AT_MOST_S: Final = 6 * 3600.0
"""A write that nobody ended is taken for failed after this."""
_MOST_WRITES: Final = 100_000

_Place = tuple[Bucket, Key]


class FillFence:
    """Within one gateway: a write waits for a fill of its key that has begun; a fill does not begin beside a write.

    A write that fails is not reported here: its key is not filled for some hours, which costs speed only.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._writes: OrderedDict[_Place, float] = OrderedDict()
        self._fills: dict[_Place, asyncio.Event] = {}

    async def begin_write(self, bucket: Bucket, key: Key) -> None:
        """To be called before Riak CS is asked to write or to delete."""
        place = (bucket, key)
        self._writes[place] = self._clock.monotonic()
        self._writes.move_to_end(place)
        while (fill := self._fills.get(place)) is not None:
            await fill.wait()

    def end_write(self, bucket: Bucket, key: Key) -> None:
        """Riak CS has answered, and what it answered is in the journal."""
        self._writes.pop((bucket, key), None)

    @asynccontextmanager
    async def filling(self, bucket: Bucket, key: Key) -> AsyncIterator[bool]:
        """Yields whether a fill may begin now; then no write begins until the end of the block."""
        place = (bucket, key)
        if place in self._fills or self._is_being_written(place):
            yield False
            return
        ended = self._fills[place] = asyncio.Event()
        try:
            yield True
        finally:
            del self._fills[place]
            ended.set()

    def _is_being_written(self, place: _Place) -> bool:
        now = self._clock.monotonic()
        while self._writes and now - next(iter(self._writes.values())) > _WRITE_AT_MOST_S:
            self._writes.popitem(last=False)
        return place in self._writes or len(self._writes) > _MOST_WRITES
