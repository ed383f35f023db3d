"""The corpus of malformed and smuggled requests at the S3 port of a real gateway: one refusal each, and the end."""

from __future__ import annotations

import datetime as dt
import re
import socket

import pytest

from tests.hosts.replay import signing
from tests.integration.s3_gateway.wire import UNSIGNED, Wire
from tests.unit.http.malformed import BODIES, HEADS

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def answers(wire: Wire, data: bytes) -> bytes:
    """All answers to these bytes; the connection must end by itself."""
    got = b""
    with wire.connected(10) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent
        sock.shutdown(socket.SHUT_WR)
        try:
            while piece := sock.recv(65536):
                got += piece
        except ConnectionResetError:
            pass  # bytes that nobody read were on the way
    return got


def statuses_of(got: bytes) -> list[int]:
    return [int(status) for status in _STATUS.findall(got)]


def test_a_request_that_is_in_order_is_seen_by_the_front(wire: Wire) -> None:
    """What the next test takes for its proof: answers of the front itself have a request id."""
    got = answers(wire, b"GET /p HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(statuses_of(got)) == 2
    assert got.lower().count(b"\r\nx-amz-request-id: ") == 2


def test_the_corpus_is_large_and_each_case_is_its_own() -> None:
    assert len({data for _, data in HEADS + BODIES}) >= 300


@pytest.mark.parametrize(("what", "data"), HEADS, ids=[what for what, _ in HEADS])
def test_a_malformed_head_is_refused_and_nothing_after_it_is_served(wire: Wire, what: str, data: bytes) -> None:
    got = answers(wire, data)
    statuses = statuses_of(got)
    assert len(statuses) == 1, statuses
    assert 400 <= statuses[0] < 500 or statuses[0] in (501, 505)
    assert b"x-amz-request-id" not in got.lower()  # it never came to a handler
    assert b"\r\nconnection: close\r\n" in got.lower()


@pytest.mark.parametrize(("what", "data"), BODIES, ids=[what for what, _ in BODIES])
def test_a_malformed_body_of_a_signed_upload_is_refused_and_not_stored(
    wire: Wire, beneath: Wire, malformed_bucket: str, what: str, data: bytes
) -> None:
    """The head is right and signed; the chunked body is what is malformed."""
    assert wire.user is not None
    path = f"/{malformed_bucket}/k"
    sent = {"Host": wire.host, "x-amz-content-sha256": UNSIGNED}
    sent |= signing.v4("PUT", path, "", sent, wire.user.key, wire.user.secret, dt.datetime.now(dt.UTC), literal=False)
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    body = data[data.index(b"\r\n\r\n") + 4 :]
    got = answers(wire, f"PUT {path} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode() + body)
    assert statuses_of(got) in ([400], [413])
    assert beneath.ask("HEAD", path).status == 404


@pytest.fixture(scope="session")
def malformed_bucket(wire: Wire) -> str:
    assert wire.ask("PUT", "/malformed-bodies").status == 200
    return "malformed-bodies"
