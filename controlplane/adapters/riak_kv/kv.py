"""What Millrace needs of Riak KV, whichever protocol carries it. Implementations translate every failure.

All raise Unavailable (away, too slow, too few replicas, nonsense: never "not there"), and Rejected when Riak refuses
the request itself: an unknown bucket type, wrong credentials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Indexes = Sequence[tuple[str, str]]
"""(field, term) of each entry of an object in secondary indexes; the fields end with _bin."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is under a key. Without values the key is free; its vector clock is that of a tombstone, or empty."""

    values: tuple[bytes, ...] = ()
    """More than one: siblings, written by clients that did not know of each other."""
    clock: bytes = b""
    """The vector clock of all of them, opaque, for the write that replaces them."""


@dataclass(frozen=True, slots=True)
class IndexPage:
    rows: tuple[tuple[str, str], ...]
    """(term, key), in order of term and key."""
    continuation: bytes = b""
    """Where the next page begins; empty when this was the last one."""


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many replicas must answer; see the buckets' documentation of Riak KV."""

    replicas: str = "quorum"
    """r, w and dw."""
    primaries: str = "quorum"
    """pr and pw: so many of the answers must come from where the replicas belong."""
    not_found_counts: bool = False
    """notfound_ok: whether a replica that has nothing is an answer."""

    @property
    def keeps_all(self) -> bool:
        """Whether what is written this way must not be lost: its bucket has to keep siblings."""
        return not self.not_found_counts


STRICT = Quorum()
"""Every acknowledged write is seen by every later read, or that fails; one of three replicas may be away."""
CACHE = Quorum("1", "0", not_found_counts=True)
"""The first replica that answers: for what may be lost."""
CACHE_EVERYWHERE = Quorum("all", "0", not_found_counts=True)
"""All replicas, or those that stand in for one that is away: what is removed so is seen by no later CACHE."""


class RiakKv(Protocol):
    async def fetch(self, bucket: str, key: str, quorum: Quorum = STRICT) -> Fetched: ...

    async def store(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        clock: bytes = b"",
        indexes: Indexes = (),
        if_absent: bool = False,
        quorum: Quorum = STRICT,
    ) -> None:
        """Replace the values that `clock` stands for; what was written meanwhile becomes a sibling.

        `if_absent`: raises Conflict when there is a value. Riak looks first and writes then: two may pass at once.
        An Unavailable leaves it open whether the value was, or still will be, stored. Raises Rejected when the
        quorum keeps all and the bucket keeps no siblings."""
        ...

    async def delete(self, bucket: str, key: str, clock: bytes, quorum: Quorum = STRICT) -> None:
        """Remove the values that `clock` stands for; others stay. A free key is no error."""
        ...

    async def index(
        self,
        bucket: str,
        field: str,
        low: str,
        high: str,
        *,
        limit: int,
        continuation: bytes = b"",
        regex: str = "",
    ) -> IndexPage:
        """Entries with low <= term <= high, at most `limit`; of those whose term matches `regex`, if one is given.

        No name may be empty, neither bound either: over HTTP a path has no empty parts. Raises Rejected."""
        ...

    async def require_siblings(self, bucket: str) -> None:
        """Raises Rejected when of values that are written at once only one would be kept."""
        ...

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...
