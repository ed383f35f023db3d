"""How many copies may be under way: so that those who use the source meanwhile hardly notice, and the target is not
asked for more than it has. Pure: times come in.

Large bodies fill a store, and then its answers wait in line behind Millrace's own bytes: that is no sign of others. So
while own bodies move, requests are not listened to, and the bodies themselves tell, each by its time for one MiB. It is
slow only where the own bodies beside it do not explain its time. A full store divides itself among what it moves: the
body had 1 / number of it at every moment (processor sharing). That share of its time is the same however many Millrace
moves at once, and grows when others take theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Side(Enum):
    """Who answered."""

    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class _Patience:
    times: float
    """So many times the best latency seen is taken for a store that has work enough."""
    floor_s: float
    """Latencies below this are no burden to anybody, whatever their ratio."""


_PATIENCE: Final = {
    # Others wait at the source for as long as the mirror does.
    Side.SOURCE: _Patience(2.0, 0.005),
    # At the target hardly anybody waits but the mirror: what is asked beyond that only stands in its line. It is far
    # away as a rule, and its answers differ more.
    Side.TARGET: _Patience(4.0, 0.05),
}
_PATIENCE_WITH_BODIES: Final = {
    # By the MiB.
    Side.SOURCE: _Patience(2.0, 0.005),
    Side.TARGET: _Patience(4.0, 0.005),
}
_DOUBLED_AFTER_S: Final = 600.0
"""The best latency seen is believed less as time goes: it is taken for twice as long after that time of being heard. A
store that became ten times slower for good is not blamed for ever, however few answers it gives meanwhile."""
_LONGEST_PAUSE_S: Final = 10.0
"""What was not heard for longer was not asked: that time says nothing."""
_MIB: Final = 1 << 20
_SMOOTHING: Final = 0.2
_SHRINK: Final = 0.7
_REMEMBERED: Final = 16
"""Adjustments for which a kind of requests counts that was not heard since: such requests may never come again."""


@dataclass(slots=True)
class _Latency:
    """Of one kind of request to one side."""

    patience: _Patience
    best_s: float
    smooth_s: float
    best_share_s: float
    """Share: the integral of 1 / number of own bodies over the time that the body moved; of a request the latency."""
    smooth_share_s: float
    heard_at: float
    """Monotonic seconds."""
    unheard: int = 0
    """So many adjustments ago it was last heard."""

    def answered(self, latency_s: float, share_s: float, now: float) -> None:
        believed = 2.0 ** (min(max(now - self.heard_at, 0.0), max(_LONGEST_PAUSE_S, latency_s)) / _DOUBLED_AFTER_S)
        self.best_s *= believed
        self.best_share_s *= believed
        self.heard_at = now
        self.unheard = 0
        self.best_s = min(self.best_s, latency_s)
        self.smooth_s += (latency_s - self.smooth_s) * _SMOOTHING
        self.best_share_s = min(self.best_share_s, share_s)
        self.smooth_share_s += (share_s - self.smooth_share_s) * _SMOOTHING

    @property
    def is_long(self) -> bool:
        """Of a store with room, more at once take no longer (latency); of a full one, each takes its share (share). It
        is slow when neither holds."""
        times, floor_s = self.patience.times, self.patience.floor_s
        return self.smooth_s > max(self.best_s * times, floor_s) and self.smooth_share_s > max(
            self.best_share_s * times, floor_s
        )

    def adjusted(self) -> None:
        self.unheard += 1


@dataclass(frozen=True, slots=True)
class Body:
    """One that moves."""

    side: Side
    began_at: float
    turns_s: float
    """Those of the store when it began."""


@dataclass(slots=True)
class OwnBodies:
    """The bodies that Millrace moves from or to one store. Times are monotonic seconds, and never go back."""

    _count: int = 0
    _turns_s: float = 0.0
    """The integral of 1 / number: what a body had of the store that was there all the time."""
    _at: float = 0.0
    _idle_since: float = float("-inf")

    def began(self, side: Side, now: float) -> Body:
        self._pass(now)
        self._count += 1
        return Body(side, now, self._turns_s)

    def ended(self, body: Body, now: float) -> float:
        """The share of its time, in seconds: at most that time, and no less than it by the most that moved at once."""
        self._pass(now)
        self._count -= 1
        if not self._count:
            self._idle_since = now
        return self._turns_s - body.turns_s

    def none_since(self, then: float) -> bool:
        return not self._count and self._idle_since <= then

    def _pass(self, now: float) -> None:
        if self._count:
            self._turns_s += (now - self._at) / self._count
        self._at = now


@dataclass(slots=True)
class Pace:
    """Additive increase, multiplicative decrease of the concurrency, by the latency of both stores' answers.

    Invariants: 1 <= limit <= most; it grows by at most one for `limit` answers, and shrinks at most once for as many:
    the answers that were under way when it shrank say nothing about the new limit. It does not grow while either side
    is slow: a quick answer of the one never hides a slow one of the other. While nothing is heard it stays as it is.
    """

    most: int
    bodies: Mapping[Side, OwnBodies] = field(default_factory=lambda: {side: OwnBodies() for side in Side})
    """Stores that other lanes use, too, have theirs in common: their bodies are Millrace's own as well."""
    _limit: float = field(default=0.0, init=False)
    _kinds: dict[tuple[Side, str], _Latency] = field(default_factory=dict, init=False)
    _answers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._limit = float(max(self.most, 1))

    @property
    def limit(self) -> int:
        return max(int(self._limit), 1)

    def answered(self, latency_s: float, kind: str = "", side: Side = Side.SOURCE, now: float = 0.0) -> None:
        """A store took that long for one answer, which came now. Kinds of requests are compared with their own kind
        only. What waited beside own bodies is counted, and not listened to."""
        if self.bodies[side].none_since(now - latency_s):
            self._hear(side, kind, latency_s, latency_s, _PATIENCE[side], now)
        self._count()

    def began(self, side: Side, now: float) -> Body:
        """A body begins to move."""
        return self.bodies[side].began(side, now)

    def ended(self, body: Body, size: int | None, now: float) -> None:
        """It has moved so many bytes; None: it broke off, and tells nothing."""
        share_s = self.bodies[body.side].ended(body, now)
        if not size:
            return
        mib = size / _MIB
        # Of about the same size: what each costs beside its bytes is in it.
        kind = f"body {size.bit_length()}"
        patience = _PATIENCE_WITH_BODIES[body.side]
        self._hear(body.side, kind, (now - body.began_at) / mib, share_s / mib, patience, now)
        self._count()

    def _hear(self, side: Side, kind: str, latency_s: float, share_s: float, patience: _Patience, now: float) -> None:
        known = self._kinds.get((side, kind))
        if known is None:
            known = self._kinds[side, kind] = _Latency(patience, latency_s, latency_s, share_s, share_s, now)
        known.answered(latency_s, share_s, now)

    def _count(self) -> None:
        self._answers += 1
        if self._answers < self.limit or not any(not each.unheard for each in self._kinds.values()):
            return
        self._answers = 0
        # What is slow is answered seldom: that nothing was heard of it for a while is no reason to ask for more.
        long = [each.unheard for each in self._kinds.values() if each.unheard < _REMEMBERED and each.is_long]
        if 0 in long:
            self._limit = max(self._limit * _SHRINK, 1.0)
        elif not long:
            self._limit = min(self._limit + 1.0, float(max(self.most, 1)))
        for each in self._kinds.values():
            each.adjusted()

    def throttled(self) -> None:
        """A store asked for fewer requests."""
        self._limit = max(self._limit * 0.5, 1.0)
        self._answers = 0
