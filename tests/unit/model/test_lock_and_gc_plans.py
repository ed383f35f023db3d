"""The decisions behind the garbage collection duty, over all situations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.gc_plan import PATIENCE, Action, Local, Situation, Times, plan, wants_duty
from controlplane.model.lock_plan import Claim, Leave, Take, Wait, Wish, read_claim, write_claim
from controlplane.model.lock_plan import plan as lock_plan

TIMES = Times(interval_s=900, check_s=60, command_s=15)
NEVER = float("-inf")

moments = st.floats(0, 10_000)
situations = st.builds(
    Situation,
    now=moments,
    held_until=moments | st.just(NEVER),
    local=st.sampled_from(Local),
    asked_at=moments | st.just(NEVER),
    silent=st.integers(0, 10),
    may_collect=st.booleans(),
    next_batch_at=moments | st.just(NEVER),
)


@given(situations)
def test_a_batch_is_only_asked_for_while_there_is_time_to_cancel_it(at: Situation) -> None:
    if plan(at, TIMES) is Action.START:
        starting_ends = at.now + TIMES.command_s
        halting_ends = max(starting_ends, TIMES.halt_by(at.held_until)) + TIMES.command_s
        assert halting_ends < at.held_until
        assert at.local is Local.IDLE


@given(situations)
def test_what_may_collect_without_the_duty_is_halted_whatever_else_is_known(at: Situation) -> None:
    if at.may_collect and at.now >= TIMES.halt_by(at.held_until) and at.silent < PATIENCE:
        assert plan(at, TIMES) is Action.HALT


@given(situations)
def test_a_timer_of_riak_cs_is_switched_off_everywhere(at: Situation) -> None:
    if at.local is Local.SCHEDULED:
        assert plan(at, TIMES) is Action.HALT


@given(situations)
def test_a_node_that_does_not_answer_is_not_asked_all_the_time(at: Situation) -> None:
    if at.silent >= PATIENCE and at.local is Local.UNKNOWN and 0 <= at.now - at.asked_at < TIMES.retry_s:
        assert plan(at, TIMES) is Action.REST


@given(st.sampled_from(Local), st.integers(0, 10), st.booleans())
def test_only_a_node_that_answers_takes_the_duty(local: Local, silent: int, holding: bool) -> None:
    if wants_duty(local, silent, holding=holding):
        assert local is not Local.UNKNOWN or (holding and silent < PATIENCE)
    if local is Local.IDLE:
        assert wants_duty(local, silent, holding=holding)


@pytest.mark.parametrize(
    ("holder", "wish", "step"),
    [
        (None, Wish.HOLD, Take(None)),
        ("me", Wish.HOLD, Take(7)),
        ("you", Wish.HOLD, Wait()),
        (None, Wish.LEAVE, Wait()),
        ("me", Wish.LEAVE, Leave(7)),
        ("you", Wish.LEAVE, Wait()),
        ("me", Wish.LAPSE, Wait()),
        ("you", Wish.LAPSE, Wait()),
        ("", Wish.HOLD, Wait()),
    ],
)
def test_steps_of_a_lock(holder: str | None, wish: Wish, step: object) -> None:
    there = None if holder is None else Claim(holder, 1.0, 7)
    assert lock_plan("me", there, wish) == step


@given(st.text(min_size=1, max_size=60), st.floats(0, 2e9), st.integers(1, 2**62))
def test_a_claim_is_read_as_it_was_written(node: str, since: float, revision: int) -> None:
    assert read_claim(write_claim(node, since), revision) == Claim(node, round(since, 3), revision)


@given(st.text())
def test_any_other_text_is_a_claim_of_nobody(text: str) -> None:
    assert read_claim(text, 3).revision == 3


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"holder": "a"}', '{"holder": "a", "since": "x"}', "node1"])
def test_a_damaged_claim_is_nobodys(text: str) -> None:
    assert read_claim(text, 3) == Claim("", 0.0, 3)
