"""How far the scan of one bucket under one rule has come, and what it saw: values, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_join import Kind, Listed
from controlplane.model.scan_ranges import Range


@dataclass(frozen=True, slots=True)
class Unit:
    """What is compared at once: one bucket, under one rule, below one prefix."""

    rule: MirrorRule
    bucket: Bucket
    prefix: str
    """The rule's, or a longer one that was asked for."""

    @property
    def name(self) -> str:
        """The same in every run; unlike that of another unit, whatever the buckets and prefixes."""
        return f"{self.rule.target}/{self.bucket}/{self.prefix}"

    @property
    def target(self) -> StoreName:
        return StoreName(self.rule.target)

    def floor(self) -> Key | None:
        """No key below the prefix is less or equal; None: no key at all is."""
        if not self.prefix:
            return None
        before = ord(self.prefix[-1]) - 1
        if before < 0:
            return Key(self.prefix[:-1]) if self.prefix[:-1] else None
        # No key has surrogates.
        character = "\ud7ff" if 0xD800 <= before <= 0xDFFF else chr(before)
        return Key(f"{self.prefix[:-1]}{character}\U0010ffff")


@dataclass(slots=True)
class Counts:
    """Keys, but for `enqueued` (journal entries) and `heads` (requests)."""

    listed_at_source: int = 0
    listed_at_target: int = 0
    same: int = 0
    missing: int = 0
    different: int = 0
    damaged: int = 0
    extra: int = 0
    foreign: int = 0
    heads: int = 0
    enqueued: int = 0
    deletes_enqueued: int = 0

    def add(self, other: Counts) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def count(self, kind: Kind) -> None:
        match kind:
            case Kind.MISSING:
                self.missing += 1
            case Kind.DIFFERENT:
                self.different += 1
            case Kind.DAMAGED:
                self.damaged += 1
            case Kind.EXTRA:
                self.extra += 1
            case Kind.FOREIGN:
                self.foreign += 1

    @property
    def to_copy(self) -> int:
        return self.missing + self.different + self.damaged

    @property
    def differences(self) -> int:
        """What makes source and target unequal. Objects of others at the target are none of the mirror's business."""
        return self.to_copy + self.extra

    def encoded(self) -> dict[str, int]:
        return asdict(self)


def decode_counts(document: Mapping[str, Any]) -> Counts:
    return Counts(**{each.name: int(document[each.name]) for each in fields(Counts)})


@dataclass(slots=True)
class UnitState:
    ranges: list[Range]
    counts: Counts = field(default_factory=Counts)
    witness: Listed | None = None
    due: int = 0
    """Extra ones whose objects were not listed for the grace period, where a scan is to count them. Not kept."""

    @property
    def done(self) -> bool:
        return all(one.done for one in self.ranges)

    def _compact(self) -> list[list[Any]]:
        """Neighbours that are done are one: a checkpoint does not grow with the number of splits."""
        rows: list[list[Any]] = []
        for one in self.ranges:
            if one.done and rows and rows[-1][2]:
                rows[-1][1] = one.until
            else:
                rows.append([one.cursor, one.until, one.done])
        return rows

    def encoded(self) -> dict[str, Any]:
        return {
            "ranges": self._compact(),
            "counts": self.counts.encoded(),
            "witness": None if self.witness is None else list(self.witness),
        }


def decode_unit_state(document: Mapping[str, Any]) -> UnitState:
    """Raises KeyError, TypeError, ValueError for what encoded() does not make."""
    ranges = [Range(Key(cursor), until, done=bool(done)) for cursor, until, done in document["ranges"]]
    cursors = [one.cursor for one in ranges]
    if not ranges or cursors != sorted(cursors) or ranges[-1].until is not None:
        raise ValueError("these ranges do not cover the keys")
    witness = document["witness"]
    return UnitState(ranges, decode_counts(document["counts"]), None if witness is None else Listed(*witness))
