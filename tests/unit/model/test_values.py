"""Digests, keys, clocks and counters: what is malformed is refused, what is ordered stays ordered."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.content import Content, MalformedDigest, Md5, Sha256, parse_guid, parse_sha256
from controlplane.model.hybrid_clock import next_stamp, wall_seconds
from controlplane.model.keys import Bucket, Key, StoreName, blob_key, guid_of, probe_key, quarantine_key, tombstone_key
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.tally import BlobTally, Histogram, RequestTally
from tests.support.fakes import content_of

GUIDS = st.binary(max_size=64).map(lambda data: content_of(data).md5)


@given(st.integers(0, 1 << 62), st.floats(0, 1e11))
def test_a_stamp_is_always_greater_than_the_last(last: int, now: float) -> None:
    assert next_stamp(last, now) > last


@given(st.lists(st.floats(0, 4e9), min_size=2, max_size=50))
def test_stamps_increase_whatever_the_wall_clock_does(times: list[float]) -> None:
    stamps = [0]
    for now in times:
        stamps.append(next_stamp(stamps[-1], now))
    assert stamps == sorted(set(stamps))


@given(st.floats(1, 4e9))
def test_a_stamp_tells_its_wall_time_to_the_millisecond(now: float) -> None:
    assert abs(wall_seconds(next_stamp(0, now)) - now) <= 0.002
    assert next_stamp(0, now) < 1 << 63


@given(st.text(max_size=80))
def test_only_lower_case_hex_of_the_right_length_is_a_digest(text: str) -> None:
    is_hex = bool(text) and set(text) <= set("0123456789abcdef")
    for parse, length in ((parse_guid, 32), (parse_sha256, 64)):
        if is_hex and len(text) == length:
            assert parse(text) == text
        else:
            with pytest.raises(MalformedDigest):
                parse(text)


@pytest.mark.parametrize(
    "text", ["a" * 31, "a" * 33, "A" * 32, "g" * 32, "a" * 32 + "\n", "\u0661" * 32, "../" + "a" * 29]
)
def test_near_misses_of_a_guid_are_refused(text: str) -> None:
    with pytest.raises(MalformedDigest):
        parse_guid(text)


@given(GUIDS)
def test_keys_lead_back_to_their_guid_and_never_meet(guid: Md5) -> None:
    assert guid_of(blob_key(guid)) == guid
    keys = {blob_key(guid), tombstone_key(guid), quarantine_key(guid, Sha256("0" * 64)), probe_key(guid)}
    assert len(keys) == 4
    for key in keys - {blob_key(guid)}:
        with pytest.raises(MalformedDigest):
            guid_of(key)


def test_i3_a_collision_is_the_same_md5_with_anything_else_different() -> None:
    one = content_of(b"one")
    assert not one.collides_with(one)
    assert one.collides_with(Content(one.md5, Sha256("0" * 64), one.size))
    assert one.collides_with(Content(one.md5, one.sha256, one.size + 1))
    assert not one.collides_with(content_of(b"two"))


def test_a_manifest_has_one_location_a_store() -> None:
    at = [Location(StoreName(name), Bucket("b"), Key("k"), LocationState.PENDING) for name in ("near", "far")]
    manifest = Manifest(content_of(b""), "text/plain", 1.0, (at[0],)).with_location(at[1])
    moved = Location(StoreName("far"), Bucket("b"), Key("k"), LocationState.MIRRORED, "e", 2.0)
    assert manifest.with_location(moved).locations == (at[0], moved)
    assert manifest.location(StoreName("none")) is None
    assert manifest.guid == hashlib.md5(b"").hexdigest()


@given(st.lists(st.floats(0, 100), max_size=50), st.lists(st.floats(0.1, 90), min_size=1, max_size=8, unique=True))
def test_a_histogram_counts_each_value_once_in_its_bucket(values: list[float], bounds: list[float]) -> None:
    ordered = tuple(sorted(bounds))
    histogram = Histogram(ordered)
    for value in values:
        histogram.observe(value)
    assert sum(histogram.counts) == len(values)
    for index, bound in enumerate(ordered):
        assert sum(histogram.counts[: index + 1]) == sum(value <= bound for value in values)
    assert histogram.total == pytest.approx(sum(values))


def test_tallies_add_up() -> None:
    requests = RequestTally()
    requests.observe("GET", 200, 10, 0.1)
    requests.observe("GET", 200, 5, 0.2)
    requests.observe("PUT", 201, 0, 0.3)
    assert requests.requests == {("GET", 200): 2, ("PUT", 201): 1}
    assert requests.sent_bytes == 15
    assert sum(requests.seconds["GET"].counts) == 2
    blobs = BlobTally()
    blobs.count_fill("far", "filled")
    blobs.count_fill("far", "filled")
    assert blobs.fills == {("far", "filled"): 2}
