"""The short way through an answer's head finds what the general parser finds, and leaves it everything odd."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.s3.plain_head import plain_head

NAMES = st.sampled_from(
    [
        "Server",
        "ETag",
        "Content-Type",
        "Last-Modified",
        "x-amz-meta-A",
        "Content-Length",
        "Connection",
        "Transfer-Encoding",
    ]
)
VALUES = st.sampled_from(["5", "0", "text/plain", "keep-alive", "chunked", '"e"', " spaced ", "ä", ""])
LINES = st.lists(st.tuples(NAMES, VALUES).map(": ".join) | st.text("aA: \t\r\n-1", max_size=8), max_size=6)


class Oracle:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("utf-8", "replace").rstrip(" \t")  # llhttp leaves the blanks

    def on_headers_complete(self) -> None:
        self.done = True


@given(LINES, st.sampled_from(["200 OK", "206 Partial Content", "404 Not Found", "503 ", "304 Not Modified", "100 C"]))
def test_it_agrees_with_the_general_parser(lines: list[str], status: str) -> None:
    sent = f"HTTP/1.1 {status}\r\n{''.join(line + chr(13) + chr(10) for line in lines)}\r\n".encode()
    head = sent[: sent.index(b"\r\n\r\n") + 4]  # a line may be empty: what follows it is the body
    found = plain_head(sent + b"hello")
    if found is None:
        return
    oracle = Oracle()
    parser = httptools.HttpResponseParser(oracle)
    parser.feed_data(head)
    assert oracle.done
    assert found == (parser.get_status_code(), oracle.headers, len(head), int(oracle.headers["content-length"]))


def test_the_usual_head_is_taken() -> None:
    head = b'HTTP/1.1 200 OK\r\nServer: Riak CS\r\nETag: "e"\r\nContent-Length: 5\r\n\r\n'
    assert plain_head(head + b"hello") == (
        200,
        {"server": "Riak CS", "etag": '"e"', "content-length": "5"},
        len(head),
        5,
    )


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"ICY 200 OK\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_everything_odd_is_left_to_the_general_parser(head: bytes) -> None:
    assert plain_head(head) is None
