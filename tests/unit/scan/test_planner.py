"""The pure parts of a scan: the join, the shards, the guard."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_guard import Evidence, GuardLimits, judge
from controlplane.model.scan_join import Doubt, Listed, join
from controlplane.model.scan_ranges import LAST, Range, Samples, initial, middle, split, worth_splitting
from controlplane.model.scan_state import Unit, UnitState, decode_unit_state

KEYS = st.text("ab/é\U0001f600", min_size=1, max_size=3).map(Key)
ETAGS = st.sampled_from(["e", "f"])
SIZES = st.sampled_from([1, 2])


def listings() -> st.SearchStrategy[list[Listed]]:
    rows = st.builds(Listed, KEYS, ETAGS, SIZES, st.sampled_from([10, 11]))
    return st.lists(rows, max_size=8, unique_by=lambda row: row.key).map(sorted)


def rows() -> st.SearchStrategy[list[Copy]]:
    copies = st.builds(Copy, KEYS, ETAGS, SIZES, st.sampled_from([10, 11]), ETAGS, st.sampled_from([0.0, 0.0, 5.0]))
    return st.lists(copies, max_size=8, unique_by=lambda row: row.key).map(sorted)


@given(listings(), listings(), rows(), st.booleans())
def test_every_key_gets_exactly_the_answer_that_a_look_at_it_alone_gives(
    source: list[Listed], target: list[Listed], known: list[Copy], trust: bool
) -> None:
    joined = join(source, target, known, trust=trust)
    at_source, at_target, in_catalog = ({row[0]: row for row in some} for some in (source, target, known))
    same = 0
    for key in {*at_source, *at_target}:
        here, there, row = at_source.get(key), at_target.get(key), in_catalog.get(key)
        if here is None:
            assert there is not None
            ours = row is not None and (row.target_etag, row.size) == (there.etag, there.size)
            assert (there, row if ours else None) in joined.extra
        elif there is None:
            assert here in joined.missing
        elif here.size != there.size:
            assert here in joined.different
        elif trust and row == Copy(*here, there.etag, 0.0):
            same += 1
        else:
            assert Doubt(here, there) in joined.doubtful
    assert joined.same == same
    assert joined.same + len(joined.missing) + len(joined.different) + len(joined.doubtful) == len(source)
    assert len(joined.extra) == len(at_target.keys() - at_source.keys())
    assert set(joined.vanished) == in_catalog.keys() - at_target.keys()
    assert (joined.witness is not None) == (same > 0)
    assert joined.witness is None or joined.witness in source


@given(listings())
def test_a_stretch_that_is_equal_everywhere_is_the_same(source: list[Listed]) -> None:
    target = [at._replace(mtime=99, etag="t") for at in source]
    joined = join(source, target, [Copy(*at, "t") for at in source])
    assert (joined.same, joined.doubtful, joined.missing, joined.extra) == (len(source), [], [], [])


@given(st.lists(KEYS, max_size=20).map(lambda keys: sorted(set(keys))), st.integers(1, 6))
def test_the_first_ranges_cover_every_key_once(splits: list[Key], shards: int) -> None:
    ranges = initial(splits, shards)
    assert 1 <= len(ranges) <= shards
    assert ranges[0].cursor == ""
    assert ranges[-1].until is None
    assert [one.until for one in ranges[:-1]] == [one.cursor for one in ranges[1:]]
    assert all(one.until is None or one.cursor < one.until for one in ranges)


@given(
    st.text("-0abz~é\x01", max_size=4), st.text("-0abz~é\x01\U0010ffff", max_size=4), st.sampled_from(["", "a", "p/"])
)
def test_the_middle_lies_between(low: str, high: str, prefix: str) -> None:
    at = middle(prefix + low, prefix + high, prefix)
    if at is not None:
        assert prefix + low < at < prefix + high
        assert at[-1] not in "./"  # a server that keeps paths would take it for a folder
        at.encode()


def test_halving_comes_close_to_any_key() -> None:
    low, high = "photos/", "photos/" + LAST
    for wanted in ("photos/2026-11/x", "photos/~~", "photos/00"):
        a, b = low, high
        for _ in range(200):
            at = middle(a, b, low)
            if at is None:
                break
            a, b = (at, b) if at < wanted else (a, at)
        assert a < wanted <= b or at is None


@given(st.data())
def test_splits_keep_every_key_covered_once(data: st.DataObject) -> None:
    ranges = initial([Key("g"), Key("p")], 3)
    for one in ranges:
        one.taken, one.pages = True, 5
    for _ in range(data.draw(st.integers(0, 6))):
        victim = worth_splitting(ranges, "")
        assert victim is not None
        at = middle(max(victim.horizon, victim.cursor), victim.until or LAST, "")
        if at is None:
            break
        new = split(ranges, victim, at)
        new.taken, new.pages = data.draw(st.booleans()), 2
    assert ranges[0].cursor == ""
    assert [one.until for one in ranges[:-1]] == [one.cursor for one in ranges[1:]]
    assert ranges[-1].until is None


@given(st.lists(st.sampled_from("bcdefghijk"), unique=True, max_size=8).map(sorted), st.data())
def test_a_checkpoint_says_what_is_left_and_no_more_ranges_than_that_takes(
    cuts: list[str], data: st.DataObject
) -> None:
    starts = [Key(""), *map(Key, cuts)]
    ranges = [Range(at, until) for at, until in zip(starts, [*starts[1:], None], strict=True)]
    for one in ranges:
        one.done = data.draw(st.booleans())
    left = decode_unit_state(json.loads(json.dumps(UnitState(ranges).encoded())))
    open_before = [(one.cursor, one.until) for one in ranges if not one.done]
    assert [(one.cursor, one.until) for one in left.ranges if not one.done] == open_before
    assert [one.until for one in left.ranges[:-1]] == [one.cursor for one in left.ranges[1:]]
    assert len(left.ranges) <= 2 * len(open_before) + 1


def test_a_range_that_just_began_is_not_split() -> None:
    ranges = [Range(Key(""), None, taken=True, pages=1), Range(Key("m"), None, pages=9)]
    assert worth_splitting(ranges, "") is None


@given(st.lists(st.integers(0, 10_000), max_size=600))
def test_samples_stay_few_and_are_keys_that_were_seen(numbers: list[int]) -> None:
    samples = Samples()
    for number in numbers:
        samples.add(Key(f"{number:06d}"))
    assert len(samples.keys) <= 128
    assert set(samples.keys) <= {f"{number:06d}" for number in numbers}
    assert len(samples.keys) >= min(len(set(numbers[:128])), 1)


EVIDENCE = st.builds(
    Evidence, st.integers(0, 5), st.integers(0, 50), st.booleans(), st.integers(0, 30), st.integers(0, 30)
)


@given(EVIDENCE, st.integers(0, 30), st.floats(0, 1))
def test_i6_the_guard_is_never_exceeded(evidence: Evidence, most: int, share: float) -> None:
    verdict = judge(evidence, GuardLimits(most, share))
    if evidence.candidates and verdict.allowed:
        assert evidence.deleted_before + evidence.candidates <= most
        assert evidence.candidates <= share * evidence.copies_at_target
        assert evidence.listed_at_source > 0
        assert evidence.witnessed
    assert verdict.allowed or verdict.reason


def test_i6_an_empty_listing_never_deletes_whatever_is_allowed() -> None:
    evidence = Evidence(listed_at_source=0, copies_at_target=5, witnessed=True, candidates=5)
    assert not judge(evidence, GuardLimits(10**9, 1.0)).allowed


@given(st.text("a\x00é\ue000\U0001f600/", max_size=3), st.text(max_size=4))
def test_nothing_below_the_prefix_is_under_its_floor(prefix: str, rest: str) -> None:
    unit = Unit(MirrorRule("*", "", "t"), Bucket("b"), prefix)
    floor = unit.floor()
    assert floor is None or floor < prefix + rest


def test_a_state_comes_back_from_its_json() -> None:
    state = UnitState(initial([Key("m")], 2))
    state.counts.missing, state.witness = 7, Listed(Key("k"), "e", 1, 2)
    state.ranges[0].cursor, state.ranges[0].done = Key("c"), True
    again = decode_unit_state(state.encoded())
    assert (again.counts, again.witness, again.ranges) == (state.counts, state.witness, state.ranges)
