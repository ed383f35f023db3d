"""The clouds' servers, behind a proxy that does to requests what tests want, and stores over it."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import pytest

from controlplane.adapters.azure import AzureBlobStore, AzureOptions
from controlplane.adapters.gcs import GcsOptions, GcsStore
from controlplane.model.keys import StoreName
from tests.integration.clouds.faulty_proxy import FaultyProxy
from tests.support.cloud_servers import ACCOUNT, ACCOUNT_KEY, CloudServer, azurite_server, gcs_server

CloudStore: TypeAlias = AzureBlobStore | GcsStore
_numbers = itertools.count(1)
PART = 1024 * 1024


@dataclass
class Cloud:
    """A store with one try a request, over a proxy, and how that cloud says what went wrong."""

    kind: str
    store: CloudStore
    proxy: FaultyProxy

    def refusal(self, code: str, message: str) -> tuple[dict[str, str], bytes]:
        """Headers and body of an error, as the service's documentation has them."""
        if self.kind == "azure":
            text = (
                f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
            )
            return {"x-ms-error-code": code, "content-type": "application/xml"}, text.encode()
        said = {"error": {"code": 0, "message": message, "errors": [{"domain": "global", "reason": code}]}}
        return {"content-type": "application/json; charset=UTF-8"}, json.dumps(said).encode()

    def patient(self) -> CloudStore:
        """Another store over the same, which tries three times."""
        return made(self.kind, self.proxy.url, self.store.bucket, attempts=3)


def made(kind: str, url: str, bucket: str, *, attempts: int = 1) -> CloudStore:
    if kind == "azure":
        options = AzureOptions(f"{url}/{ACCOUNT}", bucket, "pre/", ACCOUNT, ACCOUNT_KEY, part_bytes=PART)
        # One block at a time: of several under way, a fault meant for a later request could hit one.
        options = replace(options, attempts=attempts, read_timeout_s=20.0, part_concurrency=1)
        return AzureBlobStore(StoreName("azure"), options)
    google = GcsOptions(url, bucket, "pre/", project="test", part_bytes=PART, attempts=attempts, read_timeout_s=20.0)
    return GcsStore(StoreName("gcs"), google)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CloudServer]]:
    folder = tmp_path_factory.mktemp("clouds")
    with azurite_server(folder) as azure, gcs_server(folder) as gcs:
        yield {"azure": azure, "gcs": gcs}


@pytest.fixture(params=["azure", "gcs"])
async def cloud(request: pytest.FixtureRequest, servers: dict[str, CloudServer]) -> AsyncIterator[Cloud]:
    kind: str = request.param
    async with FaultyProxy(servers[kind].url) as proxy:
        store = made(kind, proxy.url, f"faults-{next(_numbers)}")
        await store.create_bucket()
        yield Cloud(kind, store, proxy)
        await store.aclose()
