"""One multipart upload: begun, filled with parts, completed; or aborted, whatever went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from typing import Final

from controlplane.adapters.s3.client import Answer, Chunks, Request, S3Client
from controlplane.adapters.s3.failures import Failure, error_of
from controlplane.adapters.s3.metadata import etag_is_md5
from controlplane.ports.errors import Corrupt, MillraceError, Rejected, Unavailable
from controlplane.s3.error_xml import ErrorDocument
from controlplane.s3.etag import is_md5, is_multipart, multipart_etag, unquote_etag
from controlplane.s3.multipart_xml import parse_completed, parse_initiated, render_complete
from controlplane.s3.sigv4 import UNSIGNED_PAYLOAD
from controlplane.s3.xml import MalformedXml

MOST_PARTS: Final = 10_000
ABORT_S: Final = 10.0
"""How long the clean-up after a failure may take; afterwards the bucket's lifecycle rule has to do it."""
_MAX_XML: Final = 1024 * 1024


class MultipartUpload:
    """Parts are numbered from 1, each is sent again by itself when it fails, and each ETag is compared with the MD5 of
    what was sent. Nothing is visible under the key before complete()."""

    def __init__(self, client: S3Client, key: str, headers: dict[str, str]) -> None:
        self._client = client
        self._key = key
        self._headers = headers
        self._upload_id = ""
        self._parts: dict[int, tuple[bytes, str]] = {}

    async def begin(self) -> None:
        request = Request("POST", self._key, (("uploads", ""),), self._headers)
        answer = await self._client.send(request)
        try:
            self._upload_id = parse_initiated(await answer.read_all(_MAX_XML))
        except MalformedXml as error:
            raise Unavailable(f"{answer.what}: a multipart upload was answered with {error}") from error
        finally:
            answer.close()

    @property
    def upload_id(self) -> str:
        return self._upload_id

    def resume(self, upload_id: str, parts: dict[int, tuple[bytes, str]]) -> None:
        """Take over an upload that was begun before: raw MD5 and ETag of each part by its number."""
        self._upload_id = upload_id
        self._parts = parts

    async def part(self, number: int, body: memoryview | Chunks, length: int, md5: Callable[[], bytes]) -> None:
        """`md5` gives the raw MD5 of the part once it was sent."""
        if number > MOST_PARTS:
            raise Rejected(f"s3 key {self._key}: more than {MOST_PARTS} parts; raise part_bytes")
        query = (("partNumber", str(number)), ("uploadId", self._upload_id))
        request = Request("PUT", self._key, query, {}, body, length, UNSIGNED_PAYLOAD)
        answer = await self._client.send(request)
        try:
            await answer.read_all(_MAX_XML)
        finally:
            answer.close()
        sent = await asyncio.to_thread(md5)
        etag = unquote_etag(answer.headers.get("etag", ""))
        if not etag:
            raise Unavailable(f"{answer.what}: part {number} was answered without an ETag")
        if is_md5(etag) and etag_is_md5(answer.headers) and etag != sent.hex():
            raise Corrupt(f"{answer.what}: part {number} arrived with MD5 {etag}, sent was {sent.hex()}")
        self._parts[number] = (sent, etag)

    async def complete(
        self,
        headers: dict[str, str],
        whole_md5: str | None,
        unknown_to: Callable[[Failure, Request, str], bool] = lambda *_: False,
    ) -> str | Failure:
        """The object's ETag; or the failure that the server gave as answer. `unknown_to`: whether a failure is due to a
        condition among the headers, which is not sent any more then.

        Raises VisibleButWrong when the object that is now there is not what was sent."""
        numbers = sorted(self._parts)
        expected = multipart_etag([self._parts[number][0] for number in numbers])
        document = render_complete([self._parts[number][1] for number in numbers])
        query = (("uploadId", self._upload_id),)
        digest = sha256(document).hexdigest()
        request = Request("POST", self._key, query, headers, document, len(document), digest)
        attempt = 1
        while True:
            answer = await self._client.try_to_send(request)
            if isinstance(answer, Failure):
                if unknown_to(answer, request, self._client.where):
                    continue
                lost = attempt > 1 or answer.retried
                gone = answer.code == "NoSuchUpload" or answer.status == HTTPStatus.PRECONDITION_FAILED
                if lost and gone and await self._is_there(expected):
                    return expected
                return answer
            outcome = await self._read_completed(answer)
            if isinstance(outcome, str):
                self._check_etag(answer, outcome, expected, whole_md5)
                return outcome
            failure = Failure(HTTPStatus.INTERNAL_SERVER_ERROR, outcome, None)
            if not failure.retryable or not self._client.may_try_again(attempt):
                return failure
            await self._client.back_off(attempt)
            attempt += 1

    async def _read_completed(self, answer: Answer) -> str | ErrorDocument:
        try:
            return parse_completed(await answer.read_all(_MAX_XML))
        except MalformedXml as error:
            raise Unavailable(f"{answer.what}: the completion was answered with {error}") from error
        finally:
            answer.close()

    def _check_etag(self, answer: Answer, etag: str, expected: str, whole_md5: str | None) -> None:
        wrong = (is_multipart(etag) and etag != expected) or (is_md5(etag) and whole_md5 not in (None, etag))
        if wrong and etag_is_md5(answer.headers):
            raise VisibleButWrong(f"{answer.what}: the object has ETag {etag}, its parts make {expected}", etag)

    async def _is_there(self, etag: str) -> bool:
        """Whether the object under the key is the one of this upload (an earlier completion's answer was lost)."""
        answer = await self._client.try_to_send(Request("HEAD", self._key))
        if isinstance(answer, Failure):
            return False
        answer.close()
        return unquote_etag(answer.headers.get("etag", "")) == etag

    async def abort(self) -> str:
        """Remove the parts, as well as it goes. What could not be done, for people; empty when all is clean."""
        if not self._upload_id:
            return ""
        request = Request("DELETE", self._key, (("uploadId", self._upload_id),))
        try:
            async with asyncio.timeout(ABORT_S):
                outcome = await self._client.try_to_send(request)
        except (MillraceError, TimeoutError) as error:
            reason = str(error) or f"no answer for {ABORT_S:g} s"
        else:
            if isinstance(outcome, Answer):
                outcome.close()
                return ""
            if outcome.code == "NoSuchUpload":
                return ""
            reason = str(error_of(outcome, self._client.describe(request)))
        return (
            f"the parts of upload {self._upload_id} could not be removed ({reason}): "
            "a lifecycle rule that aborts incomplete multipart uploads does that"
        )


class VisibleButWrong(Corrupt):
    """The store holds something else than what was sent, visibly."""

    def __init__(self, message: str, etag: str) -> None:
        super().__init__(message)
        self.etag = etag
