"""Long work keeps its client waiting by blanks; what it says at last is one well-formed document."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET

import pytest

from controlplane.gateway.s3.answers import xml
from controlplane.gateway.s3.call import Call
from controlplane.gateway.s3.client_address import Proxies
from controlplane.gateway.s3.patience import Patience
from controlplane.http import Limits, Request, Response, StreamBody
from controlplane.http.body import NO_BODY
from controlplane.http.head import HeaderBlock
from controlplane.ports.errors import Unavailable
from controlplane.s3.addressing import Address
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation
from controlplane.s3.xml_text import document


def call() -> Call:
    request = Request("PUT", b"/b/k", HeaderBlock(b"Host: h\r\n", Limits()), "192.0.2.1:5", NO_BODY)
    return Call(request, Operation.COPY_OBJECT, Address("b", "k", False), (), Proxies((), tls=False))


async def work(until: asyncio.Event | None, error: Exception | None = None) -> Response:
    if until is not None:
        await until.wait()
    if error is not None:
        raise error
    return xml(call().request, document("CopyObjectResult", "<ETag>e</ETag>"))


async def late(error: Exception | None = None) -> tuple[int, list[bytes]]:
    """The status, and the chunks of an answer of which the work ends after the third."""
    until, chunks = asyncio.Event(), []
    response = await Patience(0.01, 0.01).answer(call(), work(until, error))
    assert isinstance(response.body, StreamBody)
    assert response.body.length is None
    async for chunk in response.body.chunks:
        chunks.append(chunk)
        if len(chunks) == 3:
            until.set()
    return response.status, chunks


async def test_work_that_is_soon_done_answers_as_it_is() -> None:
    response = await Patience(5).answer(call(), work(None))
    assert isinstance(response.body, bytes)
    with pytest.raises(S3Fault) as caught:
        await Patience(5).answer(call(), work(None, S3Fault(Code.PRECONDITION_FAILED)))
    assert caught.value.code is Code.PRECONDITION_FAILED


async def test_blanks_come_between_the_declaration_and_the_document() -> None:
    status, chunks = await late()
    assert status == 200
    assert chunks[0].startswith(b"<?xml")
    assert set(chunks[1:-1]) == {b" "}
    assert ET.fromstring(b"".join(chunks)).tag.endswith("CopyObjectResult")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (S3Fault(Code.PRECONDITION_FAILED), "PreconditionFailed"),
        (Unavailable("gone"), "ServiceUnavailable"),
        (ZeroDivisionError(), "InternalError"),
    ],
)
async def test_what_fails_late_is_an_error_under_200(error: Exception, code: str) -> None:
    status, chunks = await late(error)
    root = ET.fromstring(b"".join(chunks))
    assert (status, root.tag, root.findtext("Code")) == (200, "Error", code)


async def test_a_client_that_goes_away_does_not_end_the_work() -> None:
    until, patience, done = asyncio.Event(), Patience(0.01, 0.01), asyncio.Event()

    async def worked() -> Response:
        response = await work(until)
        done.set()
        return response

    response = await patience.answer(call(), worked())
    assert isinstance(response.body, StreamBody)
    await anext(aiter(response.body.chunks))
    await response.body.chunks.aclose()  # type: ignore[attr-defined]
    until.set()
    await asyncio.wait_for(done.wait(), 5)
