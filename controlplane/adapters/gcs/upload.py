"""How a body becomes an object: in one request, or piece by piece into an upload that the last piece completes."""

from __future__ import annotations

import asyncio
import base64
import io
from concurrent.futures import CancelledError, Future
from typing import Any, Final

from google.cloud.storage import Blob

from controlplane.adapters.gcs.client import GcsClient
from controlplane.adapters.gcs.objects import etag_of
from controlplane.adapters.parted_body import PartedBody
from controlplane.ports.errors import Corrupt, MillraceError

WHOLE_BYTES: Final = 8 * 1024 * 1024
"""What the library sends in one request when its size is known."""


async def put_body(
    client: GcsClient, what: str, blob: Blob, content_type: str, body: PartedBody, *, generation: int | None
) -> None:
    """`generation`: that of the object that must be there, 0: none may be; None: whatever is. Nothing is visible
    before the last piece is there, and that is sent only after the whole was verified. The service compares the MD5
    where it is known in advance, and refuses another; in any case the MD5 that it answers is compared here, and what
    is wrong is removed: what that replaced is lost."""
    first = await body.next()
    options: dict[str, Any] = {
        "content_type": content_type,
        "timeout": client.timeout,
        # A second try of a conditional put would find the first one's object.
        "retry": client.retry() if generation is None else client.once(),
        "if_generation_match": generation,
    }
    if body.last and len(first) <= WHOLE_BYTES:
        whole = body.found()
        blob.md5_hash = base64.b64encode(bytes.fromhex(whole.md5)).decode()
        await client.ask(
            what, lambda: blob.upload_from_file(io.BytesIO(first), size=len(first), checksum=None, **options)
        )
        await _compare(client, what, blob, whole.md5)
        return
    if body.content is not None:
        blob.md5_hash = base64.b64encode(bytes.fromhex(body.content.md5)).decode()
    blob.chunk_size = client.options.part_bytes
    # Of a size that fits into one request the library would read all at once.
    size = None if body.size is None or body.size <= WHOLE_BYTES else body.size
    pieces = _Pieces(body, first, asyncio.get_running_loop())
    try:
        await client.upload(
            what, lambda: blob.upload_from_file(pieces, size=size, checksum=None, **options), pieces.stop
        )
    except BaseException:
        if pieces.failed is not None:
            raise pieces.failed from None
        raise
    await _compare(client, what, blob, body.found().md5)


async def _compare(client: GcsClient, what: str, blob: Blob, sent: str) -> None:
    """With what the service says of the object; one that is wrong is removed, that very generation."""
    if etag_of(blob) == sent:
        return
    error = Corrupt(f"{what}: the object has MD5 {etag_of(blob)}, sent was {sent}; it was removed")
    remove = blob.bucket.blob(blob.name)
    try:
        await client.ask(
            what,
            lambda: remove.delete(if_generation_match=blob.generation, timeout=client.timeout, retry=client.retry()),
        )
    except MillraceError as failed:
        error.add_note(f"it could not be removed and must be deleted by hand: {failed}")
    raise error


class _Stopped(Exception):
    """The caller wants no more of this upload."""


class _Pieces(io.RawIOBase):
    """The body as a file that a thread reads, piece by piece, while the loop makes the pieces."""

    def __init__(self, body: PartedBody, first: bytearray, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._body = body
        self._next: bytearray | None = first
        self._loop = loop
        self._waiting: Future[bytearray] | None = None
        self._stopped = False
        self._at = 0
        self.failed: BaseException | None = None
        """What making a piece raised: the caller's own error, to be raised as it is."""

    def stop(self) -> None:
        """From the loop: the thread gets no more pieces."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """One piece; the library asks for as much as a piece has, but for the last."""
        if self._stopped:
            raise _Stopped
        if self._next is None:
            if self._body.last:
                return b""
            self._waiting = asyncio.run_coroutine_threadsafe(self._body.next(), self._loop)
            try:
                self._next = self._waiting.result()
            except CancelledError:
                raise _Stopped from None
            except BaseException as error:
                self.failed = error
                raise
        piece = bytes(self._next)
        if 0 <= size < len(piece):
            raise AssertionError(f"a piece of {len(piece)} bytes cannot be read as {size}")
        self._next = None
        self._at += len(piece)
        return piece
