"""The library's clients of one account over one pool of connections, made when first used."""

from __future__ import annotations

import ssl
from typing import Final

import aiohttp
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobClient, ContainerClient, ExponentialRetry

from controlplane.adapters.azure.options import AzureOptions

READ_BYTES: Final = 2 * 1024 * 1024
"""A reader asks for so much at a time. The service gives the MD5 of ranges up to 4 MiB."""


class AzureClient:
    """Not safe for several event loops."""

    def __init__(self, options: AzureOptions) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._containers: dict[str, ContainerClient] = {}

    def container(self, name: str) -> ContainerClient:
        known = self._containers.get(name)
        if known is None:
            known = self._containers[name] = self._container(name)
        return known

    def blob(self, container: str, name: str) -> BlobClient:
        return self.container(container).get_blob_client(name)

    async def aclose(self) -> None:
        session, self._session = self._session, None
        self._containers.clear()
        if session is not None:
            await session.close()

    def _container(self, name: str) -> ContainerClient:
        options = self._options
        credential: AzureNamedKeyCredential | AzureSasCredential | None = None
        if options.account_key:
            credential = AzureNamedKeyCredential(options.account, options.account_key)
        elif options.sas_token:
            credential = AzureSasCredential(options.sas_token.removeprefix("?"))
        transport: AioHttpTransport = AioHttpTransport(session=self._opened(), session_owner=False)
        return ContainerClient(
            options.endpoint,
            name,
            credential,
            transport=transport,
            retry_policy=ExponentialRetry(
                initial_backoff=0, increment_base=2, retry_total=options.attempts - 1, random_jitter_range=1
            ),
            connection_timeout=options.connect_timeout_s,
            read_timeout=options.read_timeout_s,
            max_single_get_size=READ_BYTES,
            max_chunk_get_size=READ_BYTES,
            max_single_put_size=options.part_bytes,
            max_block_size=options.part_bytes,
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = ssl.create_default_context(cafile=self._options.ca_file)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._options.connections, ssl=tls),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
