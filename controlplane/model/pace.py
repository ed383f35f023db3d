"""How many copies may be under way: so that those who use the source meanwhile hardly notice, and the target is not
asked for more than it has. Pure: times come in."""

from __future__ import annotations

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
_BASE_DRIFT: Final = 1.0001
"""The best latency is believed a little less after every adjustment: a store that became slower for good is not blamed
for ever."""
_SMOOTHING: Final = 0.2
_SHRINK: Final = 0.7


@dataclass(slots=True)
class _Latency:
    """Of one kind of request to one side."""

    patience: _Patience
    best_s: float
    smooth_s: float
    heard: bool = True
    """Since the limit was last adjusted."""

    def answered(self, latency_s: float) -> None:
        self.heard = True
        self.best_s = min(self.best_s, latency_s)
        self.smooth_s += (latency_s - self.smooth_s) * _SMOOTHING

    @property
    def is_long(self) -> bool:
        return self.smooth_s > max(self.best_s * self.patience.times, self.patience.floor_s)


@dataclass(slots=True)
class Pace:
    """Additive increase, multiplicative decrease of the concurrency, by the latency of both stores' answers.

    Invariants: 1 <= limit <= most; it grows by at most one for `limit` answers, and shrinks at most once for as many:
    the answers that were under way when it shrank say nothing about the new limit. It does not grow while either side
    is slow: a quick answer of the one never hides a slow one of the other.
    """

    most: int
    _limit: float = field(default=0.0, init=False)
    _kinds: dict[tuple[Side, str], _Latency] = field(default_factory=dict, init=False)
    _answers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._limit = float(max(self.most, 1))

    @property
    def limit(self) -> int:
        return max(int(self._limit), 1)

    def answered(self, latency_s: float, kind: str = "", side: Side = Side.SOURCE) -> None:
        """A store took that long for one answer. Kinds of requests are compared with their own kind only."""
        known = self._kinds.get((side, kind))
        if known is None:
            known = self._kinds[side, kind] = _Latency(_PATIENCE[side], latency_s, latency_s)
        known.answered(latency_s)
        self._answers += 1
        if self._answers < self.limit:
            return
        self._answers = 0
        if any(each.heard and each.is_long for each in self._kinds.values()):
            self._limit = max(self._limit * _SHRINK, 1.0)
        else:
            self._limit = min(self._limit + 1.0, float(max(self.most, 1)))
        for each in self._kinds.values():
            each.best_s *= _BASE_DRIFT
            each.heard = False

    def throttled(self) -> None:
        """A store asked for fewer requests."""
        self._limit = max(self._limit * 0.5, 1.0)
        self._answers = 0
