"""Answers to work that takes long: the client is kept waiting by blanks, so that nobody on the way takes it for dead.

S3 does so for CopyObject, UploadPartCopy and CompleteMultipartUpload: status and XML declaration go out, then blanks,
then the document; what fails by then is an error document under status 200, which clients of S3 look for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final

from controlplane.gateway.s3.answers import fault_of, xml
from controlplane.gateway.s3.call import Call
from controlplane.http import Response, StreamBody
from controlplane.ports.errors import MillraceError
from controlplane.s3.error_xml import NO_KEY, render_fault
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml_text import DECLARATION

log = logging.getLogger(__name__)

FIRST_S: Final = 5.0
EVERY_S: Final = 5.0
_DECLARATION: Final = DECLARATION.encode()


class Patience:
    """`first_s`: until then the answer has its true status. Work goes on when its client goes away: a request that came
    whole is carried out."""

    def __init__(self, first_s: float = FIRST_S, every_s: float = EVERY_S) -> None:
        self._first_s = first_s
        self._every_s = every_s
        self._going_on: set[asyncio.Task[Response]] = set()

    async def answer(self, call: Call, work: Coroutine[Any, Any, Response]) -> Response:
        """The response that `work` makes, of a whole XML document. Raises what it raises within the first seconds."""
        task = asyncio.get_running_loop().create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)
        await asyncio.wait({task}, timeout=self._first_s)
        if task.done():
            return task.result()
        response = xml(call.request, b"")
        response.body = StreamBody(self._blanks(call, task))
        return response

    async def aclose(self) -> None:
        tasks = list(self._going_on)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _blanks(self, call: Call, task: asyncio.Task[Response]) -> AsyncGenerator[bytes, None]:
        yield _DECLARATION + b"\n"
        while not task.done():
            yield b" "
            await asyncio.wait({task}, timeout=self._every_s)
        yield _document(call, task).removeprefix(_DECLARATION).lstrip()


def _document(call: Call, task: asyncio.Task[Response]) -> bytes:
    try:
        body = task.result().body
        if not isinstance(body, bytes):
            raise TypeError("work that takes long answers by a document")
        return body
    except S3Fault as fault:
        return _error(call, fault)
    except MillraceError as error:
        log.warning("%s %s: %s", call.request.method, call.request.path, error)
        return _error(call, fault_of(error))
    except Exception:
        log.exception("the S3 front failed on %s", call.request, extra={"request_id": call.request.id})
        return _error(call, S3Fault(Code.INTERNAL_ERROR))


def _error(call: Call, fault: S3Fault) -> bytes:
    access_key = call.account.keys.access_key if call.account is not None else NO_KEY
    request = call.request
    return render_fault(fault, request.path, request.id, access_key, bucket=call.bucket, key=call.key)
