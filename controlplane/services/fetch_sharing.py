"""One fetch of what is cold, however many workers and gateways want it: who is to fetch, and whom to follow."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from controlplane.model.content import Content
from controlplane.model.keys import StoreName
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError, NotFound
from controlplane.ports.object_store import ObjectReader
from controlplane.ports.peers import Asker, Peers
from controlplane.services.fetch import Source
from controlplane.services.providers import Providers, ResumedReader
from controlplane.services.siblings import Siblings

log = logging.getLogger(__name__)

PEERS: Final = StoreName("peers")
"""As the place where something was found: another gateway of the cluster."""
SIBLINGS: Final = StoreName("siblings")
"""The same: another worker of this gateway."""

_PROVIDERS_TRIED: Final = 3
_FRESH_S: Final = 0.2

There = Callable[[], Awaitable[Source | None]]
Resume = Callable[[int], Awaitable[ObjectReader]]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Claims in etcd, and the other gateways."""

    providers: Providers
    peers: Peers


class FetchSharing:
    """Without siblings and without a cluster each fetches for itself. One worker of a gateway at a time asks the
    cluster; the others follow it. Names are those of ports.peers."""

    def __init__(self, clock: Clock, siblings: Siblings | None = None, cluster: Cluster | None = None) -> None:
        self._clock = clock
        self._siblings = siblings
        self._cluster = cluster

    @property
    def alone(self) -> bool:
        """Whether nobody else can fetch: then find() finds nothing."""
        return self._siblings is None and self._cluster is None

    def shows(self, name: str, asker: Asker) -> bool:
        """Whether what is fetched here under that name may be followed by `asker`."""
        if asker is Asker.WORKER:
            return self._siblings is not None and self._siblings.fetches(name)
        return self._cluster is not None and self._cluster.providers.provides(name)

    async def forwarded(self, name: str) -> ObjectReader:
        """For another gateway: from the worker of this one that has claimed it. Raises NotFound."""
        found = None if self._siblings is None else await self._siblings.find(name, Asker.FORWARDED)
        if found is None:
            raise NotFound(f"{name} is not being fetched here")
        return found

    async def find(self, name: str, there: There, resume: Resume, expected: Content | None) -> Source | None:
        """Where to follow a fetch that is under way, or what `there` finds; None: to be fetched here. `there` looks
        into the nearer store, into which an earlier fetch may just have put it; what it raises is raised. `resume`
        opens the far store at an offset: for when whom we follow breaks off.

        To be called once a fetch, and release() when that has ended."""
        if self._siblings is not None:
            reader = await self._siblings.follow_or_claim(name)
            if reader is not None:
                return Source(SIBLINGS, ResumedReader(reader, resume), None, expected)
        if self._cluster is not None:
            return await self._of_cluster(self._cluster, name, there, resume, expected)
        return None if self._siblings is None else await there()

    async def release(self, name: str) -> None:
        if self._cluster is not None:
            await self._cluster.providers.release(name)
        if self._siblings is not None:
            self._siblings.release(name)

    async def _of_cluster(
        self, cluster: Cluster, name: str, there: There, resume: Resume, expected: Content | None
    ) -> Source | None:
        provider = await cluster.providers.find_or_claim(name)
        for attempt in range(_PROVIDERS_TRIED):
            if provider is None:
                # Whoever had the claim before may have brought it since we looked.
                return await there()
            try:
                reader = await cluster.peers.open(provider.url, name, Asker.GATEWAY)
            except NotFound:
                # It has just ended there, well or not; or its claim is so fresh that it does not know of it yet.
                if (source := await there()) is not None:
                    return source
                await self._clock.sleep(_FRESH_S)
                provider = await cluster.providers.find_or_claim(name, instead_of=provider if attempt else None)
            except MillraceError as error:
                log.warning("%s: %s", name, error)
                provider = await cluster.providers.find_or_claim(name, instead_of=provider)
            else:
                return Source(PEERS, ResumedReader(reader, resume), None, expected)
        return None


def brought_by_another(source: Source) -> bool:
    """Whether whom we have followed puts it into the nearer store itself: not if he broke off."""
    reader = source.reader
    return source.store in (PEERS, SIBLINGS) and not (isinstance(reader, ResumedReader) and reader.resumed)
