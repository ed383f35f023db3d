"""How many copies may be under way, so that those who use the source meanwhile hardly notice. Pure: times come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_TOLERATED: Final = 2.0
"""So many times the best latency seen is taken for a source that has work enough."""
_BASE_DRIFT: Final = 1.002
"""The best latency is believed a little less after every answer: a source that became slower for good is not blamed for
ever."""
_SMOOTHING: Final = 0.2
_SHRINK: Final = 0.7
_FLOOR_S: Final = 0.005
"""Latencies below this are no burden to anybody, whatever their ratio."""


@dataclass(slots=True)
class Pace:
    """Additive increase, multiplicative decrease of the concurrency, by the latency of the source's answers.

    Invariants: 1 <= limit <= most; it grows by at most one for `limit` answers, and shrinks at most once for as many:
    the answers that were under way when it shrank say nothing about the new limit.
    """

    most: int
    _limit: float = field(default=0.0, init=False)
    _best_s: float | None = field(default=None, init=False)
    _smooth_s: float = field(default=0.0, init=False)
    _answers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._limit = float(max(self.most, 1))

    @property
    def limit(self) -> int:
        return max(int(self._limit), 1)

    @property
    def latency_s(self) -> float:
        """The smoothed latency; 0 before the first answer."""
        return self._smooth_s

    def answered(self, latency_s: float) -> None:
        """The source took that long for one answer."""
        if self._best_s is None:
            self._best_s = self._smooth_s = latency_s
        self._best_s = min(self._best_s * _BASE_DRIFT, latency_s)
        self._smooth_s += (latency_s - self._smooth_s) * _SMOOTHING
        self._answers += 1
        if self._answers < self.limit:
            return
        self._answers = 0
        if self._smooth_s > max(self._best_s * _TOLERATED, _FLOOR_S):
            self._limit = max(self._limit * _SHRINK, 1.0)
        else:
            self._limit = min(self._limit + 1.0, float(max(self.most, 1)))

    def throttled(self) -> None:
        """A store asked for fewer requests."""
        self._limit = max(self._limit * 0.5, 1.0)
        self._answers = 0
