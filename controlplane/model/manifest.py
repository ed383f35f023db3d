"""A blob's manifest: what it is, and where its copies are and in what state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from controlplane.model.content import Content, Guid
from controlplane.model.keys import Bucket, Key, StoreName


class LocationState(Enum):
    """Where one copy of a blob stands."""

    PENDING = "pending"
    """Promised (journalled), not there yet."""
    COPYING = "copying"
    MIRRORED = "mirrored"
    """There, and verified against the content's digests."""
    FAILED = "failed"
    """Given up after the retry budget: a dead letter that an operator must look at."""
    DELETED = "deleted"
    """Gone, and its absence was verified."""


@dataclass(frozen=True, slots=True)
class Location:
    """One copy of a blob in one store."""

    store: StoreName
    bucket: Bucket
    key: Key
    state: LocationState
    etag: str = ""
    """As the store gave it, without quotes; empty until the copy is there."""
    verified_at: float | None = None
    """Unix seconds of the last time that the copy was proved equal."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything known about one GUID. A cache of what the stores say (I9)."""

    content: Content
    content_type: str
    created_at: float
    """Unix seconds."""
    locations: tuple[Location, ...] = ()
    deleted_at: float | None = None
    """Unix seconds of the DELETE; set means tombstone (I4)."""

    @property
    def guid(self) -> Guid:
        return self.content.md5

    def location(self, store: StoreName) -> Location | None:
        return next((at for at in self.locations if at.store == store), None)

    def with_location(self, location: Location) -> Manifest:
        """This manifest with `location` in place of what it said of that store."""
        others = tuple(at for at in self.locations if at.store != location.store)
        return replace(self, locations=(*others, location))
