"""How fast a mirror rule may go: a timetable of limits, and a bucket of tokens that keeps to a rate. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

DAY_MIN: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Limit:
    """Rates that hold at some times of the week; None: unlimited."""

    bytes_per_s: float | None = None
    requests_per_s: float | None = None
    days: frozenset[int] = frozenset(range(7))
    """0 is Monday."""
    from_min: int = 0
    """Minutes since midnight, inclusive."""
    to_min: int = DAY_MIN
    """Exclusive; not above from_min: it ends on the next day."""

    def holds(self, weekday: int, minute: int) -> bool:
        """At that minute of that day, local time. What ends on the next day belongs to the day on which it began."""
        if self.from_min < self.to_min:
            return weekday in self.days and self.from_min <= minute < self.to_min
        yesterday = (weekday - 1) % 7
        return (weekday in self.days and minute >= self.from_min) or (yesterday in self.days and minute < self.to_min)


UNLIMITED: Final = Limit()


def limit_at(timetable: Sequence[Limit], weekday: int, minute: int) -> Limit:
    """The first that holds then; none: unlimited."""
    return next((limit for limit in timetable if limit.holds(weekday, minute)), UNLIMITED)


def wait_at(rate: float | None, left_s: float, before: float | None) -> float:
    """What is left of a wait of `left_s` at the rate `before`, where `rate` holds now. None: unlimited."""
    if rate is None or before is None:
        return 0.0
    return max(left_s * before / rate, 0.0)


@dataclass(slots=True)
class TokenBucket:
    """Keeps to an average rate with bursts of at most `burst_s` seconds' worth.

    What is taken may exceed what is there: then the next taker waits until the debt is paid. So a single large thing
    never waits for ever, and over any stretch of t seconds at most rate * (t + burst_s) plus one thing is granted.
    """

    burst_s: float = 1.0
    _level: float = field(default=0.0, init=False)
    _rate: float | None = field(default=None, init=False)
    _at: float = field(default=0.0, init=False)

    def take(self, amount: float, rate: float | None, now: float) -> float:
        """Take at once; the seconds to wait before using it. `now`: monotonic seconds. `rate` may change."""
        if rate is None:
            self._rate = None
            return 0.0
        if self._rate is None:
            self._level, self._at = rate * self.burst_s, now
        self._level = min(self._level + (self._rate or 0.0) * max(now - self._at, 0.0), rate * self.burst_s)
        self._rate, self._at = rate, now
        self._level -= amount
        return max(-self._level / rate, 0.0)
