"""A head that is read by the shape of those before gives what it gives line by line."""

from __future__ import annotations

import re
from collections.abc import Callable
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.s3 import head_shapes
from controlplane.adapters.s3.head_shapes import HeadShapes, NotInStep, read_head

NAMES = [
    "ETag",
    "etag",
    "Content-Length",
    "x-amz-meta-a",
    "X-Amz-Meta-%s",
    "Last-Modified",
    " Date",
    "Connection",
    "a.b",
]
names = st.lists(st.sampled_from(NAMES), max_size=5)
values = st.text(st.sampled_from('ab :\t\n\r"%s(\\é\u00a0\x1c\u2028'), max_size=8)
lines = st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 200 Fine.", "HTTP/1.1 404 No", "HTTP/1.1 200", "HTTP/1.0 200 OK"])


def same(shapes: HeadShapes, text: str) -> None:
    assert outcome(shapes.read, text) == outcome(read_head, text)


def outcome(read: Callable[[str], tuple[int, dict[str, str]]], text: str) -> object:
    try:
        return read(text)
    except NotInStep as error:
        return f"refused: {error}"


def head(line: str, fields: list[tuple[str, str]], blank: str) -> str:
    return "\r\n".join([line, *(f"{name}:{blank}{value}" for name, value in fields)])


@given(st.data())
def test_whatever_came_before(data: st.DataObject) -> None:
    shapes = HeadShapes()
    with mock.patch.object(head_shapes, "_WORTH_IT", 1):
        for _ in range(data.draw(st.integers(1, 3))):
            line, said = data.draw(lines), data.draw(names)
            for _ in range(data.draw(st.integers(1, 3))):
                fields = [(name, data.draw(values)) for name in said]
                same(shapes, head(line, fields, data.draw(st.sampled_from(["", " ", "  "]))))


def test_heads_of_one_shape_are_read_in_one_step_and_others_as_ever() -> None:
    shapes = HeadShapes()
    plain = [f'HTTP/1.1 200 OK\r\nETag: "{n}"\r\nContent-Length: {n}' for n in range(40)]
    for text in plain:
        same(shapes, text)
    with mock.patch.object(head_shapes, "read_head", side_effect=AssertionError("read line by line")):
        assert shapes.read(plain[7]) == (200, {"etag": '"7"', "content-length": "7"})
    other = 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nETag: "x"'
    for text in (other, other.replace("ETag", "Content-Length"), plain[0] + "\r\nX: y", plain[0] + "\rX: y", plain[1]):
        same(shapes, text)


def test_answers_that_never_look_alike_cost_no_expressions_without_end() -> None:
    shapes = HeadShapes()
    with mock.patch.object(re, "compile", side_effect=re.compile) as made:
        for number in range(3000):
            same(shapes, f"HTTP/1.1 200 OK\r\nx-{number}: a")
            for _ in range(17):
                same(shapes, f"HTTP/1.1 200 OK\r\ny-{number % 100}: a")
    assert made.call_count <= 8
