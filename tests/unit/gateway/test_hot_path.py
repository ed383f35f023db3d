"""The hot path: what is worked out once for equal header fields must never serve another client or another path."""

from __future__ import annotations

from hashlib import md5, sha256
from typing import Any, cast

import pytest

from controlplane.gateway.auth import Authorizer, Grant, Right
from controlplane.gateway.blob_api import BlobApi
from controlplane.gateway.peer_api import PeerApi
from controlplane.gateway.probe_api import ProbeApi
from controlplane.http import Limits, Request, Response
from controlplane.http.body import NO_BODY
from controlplane.http.head import HeaderBlock
from controlplane.model.content import Content, Guid, Md5, Sha256
from controlplane.model.tally import RequestTally
from controlplane.ports.hot_cache import Hit
from controlplane.services.blobs import BlobWriter
from controlplane.services.reading import BlobReader

BODY = b"hot"
CONTENT = Content(Md5(md5(BODY).hexdigest()), Sha256(sha256(BODY).hexdigest()), len(BODY))
PATH = f"/blobs/{CONTENT.md5}"


class Cached:
    """A reader with one hot blob."""

    def __init__(self, content_type: str = "text/plain") -> None:
        self.content_type = content_type
        self.lent = 0

    def hot(self, guid: Guid) -> Hit | None:
        if guid != CONTENT.md5:
            return None
        self.lent += 1
        return Hit(CONTENT, self.content_type, 0.0, BODY)

    def release(self, hit: Hit) -> None:
        self.lent -= 1


def api(reader: Cached) -> BlobApi:
    return BlobApi(
        writer=cast(BlobWriter, None),
        reader=cast(BlobReader, reader),
        probes=cast(ProbeApi, None),
        peers=cast(PeerApi, None),
        authorizer=Authorizer([Grant.of("r", "token", frozenset({Right.READ}))], anonymous_read=False),
        max_blob_bytes=100,
        public=False,
        tally=RequestTally(),
        log_access=False,
    )


def block(**fields: str) -> HeaderBlock:
    raw = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"host": "h", **fields}.items())
    return HeaderBlock(raw.encode(), Limits())


def request(fields: HeaderBlock, path: str = PATH, method: str = "GET") -> Request:
    return Request(method, path.encode(), fields, "peer", NO_BODY)


def at_once(answer: Any) -> Response | None:
    """The hot path's answer; None when a coroutine is to judge the request."""
    if isinstance(answer, Response):
        return answer
    answer.close()
    return None


def test_requests_that_repeat_their_fields_are_answered_alike_and_have_ids_of_their_own() -> None:
    reader = Cached()
    handler = api(reader)
    fields = block(authorization="Bearer token")
    answers = [at_once(handler(request(fields))) for _ in range(3)]
    lines = [cast(bytes, answer.headers) for answer in answers if answer is not None]
    assert len(set(lines)) == 3
    heads = {line.partition(b"\r\nx-request-id: ")[0] for line in lines}
    assert len(heads) == 1
    assert b'\r\netag: "%b"' % CONTENT.md5.encode() in heads.pop()
    assert [answer.body for answer in answers if answer is not None] == [BODY] * 3
    assert reader.lent == 0


def test_the_clients_own_request_id_comes_back() -> None:
    answer = at_once(api(Cached())(request(block(authorization="Bearer token", x_request_id="mine-1"))))
    assert answer is not None
    assert cast(bytes, answer.headers).endswith(b"\r\nx-request-id: mine-1")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer token", "range": "bytes=0-0"},
        {"authorization": "Bearer token", "if_none_match": "*"},
    ],
)
def test_what_is_not_allowed_or_not_plain_takes_the_slow_path_every_time(fields: dict[str, str]) -> None:
    handler = api(Cached())
    assert at_once(handler(request(block(authorization="Bearer token")))) is not None
    same = block(**fields)
    assert [at_once(handler(request(same))) for _ in range(2)] == [None, None]


@pytest.mark.parametrize("path", [f"/probe/{CONTENT.md5}", f"/blobs/{CONTENT.md5[:-1]}x", f"/blobs/{CONTENT.md5}/"])
def test_another_path_of_that_length_is_no_blob(path: str) -> None:
    assert at_once(api(Cached())(request(block(authorization="Bearer token"), path))) is None


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
def test_only_get_is_answered_from_the_cache(method: str) -> None:
    assert at_once(api(Cached())(request(block(authorization="Bearer token"), method=method))) is None


def test_a_content_type_that_breaks_the_head_is_refused_and_the_hit_given_back() -> None:
    reader = Cached("text/plain\r\nset-cookie: x")
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        api(reader)(request(block(authorization="Bearer token")))
    assert reader.lent == 0
