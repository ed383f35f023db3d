"""ScanCheckpoints: how far a scan has come, durably, so that a killed one goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class ScanCheckpoints(Protocol):
    """Small JSON documents by name. One process at a time writes a name."""

    async def load(self, name: str) -> Mapping[str, Any] | None:
        """None: there is none, or it is damaged (which is logged): a scan then begins anew. Raises Unavailable."""
        ...

    async def save(self, name: str, document: Mapping[str, Any]) -> None:
        """Replace the whole, on stable storage when this returns. Raises Unavailable, StorageFull."""
        ...

    async def remove(self, name: str) -> None:
        """What is not there is removed."""
        ...
