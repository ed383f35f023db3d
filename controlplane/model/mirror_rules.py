"""Which S3 objects are mirrored where: pure decisions over bucket names and keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from controlplane.model.keys import Bucket, Key


class AclCarried(Enum):
    """What becomes of the objects' ACLs."""

    NONE = "none"
    """Nothing: a copy belongs to the target's account."""
    NOTE = "note"
    """The copy's metadata says it."""
    CANNED = "canned"
    """And the copy gets it, where a canned ACL says the same; what none says is noted only."""


@dataclass(frozen=True, slots=True)
class MirrorRule:
    """Objects of buckets that match `buckets` whose keys begin with `prefix` are copied to `target`."""

    buckets: str
    """A bucket's name; `*` stands for any characters, `?` for one."""
    prefix: str
    target: str
    """Name of the target store; several rules may share one."""
    deletes: bool = True
    """False: what is deleted at the source stays at the target (an archive)."""
    read_through: bool = False
    """True: readers get from the target what the source lost."""
    acl: AclCarried = AclCarried.NONE
    name: str = ""
    """Unique among the rules; journal entries and operators call it so. Empty: the target's."""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.target)

    def covers(self, bucket: Bucket, key: Key) -> bool:
        return key.startswith(self.prefix) and _pattern(self.buckets).fullmatch(bucket) is not None


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    parts = (".*" if character == "*" else "." if character == "?" else re.escape(character) for character in glob)
    return re.compile("".join(parts), re.DOTALL)


def covering(rules: Sequence[MirrorRule], bucket: Bucket, key: Key) -> tuple[MirrorRule, ...]:
    """The rules for an object, in their order; of several with one target only the first counts."""
    found: dict[str, MirrorRule] = {}
    for rule in rules:
        if rule.covers(bucket, key):
            found.setdefault(rule.target, rule)
    return tuple(found.values())
