"""Limits keep to their rates whatever is asked for; concurrency gives way to whoever else uses the source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.pace import Pace, Side
from controlplane.model.rate import UNLIMITED, Limit, TokenBucket, limit_at
from controlplane.model.rule_stats import RuleStats
from controlplane.model.stall import stalled_s

RATES = st.floats(1, 1e9)


@given(RATES, st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=50))
def test_a_bucket_never_grants_more_than_its_rate_and_one_burst(rate: float, asked: list[tuple[float, float]]) -> None:
    bucket = TokenBucket(burst_s=1.0)
    now, granted = 100.0, 0.0
    began = now
    for pause, share in asked:
        now += pause
        amount = share * rate * 3  # often more than a burst
        now += bucket.take(amount, rate, now)
        granted += amount
        # When the wait is over, all that was granted fits into the time that passed.
        assert granted <= rate * (now - began + 1.0) * (1 + 1e-6) + 1e-6


@given(RATES, st.floats(0, 1e12))
def test_one_large_thing_waits_no_longer_than_it_takes(rate: float, amount: float) -> None:
    assert TokenBucket().take(amount, rate, 5.0) <= amount / rate * (1 + 1e-9)


def test_without_a_limit_nobody_waits_and_a_new_limit_holds_at_once() -> None:
    bucket = TokenBucket()
    assert bucket.take(1e12, None, 0.0) == 0.0
    assert bucket.take(100, 100, 1.0) == 0.0
    assert bucket.take(100, 100, 1.0) == pytest.approx(1.0)
    assert bucket.take(0, 50, 1.0) == pytest.approx(2.0)
    assert bucket.take(0, None, 1.0) == 0.0


def test_the_first_limit_that_holds_counts() -> None:
    office = Limit(bytes_per_s=1e6, days=frozenset(range(5)), from_min=8 * 60, to_min=18 * 60)
    night = Limit(bytes_per_s=1e8, from_min=22 * 60, to_min=6 * 60)
    friday = Limit(requests_per_s=5, days=frozenset({4}), from_min=23 * 60, to_min=60)
    table = (friday, office, night)
    assert limit_at(table, 0, 8 * 60) is office
    assert limit_at(table, 0, 18 * 60) is UNLIMITED
    assert limit_at(table, 5, 12 * 60) is UNLIMITED
    assert limit_at(table, 2, 23 * 60) is night
    assert limit_at(table, 2, 5 * 60) is night
    assert limit_at(table, 4, 23 * 60) is friday
    assert limit_at(table, 5, 30) is friday  # it began on Friday
    assert limit_at(table, 4, 30) is night
    assert limit_at((), 4, 30) is UNLIMITED


ANSWERS = st.tuples(st.floats(0, 10), st.sampled_from(["", "head", "put 12"]), st.sampled_from(Side))


@given(st.integers(1, 64), st.lists(st.one_of(ANSWERS, st.none()), max_size=300))
def test_the_pace_stays_within_its_bounds(most: int, answers: list[tuple[float, str, Side] | None]) -> None:
    """None: a store asked for fewer requests."""
    pace = Pace(most)
    since = 0
    for answer in answers:
        before = pace.limit
        if answer is None:
            pace.throttled()
            since = 0
            assert pace.limit <= max(before / 2, 1)
        else:
            pace.answered(*answer)
            since += 1
            assert 1 <= pace.limit <= most
            assert pace.limit <= before + 1
            if pace.limit != before:
                # Only what was asked under this limit says anything about it.
                assert since >= before
                since = 0


@given(st.floats(0.001, 1), st.floats(6, 50), st.integers(2, 64), st.booleans())
def test_quick_answers_of_one_side_never_hide_slow_ones_of_the_other(
    best_s: float, times: float, most: int, source_is_slow: bool
) -> None:
    slow, quick = (Side.SOURCE, Side.TARGET) if source_is_slow else (Side.TARGET, Side.SOURCE)
    pace = Pace(most)
    for side in Side:
        pace.answered(best_s, "", side)
    for _ in range(most * 20):
        pace.answered(max(best_s * times, 0.06), "", slow)
        pace.answered(best_s, "", quick)
    assert pace.limit <= 2  # one copy at a time, and now and then a second to see whether it is better


@given(st.floats(1.0, 3.9), st.integers(2, 64))
def test_a_target_may_be_slower_than_its_best_than_a_source_may(times: float, most: int) -> None:
    pace = Pace(most)
    pace.throttled()
    for _ in range(most * most):
        pace.answered(0.1, "head", Side.TARGET)
        pace.answered(0.1 * times, "head", Side.TARGET)
    assert pace.limit == most


def test_a_target_that_has_work_enough_is_not_asked_for_more() -> None:
    """It serves 8 at a time at 30 ms each; then they queue."""
    pace = Pace(64)
    pace.answered(0.03, "head", Side.TARGET)
    limits = []
    for _ in range(2000):
        pace.answered(0.001)
        pace.answered(0.03 * max(pace.limit / 8.0, 1.0), "head", Side.TARGET)
        limits.append(pace.limit)
    tail = limits[1000:]
    assert min(tail) >= 8
    assert sum(tail) / len(tail) <= 40


def simulated(pace: Pace, *, foreground: float, seconds: int) -> float:
    """A source that serves 100 requests a second at 10 ms each as long as at most 8 are in it; then they queue. The
    mean limit of the last half."""
    limits = []
    for _ in range(seconds * 10):
        inside = pace.limit + foreground
        latency = 0.010 * max(inside / 8.0, 1.0)
        for _ in range(max(pace.limit // 2, 1)):
            pace.answered(latency)
        limits.append(pace.limit)
    tail = limits[len(limits) // 2 :]
    return sum(tail) / len(tail)


def test_it_gives_way_to_foreground_traffic_and_takes_up_again() -> None:
    pace = Pace(64)
    pace.answered(0.010)
    alone = simulated(pace, foreground=0, seconds=60)
    assert 8 <= alone <= 24  # as much as the source takes, without making its queue long
    busy = simulated(pace, foreground=12, seconds=60)
    assert busy <= alone / 2
    again = simulated(pace, foreground=0, seconds=60)
    assert again >= alone * 0.7


@given(st.floats(8, 100), st.sampled_from(Side))
def test_a_store_that_became_slower_for_good_is_asked_for_more_again_however_seldom_it_answers(
    times: float, side: Side
) -> None:
    pace, now = Pace(16), 0.0
    for _ in range(100):
        now += 0.05
        pace.answered(0.05, "head", side, now)
    lowest = pace.limit
    for _ in range(round(7200 / (0.05 * times))):  # one at a time, for two hours
        now += 0.05 * times
        pace.answered(0.05 * times, "head", side, now)
        lowest = min(lowest, pace.limit)
    assert lowest == 1
    assert pace.limit == 16


@given(st.floats(1, 100))
def test_a_night_without_work_changes_nothing_that_is_believed(hours: float) -> None:
    pace = Pace(16)
    for at in range(100):
        pace.answered(0.05, "head", Side.TARGET, at * 0.05)
    now = 5.0 + hours * 3600
    for _ in range(60):
        now += 0.5
        pace.answered(0.5, "head", Side.TARGET, now)
    assert pace.limit == 1


def test_a_store_that_wants_fewer_requests_gets_half() -> None:
    pace = Pace(16)
    pace.throttled()
    assert pace.limit == 8
    for _ in range(9):
        pace.throttled()
    assert pace.limit == 1


def test_it_stands_still_only_with_work_and_without_a_pause() -> None:
    working = RuleStats(pending=3, oldest_enqueued_at=100.0, progress_at=150.0)
    assert stalled_s(working, 200.0, paused=False) == 50.0
    assert stalled_s(working, 200.0, paused=True) == 0.0
    assert stalled_s(RuleStats(progress_at=150.0), 200.0, paused=False) == 0.0
    # It had rested for want of work.
    assert stalled_s(RuleStats(pending=1, oldest_enqueued_at=199.0, progress_at=10.0), 200.0, paused=False) == 1.0
