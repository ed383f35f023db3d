"""The rate that `mirror status --rate` tells: what was copied between two looks, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.rule_stats import RuleStats, copy_rate

COUNTS = st.integers(0, 1 << 50)
SPANS = st.floats(0.001, 86_400.0)


@given(COUNTS, COUNTS, COUNTS, COUNTS, SPANS)
def test_rate_times_time_is_what_was_copied(old: int, volume: int, more: int, larger: int, seconds: float) -> None:
    before, after = (
        RuleStats(copied=old, copied_bytes=volume),
        RuleStats(copied=old + more, copied_bytes=volume + larger),
    )
    copies, bytes_ = copy_rate(before, after, seconds)
    assert abs(copies * seconds - more) <= more * 1e-9
    assert abs(bytes_ * seconds - larger) <= larger * 1e-9


@given(COUNTS, COUNTS, SPANS)
def test_what_went_out_of_the_sum_is_no_negative_rate(one: int, other: int, seconds: float) -> None:
    least, most = sorted((one, other))
    before, after = RuleStats(copied=most, copied_bytes=most), RuleStats(copied=least, copied_bytes=least)
    assert copy_rate(before, after, seconds) == (0.0, 0.0)


@given(COUNTS, SPANS, st.integers(0, 1000), st.integers(0, 1000))
def test_backlog_and_failures_are_no_progress(copied: int, seconds: float, pending: int, failed: int) -> None:
    before, after = RuleStats(copied=copied), RuleStats(copied=copied, pending=pending, failed=failed)
    assert copy_rate(before, after, seconds) == (0.0, 0.0)
