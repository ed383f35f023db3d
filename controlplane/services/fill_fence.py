"""Keeps clients' writes and fills of one key apart: Riak CS has no create-if-absent, a fill could overwrite a write."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Final

from controlplane.model.keys import Bucket, Key
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.errors import MillraceError, NotFound, Unavailable
from controlplane.ports.node_locks import NodeLocks

FILL_AT_MOST_S: Final = 120.0
"""A fill that takes longer is given up."""
_MARK_TTL_S: Final = 3 * FILL_AT_MOST_S
"""A mark outlives its fill by so much that every write that the fill may have hit sees it."""
_WRITE_AT_MOST_S: Final = 6 * 3600.0
"""A write that nobody ended is taken for failed after this."""
_MOST_WRITES: Final = 100_000
_LOOK_EVERY_S: Final = 0.25
_LOCK_EVERY_S: Final = 0.02
_MOST_LOCKED: Final = 10_000
_DONE: Final = "done"

_EVERYTHING: Final = "fills/everything"
"""Says that objects are put back under rules that do not read through, whose writes look for no mark else."""
_NOTICED_WITHIN_S: Final = 5.0
_SAID_EVERY_S: Final = 30.0
_ASK_AT_MOST_S: Final = 1.0

_Place = tuple[Bucket, Key]


class FillFence:
    """Within one node: a write waits for a fill of its key that has begun; a fill does not begin beside a write.
    `node`: the locks between its processes, where there are several. A write holds its key's lock shared, a fill
    exclusively; beyond 10,000 writes of one process that nobody ended, the oldest are taken for failed.

    Between gateways (`directory` is etcd, not None): a fill leaves a mark, then looks whether Riak CS still lacks the
    key, and only then puts it. A write looks for the mark after Riak CS has it, and before it is acknowledged. Without
    a mark no fill began before that look; one that begins later sees the object. With one, Riak CS is asked what it
    holds when the fill is over: a write that is gone is not acknowledged.

    Under rules that do not read through nobody fills but a restore. It says so first (`everywhere`), and waits until
    every gateway must know: they look every 5 s, and their writes look for marks from then on. A gateway that cannot
    ask for that asks Riak CS what it holds instead.

    A write that fails is not reported here: its key is not filled for some hours, which costs speed only.
    """

    def __init__(
        self, clock: Clock, source: BucketStores, directory: Directory | None = None, node: NodeLocks | None = None
    ) -> None:
        """`source`: Riak CS, to be asked what it holds."""
        self._node = node
        self._locked: OrderedDict[_Place, None] = OrderedDict()
        self._clock = clock
        self._source = source
        self._directory = directory
        self._writes: OrderedDict[_Place, float] = OrderedDict()
        self._fills: dict[_Place, asyncio.Event] = {}
        self._everywhere: bool | None = False
        """Whether a restore may be under way, as of the last look; None: nobody can say."""
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._said_at: float | None = None

    async def begin_write(self, bucket: Bucket, key: Key) -> None:
        """To be called before Riak CS is asked to write or to delete."""
        place = (bucket, key)
        self._writes[place] = self._clock.monotonic()
        self._writes.move_to_end(place)
        while not self._may_write(place):
            fill = self._fills.get(place)
            await (fill.wait() if fill is not None else self._clock.sleep(_LOCK_EVERY_S))

    async def end_write(self, bucket: Bucket, key: Key, etag: str) -> None:
        """Riak CS has taken it. Raises Unavailable when it may have been overwritten by a fill since."""
        if self._directory is not None:
            await self._survived(self._directory, bucket, key, etag)
        self._end((bucket, key))

    async def survived(self, bucket: Bucket, key: Key, etag: str) -> None:
        """Riak CS has taken a write of a key that is not read through, or (without an ETag) a delete. Raises
        Unavailable when a restore may have undone it."""
        if self._directory is None:
            return
        everywhere = await self._is_everywhere(self._directory)
        if everywhere is False:
            return
        await self._survived(self._directory if everywhere else None, bucket, key, etag)

    def end_delete(self, bucket: Bucket, key: Key) -> None:
        """Riak CS has deleted it. A fill looks for the tombstone afterwards."""
        self._end((bucket, key))

    @asynccontextmanager
    async def filling(self, bucket: Bucket, key: Key) -> AsyncIterator[bool]:
        """Yields whether a fill may begin now; then no write of this gateway begins until the end of the block, which
        must come within FILL_AT_MOST_S. Raises Unavailable."""
        place = (bucket, key)
        if self._said_at is not None and self._clock.monotonic() - self._said_at > FILL_AT_MOST_S:
            raise Unavailable("etcd is not told any more that objects are put back: nothing is, until it answers")
        if place in self._fills or self._is_being_written(place):
            yield False
            return
        if self._node is not None and not self._node.try_exclusive(_name(*place)):
            yield False  # another process writes it, or fills it
            return
        ended = self._fills[place] = asyncio.Event()
        try:
            if self._directory is None:
                yield True
            else:
                async with self._marked(self._directory, bucket, key) as free:
                    yield free
        finally:
            if self._node is not None:
                self._node.release(_name(*place))
            del self._fills[place]
            ended.set()

    def _may_write(self, place: _Place) -> bool:
        if place in self._fills:
            return False
        if self._node is None or place in self._locked:
            return True
        if not self._node.try_shared(_name(*place)):
            return False
        self._locked[place] = None
        if len(self._locked) > _MOST_LOCKED:
            self._unlock(next(iter(self._locked)))
        return True

    def _end(self, place: _Place) -> None:
        self._writes.pop(place, None)
        self._unlock(place)

    def _unlock(self, place: _Place) -> None:
        if self._node is not None and place in self._locked:
            del self._locked[place]
            self._node.release(_name(*place))

    def _is_being_written(self, place: _Place) -> bool:
        now = self._clock.monotonic()
        while self._writes and now - next(iter(self._writes.values())) > _WRITE_AT_MOST_S:
            self._end(next(iter(self._writes)))
        return place in self._writes or len(self._writes) > _MOST_WRITES

    # Between gateways

    @asynccontextmanager
    async def everywhere(self) -> AsyncIterator[None]:
        """Around fills of keys that are not read through. Raises Unavailable. It is left to its lease, which outlives
        the last fill by so much that every write that the fill may have hit sees it."""
        if self._directory is None:
            yield
            return
        await self._say(self._directory)
        saying = asyncio.ensure_future(self._keep_saying(self._directory))
        try:
            await self._clock.sleep(_NOTICED_WITHIN_S + _ASK_AT_MOST_S)
            yield
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)

    async def _say(self, directory: Directory) -> None:
        at = self._clock.monotonic()
        there = await directory.get(_EVERYTHING)
        revision = None if there is None else there.revision
        said = await directory.compare_and_swap(_EVERYTHING, revision, secrets.token_hex(8), _MARK_TTL_S)
        if said is None and await directory.get(_EVERYTHING) is None:
            raise Unavailable("etcd did not take it that objects are put back: try again")
        self._said_at = at

    async def _keep_saying(self, directory: Directory) -> None:
        while True:
            await self._clock.sleep(_SAID_EVERY_S)
            with suppress(Unavailable):
                await self._say(directory)

    async def _is_everywhere(self, directory: Directory) -> bool | None:
        if self._is_old():
            async with self._looking:
                if self._is_old():
                    asked_at = self._clock.monotonic()
                    try:
                        async with asyncio.timeout(_ASK_AT_MOST_S):
                            self._everywhere = await directory.get(_EVERYTHING) is not None
                    except (TimeoutError, MillraceError):
                        # Away, or its password or role is not ours any more: writes go on (I10).
                        self._everywhere = None
                    self._looked_at = asked_at
        return self._everywhere

    def _is_old(self) -> bool:
        return self._clock.monotonic() - self._looked_at >= _NOTICED_WITHIN_S

    @asynccontextmanager
    async def _marked(self, directory: Directory, bucket: Bucket, key: Key) -> AsyncIterator[bool]:
        name = _name(bucket, key)
        mark = f"filling {secrets.token_hex(8)}"
        revision = await directory.compare_and_swap(name, None, mark, _MARK_TTL_S)
        if revision is None:
            there = await directory.get(name)
            if there is not None and there.value == _DONE:
                # A write that the last fill may have hit sees this mark as well, and waits for its end.
                revision = await directory.compare_and_swap(name, there.revision, mark, _MARK_TTL_S)
        if revision is None:
            yield False  # another gateway fills it, or died at it
            return
        try:
            yield True
        finally:
            await directory.compare_and_swap(name, revision, _DONE, _MARK_TTL_S)

    async def _survived(self, directory: Directory | None, bucket: Bucket, key: Key, etag: str) -> None:
        """`directory`: None when it does not answer. An empty ETag: it was deleted."""
        try:
            if directory is not None:
                if await directory.get(_name(bucket, key)) is None:
                    return
                await self._fill_over(directory, bucket, key)
        except Unavailable:
            # Without etcd no fill begins; what Riak CS holds now is the best that can be known.
            pass
        try:
            held = await self._source.store(bucket).head(key)
        except NotFound:
            return  # deleted since
        if held.etag != etag:
            undone, again = ("overwritten", "write") if etag else ("put back", "delete")
            raise Unavailable(f"{bucket}/{key} was {undone} at this moment, perhaps from its copy: {again} it again")

    async def _fill_over(self, directory: Directory, bucket: Bucket, key: Key) -> None:
        until = self._clock.monotonic() + FILL_AT_MOST_S
        while self._clock.monotonic() < until:
            mark = await directory.get(_name(bucket, key))
            if mark is None or mark.value == _DONE:
                return
            await self._clock.sleep(_LOOK_EVERY_S)


def _name(bucket: Bucket, key: Key) -> str:
    return f"fills/{sha256(f'{bucket}/{key}'.encode('utf-8', 'surrogateescape')).hexdigest()}"
