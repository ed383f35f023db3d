"""etcd's JSON is read as etcd writes it, and nonsense is told from it."""

from __future__ import annotations

import itertools
import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.etcd.wire import (
    Failure,
    LineSplitter,
    Nonsense,
    encode,
    integer,
    judge,
    member,
    members,
    parse,
    prefix_end,
    read_error,
    read_events,
    read_kv,
)

LINES = st.lists(st.binary(max_size=50).map(lambda data: data.replace(b"\n", b"")), max_size=8)


@given(LINES, st.lists(st.integers(0, 200)))
def test_lines_come_out_whole_however_the_stream_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    splitter = LineSplitter()
    found = [line for start, end in itertools.pairwise(edges) for line in splitter.feed(data[start:end])]
    assert found == [line for line in lines if line.strip()]


def test_a_line_without_end_is_refused_at_the_bound() -> None:
    splitter = LineSplitter(most=10)
    assert list(splitter.feed(b"x" * 10)) == []
    with pytest.raises(Nonsense, match="longer than 10"):
        list(splitter.feed(b"x"))


@given(st.text(min_size=1), st.text(), st.text())
def test_the_end_of_a_prefix_is_after_all_its_keys_and_before_others(prefix: str, rest: str, other: str) -> None:
    end = prefix_end(prefix)
    assert prefix.encode() <= (prefix + rest).encode() < end
    if not other.startswith(prefix):
        assert not prefix.encode() <= other.encode() < end


@given(st.binary(), st.binary(), st.integers(1, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_key_value_is_read_as_written(key: bytes, value: bytes, revision: int, lease: int) -> None:
    fields = {"key": encode(key), "value": encode(value), "mod_revision": str(revision), "lease": str(lease)}
    kv = read_kv(json.loads(json.dumps(fields)))
    assert (kv.key, kv.value, kv.mod_revision, kv.lease, kv.create_revision) == (key, value, revision, lease, 0)


def test_fields_left_out_are_zero_and_a_put_has_no_type() -> None:
    put, delete = {"kv": {"key": "aw=="}}, {"type": "DELETE", "kv": {"key": "aw==", "mod_revision": "7"}}
    events = read_events({"events": [put, delete]})
    assert [(event.deleted, event.kv.key, event.kv.value, event.kv.mod_revision) for event in events] == [
        (False, b"k", b"", 0),
        (True, b"k", b"", 7),
    ]
    assert read_events({}) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(
                    [
                        "key",
                        "value",
                        "events",
                        "kv",
                        "header",
                        "revision",
                        "lease",
                        "mod_revision",
                        "error",
                        "code",
                        "message",
                    ]
                ),
                inner,
            )
            | st.lists(inner)
        ),
    )
)
def test_whatever_comes_is_read_or_nonsense(fields: object) -> None:
    try:
        parsed = parse(json.dumps(fields).encode())
        code, message = read_error(parsed)
        assert judge(code, message) in Failure
        read_events(parsed)
        read_kv(parsed)
    except Nonsense:
        pass


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_nonsense(data: bytes) -> None:
    with pytest.raises(Nonsense):
        parse(data)


def test_wrong_types_are_nonsense() -> None:
    for read in (
        lambda: integer({"n": "x"}, "n"),
        lambda: integer({"n": []}, "n"),
        lambda: member({"m": []}, "m"),
        lambda: members({"m": {}}, "m"),
        lambda: members({"m": [1]}, "m"),
        lambda: read_kv({"key": "!"}),
        lambda: read_kv({"key": 5}),
    ):
        with pytest.raises(Nonsense):
            read()
    assert b64encode(b"k").decode() == encode("k") == encode(b"k")


@pytest.mark.parametrize(
    ("code", "message", "means"),
    [
        (16, "etcdserver: invalid auth token", Failure.STALE_TOKEN),
        (3, "etcdserver: user name is empty", Failure.STALE_TOKEN),
        (3, "etcdserver: revision of auth store is old", Failure.STALE_TOKEN),
        (7, "etcdserver: permission denied", Failure.DENIED),
        (8, "etcdserver: mvcc: database space exceeded", Failure.FULL),
        (8, "etcdserver: too many requests", Failure.NOT_APPLIED),
        (14, "etcdserver: no leader", Failure.NOT_APPLIED),
        (14, "etcdserver: request timed out", Failure.UNKNOWN),
        (14, "etcdserver: leader changed", Failure.UNKNOWN),
        (2, "anything", Failure.UNKNOWN),
        (5, "etcdserver: requested lease not found", Failure.REFUSED),
        (11, "etcdserver: mvcc: required revision has been compacted", Failure.REFUSED),
        (3, "etcdserver: key is not provided", Failure.REFUSED),
    ],
)
def test_errors_say_whether_the_request_was_applied(code: int, message: str, means: Failure) -> None:
    assert judge(code, message) is means


def test_errors_of_calls_and_of_streams_are_read() -> None:
    assert read_error({"error": "a", "message": "b", "code": 5}) == (5, "b")
    assert read_error({"error": {"grpc_code": 14, "http_code": 503, "message": "c"}}) == (14, "c")
    assert read_error({"error": "only"}) == (2, "only")
    assert read_error({}) == (2, "no message")
