"""The Range header against a naive model of RFC 9110, section 14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.ranges import Unsatisfiable, parse_range

SIZES = st.integers(0, 300)
NUMBERS = st.integers(0, 400)


def naive(first: int | None, last: int | None, size: int) -> list[int] | None:
    """The positions asked for, picked one by one; None: malformed."""
    positions = range(size)
    if first is None:
        assert last is not None
        return [at for at in positions if at >= size - last]
    if last is not None and last < first:
        return None
    return [at for at in positions if at >= first and (last is None or at <= last)]


@given(st.one_of(st.tuples(NUMBERS, st.none() | NUMBERS), st.tuples(st.none(), NUMBERS)), SIZES)
def test_every_range_is_what_the_naive_model_says(asked: tuple[int | None, int | None], size: int) -> None:
    first, last = asked
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    expected = naive(first, last, size)
    if expected == []:
        with pytest.raises(Unsatisfiable):
            parse_range(header, size)
    elif expected is None:
        assert parse_range(header, size) is None
    else:
        part = parse_range(header, size)
        assert part is not None
        assert list(range(part.first, part.last + 1)) == expected
        assert part.length == len(expected)


@given(st.text(max_size=40), SIZES)
def test_any_text_is_a_range_within_the_blob_or_ignored_or_unsatisfiable(header: str, size: int) -> None:
    try:
        part = parse_range(header, size)
    except Unsatisfiable:
        return
    assert part is None or 0 <= part.first <= part.last < size


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-1,3-4",
        "items=0-1",
        "bytes=5-2",
        "bytes 0-1",
        "bytes=+1-2",
    ],
)
def test_what_is_malformed_or_several_is_ignored(header: str) -> None:
    assert parse_range(header, 100) is None
