"""The checker finds what it is there for, and schedules replay: a check that cannot fail proves nothing."""

from __future__ import annotations

import pytest

from tests.chaos.ledger import ABSENT, Ledger
from tests.chaos.schedule import Fault, schedule


def ledger() -> Ledger:
    """`kept` was written, `over` overwritten, `gone` deleted, `doubt` overwritten without an answer."""
    found = Ledger()
    for key, versions in {"kept": ["1"], "over": ["1", "2"], "gone": ["1", ABSENT], "doubt": ["1"]}.items():
        for version in versions:
            found.began(key, version)
            found.acknowledged(key, version, sure=True)
    found.began("doubt", "2")
    found.refused("doubt", "2")
    return found


GOOD = {"kept": "1", "over": "2", "doubt": "1"}


@pytest.mark.parametrize(
    ("source", "target"),
    [(GOOD, GOOD), (GOOD | {"doubt": "2"}, GOOD | {"doubt": "2"}), (GOOD | {"doubt": "2"}, GOOD)],
)
def test_what_was_promised_is_good(source: dict[str, str], target: dict[str, str]) -> None:
    assert ledger().judge(source, target, strict=False) == []


@pytest.mark.parametrize(
    ("source", "target", "what"),
    [
        ({"over": "2", "doubt": "1"}, GOOD, "missing at the source"),
        (GOOD, {"over": "2", "doubt": "1"}, "missing at the target"),
        (GOOD, GOOD | {"over": "1"}, "holds 1, acknowledged was 2"),
        (GOOD, GOOD | {"gone": "1"}, "was deleted"),
        (GOOD | {"gone": "1"}, GOOD | {"gone": "1"}, "was deleted"),
        (GOOD, GOOD | {"doubt": "3"}, "holds 3"),
        (GOOD, GOOD | {"never": "9"}, "was deleted"),
    ],
)
def test_what_breaks_a_promise_is_found(source: dict[str, str], target: dict[str, str], what: str) -> None:
    found = ledger().judge(source, target, strict=False)
    assert any(what in violation.what for violation in found), found


def test_in_the_end_nothing_may_be_in_doubt_and_both_are_equal() -> None:
    one = ledger()
    assert one.judge(GOOD, GOOD, strict=True)
    one.settled("doubt")
    assert one.judge(GOOD, GOOD, strict=True) == []
    assert one.judge(GOOD | {"doubt": "2"}, GOOD | {"doubt": "2"}, strict=True)


def test_an_acknowledgement_of_a_second_try_leaves_the_first_in_doubt() -> None:
    one = ledger()
    one.began("kept", "2")
    one.refused("kept", "2")
    one.acknowledged("kept", "2", sure=False)
    one.began("kept", "3")
    one.acknowledged("kept", "3", sure=True)
    assert one.keys["kept"].possible == {"2", "3"}


@pytest.mark.parametrize(("version", "good"), [("2", True), ("1", False), (ABSENT, False)])
def test_stale_reads_are_found(version: str, good: bool) -> None:
    one = ledger()
    one.read("over", version)
    assert (one.violations == []) is good


def test_a_seed_is_a_schedule_and_all_faults_come() -> None:
    assert schedule(7, 120) == schedule(7, 120)
    assert schedule(7, 120) != schedule(8, 120)
    assert {strike.fault for strike in schedule(7, 120)} == set(Fault)
    assert all(strike.at_s + strike.for_s <= 120 for strike in schedule(7, 120))
