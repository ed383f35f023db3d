"""What the journal knows of each mirror rule, as metrics: exact after a crash, since the journal itself counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from controlplane.model.rule_stats import RuleStats
from controlplane.model.stall import stalled_s
from controlplane.model.tally import LAG_BOUNDS_S, Histogram
from controlplane.ports.journal import EVERY_RULE

BLOBS = "blobs"
"""The label of the mirror of blobs, whose entries name no rule."""


def rule_metrics(rules: Mapping[str, RuleStats], paused: Collection[str], now: float) -> Iterator[Metric]:
    gauges = {
        "pending_entries": "Promised copies not made yet.",
        "pending_bytes": "Bytes of them.",
        "failed_entries": "Dead letters.",
        "oldest_age_seconds": "Age of the oldest pending entry.",
        "paused": "1 while it is paused on purpose.",
        "stalled_seconds": "For how long nothing was done although work was pending.",
    }
    families = {
        name: GaugeMetricFamily(f"millrace_rule_{name}", text, labels=("rule",)) for name, text in gauges.items()
    }
    copied = CounterMetricFamily("millrace_rule_copied_objects", "Copies verified at the target.", labels=("rule",))
    copied_bytes = CounterMetricFamily("millrace_rule_copied_bytes", "Bytes of them.", labels=("rule",))
    lag = HistogramMetricFamily(
        "millrace_rule_lag_seconds", "From acknowledgement to the verified copy.", labels=("rule",)
    )
    for rule, stats in sorted(rules.items()):
        name = (rule or BLOBS,)
        rests = rule in paused or EVERY_RULE in paused
        oldest = stats.oldest_enqueued_at
        for gauge, value in (
            ("pending_entries", stats.pending),
            ("pending_bytes", stats.pending_bytes),
            ("failed_entries", stats.failed),
            ("oldest_age_seconds", 0.0 if oldest is None else max(now - oldest, 0.0)),
            ("paused", float(rests)),
            ("stalled_seconds", stalled_s(stats, now, paused=rests)),
        ):
            families[gauge].add_metric(name, value)
        copied.add_metric(name, stats.copied)
        copied_bytes.add_metric(name, stats.copied_bytes)
        lag.add_metric(name, _cumulated(LAG_BOUNDS_S, stats.lag_counts), stats.lag_total_s)
    yield from families.values()
    yield from (copied, copied_bytes, lag)


def buckets_of(histogram: Histogram) -> Sequence[tuple[str, float]]:
    """As the exposition format wants them."""
    return _cumulated(histogram.bounds, histogram.counts)


def _cumulated(bounds: Sequence[float], counts: Sequence[int]) -> Sequence[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
    return buckets
