"""Parts are read into memory that is used again, of which there is never more than was needed at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.services.part_buffers import PartBuffers


def test_what_was_given_back_is_handed_out_again_and_gone_after_the_last_user() -> None:
    buffers = PartBuffers()
    buffers.begin()
    first = buffers.take(100)
    second = buffers.take(100)
    assert first is not second
    buffers.give(first)
    assert buffers.take(100) is first
    buffers.give(second)
    buffers.begin()
    buffers.end()
    assert buffers.take(100) is second
    buffers.give(second)
    buffers.end()
    buffers.begin()
    assert buffers.take(100) is not second


def test_what_somebody_still_looks_at_is_not_handed_out() -> None:
    buffers = PartBuffers()
    buffers.begin()
    buffer = buffers.take(100)
    with memoryview(buffer):
        buffers.give(buffer)
        assert buffers.take(100) is not buffer


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3)), max_size=60))
def test_no_more_than_were_out_at_once_and_none_of_them_twice(steps: list[tuple[bool, int]]) -> None:
    buffers, out, most = PartBuffers(), list[bytearray](), 0
    buffers.begin()
    for takes, length in steps:
        if takes:
            taken = buffers.take(length)
            assert len(taken) == length
            assert all(taken is not other for other in out)
            out.append(taken)
            most = max(most, len(out))
        elif out:
            buffers.give(out.pop(0))
        assert len(out) + len(buffers._kept) <= most
