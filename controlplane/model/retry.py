"""When to try again, and when to give up."""

from __future__ import annotations

from dataclasses import dataclass


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
