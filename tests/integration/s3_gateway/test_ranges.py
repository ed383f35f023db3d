"""Ranges and conditions of reads through the gateway: those that Riak CS takes for others, and several at once."""

from __future__ import annotations

from hashlib import md5

import pytest

from tests.integration.s3_gateway.recorded import recorded
from tests.integration.s3_gateway.wire import Wire

DATA = bytes(range(256)) * 40  # 10,240 bytes
ETAG = f'"{md5(DATA).hexdigest()}"'


@pytest.fixture(scope="module")
def path(wire: Wire) -> str:
    assert wire.ask("PUT", "/ranges-of-reads").status == 200
    assert wire.ask("PUT", "/ranges-of-reads/k", DATA).status == 200
    assert wire.ask("PUT", "/ranges-of-reads/empty").status == 200
    return "/ranges-of-reads/k"


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=5-9", 5, 9), ("bytes=10000-", 10000, 10239), ("bytes=-3", 10237, 10239),
     ("bytes=-99999", 0, 10239), ("bytes=0-99999", 0, 10239), ("BYTES=1-2", 1, 2), ("bytes= 1-2 ", 1, 2),
     ("bytes=000000000000000001-2", 1, 2)],
)  # fmt: skip
def test_a_part(wire: Wire, path: str, header: str, first: int, last: int) -> None:
    got = wire.ask("GET", path, headers={"Range": header})
    assert (got.status, got.body) == (206, DATA[first : last + 1])
    assert got.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"
    head = wire.ask("HEAD", path, headers={"Range": header})
    assert (head.status, head.headers["content-length"]) == (206, str(last - first + 1))


@recorded("range-suffix-zero", "range-garbage")
@pytest.mark.parametrize("header", ["bytes=10240-", "bytes=99999-100000", "bytes=-0", "bytes=999999999999999999-"])
def test_nothing_of_it(recording: str, wire: Wire, path: str, header: str) -> None:
    got = wire.ask("GET", path, headers={"Range": header})
    assert got.outcome == (416, "InvalidRange")
    assert got.headers["content-range"] == f"bytes */{len(DATA)}"
    assert wire.ask("GET", "/ranges-of-reads/empty", headers={"Range": "bytes=0-"}).status == 416


@recorded("range-garbage")
@pytest.mark.parametrize(
    "header", ["bytes=0-1,3-4", "bytes=5-1", "lines=1-2", "bytes=x", "bytes", "bytes=-", "bytes=1-2-3"]
)
def test_all_of_it(recording: str, wire: Wire, path: str, header: str) -> None:
    """Several ranges, other units and what cannot be read: a server may send the whole, and S3 does."""
    got = wire.ask("GET", path, headers={"Range": header})
    assert (got.status, got.body) == (200, DATA)


@recorded("range-if-range")
def test_a_part_of_the_same_object_or_all_of_another(recording: str, wire: Wire, path: str) -> None:
    for etag, status in ((ETAG, 206), ('"other"', 200), ("Thu, 01 Jan 1970 00:00:00 GMT", 200)):
        got = wire.ask("GET", path, headers={"Range": "bytes=0-3", "If-Range": etag})
        assert (got.status, got.body) == (status, DATA[:4] if status == 206 else DATA)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": ETAG}, 200),
        ({"If-Match": ETAG.strip('"')}, 200),
        ({"If-Match": f'"x", {ETAG}'}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "Fri, 31 Dec 2100 00:00:00 GMT"}, 304),
        ({"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 412),
        ({"If-Unmodified-Since": "Fri, 31 Dec 2100 00:00:00 GMT"}, 200),
        ({"If-Match": ETAG, "If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": "Fri, 31 Dec 2100 00:00:00 GMT"}, 200),
        ({"If-None-Match": ETAG, "Range": "bytes=0-1"}, 304),
        ({"If-Modified-Since": "nonsense"}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(wire: Wire, path: str, method: str, headers: dict[str, str], status: int) -> None:
    got = wire.ask(method, path, headers=headers)
    assert got.status == status
    if status == 304:
        assert got.body == b""
        assert got.headers["etag"] == ETAG
    elif method == "GET":
        assert got.body == DATA if status == 200 else got.code == "PreconditionFailed"
