"""A faulty S3 server and a store over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest

from controlplane.adapters.s3 import S3ObjectStore
from controlplane.model.keys import StoreName
from tests.integration.s3.faulty_server import FaultyS3, faulty_s3
from tests.integration.s3.faulty_store import ImpatientClock, options_for


@pytest.fixture
async def server() -> AsyncIterator[FaultyS3]:
    async with faulty_s3() as server:
        yield server


@pytest.fixture
def clock() -> ImpatientClock:
    return ImpatientClock()


@pytest.fixture
async def store(server: FaultyS3, clock: ImpatientClock) -> AsyncIterator[S3ObjectStore]:
    store = S3ObjectStore(StoreName("s3"), options_for(server.url), clock, Random(7))
    yield store
    await store.aclose()
