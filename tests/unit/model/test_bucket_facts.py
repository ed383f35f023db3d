"""What a bucket does by itself is told where it harms copies, and only there."""

from __future__ import annotations

import pytest

from controlplane.model.bucket_facts import BucketFacts, LifecycleRule, Verdict, judge

TIDY = LifecycleRule("tidy", aborts_uploads_after_days=7)


def of(*rules: LifecycleRule, versioning: str = "Off", prefix: str = "ours/", riak_cs: bool = False) -> Verdict:
    return judge(BucketFacts(versioning, (TIDY, *rules)), prefix, riak_cs=riak_cs)


def test_where_nothing_is_wrong_there_is_no_advice() -> None:
    assert of() == Verdict("versioning off; unfinished uploads are aborted after 7 days")


@pytest.mark.parametrize("prefix", ["", "ou", "ours/", "ours/photos/"])
def test_a_rule_that_removes_copies_is_told_whether_it_is_about_all_or_some(prefix: str) -> None:
    verdict = of(LifecycleRule("monthly", prefix, expires="after 30 days"))
    assert verdict.harmed
    assert "rule monthly expires objects" in verdict.found
    assert "after 30 days" in verdict.found
    assert "remove the rule" in verdict.advice


def test_a_rule_that_archives_copies_is_told() -> None:
    verdict = of(LifecycleRule("cold", only_some=True, archives="to GLACIER after 90 days"))
    assert verdict.harmed
    assert "archives some objects to GLACIER after 90 days" in verdict.found


def test_rules_about_what_is_not_ours_are_not_told() -> None:
    assert of(LifecycleRule("theirs", "theirs/", expires="after 1 days")) == of()


def test_uploads_are_aborted_only_where_a_rule_is_about_all_of_ours() -> None:
    for rules in ((), (LifecycleRule("tidy", "ours/photos/", aborts_uploads_after_days=7),)):
        verdict = judge(BucketFacts("Off", rules), "ours/", riak_cs=False)
        assert "AbortIncompleteMultipartUpload" in verdict.advice
        assert not verdict.harmed


def test_versions_cost_space_at_other_stores_and_break_reads_at_riak_cs() -> None:
    elsewhere = of(versioning="Enabled")
    assert not elsewhere.harmed
    assert not elsewhere.broken
    assert "keeps its space" in elsewhere.advice
    at_riak_cs = of(versioning="Enabled", riak_cs=True)
    assert at_riak_cs.broken
    assert "Suspended" in at_riak_cs.advice
    assert not of(versioning="Suspended", riak_cs=True).broken


def test_what_could_not_be_learnt_is_said_and_nothing_is_made_up() -> None:
    verdict = judge(BucketFacts(unsaid=("lifecycle (HTTP 403)",)), "", riak_cs=False)
    assert verdict == Verdict("not known: lifecycle (HTTP 403)")
    assert judge(BucketFacts(), "", riak_cs=True).found == "nothing is set"
