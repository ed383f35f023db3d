"""The tags of a copy: as they were, or, where S3 has no room for them, a mark that tells them from all others (I9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.copy_record import MOST_METADATA_BYTES, CopyRecord, Tags, decode_copy_record

LETTERS = st.characters(categories=["L", "N", "Zs"], include_characters=".:/=+-@_&%")
TAGS = st.lists(
    st.tuples(st.text(LETTERS, min_size=1, max_size=128), st.text(LETTERS, max_size=256)),
    max_size=10,
    unique_by=lambda tag: tag[0],
).map(tuple)


@given(TAGS, st.integers(0, 1900))
def test_i9_a_copy_has_its_tags_or_says_that_it_has_not(tags: Tags, others: int) -> None:
    record = CopyRecord("e", 1.0, {"own": "x" * others} if others else {}, tags=tags)
    said = record.encoded()
    read = decode_copy_record(said)
    assert read is not None
    assert read.is_same_version(record)
    assert all(value.isascii() and value.isprintable() for value in said.values())
    if read.tags_left:
        assert read.tags == ()
        assert tags
    else:
        assert read.tags == tags
        assert not tags or sum(len(name) + len(value) for name, value in said.items()) <= MOST_METADATA_BYTES
    assert read.encoded() == said


@given(TAGS, TAGS)
def test_other_tags_are_another_version(one: Tags, other: Tags) -> None:
    for metadata in ({}, {"own": "x" * 1800}):
        read = decode_copy_record(CopyRecord("e", 1.0, metadata, tags=one).encoded())
        assert read is not None
        assert read.is_same_version(CopyRecord("e", 1.0, metadata, tags=other)) == (one == other)


def test_a_copy_without_tags_is_as_it_was_before_there_were_any() -> None:
    assert set(CopyRecord("e", 1.0).encoded()) == {"millrace-source-etag", "millrace-source-mtime", "millrace-seq"}


@pytest.mark.parametrize("damaged", ["a", "a=1&b", "a=%ff", "&"])
def test_damaged_tags_are_no_record(damaged: str) -> None:
    assert decode_copy_record({**CopyRecord("e", 1.0).encoded(), "millrace-tags": damaged}) is None
