"""What all scans have in common, of one node or of several: what they are about, and how one bucket's is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_state import Counts, Unit, UnitState
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.object_store import ObjectStore
from controlplane.services.scan_admission import Admit
from controlplane.services.scan_tags import TagScan
from controlplane.services.scan_unit import PAGE, Sink, Stopped, UnitScan
from controlplane.services.store_listing import StoreListing
from controlplane.services.target_heads import TargetHeads

Buckets = Callable[[MirrorRule], Awaitable[Sequence[Bucket]]]
"""The source's buckets that a rule is about."""
Moved = Callable[[int], Awaitable[None]]


class ScanMaker:
    def __init__(
        self,
        rules: Sequence[MirrorRule],
        *,
        source: BucketStores,
        targets: Mapping[str, BucketStores],
        catalog: Catalog,
        buckets: Buckets,
        sink: Sink,
        clock: Clock,
        workers: int,
        page: int = PAGE,
        tags: TagScan | None = None,
        admit: Callable[[MirrorRule, int], Awaitable[bool]] | None = None,
        nodes: Callable[[], int] = lambda: 1,
    ) -> None:
        """`workers`: pieces of a bucket at a time. `tags`: compares those of the objects, too. `admit`: waits until so
        many requests of a rule may be sent; False: not any more. `nodes`: how many scan now: each has the rule's limit
        for itself and takes for all of them, so together they keep to it."""
        self.rules = tuple(rules)
        self._source = source
        self._targets = targets
        self._catalog = catalog
        self._buckets = buckets
        self._sink = sink
        self.clock = clock
        self.workers = workers
        self._page = page
        self._tags = tags
        self._admit = admit
        self._nodes = nodes

    async def units(self) -> AsyncIterator[tuple[str, Unit]]:
        """All there is to be scanned, with its order, ascending. Raises what the list of buckets raises."""
        for number, rule in enumerate(self.rules):
            for bucket in sorted(await self._buckets(rule)):
                yield f"{number:06d} {bucket}", Unit(rule, bucket, rule.prefix)

    def target(self, unit: Unit) -> ObjectStore:
        return self._targets[unit.rule.target].store(unit.bucket)

    def scan(
        self,
        unit: Unit,
        state: UnitState,
        *,
        moved: Moved,
        trust_catalog: bool = True,
        read: Callable[[Copy], Awaitable[bool]] | None = None,
        due_since: float | None = None,
        remembers: Callable[[Key], bool] = lambda _: True,
    ) -> UnitScan:
        """See UnitScan."""
        targets = self._targets[unit.rule.target]
        target, source, admit = self.target(unit), self._source.store(unit.bucket), self.admission(unit)
        return UnitScan(
            unit,
            state,
            rules=self.rules,
            source=StoreListing(source, unit.prefix, may_be_missing=False, admit=admit),
            target=StoreListing(target, unit.prefix, may_be_missing=True, admit=admit),
            heads=TargetHeads(target, targets.bulk(unit.bucket), admit),
            source_heads=TargetHeads(source, None, admit),
            catalog=self._catalog,
            sink=self._sink,
            clock=self.clock,
            workers=self.workers,
            trust_catalog=trust_catalog,
            read=read,
            moved=moved,
            page=self._page,
            due_since=due_since,
            remembers=remembers,
        )

    async def compare_tags(self, unit: Unit, counts: Counts, *, moved: Moved, trust_catalog: bool = True) -> None:
        """After the unit was scanned. See TagScan.run()."""
        if self._tags is not None:
            await self._tags.run(
                unit,
                counts,
                source=self._source.store(unit.bucket),
                target=self.target(unit),
                sink=self._sink,
                trust_catalog=trust_catalog,
                moved=moved,
                admit=self.admission(unit),
            )

    def admission(self, unit: Unit) -> Admit:
        """Raises Stopped when no more requests may be sent."""

        async def admit(requests: int) -> None:
            if self._admit is not None and not await self._admit(unit.rule, requests * max(1, self._nodes())):
                raise Stopped

        return admit
