"""A manifest that several nodes change without asking each other.

It is kept in parts, each with the stamp of its last change; of two states of a part the one with the greater stamp
counts, and with equal stamps the greater text. merge_manifests() is therefore commutative, associative and idempotent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from controlplane.model.content import Content, Guid, Sha256
from controlplane.model.keys import StoreName
from controlplane.model.manifest import Location, Manifest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stamped(Generic[T]):
    """Something that was said at a time of the hybrid logical clock."""

    stamp: int
    what: T

    def newer(self, other: Stamped[T]) -> Stamped[T]:
        return max(self, other, key=lambda part: (part.stamp, repr(part.what)))


@dataclass(frozen=True, slots=True)
class Head:
    content: Content
    content_type: str
    created_at: float
    order: tuple[StoreName, ...] = ()
    """The order of the locations when the manifest was last recorded."""


@dataclass(frozen=True, slots=True)
class SharedManifest:
    guid: Guid
    head: Stamped[Head]
    deleted_at: Stamped[float | None] = Stamped(0, None)
    locations: Mapping[StoreName, Stamped[Location]] = field(default_factory=dict)
    added: Mapping[StoreName, int] = field(default_factory=dict)
    """When a store was first named: the order of those that the head does not name."""

    @property
    def highest_stamp(self) -> int:
        return max(self.head.stamp, self.deleted_at.stamp, *(at.stamp for at in self.locations.values()), 0)

    @property
    def manifest(self) -> Manifest:
        head = self.head.what
        names = [name for name in head.order if name in self.locations]
        rest = sorted((name for name in self.locations if name not in names), key=lambda n: (self.added.get(n, 0), n))
        found = tuple(self.locations[name].what for name in (*names, *rest))
        return Manifest(head.content, head.content_type, head.created_at, found, self.deleted_at.what)


def recorded(known: SharedManifest | None, manifest: Manifest, stamp: int) -> SharedManifest:
    """What Catalog.record() makes of it; the caller has looked for a conflict."""
    named = {at.store: Stamped(stamp, at) for at in manifest.locations}
    kept = () if known is None else tuple(at.store for at in known.manifest.locations if at.store not in named)
    head = Head(manifest.content, manifest.content_type, manifest.created_at, (*named, *kept))
    return SharedManifest(
        manifest.guid,
        Stamped(stamp, head),
        Stamped(stamp, manifest.deleted_at),
        {**(known.locations if known is not None else {}), **named},
        {**dict.fromkeys(named, stamp), **(known.added if known is not None else {})},
    )


def located(known: SharedManifest, locations: Sequence[Location], next_stamp: Callable[[], int]) -> SharedManifest:
    changed, added = dict(known.locations), dict(known.added)
    for at in locations:
        stamp = next_stamp()
        changed[at.store] = Stamped(stamp, at)
        added.setdefault(at.store, stamp)
    return replace(known, locations=changed, added=added)


def entombed(known: SharedManifest | None, guid: Guid, at: float, stamp: int) -> SharedManifest:
    if known is None:
        known = SharedManifest(guid, Stamped(0, Head(Content(guid, Sha256(""), 0), "", at)))
    return replace(known, deleted_at=Stamped(stamp, at))


def merge_manifests(one: SharedManifest, other: SharedManifest) -> SharedManifest:
    """What both know of one GUID."""
    locations, added = dict(one.locations), dict(one.added)
    for store, at in other.locations.items():
        known = locations.get(store)
        locations[store] = at if known is None else at.newer(known)
    for store, stamp in other.added.items():
        added[store] = min(stamp, added.get(store, stamp))
    return SharedManifest(
        one.guid,
        one.head.newer(other.head),
        one.deleted_at.newer(other.deleted_at),
        dict(sorted(locations.items())),
        dict(sorted(added.items())),
    )
