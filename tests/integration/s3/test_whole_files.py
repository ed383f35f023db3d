"""Files whose digests are known go up in one request, by sendfile: whole or not at all; no descriptor stays open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest
import uvloop

from controlplane.adapters.s3 import S3ObjectStore
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Corrupt, Rejected, Unavailable
from controlplane.ports.object_store import LocalFile
from tests.integration.s3.faulty_server import Fault, FaultyS3, error
from tests.integration.s3.faulty_store import PART, ImpatientClock, options_for
from tests.integration.s3.test_faults import content_of

K = Key("k")
DATA = os.urandom(12 * PART + 1234)
"""More than the sockets' buffers hold."""
CONTENT = content_of(DATA)


@pytest.fixture
def file(tmp_path: Path) -> LocalFile:
    (tmp_path / "body").write_bytes(DATA)
    return LocalFile(tmp_path / "body", len(DATA), verified=CONTENT)


@pytest.fixture
async def store(server: FaultyS3) -> AsyncIterator[S3ObjectStore]:
    options = options_for(server.url, whole_bytes=len(DATA))
    store = S3ObjectStore(StoreName("s3"), options, ImpatientClock(), Random(1))
    yield store
    await store.aclose()


@pytest.fixture(autouse=True)
def nothing_stays_open(tmp_path: Path) -> Iterator[None]:
    yield
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # that of the listing itself
            continue
    assert not [link for link in links if link.startswith(str(tmp_path))]


async def test_it_is_one_request_and_its_etag_the_md5(server: FaultyS3, store: S3ObjectStore, file: LocalFile) -> None:
    info = await store.put(K, file, content=CONTENT, content_type="a/b", metadata={"m": "1"})
    assert server.objects["k"][0] == DATA
    assert [seen.method for seen in server.seen] == ["PUT"]
    assert info.etag == CONTENT.md5
    assert server.seen[0].headers["x-amz-content-sha256"] == CONTENT.sha256
    assert (await store.head(K)).content == CONTENT


def test_the_same_on_the_loop_that_the_agent_runs_on(file: LocalFile) -> None:
    async def put() -> None:
        server = FaultyS3()
        await server.start()
        store = S3ObjectStore(
            StoreName("s3"), options_for(server.url, whole_bytes=len(DATA)), ImpatientClock(), Random(1)
        )
        server.faults = [Fault(reset="on head")]
        await store.put(K, file, content=CONTENT)
        assert server.objects["k"][0] == DATA
        await store.aclose()
        await server.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(put())


FAULTS = {
    "503": Fault(status=503, body=error("SlowDown")),
    "503 before the body": Fault(status=503, body=error("SlowDown"), early=True),
    "reset on head": Fault(reset="on head"),
    "reset before": Fault(reset="before"),
    "reset after": Fault(reset="after"),
    "no answer": Fault(stall="head"),
    "takes nothing": Fault(early=True, stall="head"),
    "garbage": Fault(early=True, raw=b"SSH-2.0-OpenSSH_9.2\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_it_outlasts_a_fault(server: FaultyS3, store: S3ObjectStore, file: LocalFile, fault: Fault) -> None:
    server.faults = [Fault(**vars(fault))]
    assert (await store.put(K, file, content=CONTENT)).etag == CONTENT.md5
    assert server.objects["k"][0] == DATA
    assert server.faults == []


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_lasting_fault_is_an_outage(
    server: FaultyS3, store: S3ObjectStore, file: LocalFile, fault: Fault
) -> None:
    server.faults = [Fault(**vars(fault)) for _ in range(20)]
    with pytest.raises(Unavailable):
        await store.put(K, file, content=CONTENT)


async def test_a_success_that_comes_before_the_body_was_taken_is_none(
    server: FaultyS3, store: S3ObjectStore, file: LocalFile
) -> None:
    server.faults = [Fault(status=200, headers={"ETag": f'"{CONTENT.md5}"'}, early=True) for _ in range(20)]
    with pytest.raises(Unavailable):
        await store.put(K, file, content=CONTENT)


async def test_a_refusal_before_the_body_was_taken_ends_it(
    server: FaultyS3, store: S3ObjectStore, file: LocalFile
) -> None:
    server.faults = [Fault(status=403, body=error("AccessDenied"), early=True)]
    # The reset may overtake the refusal: then it is sent again.
    try:
        await store.put(K, file, content=CONTENT)
    except Rejected:
        assert "k" not in server.objects
    else:
        assert server.objects["k"][0] == DATA


async def test_a_file_that_is_shorter_or_missing_leaves_nothing(
    server: FaultyS3, store: S3ObjectStore, file: LocalFile
) -> None:
    os.truncate(file.path, len(DATA) - 1)
    with pytest.raises(Corrupt):
        await store.put(K, file, content=CONTENT)
    file.path.unlink()
    with pytest.raises(Rejected):
        await store.put(K, file, content=CONTENT)
    assert server.objects == {}
    await store.put(K, b"x")  # the connections are sound


async def test_a_file_that_shrinks_while_it_is_sent_is_never_taken_for_whole(
    server: FaultyS3, store: S3ObjectStore, file: LocalFile
) -> None:
    server.faults = [Fault(early=True, stall="head") for _ in range(20)]
    putting = asyncio.ensure_future(store.put(K, file, content=CONTENT))
    while not server.seen:
        await asyncio.sleep(0.01)
    os.truncate(file.path, 100)
    with pytest.raises((Unavailable, Corrupt)):
        await putting
    assert server.objects == {}


async def test_cancelled_while_it_is_sent(server: FaultyS3, store: S3ObjectStore, file: LocalFile) -> None:
    server.faults = [Fault(early=True, stall="head")]
    putting = asyncio.ensure_future(store.put(K, file, content=CONTENT))
    while not server.seen:
        await asyncio.sleep(0.01)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await store.put(K, b"x")
    assert server.objects["k"][0] == b"x"


async def test_what_was_not_digested_goes_up_in_parts(server: FaultyS3, store: S3ObjectStore, file: LocalFile) -> None:
    await store.put(K, LocalFile(file.path, file.size), content=CONTENT)
    assert server.objects["k"][0] == DATA
    assert any("partNumber" in seen.query for seen in server.seen)
