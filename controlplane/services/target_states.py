"""What a target holds before the source is asked: a copy may replace that, and nothing that came after it.

An agent that is stopped between its look at the source and its put, for longer than its lease, would put an old copy
over the newer one of the shard's next owner. With a condition on the put the target refuses it (docs/decisions/0008).
The condition is sound only if it was true before the source was asked: what was there then is a copy of this version,
or of an older one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.recent import Recent
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError, NotFound
from controlplane.ports.object_store import Expected, ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

ANYTHING: Final = Expected()
_NOTHING: Final = Expected(if_absent=True)
_REMEMBERED: Final = 4096
_RESTS_S: Final = 3600.0
_Place: TypeAlias = tuple[str, Bucket, Key]


class Asked(NamedTuple):
    """What a target said of a key."""

    held: ObjectInfo | None
    expected: Expected
    """What a copy may replace."""


class TargetStates:
    """Asks the targets nothing where it can be avoided. What the catalog does not know is taken for absent, so that a
    first copy costs nothing: a target that has it refuses, and is asked then."""

    def __init__(self, catalog: Catalog, clock: Clock, *, unfenced: Collection[str] = ()) -> None:
        """`unfenced`: targets that cannot compare (StoreName); what is put there has no condition."""
        self._catalog = catalog
        self._clock = clock
        self._unfenced = frozenset(unfenced)
        self._rest_until: dict[str, float] = {}
        """Monotonic seconds, by target: it refused what its own answers called true."""
        self._recent: Recent[_Place, str] = Recent(_REMEMBERED)
        """ETags at the target, of what this process put there or removed last; empty: nothing is there."""

    def is_fenced(self, rule: MirrorRule) -> bool:
        if rule.target in self._unfenced:
            return False
        return self._clock.monotonic() >= self._rest_until.get(rule.target, float("-inf"))

    def now_holds(self, rule: MirrorRule, bucket: Bucket, key: Key, etag: str) -> None:
        """Of a copy that was proved; an empty ETag: it was removed."""
        self._recent.set((rule.target, bucket, key), etag)

    async def known(self, rule: MirrorRule, bucket: Bucket, keys: Sequence[Key]) -> Mapping[Key, Expected]:
        """What is believed, without asking the target. To be called before the source is asked."""
        if not self.is_fenced(rule):
            return dict.fromkeys(keys, ANYTHING)
        etags = {key: etag for key in keys if (etag := self._recent.get((rule.target, bucket, key))) is not None}
        others = [key for key in keys if key not in etags]
        if others:
            try:
                rows = await self._catalog.copies_of(StoreName(rule.target), bucket, others)
            except MillraceError as error:
                log.debug("the catalog does not say what %s holds: %s", rule.target, error)
            else:
                etags.update((key, row.target_etag) for key, row in rows.items())
        return {key: _is_there(etags.get(key, "")) for key in keys}

    async def asked(
        self, rule: MirrorRule, bucket: Bucket, store: ObjectStore, key: Key, refused: Sequence[Asked] = ()
    ) -> Asked:
        """What the target says. To be called before the source is asked. `refused`: what it said before, in this
        attempt, and then refused to replace. Raises Unavailable, Rejected."""
        try:
            held = await store.head(key)
        except NotFound:
            held = None
        self.now_holds(rule, bucket, key, held.etag if held is not None else "")
        expected = _is_there(held.etag if held is not None else "")
        if sum(_is_same(one.held, held) for one in refused) > 1 and self.is_fenced(rule):
            self._rest_until[rule.target] = self._clock.monotonic() + _RESTS_S
            log.warning(
                "%s refused twice to replace %s/%s under a condition (%s) that its own answers call met: for %.0f s "
                "it is sent none; conditional_put = false says so for good",
                store.name, bucket, key, expected, _RESTS_S,
            )  # fmt: skip
        return Asked(held, expected if self.is_fenced(rule) else ANYTHING)


def _is_same(one: ObjectInfo | None, other: ObjectInfo | None) -> bool:
    """Whether nobody has put anything between two looks. A target may name another ETag at every look."""
    return one == other or (one is not None and other is not None and replace(one, etag=other.etag) == other)


def _is_there(etag: str) -> Expected:
    return Expected(if_match=etag) if etag else _NOTHING
