"""Records that several nodes change: whatever way the states of a record meet, the same comes out (hypothesis)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.riak_kv.catalog_document import decode_manifest, encode_manifest
from controlplane.adapters.riak_kv.journal_document import decode_record, encode_record
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.failures import Failure
from controlplane.model.hybrid_clock import WRITERS, next_stamp_of, wall_seconds
from controlplane.model.key_record import Entry, KeyRecord, merge
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.rule_flow import Flow, merge_flows, merge_pauses
from controlplane.model.shared_manifest import Head, SharedManifest, Stamped, merge_manifests
from controlplane.model.task import Draft, Op, Task, TaskState

T = TypeVar("T")
few = st.integers(1, 4)
texts = st.sampled_from(["", "é\x00", "x"])
times = st.sampled_from([0.0, 1.5, 9.25])
contents = st.sampled_from([Content(Md5("0" * 32), Sha256(digit * 64), size) for digit in "ab" for size in (0, 7)])


@st.composite
def entries(draw: st.DrawFn, seq: int) -> Entry:
    draft = Draft(
        draw(st.sampled_from(Op)), Bucket("b"), Key("k"), draw(st.none() | contents), draw(st.text(max_size=2))
    )
    task = Task(
        seq,
        draft,
        draw(st.sampled_from(TaskState)),
        draw(st.integers(0, 3)),
        draw(times),
        draw(times),
        draw(texts),
        draw(st.none() | st.sampled_from(Failure)),
    )
    return Entry(task, draw(st.integers(0, 3)))


@st.composite
def records(draw: st.DrawFn) -> KeyRecord:
    closed = draw(st.dictionaries(few, st.integers(0, 3), max_size=3))
    open_ = {seq: draw(entries(seq)) for seq in sorted(draw(st.sets(few)) - set(closed))}
    return KeyRecord(Bucket("b"), Key("k"), "", open_, dict(sorted(closed.items())))


def location(store: str, state: LocationState, etag: str) -> Location:
    return Location(StoreName(store), Bucket("b"), Key("k"), state, etag)


@st.composite
def manifests(draw: st.DrawFn) -> SharedManifest:
    stores = sorted(draw(st.sets(st.sampled_from(["near", "far", "third"]))))
    places = {
        StoreName(name): Stamped(
            draw(few), location(name, draw(st.sampled_from(LocationState)), draw(st.sampled_from("ab")))
        )
        for name in stores
    }
    order = tuple(draw(st.permutations([StoreName(name) for name in stores])))
    head = Head(draw(contents), draw(st.sampled_from(["", "x/y"])), draw(times), order)
    added = {name: draw(few) for name in places}
    deleted = Stamped(draw(few), draw(st.none() | times))
    return SharedManifest(Md5("0" * 32), Stamped(draw(few), head), deleted, places, added)


flows = st.builds(Flow, few, few, times, st.lists(st.integers(0, 3), min_size=14, max_size=14).map(tuple), times)
pauses = st.dictionaries(st.sampled_from("ab*"), st.tuples(few, st.none() | times))

LATTICES: list[tuple[str, st.SearchStrategy[Any], Callable[[Any, Any], Any]]] = [
    ("journal", records(), merge),
    ("manifest", manifests(), merge_manifests),
    ("figures", flows, merge_flows),
    ("pauses", pauses, merge_pauses),
]


@pytest.mark.parametrize(("states", "join"), [row[1:] for row in LATTICES], ids=[row[0] for row in LATTICES])
class TestJoins:
    @given(data=st.data())
    def test_the_order_in_which_states_meet_does_not_matter(
        self, states: st.SearchStrategy[T], join: Callable[[T, T], T], data: st.DataObject
    ) -> None:
        a, b, c = (data.draw(states) for _ in range(3))
        assert join(a, b) == join(b, a)
        assert join(join(a, b), c) == join(a, join(b, c))
        assert join(join(a, b), b) == join(a, b)
        assert join(join(a, a), a) == join(a, a)


@given(record=records(), other=records())
def test_what_one_node_closed_no_other_opens_again(record: KeyRecord, other: KeyRecord) -> None:
    joined = merge(record, other)
    assert not set(joined.entries) & (set(record.closed) | set(other.closed))
    assert set(joined.entries) | set(joined.closed) == (
        set(record.entries) | set(other.entries) | set(record.closed) | set(other.closed)
    )


@given(record=records())
def test_a_record_is_read_as_it_was_written(record: KeyRecord) -> None:
    assert decode_record((encode_record(record),), "here") == record
    assert decode_record((encode_record(record),) * 2, "here") == record


@given(known=manifests())
def test_a_manifest_is_read_as_it_was_written(known: SharedManifest) -> None:
    known = replace(known, head=replace(known.head, what=replace(known.head.what, content=known.head.what.content)))
    assert decode_manifest((encode_manifest(known),), "here") == known


@given(states=st.lists(manifests(), min_size=1, max_size=4), order=st.randoms())
def test_a_manifest_of_many_siblings_is_the_same_for_all(states: list[SharedManifest], order: Any) -> None:
    shuffled = list(states)
    order.shuffle(shuffled)
    expected: Manifest = reduce(merge_manifests, states).manifest
    assert reduce(merge_manifests, shuffled).manifest == expected


@given(
    writers=st.tuples(st.integers(0, WRITERS - 1), st.integers(0, WRITERS - 1)),
    times=st.lists(st.tuples(st.booleans(), st.floats(0, 2e9)), max_size=60),
)
def test_stamps_of_two_writers_never_meet_and_each_ones_grow(
    writers: tuple[int, int], times: list[tuple[bool, float]]
) -> None:
    last = [0, 0]
    given_: list[list[int]] = [[], []]
    for which, now in times:
        last[which] = next_stamp_of(writers[which], last[which], now)
        given_[which].append(last[which])
    for stamps in given_:
        assert stamps == sorted(set(stamps))
    if writers[0] != writers[1]:
        assert not set(given_[0]) & set(given_[1])
    assert wall_seconds(next_stamp_of(writers[0], 0, 12.345)) == 12.345
