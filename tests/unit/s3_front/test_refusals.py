"""What an error of Riak CS means for the client: its outages are never "denied"."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from controlplane.ports.errors import Unavailable
from controlplane.s3.fault import Code
from controlplane.services.s3.refusals import refusal


class Answer:
    """Implements ports.upstream.Reply."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self._body, self.closed = status, body, False
        self.headers: Mapping[str, str] = {}

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def read_all(self, limit: int) -> bytes:
        assert len(self._body) <= limit
        return await self.read()

    def close(self) -> None:
        self.closed = True


def document(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()


async def test_i5_a_user_that_riak_cs_cannot_read_is_an_outage() -> None:
    """As it was recorded right after one of three Riak nodes had gone down (cli/node-down.txt): the request was signed
    with keys that Riak CS had told the gateway."""
    answer = Answer(403, document("InvalidAccessKeyId"))
    with pytest.raises(Unavailable, match="Riak nodes"):
        await refusal(answer, key=True)
    assert answer.closed


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_i5_an_error_of_riak_cs_is_an_outage_whatever_it_says(status: int) -> None:
    with pytest.raises(Unavailable):
        await refusal(Answer(status, document("NoSuchKey")), key=True)


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "RequestTimeTooSkewed"])
async def test_what_is_wrong_with_the_gateways_own_signature_is_not_the_clients_business(code: str) -> None:
    assert (await refusal(Answer(403, document(code)), key=True)).code is Code.ACCESS_DENIED


async def test_codes_are_passed_on_and_statuses_stand_in_for_them() -> None:
    assert (await refusal(Answer(404, document("NoSuchUpload")), key=True)).code is Code.NO_SUCH_UPLOAD
    assert (await refusal(Answer(404, b""), key=True)).code is Code.NO_SUCH_KEY
    assert (await refusal(Answer(404, b"<html>"), key=False)).code is Code.NO_SUCH_BUCKET
    assert (await refusal(Answer(477, b""), key=True)).code is Code.MALFORMED_XML
