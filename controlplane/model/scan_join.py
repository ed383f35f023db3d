"""The merge-join of a scan: a stretch of the source's listing, of the target's and of the catalog, compared at once.

Batch-wise, on tuples: what is equal everywhere costs no step of the interpreter for each key. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from controlplane.model.copies import Copy
from controlplane.model.keys import Key


class Listed(NamedTuple):
    """An entry of a listing. Its fields are the first of a Copy, in the same order."""

    key: Key
    etag: str
    size: int
    mtime: int
    """Whole Unix seconds, by the store's clock."""


class Kind(Enum):
    """How a key differs between source and target."""

    MISSING = "missing"
    """The source has it, the target does not."""
    DIFFERENT = "different"
    """The target has another version, other bytes, or something that is no copy."""
    DAMAGED = "damaged"
    """The copy claims to be the right one, and its bytes, read in full, are not."""
    EXTRA = "extra"
    """A copy without its object: deleted, or lost, at the source."""
    FOREIGN = "foreign"
    """The target has it, the source does not, and no mirror has put it there: never touched."""


class Difference(NamedTuple):
    kind: Kind
    key: Key
    size: int
    """Bytes, at the source where that has it."""
    etag: str
    """At the source where that has it."""


class Doubt(NamedTuple):
    """Both have the key, and the catalog does not say whether the copy is of this version: only a HEAD can."""

    source: Listed
    target: Listed


@dataclass(slots=True)
class Joined:
    """Every key of the stretch is in exactly one of: same, missing, different, doubtful, extra."""

    same: int = 0
    witness: Listed | None = None
    """One of the same, as the source lists it: proof that this source is the one that was copied."""
    missing: list[Listed] = field(default_factory=list)
    different: list[Listed] = field(default_factory=list)
    """By their size."""
    doubtful: list[Doubt] = field(default_factory=list)
    extra: list[tuple[Listed, Copy | None]] = field(default_factory=list)
    """As the target lists it; with its row when that is about what the target lists."""
    vanished: list[Key] = field(default_factory=list)
    """Rows of the catalog about copies that are not there."""


_FIELDS: Final = 4


def join(source: Sequence[Listed], target: Sequence[Listed], known: Sequence[Copy], *, trust: bool = True) -> Joined:
    """`source`, `target` and `known`: all that each has between two keys, in order, no key twice. `trust`: False leaves
    every key that both have in doubt, whatever is known of it."""
    if not trust:
        return _join_in_sets(source, target, known, trust=False)
    as_known = [copy[:_FIELDS] for copy in known]
    held = [(at[0], at[1], at[2]) for at in target]
    held_as_known = [(copy[0], copy[4], copy[2]) for copy in known]
    if as_known == source and held_as_known == held and not any([copy[5] for copy in known]):  # noqa: C419 - a list is faster
        return Joined(len(source), source[-1] if source else None)
    return _join_in_sets(source, target, known, trust=True)


def _join_in_sets(source: Sequence[Listed], target: Sequence[Listed], known: Sequence[Copy], *, trust: bool) -> Joined:
    at_source = {at[0]: at for at in source}
    at_target = {at[0]: at for at in target}
    rows = {copy[0]: copy for copy in known}
    joined = Joined()
    joined.missing = [at for at in source if at[0] not in at_target]
    joined.vanished = [key for key in rows if key not in at_target]
    both = [at for at in source if at[0] in at_target]
    for at in both:
        key = at[0]
        there = at_target[key]
        row = rows.get(key)
        if at[2] != there[2]:
            joined.different.append(at)
        elif trust and row is not None and row[:_FIELDS] == at and row[4] == there[1] and not row[5]:
            joined.same += 1
            joined.witness = at
        else:
            joined.doubtful.append(Doubt(at, there))
    if len(both) < len(target):
        for there in target:
            key = there[0]
            if key not in at_source:
                row = rows.get(key)
                ours = row is not None and row[4] == there[1] and row[2] == there[2]
                joined.extra.append((there, row if ours else None))
    return joined
