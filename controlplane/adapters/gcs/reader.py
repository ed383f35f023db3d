"""An open object: read piece by piece, all of one generation, and compared with the CRC32C that the service gives."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import google_crc32c
from google.cloud.storage import Blob

from controlplane.adapters.gcs.client import GcsClient
from controlplane.ports.errors import Corrupt, NotFound, Unavailable
from controlplane.ports.object_store import ObjectInfo

READ_BYTES: Final = 2 * 1024 * 1024


class GcsReader:
    """Implements ports.object_store.ObjectReader. Between pieces neither a connection nor a thread is held. When the
    object is removed or replaced meanwhile, iteration raises Unavailable; Corrupt when the whole has another CRC32C."""

    __slots__ = ("_at", "_blob", "_checksum", "_client", "_end", "_expected", "_what", "info", "length")

    file: tuple[int, int] | None = None

    def __init__(
        self, client: GcsClient, what: str, blob: Blob, crc32c: str | None, info: ObjectInfo, first: int, length: int
    ) -> None:
        """`blob` has the generation to read. `crc32c`: of the whole, base64; None: it is not compared."""
        self._client = client
        self._what = what
        self._blob = blob
        self._at = first
        self._end = first + length
        self._expected = crc32c if length == info.size else None
        self._checksum = google_crc32c.Checksum()
        self.info = info
        self.length = length

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= self._end:
            raise StopAsyncIteration
        last = min(self._at + READ_BYTES, self._end) - 1
        read = partial(
            self._blob.download_as_bytes,
            start=self._at,
            end=last,
            raw_download=True,
            checksum=None,
            timeout=self._client.timeout,
            retry=self._client.retry(),
        )
        try:
            data: bytes = await self._client.ask(self._what, read)
        except NotFound as error:
            raise Unavailable(f"{self._what}: the object was removed or replaced while it was read", 0.0) from error
        if len(data) != last - self._at + 1:
            raise Unavailable(f"{self._what}: {len(data)} bytes came instead of {last - self._at + 1}")
        self._at = last + 1
        if self._expected is not None:
            self._checksum.update(data)
            if self._at >= self._end:
                self._compare(self._expected)
        return data

    def _compare(self, expected: str) -> None:
        """Before the last piece is handed out."""
        found = base64.b64encode(self._checksum.digest()).decode()
        if found != expected:
            raise Corrupt(f"{self._what}: the bytes that came have CRC32C {found}, the service says {expected}")

    async def aclose(self) -> None:
        """What was asked for has arrived whole: nothing is under way."""
        self._at = self._end
