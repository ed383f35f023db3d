"""One watch of a service's endpoints, that outlives connections, members and compactions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator

from controlplane.adapters.etcd.keyspace import Keyspace
from controlplane.adapters.etcd.schema import by_node, endpoint_at
from controlplane.adapters.etcd.transport import Stream
from controlplane.adapters.etcd.wire import Json, Nonsense, integer, read_events, text
from controlplane.model.endpoints import Endpoint, EndpointSet
from controlplane.model.retry import RetrySchedule
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable

_log = logging.getLogger(__name__)

_RETRY = RetrySchedule(first_s=0.1, factor=2.0, most_s=5.0)


class WentBack(Unavailable):
    """The store has a smaller revision than before, or is another one: the promise of order cannot be kept."""


class EndpointWatch:
    """The set is `_endpoints` as of revision `_position`: every event up to it is contained, none after it.

    The position only grows. A fresh listing replaces the set at the start, after a compaction or a cancelled watch,
    and whenever the stream was silent for recheck_s; if that listing shows a change that the stream did not,
    the stream is dead or late, and is opened again at another member.
    """

    def __init__(self, keyspace: Keyspace, clock: Clock, service: str, prefix: str, recheck_s: float) -> None:
        self._keyspace = keyspace
        self._clock = clock
        self._service = service
        self._prefix = prefix
        self._recheck_s = recheck_s
        self._endpoints: dict[bytes, Endpoint] = {}
        self._position = 0
        self._cluster_id = 0
        self._stream: Stream | None = None
        self._last_member = ""
        self._must_list = True
        self._failures = 0

    async def sets(self) -> AsyncGenerator[EndpointSet, None]:
        """Raises WentBack, Rejected, Unavailable (closed)."""
        shown: tuple[Endpoint, ...] | None = None
        try:
            while True:
                await self._advance_with_patience()
                now = by_node(self._endpoints.values())
                if self._position and now != shown:
                    shown = now
                    yield EndpointSet(now, self._position)
        finally:
            self._drop()

    async def _advance_with_patience(self) -> None:
        try:
            await self._advance()
        except WentBack:
            raise
        except (Unavailable, Nonsense) as error:
            if self._keyspace.closed:
                raise Unavailable("the directory was closed while it was watched") from error
            self._drop()
            # The position may never get past what could not be read.
            self._must_list = self._must_list or isinstance(error, Nonsense)
            self._failures += 1
            if self._failures == 1:
                _log.warning("the watch of %s lost etcd, resuming: %s", self._prefix, error)
            await self._clock.sleep(_RETRY.wait_s(self._failures, random.random()))  # noqa: S311 - jitter

    async def _advance(self) -> None:
        """One step: list, or open the stream, or read from it."""
        if self._must_list:
            await self._list()
            self._must_list = False
        elif self._stream is None:
            self._stream = await self._keyspace.watch(
                self._prefix, self._position + 1, prefix=True, avoid=self._last_member
            )
            self._last_member = self._stream.url
        else:
            await self._read(self._stream)

    async def _list(self) -> bool:
        """Adopt a fresh listing; return whether it differs from what was known."""
        listing = await self._keyspace.list(self._prefix)
        if listing.revision < self._position or self._cluster_id not in {0, listing.cluster_id}:
            raise WentBack(
                f"etcd is at revision {listing.revision} of cluster {listing.cluster_id:x}, but was at {self._position}"
                f" of {self._cluster_id:x}: it was restored or replaced; watch anew"
            )
        fresh = {}
        for kv in listing.kvs:
            endpoint = endpoint_at(self._service, self._prefix, kv.key, kv.value)
            if endpoint is not None:
                fresh[kv.key] = endpoint
        differs = fresh != self._endpoints
        self._endpoints, self._position, self._cluster_id = fresh, listing.revision, listing.cluster_id
        return differs

    async def _read(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(self._recheck_s):
                messages = await stream.messages()
        except TimeoutError:
            if await self._list():
                _log.warning("a watch stream of etcd %s missed a change: opening it elsewhere", stream.url)
                self._drop()
        else:
            for message in messages:
                self._apply(message, stream.url)
        if self._failures and self._stream is not None:
            _log.info("the watch of %s has etcd again", self._prefix)
        self._failures = 0

    def _apply(self, message: Json, url: str) -> None:
        if message.get("canceled") or integer(message, "compact_revision"):
            reason = text(message, "cancel_reason") or f"compacted to {integer(message, 'compact_revision')}"
            self._must_list = True
            raise Unavailable(f"etcd {url} cancelled the watch: {reason}")
        events = read_events(message)
        for kv, deleted in ((event.kv, event.deleted) for event in events if event.kv.mod_revision > self._position):
            endpoint = None if deleted else endpoint_at(self._service, self._prefix, kv.key, kv.value)
            if endpoint is None:
                self._endpoints.pop(kv.key, None)
            else:
                self._endpoints[kv.key] = endpoint
        # Only now: one message may hold several events of one revision, and never half a revision.
        self._position = max([self._position, *(event.kv.mod_revision for event in events)])

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
