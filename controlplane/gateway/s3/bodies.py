"""The body of a request as it is to be stored: decoded, its promises collected, its length known."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from controlplane.gateway.s3.call import Call
from controlplane.http import Request
from controlplane.ports.object_store import LocalFile
from controlplane.ports.spool import Spool
from controlplane.s3.authentication import Fields
from controlplane.s3.aws_chunked import decoder_of
from controlplane.s3.body_checksums import BodyHasher, Expected, expected_of
from controlplane.s3.fault import Code, S3Fault
from controlplane.services.s3.intake import HashThreads, Intake

SMALL_BYTES: Final = 1024 * 1024
"""Bodies up to this are read and proved before Riak CS is asked: they can be sent again."""
DOCUMENT_BYTES: Final = 2 * 1024 * 1024
_PIECE_BYTES: Final = 1024 * 1024

BeforeLast = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Incoming:
    """`expected` is what the headers promise; `intake` proves it."""

    expected: Expected
    intake: Intake

    @property
    def small(self) -> bool:
        return self.intake.length <= SMALL_BYTES


class Bodies:
    def __init__(self, threads: HashThreads, spool: Spool, max_bytes: int) -> None:
        self._threads = threads
        self._spool = spool
        self._max_bytes = max_bytes

    def open(
        self,
        call: Call,
        before_last: BeforeLast | None = None,
        promises: Fields | None = None,
        most: int | None = None,
    ) -> AbstractAsyncContextManager[Incoming]:
        """`promises`: the fields that speak of the body, where not all do. `most`: bytes, where less than an object's
        are enough. Raises S3Fault: a digest or a length that is malformed or too large."""
        request, payload = call.request, call.payload
        expected = expected_of(call.fields if promises is None else promises, payload)
        hasher = BodyHasher(expected)
        if payload.is_chunked:
            decoder = decoder_of(call.fields, payload, call.body_seed)
            length = self._checked(decoder.decoded_length)
            source = _source(request, length)
            return nullcontext(Incoming(expected, Intake(source, length, hasher, self._threads, decoder, before_last)))
        if request.has_body and request.content_length is None:
            return self._unmeasured(request.body, expected, hasher, before_last, most)
        length = self._checked(request.content_length or 0)
        source = _source(request, length)
        return nullcontext(Incoming(expected, Intake(source, length, hasher, self._threads, None, before_last)))

    @asynccontextmanager
    async def _unmeasured(
        self,
        body: AsyncIterator[bytes],
        expected: Expected,
        hasher: BodyHasher,
        before_last: BeforeLast | None,
        most: int | None,
    ) -> AsyncIterator[Incoming]:
        async with self.spooled(body, most) as (length, pieces):
            yield Incoming(expected, Intake(pieces, self._checked(length), hasher, self._threads, None, before_last))

    async def document(self, call: Call, most: int = DOCUMENT_BYTES, promises: Fields | None = None) -> bytes:
        """A small document, proved. Raises S3Fault: also when it is larger than `most`."""
        request = call.request
        if (request.content_length or 0) > most + 64 * 1024:
            raise S3Fault(Code.MAX_MESSAGE_LENGTH_EXCEEDED)
        async with self.open(call, promises=promises, most=most) as incoming:
            if incoming.intake.length > most:
                raise S3Fault(Code.MAX_MESSAGE_LENGTH_EXCEEDED)
            return await incoming.intake.whole()

    @asynccontextmanager
    async def spooled(
        self, source: AsyncIterator[bytes], most: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """A body whose length nobody knows: taken in first, then handed out. Raises StorageFull."""
        bound = self._max_bytes if most is None else most
        size = 0
        writer = self._spool.open()
        try:
            async for chunk in source:
                size += len(chunk)
                if size > bound:
                    raise S3Fault(Code.ENTITY_TOO_LARGE, extra=(("MaxSizeAllowed", str(bound)),))
                await writer.write(chunk)
            kept = await writer.finish()
        except BaseException:
            writer.discard()
            raise
        try:
            body = kept.body
            yield kept.content.size, _pieces_of(body)
        finally:
            kept.discard()

    def _checked(self, length: int) -> int:
        if length > self._max_bytes:
            raise S3Fault(
                Code.ENTITY_TOO_LARGE,
                extra=(("ProposedSize", str(length)), ("MaxSizeAllowed", str(self._max_bytes))),
            )
        return length

    def fresh(
        self,
        source: AsyncIterator[bytes],
        length: int,
        expected: Expected,
        before_last: BeforeLast | None = None,
    ) -> Incoming:
        """A body that comes from elsewhere than the request: a copy, or the file of a form."""
        hasher = BodyHasher(expected)
        return Incoming(expected, Intake(source, length, hasher, self._threads, None, before_last))


def _source(request: Request, length: int) -> AsyncIterator[bytes | memoryview]:
    """Only what is sent on as it comes may come in memory that is used again."""
    return request.body.in_blocks() if length > SMALL_BYTES else request.body


async def _pieces_of(body: bytes | LocalFile) -> AsyncGenerator[bytes, None]:
    if isinstance(body, bytes):
        yield body
        return
    # From the page cache, where it was just written: reading inline is cheaper than a thread.
    fd = os.open(body.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := os.read(fd, _PIECE_BYTES):
            yield piece
    finally:
        os.close(fd)
