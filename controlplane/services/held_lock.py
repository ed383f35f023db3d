"""A lock of the whole cluster: one holder at a time, under a lease in the directory."""

from __future__ import annotations

import logging

from controlplane.model.lock_plan import Claim, Leave, Take, Wait, Wish, plan, read_claim, write_claim
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.errors import MillraceError

log = logging.getLogger(__name__)

NEVER = float("-inf")


class HeldLock:
    """once() claims, prolongs or gives back. `held_until` only ever promises what the directory has confirmed.

    A directory that is away takes nothing from a holder before its time is over, and gives nothing to anybody.
    """

    def __init__(self, name: str, node: str, directory: Directory, clock: Clock, *, ttl_s: float) -> None:
        self._name = name
        self._node = node
        self._directory = directory
        self._clock = clock
        self._ttl_s = ttl_s
        # A claim that a former incarnation left is not given back before it is known whether what it guards has ended.
        self.wish = Wish.LAPSE
        self.held_until = NEVER
        """Monotonic seconds up to which no other node can hold it."""
        self.claim: Claim | None = None
        """As it was seen last; who holds it."""
        self.errors = 0

    @property
    def held(self) -> bool:
        return self._clock.monotonic() < self.held_until

    async def once(self) -> bool:
        """One round. Always False: the runner's pace is a part of the TTL."""
        try:
            await self._round()
        except MillraceError as error:
            self.errors += 1
            left = self.held_until - self._clock.monotonic()
            more = f"held for {left:.0f} s more" if left > 0 else "not held"
            log.warning("lock %s (%s): %s", self._name, more, error)
        return False

    async def give_back(self) -> None:
        """At an orderly end, so that another node need not wait for the lease. What it guards must have ended."""
        self.wish = Wish.LEAVE
        await self.once()

    async def _round(self) -> None:
        there = await self._directory.get(self._name)
        claim = None if there is None else read_claim(there.value, there.revision)
        step = plan(self._node, claim, self.wish)
        match step:
            case Take(expected):
                await self._take(expected, claim)
            case Leave(expected):
                self.held_until = NEVER
                await self._directory.compare_and_swap(self._name, expected, None)
                self.claim = None
                log.info("lock %s given back", self._name)
            case Wait():
                self._see(claim)

    def _see(self, claim: Claim | None) -> None:
        """Somebody else's claim ends our own at once; it can only come before our time when our key was deleted."""
        self.claim = claim
        if claim is not None and claim.holder != self._node:
            if not claim.holder:
                log.error("lock %s holds no claim, so nobody can take it: delete its key in etcd", self._name)
            elif self.held:
                log.error("lock %s went to %s before its time: did somebody delete it?", self._name, claim.holder)
            self.held_until = NEVER

    async def _take(self, expected: int | None, claim: Claim | None) -> None:
        since = self._clock.now() if claim is None else claim.since
        asked_at = self._clock.monotonic()
        value = write_claim(self._node, since)
        revision = await self._directory.compare_and_swap(self._name, expected, value, ttl_s=self._ttl_s)
        if revision is None:
            # Somebody was faster. The next round tells who; until then the former promise, if any, is still good.
            return
        if not self.held:
            log.info("lock %s is held by this node", self._name)
        self.held_until = asked_at + self._ttl_s
        self.claim = Claim(self._node, since, revision)
