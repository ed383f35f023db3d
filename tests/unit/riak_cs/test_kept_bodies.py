"""Streamed bodies that are kept until their answer has come."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.riak_cs.kept_bodies import KeptBodies, KeptBody
from controlplane.ports.upstream import Ask, KeyPair

PAIR = KeyPair("KEY", "secret")


async def nothing() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""


@given(cuts=st.lists(st.integers(0, 9000), max_size=5), sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=30))
async def test_a_kept_body_is_the_same_however_often_it_breaks_off(cuts: list[int], sizes: list[int]) -> None:
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    whole = b"".join(parts)

    async def source() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    kept = KeptBodies(len(whole), len(whole)).begin(Ask("PUT", PAIR, "bucket", "key", body=source(), length=len(whole)))
    assert kept is not None
    for cut in cuts:
        got = b""
        async for piece in kept:
            got += piece
            if len(got) > cut:
                break
        assert whole.startswith(got)
    assert b"".join([piece async for piece in kept]) == whole


def test_bodies_that_are_kept_have_one_bound() -> None:
    bodies = KeptBodies(each=10, together=25)

    def begin(length: int, **more: bool) -> KeptBody | None:
        return bodies.begin(Ask("PUT", PAIR, "bucket", "key", body=nothing(), length=length, **more))

    assert begin(11) is None, "too large"
    assert begin(5, repeatable=False) is None
    first, second, third = begin(10), begin(10), begin(5)
    assert first is not None
    assert second is not None
    assert third is not None
    assert begin(1) is None, "no room"
    first.end()
    first.end()
    assert begin(10) is not None
    assert begin(1) is None
