"""Nodes that share a scan of one world over fakes, each with a seat, a duty and, where told so, its own catalog."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from controlplane.adapters.memory.catalog import MemoryCatalog
from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.adapters.memory.scan_board import InProcessBoard, MemoryScanBoards
from controlplane.model.keys import Bucket
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_guard import GuardLimits
from controlplane.model.tally import ScanTally
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.catalog import Catalog
from controlplane.ports.scan_board import ScanBoards
from controlplane.services.scan_deletes import ScanDeletes
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_seat import ScanSeat
from controlplane.services.scan_stretches import StretchRecords
from controlplane.services.shared_documents import SharedDocuments
from controlplane.services.shared_scan import SharedScan
from controlplane.services.shared_scan_duty import SharedScanDuty
from tests.support.object_node import B
from tests.support.scan_world import WEEK, Told, World

DAY = 86_400.0
TTL_S = 10.0


class ScanNode:
    """`catalog`: None shares that of the world."""

    def __init__(
        self,
        world: World,
        name: str,
        boards: ScanBoards,
        documents: SharedDocuments,
        *,
        catalog: Catalog | None = None,
        limits: GuardLimits | None = None,
        source: BucketStores | None = None,
        buckets: Callable[[], Sequence[Bucket]] = lambda: [B],
        workers: int = 2,
        page: int = 3,
        admit: Callable[[MirrorRule, int], Awaitable[bool]] | None = None,
        **more: Any,
    ) -> None:
        self.name = name
        self.tally = ScanTally()
        self.told = Told()
        self.seat = ScanSeat(boards, name, world.clock, self.tally, ttl_s=TTL_S)
        self.catalog: Catalog = world.catalog if catalog is None else catalog
        self.source: BucketStores = world.node.source if source is None else source
        deletes = None
        if limits is not None:
            deletes = ScanDeletes(
                rules=world.rules,
                source=self.source,
                catalog=self.catalog,
                queue=JournalSink(world.node.journal, world.clock, share=1.0),
                clock=world.clock,
                limits=limits,
                grace_s=WEEK,
            )

        scans = world.scans(
            self.told,
            workers=workers,
            page=page,
            source=self.source,
            catalog=self.catalog,
            buckets=buckets,
            admit=admit,
            nodes=lambda: self.tally.nodes,
        )

        def new_scan() -> SharedScan:
            options: dict[str, Any] = {"save_every_s": 2.0, "look_every_s": 0.5, **more}
            return SharedScan(
                scans,
                self.tally,
                node=name,
                seat=self.seat,
                stretches=StretchRecords(documents),
                catalog_is_shared=catalog is None,
                deletes=deletes,
                **options,
            )

        self.duty = SharedScanDuty(new_scan, self.seat, documents, world.clock, self.tally, every_s=DAY)


class Team:
    def __init__(self, world: World, *names: str, own_catalogs: bool = False, **more: Any) -> None:
        self.world = world
        self.board = InProcessBoard(world.clock)
        self.directory = InProcessDirectory(world.clock)
        self.documents = SharedDocuments(self.directory, "scan")
        self.own_catalogs = own_catalogs
        self.more = more
        self.catalogs: dict[str, Catalog] = {}
        self.nodes = {name: self.make(name) for name in names}

    def make(self, name: str, **more: Any) -> ScanNode:
        """A node, or one that was started again: its catalog stays."""
        if self.own_catalogs:
            more["catalog"] = self.catalogs.setdefault(name, MemoryCatalog())
        return ScanNode(self.world, name, MemoryScanBoards(self.board), self.documents, **{**self.more, **more})

    async def run(self, *names: str) -> None:
        """A whole run, of all nodes or those named."""
        await asyncio.gather(*(self.nodes[name].duty.once() for name in names or self.nodes))

    @property
    def told(self) -> list[str]:
        return [one.key for node in self.nodes.values() for one in node.told.differences]

    async def last(self) -> dict[str, Any]:
        return dict(await self.documents.load("scan-last") or {})
