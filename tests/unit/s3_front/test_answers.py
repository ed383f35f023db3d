"""The short way to an object's header lines says what the long way says, or leaves it to that one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.s3.answers import object_fields, plain_lines
from controlplane.http import Limits, Request, field_lines
from controlplane.http.body import NO_BODY
from controlplane.http.head import HeaderBlock

NAMES = st.sampled_from(
    [
        "etag", "content-type", "last-modified", "server", "date", "content-length", "accept-ranges", "cache-control",
        "content-encoding", "content-disposition", "expires", "x-amz-meta-a", "x-amz-version-id", "vary",
        "x-amz-request-id", "content-range",
        "x-amz-meta-millrace-s3-checksum-crc32", "x-amz-meta-millrace-s3-content-language",
        "x-amz-meta-millrace-s3-checksum-recorded",
    ]
)  # fmt: skip


def request() -> Request:
    made = Request("GET", b"/b/k", HeaderBlock(b"Host: h\r\n", Limits()), "192.0.2.1:5", NO_BODY)
    made.id = "0123456789ABCDEF"
    return made


@given(st.dictionaries(NAMES, st.text(max_size=8) | st.sampled_from(["text/plain", "bytes"]), max_size=8))
def test_both_ways_say_the_same(found: dict[str, str]) -> None:
    lines = plain_lines(request(), found)
    if lines is not None:
        expected = field_lines(object_fields(request(), found))
        assert sorted(lines.split(b"\r\n")) == sorted(expected.split(b"\r\n"))


def test_the_usual_object_goes_the_short_way() -> None:
    usual = {"server": "Riak CS", "etag": '"e"', "content-type": "text/plain", "content-length": "5", "date": "now"}
    assert plain_lines(request(), usual) is not None
    assert plain_lines(request(), {**usual, "accept-ranges": "bytes", "x-amz-request-id": "1"}) is not None
    assert plain_lines(request(), {**usual, "x-amz-meta-a": "b"}) is None
    assert plain_lines(request(), {**usual, "etag": "\r\nx: y"}) is None
