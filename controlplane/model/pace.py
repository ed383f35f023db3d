"""How many copies may be under way, so that those who use the source meanwhile hardly notice. Pure: times come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_TOLERATED: Final = 2.0
"""So many times the best latency seen is taken for a source that has work enough."""
_BASE_DRIFT: Final = 1.0001
"""The best latency is believed a little less after every adjustment: a source that became slower for good is not blamed
for ever."""
_SMOOTHING: Final = 0.2
_SHRINK: Final = 0.7
_FLOOR_S: Final = 0.005
"""Latencies below this are no burden to anybody, whatever their ratio."""


@dataclass(slots=True)
class _Latency:
    """Of one kind of request."""

    best_s: float
    smooth_s: float

    def answered(self, latency_s: float) -> None:
        self.best_s = min(self.best_s, latency_s)
        self.smooth_s += (latency_s - self.smooth_s) * _SMOOTHING

    @property
    def is_long(self) -> bool:
        return self.smooth_s > max(self.best_s * _TOLERATED, _FLOOR_S)


@dataclass(slots=True)
class Pace:
    """Additive increase, multiplicative decrease of the concurrency, by the latency of the source's answers.

    Invariants: 1 <= limit <= most; it grows by at most one for `limit` answers, and shrinks at most once for as many:
    the answers that were under way when it shrank say nothing about the new limit.
    """

    most: int
    _limit: float = field(default=0.0, init=False)
    _kinds: dict[str, _Latency] = field(default_factory=dict, init=False)
    _answers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._limit = float(max(self.most, 1))

    @property
    def limit(self) -> int:
        return max(int(self._limit), 1)

    def answered(self, latency_s: float, kind: str = "") -> None:
        """The source took that long for one answer. Kinds of requests are compared with their own kind only."""
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Latency(latency_s, latency_s)
        known.answered(latency_s)
        self._answers += 1
        if self._answers < self.limit:
            return
        self._answers = 0
        if known.is_long:
            self._limit = max(self._limit * _SHRINK, 1.0)
        else:
            self._limit = min(self._limit + 1.0, float(max(self.most, 1)))
        for each in self._kinds.values():
            each.best_s *= _BASE_DRIFT

    def throttled(self) -> None:
        """A store asked for fewer requests."""
        self._limit = max(self._limit * 0.5, 1.0)
        self._answers = 0
