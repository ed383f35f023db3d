"""When to try again, and what becomes of a task: only Done closes, an outage never buries, a budget is a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_plan import Bury, Close, Done, Failed, Later, Postpone, settle
from controlplane.model.retry import RetrySchedule, schedules
from controlplane.model.task import Draft, Op, Task, TaskState

SCHEDULES = st.builds(
    RetrySchedule,
    first_s=st.floats(0.01, 10),
    factor=st.floats(1, 10),
    most_s=st.floats(10, 1000),
    budget=st.integers(1, 40),
)
JITTER = st.floats(0, 1)
NOW = st.floats(0, 4e9)


def task(attempts: int = 0) -> Task:
    return Task(7, Draft(Op.PUT, Bucket("b"), Key("blobs/x")), TaskState.PENDING, attempts, 0.0, 0.0)


@given(SCHEDULES, st.integers(1, 2000), JITTER)
def test_a_wait_lies_between_half_and_the_whole_of_the_step(
    schedule: RetrySchedule, failures: int, jitter: float
) -> None:
    whole = schedule.wait_s(failures, 1.0)
    assert whole <= schedule.most_s
    assert whole / 2 <= schedule.wait_s(failures, jitter) <= whole
    assert schedule.wait_s(failures, 0.0) == pytest.approx(whole / 2)


@given(SCHEDULES, st.integers(1, 100))
def test_waits_never_shrink(schedule: RetrySchedule, failures: int) -> None:
    assert schedule.wait_s(failures, 1.0) <= schedule.wait_s(failures + 1, 1.0)


def test_the_default_schedule_is_what_the_settings_say() -> None:
    schedule = RetrySchedule(first_s=0.5, factor=2.0, most_s=300.0, budget=12)
    waits = [schedule.wait_s(n, 1.0) for n in range(1, 12)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


@given(SCHEDULES)
def test_every_category_has_a_schedule_of_its_own(base: RetrySchedule) -> None:
    all_of_them = schedules(base)
    assert set(all_of_them) == set(Failure)
    assert all_of_them[Failure.UNAVAILABLE] == base
    # People repair rights and buckets: looked at less often, and for longer than what is unavailable.
    assert all_of_them[Failure.FORBIDDEN].wait_s(1, 1.0) >= base.wait_s(1, 1.0)
    assert all_of_them[Failure.FORBIDDEN].most_s > base.most_s
    assert all(schedule.budget <= base.budget for schedule in all_of_them.values())


@given(SCHEDULES, NOW, JITTER, st.integers(0, 60), st.booleans())
def test_i1_only_done_closes_an_entry(
    base: RetrySchedule, now: float, jitter: float, attempts: int, away: bool
) -> None:
    done = Done(task(attempts), None)
    assert settle(done, schedules(base), now, jitter) == Close(done)
    for failure in Failure:
        failed = Failed(task(attempts), failure, "e", store_away=away)
        assert not isinstance(settle(failed, schedules(base), now, jitter), Close)
    assert settle(Later(task(attempts), now + 5), schedules(base), now, jitter) == Postpone(
        task(attempts), attempts, now + 5, ""
    )


@given(SCHEDULES, NOW, JITTER, st.integers(0, 10_000), st.sampled_from(Failure))
def test_an_outage_of_a_store_never_buries(
    base: RetrySchedule, now: float, jitter: float, attempts: int, failure: Failure
) -> None:
    action = settle(Failed(task(attempts), failure, "away", store_away=True), schedules(base), now, jitter)
    assert isinstance(action, Postpone)
    assert action.attempts == attempts
    assert action.due_at >= now
    assert (action.error, action.failure) == ("away", failure)


@given(SCHEDULES, NOW, JITTER, st.integers(0, 10_000))
def test_a_store_that_wants_fewer_requests_never_buries(
    base: RetrySchedule, now: float, jitter: float, attempts: int
) -> None:
    action = settle(Failed(task(attempts), Failure.THROTTLED, "slow down"), schedules(base), now, jitter)
    assert isinstance(action, Postpone)
    assert action.attempts == attempts


COUNTED = st.sampled_from([failure for failure in Failure if failure is not Failure.THROTTLED])


@given(SCHEDULES, NOW, JITTER, COUNTED)
def test_any_other_failure_buries_after_exactly_the_budget(
    base: RetrySchedule, now: float, jitter: float, failure: Failure
) -> None:
    attempts = 0
    schedule = schedules(base)[failure]
    while True:
        action = settle(Failed(task(attempts), failure, "e"), schedules(base), now, jitter)
        assert not isinstance(action, Close)
        assert action.attempts == attempts + 1
        if isinstance(action, Bury):
            break
        assert action.due_at == now + schedule.wait_s(attempts + 1, jitter)
        attempts = action.attempts
    assert (action.attempts, action.failure) == (schedule.budget, failure)


@given(SCHEDULES, NOW, JITTER)
def test_what_cannot_be_helped_is_buried_at_once(base: RetrySchedule, now: float, jitter: float) -> None:
    failed = Failed(task(), Failure.HOPELESS, "e")
    assert settle(failed, schedules(base), now, jitter) == Bury(task(), 1, "e", Failure.HOPELESS)
