"""Large bodies go up in parts, are visible only when verified, and leave nothing behind when something fails."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from controlplane.adapters.s3 import S3ObjectStore
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Conflict, Corrupt, Rejected, Unavailable
from controlplane.ports.object_store import Body, LocalFile
from controlplane.s3.etag import multipart_etag
from tests.integration.s3.faulty_server import Fault, FaultyS3, error
from tests.integration.s3.faulty_store import PART, ImpatientClock, options_for
from tests.integration.s3.test_faults import content_of, read, stream

K = Key("k")
DATA = os.urandom(3 * PART + 1234)
CONTENT = content_of(DATA)


def body_of(kind: str, folder: Path, data: bytes = DATA) -> Body:
    if kind == "stream":
        return stream(data)
    (folder / "body").write_bytes(data)
    content = content_of(data) if kind == "verified file" else None
    return LocalFile(folder / "body", len(data), verified=content)


KINDS = ["stream", "file", "verified file"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("concurrency", [1, 2, 4])
async def test_parts_make_the_whole(server: FaultyS3, tmp_path: Path, kind: str, concurrency: int) -> None:
    store = S3ObjectStore(
        StoreName("s3"), options_for(server.url, part_concurrency=concurrency), ImpatientClock(), Random(1)
    )
    info = await store.put(K, body_of(kind, tmp_path), content=CONTENT, content_type="a/b", metadata={"m": "1"})
    assert server.objects["k"][0] == DATA
    head = await store.head(K)
    for found in (info, head):
        assert (found.size, found.content, found.content_type) == (len(DATA), CONTENT, "a/b")
        assert dict(found.metadata) == {"m": "1"}
    assert info.etag == head.etag
    parts = [content_of(DATA[at : at + PART]).md5 for at in range(0, len(DATA), PART)]
    assert info.etag == multipart_etag([bytes.fromhex(part) for part in parts])
    await store.aclose()


PART_FAULTS = {
    "part 503": Fault(method="PUT", query="partNumber", skip=1, status=503, body=error("SlowDown")),
    "part reset": Fault(method="PUT", query="partNumber", skip=2, reset="before"),
    "part reset after": Fault(method="PUT", query="partNumber", reset="after"),
    "part silent": Fault(method="PUT", query="partNumber", skip=1, stall="head"),
    "begin 500": Fault(method="POST", query="uploads", status=500),
    "begin lost": Fault(method="POST", query="uploads", reset="after"),
    "complete 500": Fault(method="POST", query="uploadId", status=500),
    "complete lost": Fault(method="POST", query="uploadId", reset="after"),
    "complete fails under 200": Fault(method="POST", query="uploadId", status=200, body=error("InternalError")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", PART_FAULTS.values(), ids=PART_FAULTS.keys())
async def test_one_fault_costs_one_request(
    server: FaultyS3, store: S3ObjectStore, tmp_path: Path, kind: str, fault: Fault
) -> None:
    server.faults = [Fault(**vars(fault))]
    info = await store.put(K, body_of(kind, tmp_path), content=CONTENT)
    assert server.faults == []
    assert server.objects["k"][0] == DATA
    assert info.etag == (await store.head(K)).etag
    assert len(server.seen) <= 2 + 4 + 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("query", ["uploads", "partNumber", "uploadId"])
async def test_lasting_faults_leave_nothing(
    server: FaultyS3, store: S3ObjectStore, tmp_path: Path, kind: str, query: str
) -> None:
    server.objects["k"] = (b"old", {})
    method = "PUT" if query == "partNumber" else "POST"
    server.faults = [Fault(method=method, query=query, status=503) for _ in range(40)]
    with pytest.raises(Unavailable):
        await store.put(K, body_of(kind, tmp_path), content=CONTENT)
    assert server.objects["k"][0] == b"old"
    assert server.uploads == {}
    assert len(server.aborted) == (query != "uploads")


@pytest.mark.parametrize("kind", ["stream", "file"])
async def test_wrong_digests_are_found_before_the_object_is_visible(
    server: FaultyS3, store: S3ObjectStore, tmp_path: Path, kind: str
) -> None:
    server.objects["k"] = (b"old", {})
    for wrong in (
        replace(CONTENT, sha256=content_of(b"").sha256),
        replace(CONTENT, md5=content_of(b"").md5),
        replace(CONTENT, size=CONTENT.size + 1),
    ):
        with pytest.raises(Corrupt):
            await store.put(K, body_of(kind, tmp_path), content=wrong)
    assert not any("uploadId" in seen.query and seen.method == "POST" for seen in server.seen)
    assert server.objects["k"][0] == b"old"
    assert server.uploads == {}


@pytest.mark.parametrize("kind", ["stream", "file"])
async def test_a_single_put_never_gets_its_last_byte_when_the_digests_differ(
    server: FaultyS3, tmp_path: Path, kind: str
) -> None:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url, part_bytes=8 * PART), ImpatientClock(), Random(1))
    server.objects["k"] = (b"old", {})
    with pytest.raises(Corrupt):
        await store.put(K, body_of(kind, tmp_path), content=replace(CONTENT, sha256=content_of(b"").sha256))
    assert server.bodies_begun == 1
    assert server.seen == []
    assert server.objects["k"][0] == b"old"
    await store.put(K, body_of(kind, tmp_path), content=CONTENT)
    assert server.objects["k"][0] == DATA
    await store.aclose()


async def test_a_part_that_arrives_damaged_is_not_completed(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(method="PUT", query="partNumber", skip=1, headers={"ETag": f'"{"0" * 32}"'})]
    with pytest.raises(Corrupt, match="part 2"):
        await store.put(K, stream(DATA))
    assert server.objects == {}
    assert server.uploads == {}


async def test_an_object_that_arrives_damaged_is_taken_back(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [
        Fault(method="PUT", headers={"ETag": f'"{"0" * 32}"'}),
        Fault(method="HEAD", headers={"ETag": f'"{"0" * 32}"'}),
    ]
    with pytest.raises(Corrupt, match="it was removed"):
        await store.put(K, b"data")
    assert server.objects == {}


async def test_a_damaged_object_that_was_replaced_meanwhile_stays(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(method="PUT", headers={"ETag": f'"{"0" * 32}"'})]
    with pytest.raises(Corrupt):
        await store.put(K, b"data")
    assert server.objects["k"][0] == b"data"


async def test_an_etag_that_is_no_md5_is_not_compared(server: FaultyS3, store: S3ObjectStore) -> None:
    kms = {"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"}
    server.faults = [Fault(method="PUT", headers=kms)]
    assert (await store.put(K, b"data", content=content_of(b"data"))).etag == "0" * 32
    server.faults = [Fault(method="PUT", headers={"ETag": '"opaque"'})]
    assert (await store.put(K, b"data")).etag == "opaque"


async def test_a_clean_up_that_fails_is_told(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(method="PUT", query="partNumber", status=403, body=error("AccessDenied"))]
    server.faults += [Fault(method="DELETE", status=503) for _ in range(9)]
    with pytest.raises(Rejected, match=r"AccessDenied.*upload-1 could not be removed.*lifecycle rule"):
        await store.put(K, stream(DATA))


async def test_a_cancelled_upload_is_aborted(server: FaultyS3, store: S3ObjectStore) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100_000
        reached.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(store.put(K, endless()))
    await reached.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert server.objects == {}
    assert server.uploads == {}
    assert server.aborted == ["upload-1"]


async def test_a_stream_that_raises_keeps_its_error_and_leaves_no_parts(server: FaultyS3, store: S3ObjectStore) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100_000
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError, match="the client went away"):
        await store.put(K, breaking())
    assert server.objects == {}
    assert server.uploads == {}


async def test_if_absent_with_parts_is_conditional_to_the_end(server: FaultyS3, store: S3ObjectStore) -> None:
    await store.put(K, stream(DATA), if_absent=True)
    completion = next(seen for seen in server.seen if "uploadId" in seen.query and seen.method == "POST")
    assert completion.headers["if-none-match"] == "*"
    before = len(server.seen)
    with pytest.raises(Conflict):
        await store.put(K, stream(DATA), if_absent=True)
    assert [seen.method for seen in server.seen[before:]] == ["HEAD"]


async def test_if_absent_loses_against_a_writer_who_was_faster(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(method="POST", query="uploadId", status=412, body=error("PreconditionFailed"))]
    with pytest.raises(Conflict):
        await store.put(K, stream(DATA), if_absent=True)
    assert server.uploads == {}


@pytest.mark.parametrize("large", [False, True])
async def test_without_conditions_if_absent_looks_first(server: FaultyS3, large: bool) -> None:
    options = options_for(server.url, conditional_put=False)
    store = S3ObjectStore(StoreName("s3"), options, ImpatientClock(), Random(1))
    data = DATA if large else b"x"
    await store.put(K, stream(data), size=len(data), if_absent=True)
    with pytest.raises(Conflict):
        await store.put(K, stream(data), size=len(data), if_absent=True)
    assert not any("if-none-match" in seen.headers for seen in server.seen)
    await store.aclose()


async def test_memory_is_bounded_by_the_parts(server: FaultyS3, tmp_path: Path) -> None:
    """The server forgets what it gets, so that what is measured is the client's."""
    store = S3ObjectStore(StoreName("s3"), options_for(server.url), ImpatientClock(), Random(1))
    server.forget_parts = True
    piece = os.urandom(64 * 1024)

    async def long() -> AsyncIterator[bytes]:
        for _ in range(640):
            yield piece

    tracemalloc.start()
    try:
        with pytest.raises(Corrupt):
            await store.put(K, long(), content=replace(CONTENT, size=640 * len(piece)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Two parts of this side, what the server (here, too) holds of two requests twice over, and the pieces in buffers.
    assert peak < 9 * PART
    await store.aclose()


async def test_a_file_that_changes_is_corrupt(server: FaultyS3, store: S3ObjectStore, tmp_path: Path) -> None:
    for size in (10, PART + 10, 3 * PART):
        (tmp_path / "short").write_bytes(b"x" * (size - 1))
        with pytest.raises(Corrupt):
            await store.put(K, LocalFile(tmp_path / "short", size))
    with pytest.raises(Rejected):
        await store.put(K, LocalFile(tmp_path / "missing", 10))
    assert server.objects == {}
    assert server.uploads == {}


async def test_digests_and_content_md5_go_with_what_is_known(server: FaultyS3, store: S3ObjectStore) -> None:
    await store.put(K, b"data", content=content_of(b"data"))
    sent = server.seen[-1].headers
    assert sent["content-md5"] == "jXd/OF09/siBXSD3SWAm3A=="
    assert sent["x-amz-content-sha256"] == content_of(b"data").sha256
    assert sent["x-amz-meta-millrace-sha256"] == content_of(b"data").sha256
    unknown = b"y" * (PART - 1)
    await store.put(K, stream(unknown))
    assert server.seen[-1].headers["x-amz-content-sha256"] == content_of(unknown).sha256
    assert (await read(store)) == unknown
