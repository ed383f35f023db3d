"""A lane for each mirror rule: what is under way for its target, how fast it may go, and whether it has to wait.

Lanes know nothing of each other: a target that is away, slow or paused holds up nobody else's copies.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from controlplane.model.keys import StoreName
from controlplane.model.pace import OwnBodies, Pace, Side
from controlplane.model.rate import UNLIMITED, Limit, TokenBucket, limit_at, wait_at
from controlplane.model.task import Task
from controlplane.ports.clock import Clock

_NOTHING_S: Final = 1e-6
"""What is left of a wait by rounding alone: a clock may not advance by so little."""
_SLICE_S: Final = 0.5
"""A worker that waits for its turn looks that often whether it should stop."""


class Checked(Protocol):
    """A store, or a service of stores, as far as the mirror needs to know it."""

    @property
    def name(self) -> StoreName: ...

    async def check(self) -> None:
        """Raises a MillraceError when it cannot be used now."""
        ...


@dataclass(frozen=True, slots=True)
class LanePlan:
    """What a lane is made of."""

    stores: Sequence[Checked]
    """Source and target: asked whether they are there at all when a copy fails."""
    timetable: Sequence[Limit] = ()


@dataclass(slots=True)
class Lane:
    """The state of one rule's copies in this process."""

    name: str
    plan: LanePlan
    pace: Pace
    waiting: deque[Task] = field(default_factory=deque)
    taken: set[int] = field(default_factory=set)
    """Tasks that wait here, are worked on, or are not settled yet."""
    workers: set[asyncio.Task[None]] = field(default_factory=set)
    away_until: float = float("-inf")
    """Monotonic seconds: until then a store is taken for away."""
    outages: int = 0
    """Attempts in a row that found a store away."""
    told_at: float = float("-inf")
    """Monotonic seconds of when the log was last told so."""
    looked_at: float = float("-inf")
    """Monotonic seconds of the last look at the journal that found nothing."""
    has_more: bool = False
    """The last look at the journal found as much as it asked for."""
    paused: bool = False
    bytes_bucket: TokenBucket = field(default_factory=TokenBucket)
    requests_bucket: TokenBucket = field(default_factory=TokenBucket)

    def rests(self, now: float) -> bool:
        return self.paused or now < self.away_until

    def put_back(self) -> None:
        """What has not begun stays in the journal."""
        self.taken.difference_update(task.seq for task in self.waiting)
        self.waiting.clear()


class Lanes:
    """All lanes, by the names of their rules; one is made when it is first asked for."""

    def __init__(
        self,
        clock: Clock,
        plans: Mapping[str, LanePlan],
        *,
        concurrency: int,
        unknown: LanePlan = LanePlan(()),
    ) -> None:
        """`plans`: by the name of the rule. `unknown`: of rules that the settings no longer name."""
        self._clock = clock
        self._plans = dict(plans)
        self._unknown = unknown
        self._concurrency = concurrency
        self._stopping = False
        self._lanes: dict[str, Lane] = {}
        self._bodies: dict[StoreName, OwnBodies] = {}
        for name in self._plans:
            self.of(name)

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def of(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            plan = self._plans.get(name, self._unknown)
            lane = self._lanes[name] = Lane(name, plan, self._pace(plan))
        return lane

    def _pace(self, plan: LanePlan) -> Pace:
        bodies = {side: OwnBodies() for side in Side}
        for side, store in zip((Side.SOURCE, Side.TARGET), plan.stores, strict=False):
            bodies[side] = self._bodies.setdefault(store.name, bodies[side])
        return Pace(self._concurrency, bodies)

    def stop(self) -> None:
        """Nobody waits for a turn any more."""
        self._stopping = True

    def limit(self, lane: Lane) -> Limit:
        """What holds for it now, by the local time of this machine."""
        if not lane.plan.timetable:
            return UNLIMITED
        at = time.localtime(self._clock.now())
        return limit_at(lane.plan.timetable, at.tm_wday, at.tm_hour * 60 + at.tm_min)

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def go_on(self, rule: str, requests: int, size: int) -> bool:
        """The same as admit() for a step of work that goes on after the next start: none begins when the process is to
        stop, and a large object takes no longer than the part that is under way."""
        return not self._stopping and await self.admit(rule, requests, size)

    async def admit(self, rule: str, requests: int, size: int) -> bool:
        """Wait until so many requests and bytes may go. False: the process is to stop, do not begin.

        Who waits when the timetable's next line begins goes on by that: nobody waits for a rate that holds no more."""
        lane = self.of(rule)
        limit = self.limit(lane)
        now = self._clock.monotonic()
        bytes_s = lane.bytes_bucket.take(size, limit.bytes_per_s, now)
        requests_s = lane.requests_bucket.take(requests, limit.requests_per_s, now)
        while (left := max(bytes_s, requests_s)) > _NOTHING_S:
            if self._stopping:
                return False
            await self._clock.sleep(min(left, _SLICE_S))
            # By the clock: on a busy machine a sleep takes longer than it was asked to.
            passed, now = self._clock.monotonic() - now, self._clock.monotonic()
            before, limit = limit, self.limit(lane)
            bytes_s = wait_at(limit.bytes_per_s, bytes_s - passed, before.bytes_per_s)
            requests_s = wait_at(limit.requests_per_s, requests_s - passed, before.requests_per_s)
        return True

    def answered(self, rule: str, latency_s: float, kind: str = "", side: Side = Side.SOURCE) -> None:
        """A store took that long for one answer to this rule's copies."""
        self.of(rule).pace.answered(latency_s, kind, side, self._clock.monotonic())

    @contextmanager
    def moving(self, rule: str, side: Side, size: int) -> Iterator[None]:
        """Around a body of this rule's copies while it comes from the source, or goes to the target."""
        pace = self.of(rule).pace
        body = pace.began(side, self._clock.monotonic())
        moved: int | None = None
        try:
            yield
            moved = size
        finally:
            pace.ended(body, moved, self._clock.monotonic())
