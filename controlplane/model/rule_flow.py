"""Figures and pauses of mirror rules that several nodes keep without asking each other: joined by functions that are
commutative, associative and idempotent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from controlplane.model.rule_stats import NO_LAGS, RuleStats, lag_slot


@dataclass(frozen=True, slots=True)
class Flow:
    """What one node counted of one rule. Every number only grows, so of two states the greater of each is true."""

    copied: int = 0
    copied_bytes: int = 0
    progress_at: float = 0.0
    lag_counts: tuple[int, ...] = NO_LAGS
    lag_total_s: float = 0.0

    def closed(self, now: float) -> Flow:
        return replace(self, progress_at=max(self.progress_at, now))

    def counting(self, size: int, lag_s: float) -> Flow:
        counts = list(self.lag_counts)
        counts[lag_slot(lag_s)] += 1
        return replace(
            self,
            copied=self.copied + 1,
            copied_bytes=self.copied_bytes + size,
            lag_counts=tuple(counts),
            lag_total_s=self.lag_total_s + lag_s,
        )


def merge_flows(one: Flow, other: Flow) -> Flow:
    """Two states of one node's figures."""
    return Flow(
        max(one.copied, other.copied),
        max(one.copied_bytes, other.copied_bytes),
        max(one.progress_at, other.progress_at),
        tuple(map(max, one.lag_counts, other.lag_counts)),
        max(one.lag_total_s, other.lag_total_s),
    )


def sum_of_flows(flows: Iterable[Flow]) -> RuleStats:
    """What several nodes counted of one rule."""
    stats = RuleStats()
    for flow in flows:
        stats = replace(
            stats,
            copied=stats.copied + flow.copied,
            copied_bytes=stats.copied_bytes + flow.copied_bytes,
            progress_at=max(stats.progress_at, flow.progress_at),
            lag_counts=tuple(map(int.__add__, stats.lag_counts, flow.lag_counts)),
            lag_total_s=stats.lag_total_s + flow.lag_total_s,
        )
    return stats


Pauses = Mapping[str, tuple[int, float | None]]
"""By rule: the number of the change, and since when it rests (Unix seconds); None: it was resumed."""


def merge_pauses(one: Pauses, other: Pauses) -> Pauses:
    """Of two changes that did not know of each other the pause counts, and of two pauses the later."""
    found = dict(one)
    for rule, change in other.items():
        found[rule] = max(change, found.get(rule, change), key=_rank)
    return dict(sorted(found.items()))


def _rank(change: tuple[int, float | None]) -> tuple[int, bool, float]:
    number, since = change
    return number, since is not None, since or 0.0
