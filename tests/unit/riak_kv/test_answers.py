"""Siblings as Riak KV sends them, and which node is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.riak_kv.multipart import MalformedParts, split_parts
from controlplane.adapters.riak_kv.nodes import FIRST_PAUSE_S, LONGEST_PAUSE_S, Nodes

# As it was recorded of Riak KV 3.2.3: get-siblings-multipart.
RECORDED = (
    b"\r\n--17vucxl4iv39dnYuGpgekEsOH8N\r\nContent-Type: text/plain\r\n"
    b'Link: </buckets/rec-c-kv>; rel="up"\r\nEtag: 12jQKKcsNzBKPIRYdhmesl\r\n'
    b"Last-Modified: Sun, 22 Nov 2026 22:01:49 GMT\r\n\r\nthree"
    b"\r\n--17vucxl4iv39dnYuGpgekEsOH8N\r\nContent-Type: text/plain\r\nX-Riak-Deleted: true\r\n\r\n"
    b"\r\n--17vucxl4iv39dnYuGpgekEsOH8N--\r\n"
)
KIND = "multipart/mixed; boundary=17vucxl4iv39dnYuGpgekEsOH8N"


def test_siblings_are_taken_apart_byte_by_byte() -> None:
    parts = split_parts(KIND, RECORDED)
    assert [body for _, body in parts] == [b"three", b""]
    assert parts[0][0]["etag"] == "12jQKKcsNzBKPIRYdhmesl"
    assert "x-riak-deleted" in parts[1][0]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_any_bytes_come_back(values: list[bytes]) -> None:
    mark = b"17vucxl4iv39dnYuGpgekEsOH8N"
    body = b"".join(b"\r\n--" + mark + b"\r\nContent-Type: a/b\r\n\r\n" + value for value in values)
    assert [found for _, found in split_parts(KIND, body + b"\r\n--" + mark + b"--\r\n")] == values


@pytest.mark.parametrize("cut", [0, 10, 60, len(RECORDED) - 4, len(RECORDED) - 45])
def test_a_cut_answer_is_not_taken_for_fewer_siblings(cut: int) -> None:
    with pytest.raises(MalformedParts):
        split_parts(KIND, RECORDED[:cut])


def test_a_node_that_fails_is_left_out_for_a_while_and_longer_each_time() -> None:
    nodes = Nodes(["a", "b", "c"])
    assert {nodes.order(0.0)[0] for _ in range(3)} == {"a", "b", "c"}
    nodes.failed("a", 0.0)
    assert {nodes.order(0.5)[0] for _ in range(6)} == {"b", "c"}
    assert all(sorted(nodes.order(0.5)) == ["a", "b", "c"] for _ in range(3))
    assert "a" in {nodes.order(FIRST_PAUSE_S)[0] for _ in range(3)}
    for _ in range(20):
        nodes.failed("a", 100.0)
    assert {nodes.order(99.0 + LONGEST_PAUSE_S)[0] for _ in range(6)} == {"b", "c"}
    nodes.answered("a")
    assert "a" in {nodes.order(100.0)[0] for _ in range(3)}


def test_when_all_failed_the_one_that_comes_back_first_is_asked_first() -> None:
    nodes = Nodes(["a", "b"])
    nodes.failed("b", 0.0)
    nodes.failed("a", 0.1)
    assert nodes.order(0.2) == ["b", "a"]
