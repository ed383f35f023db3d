"""What the journal knows of one rule's mirror: plain numbers, exact after a crash."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.model.tally import LAG_BOUNDS_S

NO_LAGS: tuple[int, ...] = (0,) * (len(LAG_BOUNDS_S) + 1)


@dataclass(frozen=True, slots=True)
class RuleStats:
    """`lag_counts[i]` holds the copies whose lag was <= LAG_BOUNDS_S[i]; the last one those above all bounds."""

    pending: int = 0
    pending_bytes: int = 0
    failed: int = 0
    oldest_enqueued_at: float | None = None
    """Of the pending tasks; None when there are none."""
    copied: int = 0
    """Copies verified at the target since the journal was made."""
    copied_bytes: int = 0
    progress_at: float = 0.0
    """Unix seconds at which a task of the rule was closed last; 0: never."""
    lag_counts: Sequence[int] = NO_LAGS
    lag_total_s: float = 0.0


def lag_slot(lag_s: float) -> int:
    """The place of a lag in `lag_counts`."""
    return bisect_left(LAG_BOUNDS_S, lag_s)


def copy_rate(before: RuleStats, after: RuleStats, seconds: float) -> tuple[float, float]:
    """Copies and bytes a second that were verified between two looks. Never negative: where nodes tell their figures
    apart, one that is forgotten takes what it had copied out of the sum."""
    return max(after.copied - before.copied, 0) / seconds, max(after.copied_bytes - before.copied_bytes, 0) / seconds


def lag_quantile(stats: RuleStats, share: float) -> float | None:
    """The bound under which at least `share` of the lags lie; None when there are no lags, inf above all bounds."""
    total = sum(stats.lag_counts)
    if not total:
        return None
    seen = 0
    for bound, count in zip((*LAG_BOUNDS_S, float("inf")), stats.lag_counts, strict=True):
        seen += count
        if seen >= share * total:
            return bound
    return float("inf")
