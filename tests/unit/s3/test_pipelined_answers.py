"""Answers one behind the other are taken apart rightly however they arrive, or not at all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.s3.head_shapes import HeadShapes, NotInStep, SeenHeads
from controlplane.adapters.s3.pipeline import MAX_HEAD_BYTES, Replies


def answer(body: bytes, *, status: int = 200, more: str = "", head_only: bool = False) -> bytes:
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode()
    return head if head_only else head + body


def used() -> HeadShapes:
    """Shapes that have seen many answers of one shape."""
    shapes = HeadShapes()
    Replies(40, shapes, head_only=False, body_limit=10).feed(answer(b"abc") * 40)
    return shapes


@given(
    bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
    head_only=st.booleans(),
)
def test_pieces_of_any_size_give_the_same_answers(bodies: list[bytes], cuts: list[int], head_only: bool) -> None:
    wire = b"".join(answer(body, head_only=head_only) for body in bodies)
    replies = Replies(len(bodies), HeadShapes(), head_only=head_only, body_limit=40)
    places = sorted({0, len(wire), *(cut % len(wire) for cut in cuts)})
    for first, last in itertools.pairwise(places):
        replies.feed(wire[first:last])
    assert [reply.body for reply in replies.got] == ([b""] * len(bodies) if head_only else bodies)
    assert [reply.headers["content-length"] for reply in replies.got] == [str(len(body)) for body in bodies]
    assert replies.complete


def test_a_head_that_was_answered_before_is_the_same_and_another_is_not() -> None:
    seen = SeenHeads()
    marks = [f"X-Mark: {number}\r\n" for number in range(3)]
    first = Replies(3, used(), head_only=False, body_limit=10, seen=seen, keeps=True)
    first.feed(b"".join(answer(b"abc", more=mark) for mark in marks))
    marks[1] = "X-Mark: changed\r\n"
    for turn in range(2):
        again = Replies(3, used(), head_only=True, body_limit=0, seen=seen)
        again.feed(b"".join(answer(b"abc", more=mark, head_only=True) for mark in marks))
        assert [reply.headers["x-mark"] for reply in again.got] == ["0", "changed", "2"]
        same = [one.headers is other.headers for one, other in zip(first.got, again.got, strict=True)]
        assert same == ([True, False, True] if turn == 0 else [False] * 3)


def test_heads_that_nobody_asks_for_again_are_forgotten() -> None:
    seen = SeenHeads()
    for number in range(5000):
        seen.keep(b"%d" % number, 200, {})
    held = [number for number in range(5000) if seen.take(b"%d" % number) is not None]
    assert 1000 <= len(held) <= 2048
    assert held[-1] == 4999


def test_answers_without_a_body_and_interim_ones() -> None:
    replies = Replies(3, HeadShapes(), head_only=False, body_limit=10)
    replies.feed(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"abc") + b"HTTP/1.1 204 No Content\r\n\r\n")
    assert not replies.complete
    replies.feed(answer(b"", status=404))
    assert [(reply.status, reply.body) for reply in replies.got] == [(200, b"abc"), (204, b""), (404, b"")]


def test_after_the_word_close_nothing_more_is_taken() -> None:
    replies = Replies(3, HeadShapes(), head_only=False, body_limit=10)
    replies.feed(answer(b"abc", more="Connection: Close\r\n") + answer(b"def"))
    assert replies.last
    assert not replies.complete
    assert [reply.body for reply in replies.got] == [b"abc"]


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nno header at all\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nabcdefghijk",
        answer(b"abc") + b"x",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (MAX_HEAD_BYTES // 6 + 1),
    ],
)
def test_what_cannot_be_the_next_answer_ends_it(wire: bytes) -> None:
    for shapes in (HeadShapes(), used()):
        replies = Replies(1, shapes, head_only=False, body_limit=10)
        with pytest.raises(NotInStep):
            replies.feed(wire)


def test_a_body_in_answer_to_head_ends_it() -> None:
    replies = Replies(2, HeadShapes(), head_only=True, body_limit=0)
    with pytest.raises(NotInStep):
        replies.feed(answer(b"abc") + answer(b"def"))
