"""The shards of this agent: kept under a lease, handed over in order, and let alone before the lease can end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Coroutine
from typing import Any, Final, TypeVar

from controlplane.model.sharding import Drain, LetGo, Shard, Take, plan
from controlplane.model.tally import ShardTally
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError
from controlplane.ports.shards import NotOwner, SessionLost, ShardDirectory

log = logging.getLogger(__name__)

T = TypeVar("T")

NEVER: Final = float("-inf")
_AT_ONCE: Final = 16


class ShardOwnership:
    """once() is one round with the directory; watch() ends what may no longer go on, and needs no directory.

    Invariants: work in a shard begins and goes on only while this agent's lease surely lasts: its time is counted from
    before the directory was asked for it, and less a margin in which work that is cancelled has ended. A shard is
    given back only when nothing is under way in it.
    """

    def __init__(self, directory: ShardDirectory, node: str, clock: Clock, *, ttl_s: float, weight: int = 100) -> None:
        self._directory = directory
        self._node = node
        self._clock = clock
        self._ttl_s = ttl_s
        self._weight = weight
        self._margin_s = ttl_s / 6
        self._session = ""
        self._lasts_until = NEVER
        self._owned: dict[Shard, int] = {}
        """Epochs."""
        self._draining: set[Shard] = set()
        self._busy: Counter[Shard] = Counter()
        self._under_way: dict[asyncio.Task[Any], frozenset[Shard]] = {}
        self.tally = ShardTally()

    @property
    def is_sure(self) -> bool:
        """Whether the lease lasts long enough to work by it."""
        return self._clock.monotonic() < self._lasts_until - self._margin_s

    def working(self) -> frozenset[Shard]:
        """Shards in which work may begin now."""
        return frozenset(self._owned.keys() - self._draining) if self.is_sure else frozenset()

    def holds(self, shard: Shard) -> bool:
        """Whether work in it may go on, and its outcome counts."""
        return self.is_sure and shard in self._owned

    async def guarded(self, shards: Collection[Shard], work: Coroutine[Any, Any, T]) -> T:
        """Do the work while all of these shards are ours. Raises NotOwner, once it has ended or never began."""
        needed = frozenset(shards)
        if not needed <= self.working():
            work.close()
            raise NotOwner(f"shards {sorted(needed)} are not this agent's now")
        running = asyncio.ensure_future(work)
        self._under_way[running] = needed
        self._busy.update(needed)
        try:
            return await running
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                running.cancel()
                raise
            raise NotOwner(f"shards {sorted(needed)} were lost while they were worked in") from None
        finally:
            del self._under_way[running]
            self._busy.subtract(needed)

    async def watch(self) -> bool:
        """Cancel what is under way in shards that are no longer surely ours. Always False: call it often."""
        for running, needed in tuple(self._under_way.items()):
            if not all(self.holds(shard) for shard in needed) and not running.done():
                running.cancel()
                self.tally.cancelled += 1
        return False

    async def once(self) -> bool:
        """One round. Always False: the runner's pace is a part of the TTL."""
        try:
            await self._keep_session()
            await self._round()
        except SessionLost as error:
            self._forget(str(error))
        except MillraceError as error:
            self.tally.directory_errors += 1
            left = self._lasts_until - self._clock.monotonic()
            log.warning("shards: %s; worked on for %.1f s more", error, max(0.0, left - self._margin_s))
        self.tally.owned = len(self._owned)
        return False

    async def leave(self) -> None:
        """At an orderly end, after all work: the shards are free for others at once."""
        self._owned.clear()
        self._lasts_until = NEVER
        try:
            await self._directory.leave()
        except MillraceError as error:
            log.warning("shards: not given back, they are free when the lease ends: %s", error)

    async def _keep_session(self) -> None:
        asked_at = self._clock.monotonic()
        if self._session:
            await self._directory.renew()
        else:
            self._session = await self._directory.join(self._node, self._weight, self._ttl_s)
            log.info("shards: a member of the cluster as session %s", self._session)
        self._lasts_until = asked_at + self._ttl_s

    async def _round(self) -> None:
        seen = await self._directory.seen()
        self.tally.members = len(seen.members)
        if self._node not in seen.members:
            raise SessionLost(f"{self._node} is no member any more: was its key deleted?")
        # A swap whose answer was lost may have been made, and a key may have been deleted by hand.
        self._owned = {shard: there.epoch for shard, there in seen.owners.items() if there.session == self._session}
        busy = {shard for shard, count in self._busy.items() if count}
        moves = plan(self._node, self._session, seen.members, seen.owners, busy)
        going = {move.shard for move in moves if not isinstance(move, Take)}
        self._draining = going
        for start in range(0, len(moves), _AT_ONCE):
            await asyncio.gather(*(self._move(move) for move in moves[start : start + _AT_ONCE]))

    async def _move(self, move: Take | Drain | LetGo) -> None:
        match move:
            case Take(shard):
                epoch = await self._directory.take(shard)
                if epoch is not None:
                    self._owned[shard] = epoch
                    self.tally.taken += 1
            case LetGo(shard, epoch):
                # First: whoever asks in between must not begin anything.
                self._owned.pop(shard, None)
                await self._directory.let_go(shard, epoch)
                self.tally.let_go += 1
            case Drain():
                pass

    def _forget(self, why: str) -> None:
        log.error("shards: this agent lost its lease and stops working on its %d shards: %s", len(self._owned), why)
        self.tally.sessions_lost += 1
        self._session = ""
        self._lasts_until = NEVER
        self._owned.clear()
