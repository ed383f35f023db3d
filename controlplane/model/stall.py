"""Whether a mirror rule stands still although it has work: a pure decision."""

from __future__ import annotations

from controlplane.model.rule_stats import RuleStats

STALL_AFTER_S = 300.0


def stalled_s(stats: RuleStats, now: float, *, paused: bool) -> float:
    """Seconds since which nothing was done although work was pending; 0 without work, or when paused on purpose.

    The work counts from when the oldest pending task was acknowledged: a rule that rested for want of work has not
    stood still."""
    if paused or not stats.pending or stats.oldest_enqueued_at is None:
        return 0.0
    return max(now - max(stats.progress_at, stats.oldest_enqueued_at), 0.0)
