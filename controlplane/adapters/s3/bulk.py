"""Many small objects in one go, by pipelined requests: a fraction of the CPU of as many single requests."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from controlplane.adapters.s3.client import Request, S3Client
from controlplane.adapters.s3.digests import content_md5
from controlplane.adapters.s3.metadata import MalformedAnswer, etag_is_md5, modified_at, number, object_headers
from controlplane.adapters.s3.metadata import object_info as info_of
from controlplane.adapters.s3.pipeline import Reply
from controlplane.adapters.s3.write_conditions import WriteConditions
from controlplane.model.keys import Key
from controlplane.ports.bulk_store import MOST_BYTES, SmallObject, SmallPut
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Rejected
from controlplane.ports.object_store import ObjectInfo
from controlplane.s3.etag import is_md5, unquote_etag

log = logging.getLogger(__name__)

T = TypeVar("T", str, Request)

_MAX_ANSWER_BYTES: Final = 256 * 1024
_MOST_KEPT: Final = 2048
_NOTHING: Final = (None, None)
_FIRST_DEPTH: Final = 2
_FAILURES_ALLOWED: Final = 3
_PAUSE_S: Final = 600.0


class Bulk:
    """Implements ports.bulk_store.BulkStore for one bucket.

    Servers and proxies differ in whether they take pipelined requests well. So the depth begins at 2 and doubles with
    each pipeline that was answered whole, up to `most_depth`; one that breaks off sets it back. After three in a row
    that were begun and not finished the server is taken for one that cannot, and nothing is pipelined for ten minutes.
    """

    def __init__(
        self,
        client: S3Client,
        clock: Clock,
        full: Callable[[str], str],
        conditions: WriteConditions,
        *,
        most_depth: int,
    ) -> None:
        self._client = client
        self._clock = clock
        self._full = full
        self._most_depth = most_depth
        self._conditions = conditions
        self._depth = min(_FIRST_DEPTH, most_depth)
        self._got: dict[Key, tuple[dict[str, str], ObjectInfo]] = {}
        """What was read, for the look that follows: headers as they came, and what they say."""
        self._failures = 0
        self._paused_until = 0.0

    async def get_small(self, keys: Sequence[Key]) -> list[SmallObject | None]:
        replies = await self._plain_replies("GET", keys, MOST_BYTES)
        found = [_small_object(key, reply) for key, reply in zip(keys, replies, strict=True)]
        if len(self._got) + len(found) > _MOST_KEPT:
            self._got.clear()
        self._got.update(
            (small.info.key, (reply.headers, small.info))
            for small, reply in zip(found, replies, strict=True)
            if small is not None and reply is not None
        )
        return found

    async def head_many(self, keys: Sequence[Key]) -> list[ObjectInfo | None]:
        replies = await self._plain_replies("HEAD", keys, 0)
        return [self._same_info(key, reply) or _info(key, reply) for key, reply in zip(keys, replies, strict=True)]

    def _same_info(self, key: Key, reply: Reply | None) -> ObjectInfo | None:
        """That of an object which was read before, where the answers were the same."""
        headers, info = self._got.pop(key, _NOTHING)
        return info if reply is not None and reply.headers is headers else None

    async def put_small(self, puts: Sequence[SmallPut]) -> list[ObjectInfo | None]:
        requests = [self._put_request(put) for put in puts]
        replies = await self._replies(requests, self._client.pipelined, _MAX_ANSWER_BYTES)
        return [self._stored(put, reply) for put, reply in zip(puts, replies, strict=True)]

    async def _plain_replies(self, method: str, keys: Sequence[Key], body_limit: int) -> list[Reply | None]:
        fulls = [self._full_or_none(key) for key in keys]
        return await self._replies(fulls, partial(self._client.pipelined_plain, method), body_limit)

    def _full_or_none(self, key: Key) -> str | None:
        try:
            return self._full(key)
        except Rejected:
            return None

    def _put_request(self, put: SmallPut) -> Request | None:
        condition = self._conditions.headers(if_absent=put.if_absent, if_match=put.if_match)
        if put.if_absent and not condition:
            return None
        try:
            headers = object_headers(put.content, put.content_type, put.metadata)
            key = self._full(put.key)
        except Rejected:
            return None
        headers["content-md5"] = content_md5(put.content.md5)
        headers.update(condition)
        return Request("PUT", key, (), headers, put.body, len(put.body), put.content.sha256)

    async def _replies(
        self,
        requests: Sequence[T | None],
        send: Callable[[Sequence[T], int], Awaitable[list[Reply | None]]],
        body_limit: int,
    ) -> list[Reply | None]:
        """In pipelines of the depth of the moment, one after the other; a request that is None has no reply."""
        replies: list[Reply | None] = [None] * len(requests)
        places = [place for place, request in enumerate(requests) if request is not None]
        while places and self._depth > 1 and self._clock.monotonic() >= self._paused_until:
            now, places = places[: self._depth], places[self._depth :]
            batch = [request for place in now if (request := requests[place]) is not None]
            got = await send(batch, body_limit)
            for place, reply in zip(now, got, strict=True):
                replies[place] = reply
            if not self._learn(got):
                break
        return replies

    def _learn(self, replies: Sequence[Reply | None]) -> bool:
        """Whether the pipeline was answered whole. One without any answer says nothing about pipelining: then the
        server is away, or pauses."""
        if replies[-1] is not None:
            self._failures = 0
            self._depth = min(self._depth * 2, self._most_depth)
            return True
        self._depth = min(_FIRST_DEPTH, self._most_depth)
        if replies[0] is not None:
            self._failures += 1
            if self._failures >= _FAILURES_ALLOWED:
                self._failures = 0
                self._paused_until = self._clock.monotonic() + _PAUSE_S
                log.warning("%s does not finish pipelined requests: single ones are sent instead", self._client.where)
        return False

    def _stored(self, put: SmallPut, reply: Reply | None) -> ObjectInfo | None:
        if reply is None or reply.status != 200:
            return None
        etag = unquote_etag(reply.headers.get("etag", ""))
        if not etag or (is_md5(etag) and etag_is_md5(reply.headers) and etag != put.content.md5):
            return None
        try:
            at = modified_at(reply.headers.get("date", ""))
        except MalformedAnswer:
            at = self._clock.now()
        return ObjectInfo(put.key, len(put.body), etag, at, put.content_type, put.content, put.metadata)


def _info(key: Key, reply: Reply | None) -> ObjectInfo | None:
    if reply is None or reply.status != 200:
        return None
    try:
        return info_of(key, reply.headers, number(reply.headers, "content-length"))
    except MalformedAnswer:
        return None


def _small_object(key: Key, reply: Reply | None) -> SmallObject | None:
    info = _info(key, reply)
    return None if info is None or reply is None else SmallObject(info, reply.body)
