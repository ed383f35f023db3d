"""Peers: other gateways of the cluster, which may be fetching a blob that is wanted here."""

from __future__ import annotations

from typing import Protocol

from controlplane.model.content import Guid
from controlplane.ports.object_store import ObjectReader


class Peers(Protocol):
    async def open(self, url: str, guid: Guid) -> ObjectReader:
        """The blob that the gateway at `url` is fetching, as it arrives there; its last bytes come when it is proved.

        Raises NotFound (it is not fetching it, or has just done so), Unavailable, Rejected (the secrets differ).
        """
        ...

    async def aclose(self) -> None: ...
