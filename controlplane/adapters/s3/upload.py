"""How a body becomes an object: which way it goes up, and what is checked before and after it is visible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import md5
from typing import Final

from controlplane.adapters.s3.client import Answer, Chunks, Request, S3Client
from controlplane.adapters.s3.digests import Digests, content_md5, difference, digest
from controlplane.adapters.s3.failures import Failure, error_of
from controlplane.adapters.s3.metadata import MalformedAnswer, etag_is_md5, modified_at
from controlplane.adapters.s3.multipart import MOST_PARTS, MultipartUpload, VisibleButWrong
from controlplane.adapters.s3.options import S3Options
from controlplane.adapters.s3.sources import (
    FilePart,
    PartSource,
    ProvedFile,
    counted,
    file_pieces,
    held_back,
    read_file,
    verify,
)
from controlplane.adapters.s3.write_conditions import WriteConditions
from controlplane.model.content import Content
from controlplane.model.keys import Key
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, MillraceError, NotFound, Unavailable
from controlplane.ports.object_store import Body, LocalFile, ObjectInfo
from controlplane.s3.etag import is_md5, unquote_etag
from controlplane.s3.sigv4 import UNSIGNED_PAYLOAD

SMALL_BYTES: Final = 1024 * 1024
"""Files and streams up to this size are read into memory first: verified before anything is sent, and repeatable."""
_MAX_ANSWER_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Draft:
    """What is to be stored, but for its body."""

    key: Key
    full_key: str
    headers: dict[str, str]
    content: Content | None
    content_type: str
    metadata: Mapping[str, str]
    if_absent: bool
    if_match: str | None = None


class Uploads:
    def __init__(
        self,
        client: S3Client,
        options: S3Options,
        clock: Clock,
        conditions: WriteConditions,
        head: Callable[[Key], Awaitable[ObjectInfo]],
    ) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._conditions = conditions
        self._head = head

    async def put(self, draft: Draft, body: Body, size: int | None) -> ObjectInfo:
        """`size` is what the body must have; None: unknown."""
        large = size is None or size > self._options.part_bytes
        if draft.if_absent and (not self._conditions.are_sent or (large and not isinstance(body, bytes))):
            # With conditions, too: better to learn it before gigabytes went up.
            await self._refuse_if_there(draft)
        if isinstance(body, bytes):
            return await self._put_bytes(draft, body, size)
        if isinstance(body, LocalFile):
            return await self._put_file(draft, body)
        if size is not None and size <= SMALL_BYTES:
            whole = bytearray()
            async for chunk in counted(body, Digests(), size):
                whole += chunk
            return await self._put_bytes(draft, bytes(whole), size)
        if size is not None and size <= self._options.part_bytes:
            return await self._put_stream(draft, body, size)
        return await self._put_parts_of_stream(draft, body, size)

    # One request

    async def _put_bytes(self, draft: Draft, data: bytes | memoryview, size: int | None) -> ObjectInfo:
        found = await digest(data)
        if size is not None and found.size != size:
            raise Corrupt(f"s3 key {draft.full_key}: the body has {found.size} bytes instead of {size}")
        differs = difference(draft.content, found) if draft.content else ""
        if differs:
            raise Corrupt(f"s3 key {draft.full_key}: the body has {differs}; nothing was sent")
        request = self._put_request(draft, data, found.size, found)
        return await self._put_once(draft, request, lambda: found.md5)

    async def _put_file(self, draft: Draft, file: LocalFile) -> ObjectInfo:
        if draft.content is not None and file.size != draft.content.size:
            raise Corrupt(f"{file.path} has {file.size} bytes instead of {draft.content.size}")
        if file.size <= SMALL_BYTES:
            return await self._put_bytes(draft, await read_file(file), file.size)
        trusted = draft.content if draft.content is not None and file.verified == draft.content else None
        whole_bytes = self._options.whole_bytes if trusted is not None else 0
        if file.size > max(self._options.part_bytes, whole_bytes):
            return await self._put_parts_of_file(draft, file)
        if trusted is not None:
            request = self._put_request(draft, ProvedFile(file), file.size, trusted)
            return await self._put_once(draft, request, lambda: trusted.md5)
        digests = Digests()

        def pieces() -> AsyncGenerator[bytes, None]:
            nonlocal digests
            digests = Digests()
            return held_back(
                file_pieces(file, 0, file.size, digests.take), lambda: verify(draft.full_key, draft.content, digests)
            )

        request = self._put_request(draft, pieces, file.size, draft.content)
        return await self._put_once(draft, request, lambda: digests.content().md5)

    async def _put_stream(self, draft: Draft, stream: AsyncIterator[bytes], size: int) -> ObjectInfo:
        digests = Digests()

        def pieces() -> AsyncGenerator[bytes, None]:
            return held_back(counted(stream, digests, size), lambda: verify(draft.full_key, draft.content, digests))

        request = self._put_request(draft, pieces, size, draft.content)
        request.attempts = 1
        return await self._put_once(draft, request, lambda: digests.content().md5)

    def _put_request(
        self, draft: Draft, body: bytes | memoryview | Chunks | ProvedFile, size: int, known: Content | None
    ) -> Request:
        headers = {**draft.headers, **self._condition(draft)}
        if known is not None:
            headers["content-md5"] = content_md5(known.md5)
        payload = known.sha256 if known is not None else UNSIGNED_PAYLOAD
        return Request("PUT", draft.full_key, (), headers, body, size, payload)

    async def _put_once(self, draft: Draft, request: Request, sent_md5: Callable[[], str]) -> ObjectInfo:
        answer = await self._client.try_to_send(request)
        if isinstance(answer, Failure) and self._conditions.unknown_to(answer, request, self._client.where):
            if draft.if_absent:
                await self._refuse_if_there(draft)
            if request.attempts == 1:
                raise Unavailable(f"{self._client.describe(request)}: {answer}; without a condition it may go", 0.0)
            answer = await self._client.try_to_send(request)
        if isinstance(answer, Failure):
            return await self._after_refusal(draft, request, answer, sent_md5())
        try:
            await answer.read_all(_MAX_ANSWER_BYTES)
        finally:
            answer.close()
        etag = unquote_etag(answer.headers.get("etag", ""))
        if not etag:
            raise Unavailable(f"{answer.what}: the PUT was answered without an ETag")
        if is_md5(etag) and etag_is_md5(answer.headers) and etag != sent_md5():
            error = VisibleButWrong(f"{answer.what}: the object has ETag {etag}, sent was {sent_md5()}", etag)
            await self._take_back(draft, error)
            raise error
        return self._info(draft, request.length, etag, answer)

    async def _after_refusal(self, draft: Draft, request: Request, failure: Failure, sent_md5: str) -> ObjectInfo:
        """A refused condition may be the echo of an earlier attempt that was carried out and whose answer was lost."""
        conditional = draft.if_absent or draft.if_match is not None
        if conditional and failure.retried and isinstance(self._refusal(draft, request, failure), Conflict):
            info = await self._head(draft.key)
            if info.etag == sent_md5 and info.content == draft.content:
                return info
        # Not by a name: an error that its own frames have is a cycle, and keeps the body until it is collected.
        raise self._refusal(draft, request, failure)

    def _refusal(self, draft: Draft, request: Request, failure: Failure) -> MillraceError:
        error = error_of(failure, self._client.describe(request))
        if draft.if_match is not None and isinstance(error, NotFound):
            return Conflict(str(error))  # so Amazon says that there is nothing to match
        return error

    # Many requests

    async def _put_parts_of_stream(self, draft: Draft, stream: AsyncIterator[bytes], size: int | None) -> ObjectInfo:
        source = PartSource(stream, self._part_bytes(size or 0), size)
        part = await source.next_part()
        if source.ended:
            return await self._put_bytes(draft, memoryview(part), size)
        upload = MultipartUpload(self._client, draft.full_key, draft.headers)
        digests = Digests()
        places = asyncio.Semaphore(self._options.part_concurrency - 1)
        sending: set[asyncio.Task[None]] = set()

        async def send(number: int, data: bytearray) -> None:
            try:
                view = memoryview(data)
                await upload.part(number, view, len(view), lambda: md5(view).digest())
            finally:
                places.release()

        async def everything() -> None:
            nonlocal part
            number = 1
            while part:
                await digests.update(part)
                sending.add(asyncio.create_task(send(number, part)))
                # The next part may only be filled when the memory of an earlier one is free again.
                part = bytearray()
                await places.acquire()
                _raise_failures(sending)
                number += 1
                part = await source.next_part()
            await asyncio.gather(*sending)

        return await self._upload(draft, upload, everything, sending, digests.content)

    async def _put_parts_of_file(self, draft: Draft, file: LocalFile) -> ObjectInfo:
        part_bytes = self._part_bytes(file.size)
        upload = MultipartUpload(self._client, draft.full_key, draft.headers)
        digests = Digests()
        to_hash = draft.content is not None and file.verified != draft.content
        offsets = iter(range(0, file.size, part_bytes))
        tasks: set[asyncio.Task[None]] = set()

        async def hash_all() -> None:
            async for _ in file_pieces(file, 0, file.size, digests.take):
                pass

        async def send_parts() -> None:
            for offset in offsets:
                part = FilePart(file, offset, min(part_bytes, file.size - offset))
                await upload.part(offset // part_bytes + 1, part.pieces, part.length, part.md5)

        async def everything() -> None:
            if to_hash:
                tasks.add(asyncio.create_task(hash_all()))
            tasks.update(asyncio.create_task(send_parts()) for _ in range(self._options.part_concurrency))
            await asyncio.gather(*tasks)

        def found() -> Content | None:
            return digests.content() if to_hash else draft.content

        return await self._upload(draft, upload, everything, tasks, found, file.size)

    async def _upload(
        self,
        draft: Draft,
        upload: MultipartUpload,
        everything: Callable[[], Awaitable[None]],
        tasks: set[asyncio.Task[None]],
        found: Callable[[], Content | None],
        size: int | None = None,
    ) -> ObjectInfo:
        """Begin, send everything, verify, complete; abort when anything of that fails."""
        try:
            await upload.begin()
            await everything()
            content = found()
            if draft.content is not None and content is not None:
                differs = difference(draft.content, content)
                if differs:
                    raise Corrupt(f"s3 key {draft.full_key}: the body has {differs}; nothing was stored")
            if draft.if_absent and not self._conditions.are_sent:
                await self._refuse_if_there(draft)
            outcome = await upload.complete(
                self._condition(draft), content.md5 if content else None, self._conditions.unknown_to
            )
            if isinstance(outcome, Failure):
                raise error_of(outcome, f"completing the upload of s3://{self._options.bucket}/{draft.full_key}")
        except VisibleButWrong as error:
            await self._take_back(draft, error)
            raise
        except BaseException as error:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            left = await upload.abort()
            if left:
                _append(error, left)
            raise
        total = size if size is not None else (content.size if content else 0)
        return self._info(draft, total, outcome, None)

    def _part_bytes(self, size: int) -> int:
        """As set, but large enough that the object fits into the parts that S3 allows."""
        least = -(-size // MOST_PARTS)
        return max(self._options.part_bytes, -(-least // SMALL_BYTES) * SMALL_BYTES)

    # Before and after

    def _condition(self, draft: Draft) -> dict[str, str]:
        return self._conditions.headers(if_absent=draft.if_absent, if_match=draft.if_match)

    async def _refuse_if_there(self, draft: Draft) -> None:
        try:
            info = await self._head(draft.key)
        except NotFound:
            return
        raise Conflict(f"s3://{self._options.bucket}/{draft.full_key} exists already (ETag {info.etag})")

    async def _take_back(self, draft: Draft, error: VisibleButWrong) -> None:
        """Remove an object that is not what was sent, unless somebody has replaced it meanwhile."""
        try:
            if (await self._head(draft.key)).etag == error.etag:
                (await self._client.send(Request("DELETE", draft.full_key))).close()
                _append(error, "it was removed; what it replaced is lost")
        except NotFound:
            _append(error, "it is not there any more")
        except MillraceError as failed:
            _append(error, f"it could not be removed and must be deleted by hand ({failed})")

    def _info(self, draft: Draft, size: int, etag: str, answer: Answer | None) -> ObjectInfo:
        """What is there now. A PUT's answer has no Last-Modified: the server's Date stands for it."""
        try:
            at = modified_at(answer.headers.get("date", "")) if answer is not None else self._clock.now()
        except MalformedAnswer:
            at = self._clock.now()
        return ObjectInfo(draft.key, size, etag, at, draft.content_type, draft.content, draft.metadata)


def _raise_failures(tasks: set[asyncio.Task[None]]) -> None:
    for task in [task for task in tasks if task.done()]:
        tasks.discard(task)
        task.result()


def _append(error: BaseException, text: str) -> None:
    """Say more in an error that is on its way; those of callers keep their message and get a note."""
    if isinstance(error, MillraceError):
        error.args = (f"{error}; {text}", *error.args[1:])
    else:
        error.add_note(text)
