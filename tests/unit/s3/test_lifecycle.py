"""Lifecycle: the document, and what is due when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.documents.lifecycle_xml import parse_lifecycle, render_lifecycle
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.lifecycle import (
    DAY,
    Candidate,
    Expiry,
    Filter,
    LifecycleRule,
    abandoned,
    asks_for_tags,
    days_after,
    due,
    expiry_of,
    may_be_due,
)
from tests.support.s3_oracle import read, written

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC).timestamp()


def parsed(*rules: dict[str, Any]) -> tuple[LifecycleRule, ...]:
    return parse_lifecycle(
        written("PutBucketLifecycleConfiguration", Bucket="b", LifecycleConfiguration={"Rules": list(rules)})
    )


def test_what_boto3_sends_is_understood() -> None:
    date = datetime(2030, 1, 1, tzinfo=UTC)
    rules = parsed(
        {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
        {"ID": "b", "Status": "Disabled", "Prefix": "", "Expiration": {"Date": date}},
        {
            "ID": "c",
            "Status": "Enabled",
            "Filter": {
                "And": {
                    "Prefix": "t/",
                    "Tags": [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": ""}],
                    "ObjectSizeGreaterThan": 10,
                    "ObjectSizeLessThan": 100,
                }
            },
            "Expiration": {"Days": 1},
        },
        {"ID": "d", "Status": "Enabled", "Filter": {}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        {"ID": "e", "Status": "Enabled", "Filter": {"Tag": {"Key": "k", "Value": "v"}}, "Expiration": {"Days": 2}},
        {
            "ID": "f",
            "Status": "Enabled",
            "Filter": {"Prefix": "x"},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 2},
        },
    )
    assert rules == (
        LifecycleRule("a", True, Filter("logs/"), 30),
        LifecycleRule("b", False, Filter(), None, date.timestamp(), filter_element=False),
        LifecycleRule("c", True, Filter("t/", (("k", "v"), ("l", "")), 10, 100), 1),
        LifecycleRule("d", True, Filter(), abort_days=7),
        LifecycleRule("e", True, Filter("", (("k", "v"),)), 2),
        LifecycleRule("f", True, Filter("x"), delete_markers=True, noncurrent=(3, 2)),
    )
    found = read("GetBucketLifecycleConfiguration", render_lifecycle(rules))["Rules"]
    assert parsed(*found) == rules
    assert found[1]["Prefix"] == ""


def test_rules_without_an_id_get_one_that_stays() -> None:
    rule = {"Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    first = parsed(rule, rule)
    assert first == parsed(rule, rule)
    assert len({at.id for at in first}) == 2


RULE = "<ID>i</ID><Status>Enabled</Status><Filter/>"
DAYS = "<Expiration><Days>1</Days></Expiration>"


def config(*inner: str) -> bytes:
    return (
        f"<LifecycleConfiguration>{''.join(f'<Rule>{one}</Rule>' for one in inner)}</LifecycleConfiguration>".encode()
    )


TAG = "<Tag><Key>k</Key><Value>v</Value></Tag>"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"zzz", Code.MALFORMED_XML),
        (config(), Code.MALFORMED_XML),
        (config(*[RULE + DAYS] * 1001), Code.MALFORMED_XML),
        (config(RULE), Code.INVALID_REQUEST),
        (config("<Status>Enabled</Status>" + DAYS), Code.MALFORMED_XML),
        (config("<Status>enabled</Status><Filter/>" + DAYS), Code.MALFORMED_XML),
        (config("<Filter/>" + DAYS), Code.MALFORMED_XML),
        (config(RULE + "<Prefix/>" + DAYS), Code.MALFORMED_XML),
        (config(RULE + "<Sudo/>" + DAYS), Code.MALFORMED_XML),
        (config(RULE + DAYS + DAYS), Code.MALFORMED_XML),
        (config(RULE + "<Expiration/>"), Code.MALFORMED_XML),
        (config(RULE + "<Expiration><Days>1</Days><Date>2030-01-01</Date></Expiration>"), Code.MALFORMED_XML),
        (config(RULE + "<Expiration><Days>0</Days></Expiration>"), Code.INVALID_ARGUMENT),
        (config(RULE + "<Expiration><Days>-1</Days></Expiration>"), Code.INVALID_ARGUMENT),
        (config(RULE + "<Expiration><Date>20200101</Date></Expiration>"), Code.MALFORMED_XML),
        (config(RULE + "<Expiration><Date>2030-01-01T12:00:00Z</Date></Expiration>"), Code.INVALID_ARGUMENT),
        (config(RULE + DAYS, RULE + DAYS), Code.INVALID_ARGUMENT),
        (config(f"<ID>{'x' * 256}</ID><Status>Enabled</Status><Filter/>" + DAYS), Code.INVALID_ARGUMENT),
        (
            config(RULE + "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"),
            Code.NOT_IMPLEMENTED,
        ),
        (config(RULE + "<AbortIncompleteMultipartUpload/>"), Code.MALFORMED_XML),
        (config(f"<ID>i</ID><Status>Enabled</Status><Filter>{TAG}{TAG}</Filter>" + DAYS), Code.MALFORMED_XML),
        (config(f"<ID>i</ID><Status>Enabled</Status><Filter><And>{TAG}</And></Filter>" + DAYS), Code.MALFORMED_XML),
        (config(f"<ID>i</ID><Status>Enabled</Status><Filter><And>{TAG}{TAG}</And></Filter>" + DAYS), Code.INVALID_TAG),
        (
            config(
                "<ID>i</ID><Status>Enabled</Status><Filter><And><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>"
                "<ObjectSizeLessThan>6</ObjectSizeLessThan></And></Filter>" + DAYS
            ),
            Code.INVALID_REQUEST,
        ),
        (
            config(
                f"<ID>i</ID><Status>Enabled</Status><Filter>{TAG}</Filter><AbortIncompleteMultipartUpload>"
                "<DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
            ),
            Code.INVALID_REQUEST,
        ),
    ],
)
def test_what_is_refused(body: bytes, code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        parse_lifecycle(body)
    assert caught.value.code is code


def test_an_object_expires_at_the_midnight_after_its_days() -> None:
    rules = (LifecycleRule("r", True, Filter("a/"), 1),)
    one = Candidate("a/x", 5, NOON)
    assert expiry_of(one, rules) == Expiry(MIDNIGHT + DAY, "r")
    assert list(due([one], rules, MIDNIGHT + DAY - 1)) == []
    assert [at for at, _ in due([one, Candidate("b/x", 5, NOON)], rules, MIDNIGHT + DAY)] == [one]
    assert days_after(MIDNIGHT, 1) == MIDNIGHT + DAY


def test_filters_take_what_fulfils_all() -> None:
    rules = (LifecycleRule("r", True, Filter("p", (("k", "v"), ("l", "w")), 10, 20), 1),)
    good = Candidate("p1", 15, NOON, (("k", "v"), ("l", "w"), ("m", "x")))
    assert expiry_of(good, rules) is not None
    for other in (
        replace(good, key="q"), replace(good, size=10), replace(good, size=20), replace(good, tags=(("k", "v"),)),
        replace(good, tags=(("k", "v"), ("l", "x"))),
    ):  # fmt: skip
        assert expiry_of(other, rules) is None
    assert asks_for_tags(rules, "p1")
    assert not asks_for_tags(rules, "q")


def test_the_earliest_rule_counts_and_disabled_ones_do_not() -> None:
    rules = (
        LifecycleRule("late", True, Filter(), 30),
        LifecycleRule("soon", True, Filter(), 2),
        LifecycleRule("off", False, Filter(), 1),
        LifecycleRule("none", True, Filter(), abort_days=1),
        LifecycleRule("date", True, Filter("z"), expire_date=MIDNIGHT),
    )
    assert expiry_of(Candidate("k", 1, NOON), rules) == Expiry(MIDNIGHT + 2 * DAY, "soon")
    assert expiry_of(Candidate("z", 1, NOON), rules) == Expiry(MIDNIGHT, "date")
    assert expiry_of(Candidate("k", 1, NOON), rules[2:4]) is None


def test_abandoned_uploads() -> None:
    rules = (LifecycleRule("r", True, Filter("a/"), abort_days=7), LifecycleRule("off", False, Filter(), abort_days=1))
    assert not abandoned("a/x", NOON, rules, MIDNIGHT + 7 * DAY - 1)
    assert abandoned("a/x", NOON, rules, MIDNIGHT + 7 * DAY)
    assert not abandoned("b/x", NOON, rules, MIDNIGHT + 70 * DAY)


rules_of = st.lists(
    st.builds(
        LifecycleRule, st.sampled_from("abc"), st.booleans(),
        st.builds(
            Filter, st.sampled_from(["", "a", "ab"]), st.sampled_from([(), (("k", "v"),)]), st.none() | st.just(4)
        ),
        st.none() | st.integers(1, 5), st.none() | st.just(MIDNIGHT),
    ),
    max_size=4,
).map(tuple)  # fmt: skip
candidates = st.builds(
    Candidate, st.text("ab", max_size=3), st.integers(0, 10), st.floats(0, 2e9), st.sampled_from([(), (("k", "v"),)])
)


@given(candidates, rules_of, st.floats(0, 3e9))
def test_what_cannot_be_due_is_never_due(one: Candidate, rules: tuple[LifecycleRule, ...], now: float) -> None:
    """Whatever tags it has."""
    if not may_be_due(one, rules, now):
        for tags in ((), (("k", "v"),)):
            assert list(due([replace(one, tags=tags)], rules, now)) == []


@given(st.lists(candidates, max_size=8), rules_of, st.floats(0, 3e9))
def test_nothing_is_deleted_before_its_time_or_without_a_rule(
    objects: list[Candidate], rules: tuple[LifecycleRule, ...], now: float
) -> None:
    for one, expiry in due(objects, rules, now):
        assert one in objects
        assert expiry.at <= now
        chosen = [rule for rule in rules if rule.id == expiry.rule_id and rule.enabled]
        assert any(
            rule.filter.takes(one.key, one.size, dict(one.tags))
            and (
                (rule.expire_days is not None and one.modified_at + rule.expire_days * DAY <= now)
                or (rule.expire_date is not None and rule.expire_date <= now)
            )
            for rule in chosen
        )  # fmt: skip
    if not any(rule.enabled for rule in rules):
        assert list(due(objects, rules, now)) == []
