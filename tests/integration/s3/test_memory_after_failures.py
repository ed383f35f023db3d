"""What failed is let go of at once: an agent with little to do may not collect garbage for hours."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any

import pytest

from controlplane.adapters.s3 import S3ObjectStore
from controlplane.adapters.s3.client import Request
from controlplane.adapters.s3.connection import Connection
from controlplane.adapters.s3.upload import Draft
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import MillraceError
from tests.integration.s3.faulty_server import Fault, FaultyS3, error
from tests.integration.s3.faulty_store import ImpatientClock, options_for

K = Key("k")
BODY = bytes(1_000_000)
FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500, "body": error("InternalError")},
    "503": {"status": 503, "body": error("SlowDown")},
    "503 before the body": {"status": 503, "body": error("SlowDown"), "early": True},
    "a proxy's 502": {"status": 502, "body": b"<html>"},
    "403": {"status": 403, "body": error("AccessDenied")},
    "412": {"status": 412, "body": error("PreconditionFailed")},
    "no HTTP": {"raw": b"220 ready\r\n\r\n"},
    "reset": {"reset": "before"},
    "reset on its head": {"reset": "on head"},
    "silence": {"stall": "head"},
}
FAULTS_IN_BODIES: dict[str, dict[str, Any]] = {
    "chunks that break off": {"raw": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"},
    "cut": {"cut_at": 300_000},
    "cut at once": {"cut_at": 0},
    "silence": {"stall": "body"},
}
CASES = [
    *((what, name, fault) for what in ("put", "put if absent", "delete", "head") for name, fault in FAULTS.items()),
    *(("get", name, fault) for name, fault in [*FAULTS.items(), *FAULTS_IN_BODIES.items()]),
]


@pytest.fixture
def nobody_collects() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
async def store(server: FaultyS3) -> AsyncIterator[S3ObjectStore]:
    """Of one attempt."""
    options = options_for(server.url, attempts=1, part_bytes=16 << 20, read_timeout_s=0.1)
    store = S3ObjectStore(StoreName("s3"), options, ImpatientClock(), Random(7))
    yield store
    await store.aclose()


def held() -> Counter[type]:
    return Counter(map(type, gc.get_objects()))


async def ask(store: S3ObjectStore, what: str) -> None:
    match what:
        case "put":
            await store.put(K, BODY)
        case "put if absent":
            await store.put(K, BODY, if_absent=True)
        case "delete":
            await store.delete(K, if_match="e")
        case "head":
            await store.head(K)
        case _:
            reader = await store.get(K)
            try:
                async for _ in reader.in_blocks():
                    pass
            finally:
                await reader.aclose()


@pytest.mark.parametrize(("what", "fault"), [pytest.param(c[0], c[2], id=f"{c[0]}, {c[1]}") for c in CASES])
@pytest.mark.usefixtures("nobody_collects")
async def test_a_failure_keeps_neither_body_nor_connection(
    server: FaultyS3, store: S3ObjectStore, what: str, fault: dict[str, Any]
) -> None:
    server.objects["k"] = (BODY, {})
    before = held()
    for _ in range(3):
        server.faults = [Fault(**fault), Fault(**fault)]
        with pytest.raises(MillraceError):
            await ask(store, what)
    await asyncio.sleep(0.02)
    left = held() - before
    assert (left[Request], left[Draft]) == (0, 0)
    assert left[Connection] <= 1  # one may be kept to be used again


@pytest.mark.usefixtures("nobody_collects")
async def test_what_came_and_was_not_read_goes_with_the_connection(server: FaultyS3) -> None:
    """Up to 512 KiB of each body wait for who reads it: a target that refuses large objects early leaves that many."""
    store = S3ObjectStore(StoreName("s3"), options_for(server.url), ImpatientClock(), Random(7))
    server.objects["k"] = (bytes(4_000_000), {})
    reader = await store.get(K)
    (connection,) = (each for each in gc.get_objects() if type(each) is Connection)
    async with asyncio.timeout(10):
        while connection._unread < 300_000:
            await asyncio.sleep(0.01)
    await reader.aclose()
    assert not connection._chunks
    with pytest.raises(MillraceError):
        await anext(aiter(reader))
    await store.aclose()
