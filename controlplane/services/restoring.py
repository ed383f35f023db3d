"""Objects that Riak CS lost, put back from their copies: as a scan finds them, many at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.model.copy_record import decode_copy_record
from controlplane.model.keys import Bucket, Key
from controlplane.model.scan_join import Difference, Kind
from controlplane.model.scan_state import Unit
from controlplane.model.task import Op
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.errors import MillraceError, NotFound
from controlplane.ports.journal import Journal
from controlplane.ports.upstream import KeyPair
from controlplane.services.object_read_through import ObjectReadThrough

log = logging.getLogger(__name__)

_SIDE_BY_SIDE: Final = 8
_MOST_TOLD: Final = 100


@dataclass(slots=True)
class Restored:
    objects: int = 0
    bytes: int = 0
    newer: int = 0
    """Copies of writes after the point in time that was asked for: what they were then, the target does not have."""
    left_alone: int = 0
    """Deleted (a tombstone says so), or written again meanwhile."""
    deleted: int = 0
    """Deleted, too: the journal says that their copies are to go."""
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    """The first of them, in words."""


class Restorer:
    """Implements services.scan_unit.Sink for what is extra: a copy whose object Riak CS does not have.

    Never overwrites: what Riak CS has, in whatever version, stays. Each object is proved before it is put back, belongs
    to the bucket's owner, and has the MD5 as its ETag.
    """

    def __init__(
        self,
        through: ObjectReadThrough,
        *,
        targets: Mapping[str, BucketStores],
        owner: Callable[[Bucket], Awaitable[KeyPair]],
        journal: Journal | None = None,
        rules: Collection[str] = (),
        up_to_seq: int | None = None,
        moved: Callable[[int], None] = lambda _: None,
        begin: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`owner`: raises NotFound for a bucket that nobody owns. `journal`: what it says to be deleted is not put back
        (I4): that of this node, or the one that all share; None: it is. `rules`: their names, beside those that the
        journal has entries of. `up_to_seq`: only copies of journal entries up to
        this one. `begin`: waited for once, before the first is put back."""
        self._begin = begin
        self._beginning = asyncio.Lock()
        self._through = through
        self._targets = targets
        self._owner = owner
        self._journal = journal
        self._rules = frozenset(rules)
        self._former: frozenset[str] | None = None
        self._up_to_seq = up_to_seq
        self._moved = moved
        self._places = asyncio.Semaphore(_SIDE_BY_SIDE)
        self.result = Restored()

    async def take(self, unit: Unit, differences: Sequence[Difference]) -> int:
        """Raises NotFound when the bucket has no owner."""
        lost = [one for one in differences if one.kind is Kind.EXTRA]
        if lost:
            owner = await self._owner(unit.bucket)
            await self._begun()
            await asyncio.gather(*(self._restore(unit, one, owner) for one in lost))
        return 0

    async def _begun(self) -> None:
        async with self._beginning:
            if self._begin is not None:
                await self._begin()
                self._begin = None

    async def _restore(self, unit: Unit, one: Difference, owner: KeyPair) -> None:
        result = self.result
        async with self._places:
            try:
                if self._up_to_seq is not None and await self._is_newer(unit, one.key, self._up_to_seq):
                    result.newer += 1
                elif await self._is_deleted(unit.bucket, one.key):
                    result.deleted += 1
                elif await self._through.bring_back(unit.bucket, one.key, owner, is_deleted=self._is_deleted):
                    result.objects += 1
                    result.bytes += one.size
                    self._moved(1)
                else:
                    result.left_alone += 1
            except (MillraceError, TimeoutError) as error:
                what = f"{unit.bucket}/{one.key}: {str(error) or 'it took too long'}"
                result.failed += 1
                if len(result.failures) < _MOST_TOLD:
                    result.failures.append(what)
                log.warning("not restored: %s", what)

    async def _is_deleted(self, bucket: Bucket, key: Key) -> bool:
        """Whether the last that was promised of it is its deletion, under any rule; also one of former settings."""
        if self._journal is None:
            return False
        if self._former is None:
            self._former = frozenset(await self._journal.rules())
        newest = [await self._journal.newest_of(bucket, key, rule) for rule in self._rules | self._former]
        last = max((task for task in newest if task is not None), key=lambda task: task.seq, default=None)
        return last is not None and last.draft.op is Op.DELETE_OBJECT

    async def _is_newer(self, unit: Unit, key: Key, seq: int) -> bool:
        try:
            held = await self._targets[unit.rule.target].store(unit.bucket).head(key)
        except NotFound:
            return False
        said = decode_copy_record(held.metadata)
        return said is not None and said.seq > seq
