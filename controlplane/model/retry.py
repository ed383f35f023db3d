"""When to try again, and when to give up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from controlplane.model.failures import Failure


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Exponential back-off with full-range jitter and a budget.

    After failure n (1-based) the wait is drawn from [half, whole] of min(first_s * factor ** (n - 1), most_s).
    """

    first_s: float = 0.5
    factor: float = 2.0
    most_s: float = 300.0
    budget: int = 12
    """Failures after which a task becomes a dead letter."""

    def wait_s(self, failures: int, jitter: float) -> float:
        """Seconds to wait after that many failures; `jitter` is drawn uniformly from [0, 1] by the caller."""
        # The exponent is bounded so that a task that failed a thousand times does not overflow a float.
        whole = min(self.first_s * self.factor ** min(failures - 1, 64), self.most_s)
        return whole * (0.5 + 0.5 * jitter)

    def exhausted(self, failures: int) -> bool:
        return failures >= self.budget


Schedules: TypeAlias = Mapping[Failure, RetrySchedule]
"""Of each category of failures."""


def schedules(base: RetrySchedule) -> Schedules:
    """The schedule of every category; `base` is that of what is unavailable, the others have their own pace:
    credentials and buckets are repaired by people, damage seldom goes away by itself."""
    return {
        Failure.UNAVAILABLE: base,
        Failure.THROTTLED: RetrySchedule(max(base.first_s, 1.0), 2.0, max(base.first_s, 60.0), base.budget),
        Failure.FORBIDDEN: RetrySchedule(base.first_s * 20, 3.0, base.most_s * 6, min(base.budget, 10)),
        Failure.CORRUPT: RetrySchedule(base.first_s * 2, 4.0, base.most_s * 2, min(base.budget, 6)),
        Failure.GONE: RetrySchedule(base.first_s * 10, 3.0, base.most_s * 6, min(base.budget, 10)),
        Failure.HOPELESS: RetrySchedule(base.first_s, 1.0, base.most_s, 1),
    }
