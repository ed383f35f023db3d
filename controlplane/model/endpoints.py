"""The endpoint set: which nodes serve, as published in the directory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One serving node: `/millrace/v1/<cluster>/endpoints/<service>/<node>` holds this as JSON."""

    service: str
    node: str
    url: str
    zone: str = ""
    version: str = ""
    weight: int = 100


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """All endpoints of one service at one revision of the directory, ordered by node."""

    endpoints: tuple[Endpoint, ...]
    revision: int
    """Increases with every change; sets of one directory can be ordered by it."""
