"""An open blob: read range by range, each compared with the MD5 that the service gives of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from azure.storage.blob.aio import StorageStreamDownloader

from controlplane.adapters.azure.failures import translated
from controlplane.ports.errors import Conflict, NotFound, Unavailable
from controlplane.ports.object_store import ObjectInfo


class AzureReader:
    """Implements ports.object_store.ObjectReader. All ranges are of one version: when the blob is replaced meanwhile,
    iteration raises Unavailable. Between ranges no connection is held."""

    __slots__ = ("_chunks", "_left", "_what", "info", "length")

    file: tuple[int, int] | None = None

    def __init__(
        self, what: str, info: ObjectInfo, length: int, download: StorageStreamDownloader[bytes] | None
    ) -> None:
        """`download`: None for no bytes at all."""
        self._what = what
        self._chunks = None if download is None else download.chunks()
        self._left = length
        self.info = info
        self.length = length

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._next()
        self._left -= len(chunk)
        if chunk and self._left >= 0:
            return chunk
        if self._left:
            raise Unavailable(f"{self._what}: the body is not {self.length} bytes long")
        raise StopAsyncIteration

    async def _next(self) -> bytes:
        if self._chunks is None or not self._left:
            return b""
        try:
            with translated(self._what):
                return bytes(await anext(self._chunks))
        except StopAsyncIteration:
            return b""
        except (NotFound, Conflict) as error:
            raise Unavailable(f"{self._what}: the blob was removed or replaced while it was read", 0.0) from error

    async def aclose(self) -> None:
        """What was asked for has arrived whole: nothing is under way."""
        self._chunks = None
        self._left = 0
