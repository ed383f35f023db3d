"""The blob API over real sockets: every verb, precondition, right and refusal of the README."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from controlplane.http import Limits
from controlplane.model.keys import blob_key
from tests.integration.gateway.conftest import Serve
from tests.integration.gateway.serving import ALL, PROBE, READER, WRITER, Served, exchange, read_answer
from tests.support.fakes import content_of
from tests.support.md5_collision import A, B

SMALL = b"a small blob"
MIDDLE = bytes(range(256)) * 1024  # 256 KiB
LARGE = bytes(range(256)) * 16_384  # 4 MiB
SIZES = pytest.mark.parametrize("data", [b"", SMALL, MIDDLE, LARGE], ids=["empty", "small", "middle", "large"])


@SIZES
async def test_post_get_head_delete(gateway: Served, data: bytes) -> None:
    content = content_of(data)
    path = f"/blobs/{content.md5}"
    posted = await gateway.ask("POST", "/blobs", data, Content_Type="text/x-test; charset=utf-8")
    assert posted.status == 201
    assert posted.headers["location"] == path
    assert posted.headers["etag"] == f'"{content.md5}"'
    told = posted.json()
    assert (told["guid"], told["sha256"], told["size"], told["created"]) == (
        content.md5,
        content.sha256,
        len(data),
        True,
    )
    assert [at["state"] for at in told["locations"]] == ["mirrored", "pending"]
    for _ in range(3):  # near, then hot
        got = await gateway.ask("GET", path)
        assert (got.status, got.body) == (200, data)
        assert got.headers["content-type"] == "text/x-test; charset=utf-8"
        assert got.headers["etag"] == f'"{content.md5}"'
        assert got.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert got.headers["accept-ranges"] == "bytes"
        assert got.headers["millrace-sha256"] == content.sha256
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert got.headers["repr-digest"] == f"sha-256=:{digest}:"
        head = await gateway.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(data))
        assert {name: value for name, value in head.headers.items() if name not in ("date", "x-request-id")} == {
            name: value for name, value in got.headers.items() if name not in ("date", "x-request-id")
        }
    assert (await gateway.ask("DELETE", path)).status == 204
    for method in ("GET", "HEAD", "DELETE"):
        assert (await gateway.ask(method, path)).status == 404
    await gateway.drain()
    assert await gateway.names() == []
    assert gateway.node.persistent.names == []


@SIZES
async def test_what_only_the_persistent_store_has_is_served_and_kept(gateway: Served, data: bytes) -> None:
    guid = (await gateway.ask("POST", "/blobs", data)).json()["guid"]
    await gateway.drain()
    await gateway.node.near.delete(blob_key(guid))
    gateway.node.hot.evict(guid)
    bodies = await asyncio.gather(*(gateway.ask("GET", f"/blobs/{guid}") for _ in range(20)))
    assert {(got.status, got.body) for got in bodies} == {(200, data)}
    assert gateway.node.persistent.calls["get"] == 1
    await gateway.node.filler.aclose()
    assert await gateway.in_primary(blob_key(guid))


async def test_put_under_its_guid(gateway: Served) -> None:
    guid = content_of(SMALL).md5
    assert (await gateway.ask("PUT", f"/blobs/{guid}", SMALL)).status == 201
    again = await gateway.ask("PUT", f"/blobs/{guid}", SMALL)
    assert (again.status, again.json()["created"]) == (200, False)
    assert (await gateway.ask("GET", f"/blobs/{guid}")).body == SMALL
    assert len(gateway.node.journal.history) == 1


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_content_that_is_not_its_guid_is_422_and_nothing_is_kept(gateway: Served, data: bytes) -> None:
    refused = await gateway.ask("PUT", f"/blobs/{content_of(b'other').md5}", data)
    assert (refused.status, refused.kind) == (422, "wrong-guid")
    assert await gateway.nothing_left()


@pytest.mark.parametrize("name", ["x", "A" * 32, "0" * 31, "0" * 33, "%30" + "0" * 31, "..", "0" * 31 + "g", ""])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_a_malformed_guid_is_400(serve: Serve, method: str, name: str) -> None:
    gateway = await serve()
    answer = await gateway.ask(method, f"/blobs/{name}", SMALL if method == "PUT" else None)
    assert answer.status == 400
    if method != "HEAD":
        assert answer.kind == "malformed-digest"
    assert await gateway.names() == []


async def test_lookup_by_sha256(gateway: Served) -> None:
    await gateway.ask("POST", "/blobs", SMALL)
    path = f"/blobs/sha256/{content_of(SMALL).sha256}"
    assert (await gateway.ask("GET", path)).body == SMALL
    assert (await gateway.ask("HEAD", path)).headers["etag"] == f'"{content_of(SMALL).md5}"'
    assert (await gateway.ask("GET", path, Range="bytes=2-4")).body == SMALL[2:5]
    assert (await gateway.ask("GET", f"/blobs/sha256/{'0' * 64}")).kind == "not-found"
    assert (await gateway.ask("GET", "/blobs/sha256/xyz")).kind == "malformed-digest"
    assert (await gateway.ask("DELETE", path)).status == 405


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_ranges(gateway: Served, data: bytes) -> None:
    guid = (await gateway.ask("POST", "/blobs", data)).json()["guid"]
    size = len(data)
    for header, first, last in (
        ("bytes=0-0", 0, 0), ("bytes=3-7", 3, 7), (f"bytes=5-{size + 10}", 5, size - 1),
        ("bytes=-4", size - 4, size - 1),
        ("bytes=4-", 4, size - 1), (f"bytes=-{size * 2}", 0, size - 1),
    ):  # fmt: skip
        got = await gateway.ask("GET", f"/blobs/{guid}", Range=header)
        assert (got.status, got.body) == (206, data[first : last + 1]), header
        assert got.headers["content-range"] == f"bytes {first}-{last}/{size}"
    for header in (f"bytes={size}-", "bytes=-0"):
        got = await gateway.ask("GET", f"/blobs/{guid}", Range=header)
        assert (got.status, got.kind) == (416, "range-not-satisfiable")
        assert got.headers["content-range"] == f"bytes */{size}"
    for header in ("bytes=0-1,4-5", "bytes=7-3", "lines=1-2", "nonsense"):
        got = await gateway.ask("GET", f"/blobs/{guid}", Range=header)
        assert (got.status, got.body) == (200, data)
    assert (await gateway.ask("GET", f"/blobs/{guid}", Range="bytes=1-2", If_Range=f'"{guid}"')).status == 206
    for tag in ('"other"', f'W/"{guid}"', "Sun, 22 Nov 2026 00:00:00 GMT"):
        assert (await gateway.ask("GET", f"/blobs/{guid}", Range="bytes=1-2", If_Range=tag)).status == 200


async def test_not_modified(gateway: Served) -> None:
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    for tags in (f'"{guid}"', f'W/"{guid}"', f'"x", "{guid}"', "*"):
        for method in ("GET", "HEAD"):
            got = await gateway.ask(method, f"/blobs/{guid}", If_None_Match=tags)
            assert (got.status, got.body) == (304, b"")
            assert got.headers["etag"] == f'"{guid}"'
            assert "immutable" in got.headers["cache-control"]
    assert (await gateway.ask("GET", f"/blobs/{guid}", If_None_Match='"other"')).body == SMALL
    gone = content_of(b"never").md5
    assert (await gateway.ask("GET", f"/blobs/{gone}", If_None_Match=f'"{gone}"')).status == 404


async def test_rights(serve: Serve) -> None:
    gateway = await serve()
    guid = (await gateway.ask("POST", "/blobs", SMALL, token=WRITER)).json()["guid"]
    path = f"/blobs/{guid}"
    asked = {
        ("GET", path): None, ("HEAD", path): None, ("POST", "/blobs"): b"new", ("PUT", path): SMALL,
        ("DELETE", path): None, ("GET", f"/blobs/sha256/{content_of(SMALL).sha256}"): None,
        ("PUT", "/probes/n1"): b"x", ("GET", "/probes/n1"): None,
    }  # fmt: skip
    allowed = {
        READER: {"GET", "HEAD"},
        WRITER: {"POST", "PUT"},
        PROBE: set(),
        ALL: {"GET", "HEAD", "POST", "PUT"},
    }
    for (method, target), body in asked.items():
        for token in (None, "wrong", ""):
            answer = await gateway.ask(method, target, body, token=token)
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for token, methods in allowed.items():
            if token == ALL and method == "DELETE":
                continue
            answer = await gateway.ask(method, target, body, token=token)
            if target.startswith("/probes"):
                assert answer.status < 300 if token == PROBE else answer.status == 403
            else:
                assert answer.status < 300 if method in methods else answer.status == 403
    assert await gateway.in_primary(blob_key(guid))


async def test_anonymous_read_only_where_it_is_configured(serve: Serve) -> None:
    gateway = await serve(anonymous_read=True)
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    for _ in range(2):
        got = await gateway.ask("GET", f"/blobs/{guid}", token=None)
        assert (got.status, got.body) == (200, SMALL)
        assert got.headers["cache-control"].startswith("public")
    assert (await gateway.ask("HEAD", f"/blobs/{guid}", token=None)).status == 200
    assert (await gateway.ask("POST", "/blobs", SMALL, token=None)).status == 401
    assert (await gateway.ask("DELETE", f"/blobs/{guid}", token=READER)).status == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/blobs", 405), ("PATCH", "/blobs/" + "0" * 32, 405),
     ("POST", "/blobs/" + "0" * 32, 405),
     ("GET", "/blobs/a/b", 404), ("GET", "/probes/..%2fx", 404), ("GET", "//blobs", 404)],
)  # fmt: skip
async def test_no_such_path_or_method(serve: Serve, method: str, path: str, status: int) -> None:
    gateway = await serve()
    answer = await gateway.ask(method, path, b"" if method in ("POST", "PATCH") else None)
    assert answer.status == status
    assert answer.kind == ("no-such-path" if status == 404 else "method-not-allowed")
    if status == 405:
        assert answer.headers["allow"]


async def test_i3_a_collision_is_409_and_the_old_bytes_stay(gateway: Served) -> None:
    guid = content_of(A).md5
    assert (await gateway.ask("POST", "/blobs", A)).status == 201
    for refused in (await gateway.ask("POST", "/blobs", B), await gateway.ask("PUT", f"/blobs/{guid}", B)):
        assert (refused.status, refused.kind) == (409, "collision")
    assert (await gateway.ask("GET", f"/blobs/{guid}")).body == A
    assert f"quarantine/{guid}/{content_of(B).sha256}" in await gateway.names()


async def test_bodies_in_chunks_and_without_length(gateway: Served) -> None:
    head = f"POST /blobs HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAuthorization: Bearer {ALL}\r\n".encode()
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (SMALL, MIDDLE, b"x")) + b"0\r\n\r\n"
    stored = await exchange(gateway.port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
    assert stored.status == 201
    assert stored.json()["guid"] == content_of(SMALL + MIDDLE + b"x").md5
    refused = await exchange(gateway.port, head + b"\r\n")
    assert (refused.status, refused.kind) == (411, "length-required")
    bad = await gateway.ask("POST", "/blobs", SMALL, Content_Type="no media type")
    assert (bad.status, bad.kind) == (400, "malformed-content-type")


async def test_too_large_is_413_by_length_and_in_chunks(serve: Serve) -> None:
    gateway = await serve(max_blob_bytes=100_000, memory_bytes=1000)
    head = f"POST /blobs HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAuthorization: Bearer {ALL}\r\n".encode()
    by_length = await exchange(gateway.port, head + b"Content-Length: 100001\r\n\r\n")
    assert (by_length.status, by_length.kind) == (413, "too-large")
    chunks = b"".join(b"4000\r\n%b\r\n" % bytes(0x4000) for _ in range(8)) + b"0\r\n\r\n"
    in_chunks = await exchange(gateway.port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert (in_chunks.status, in_chunks.kind) == (413, "too-large")
    assert await gateway.nothing_left()
    assert (await gateway.ask("POST", "/blobs", bytes(100_000))).status == 201


async def test_request_ids(serve: Serve) -> None:
    gateway = await serve()
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    path = f"/blobs/{guid}"
    for method in ("GET", "GET", "HEAD", "DELETE", "DELETE"):  # hot, not hot, and a problem
        assert (await gateway.ask(method, path, X_Request_Id="build-42/7")).headers["x-request-id"] == "build-42/7"
    made = {(await gateway.ask("GET", path)).headers["x-request-id"] for _ in range(5)}
    assert len(made) == 5
    for bad in ("with space", "x" * 129, 'quote"', "<script>"):
        assert (await gateway.ask("GET", path, X_Request_Id=bad)).headers["x-request-id"] != bad


async def test_keep_alive_and_pipelining(serve: Serve) -> None:
    gateway = await serve()
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    get = f"GET /blobs/{guid} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {ALL}\r\n\r\n".encode()
    put = (
        f"PUT /blobs/{guid} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {ALL}\r\nContent-Length: {len(SMALL)}\r\n\r\n"
    )
    writer.write(get + put.encode() + SMALL + get + get)
    answers = [await read_answer(reader) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 200]
    assert [answers[n].body for n in (0, 2, 3)] == [SMALL] * 3
    writer.close()


async def test_the_probe_of_a_node_goes_through_the_primary_and_leaves_nothing(gateway: Served) -> None:
    body = b"probe" * 200
    assert (await gateway.ask("PUT", "/probes/node1", body, token=PROBE)).status == 204
    assert (await gateway.ask("GET", "/probes/node1", token=PROBE)).body.decode() == content_of(body).md5
    assert (await gateway.ask("PUT", "/probes/node1", bytes(100_000), token=PROBE)).kind == "too-large"
    assert (await gateway.ask("DELETE", "/probes/node1", token=PROBE)).status == 204
    assert (await gateway.ask("GET", "/probes/node1", token=PROBE)).status == 404
    assert await gateway.nothing_left()


SMUGGLED = [
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bContent-Length: 5, 5\r\n\r\n12345",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bContent-Length: +5\r\n\r\n12345",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bContent-Length: 0x5\r\n\r\n12345",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bContent-Length : 5\r\n\r\n12345",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST /blobs HTTP/1.1\nHost: t\n%bContent-Length: 5\n\n12345",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bX: a\nContent-Length: 5\r\n\r\n12345",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%b folded: x\r\nContent-Length: 5\r\n\r\n12345",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bTransfer-Encoding: chunked\r\n\r\n5\n12345\r\n0\r\n\r\n",
    b"POST /blobs HTTP/1.1\r\nHost: t\r\n%bTransfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("shape", SMUGGLED)
async def test_smuggling_shapes_are_refused_and_end_the_connection(serve: Serve, shape: bytes) -> None:
    gateway = await serve(limits=Limits(header_timeout_s=1.0, body_timeout_s=1.0))
    request = shape % f"Authorization: Bearer {ALL}\r\n".encode()
    second = b"DELETE /blobs/%b HTTP/1.1\r\nHost: t\r\n\r\n" % (b"0" * 32)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request + second)
    answer = await read_answer(reader)
    assert answer.status in (400, 501)
    assert answer.kind
    assert await reader.read() == b""  # the second request was never looked at
    writer.close()
    assert await gateway.nothing_left()
