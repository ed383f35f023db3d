"""A source, a target and a catalog in any state, over fakes; and what a scan of them must find, told key by key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from controlplane.adapters.memory.documents import MemoryDocuments
from controlplane.model.copies import Copy
from controlplane.model.copy_record import CopyRecord
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_guard import GuardLimits
from controlplane.model.scan_join import Difference, Kind
from controlplane.model.scan_state import Unit
from controlplane.model.tally import ScanTally
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.catalog import Catalog
from controlplane.ports.scan_checkpoints import ScanCheckpoints
from controlplane.services.scan_deletes import ScanDeletes
from controlplane.services.scan_maker import ScanMaker
from controlplane.services.scan_queue import JournalSink
from controlplane.services.scan_run import ScanRun
from controlplane.services.scan_tags import TagScan
from controlplane.services.scan_unit import Sink
from tests.support.fakes import content_of
from tests.support.object_node import B, ObjectNode
from tests.support.virtual_time import VirtualClock

T = StoreName("t")
RULE = MirrorRule("photos", "", "t")
WEEK = 7 * 86_400.0


@dataclass(frozen=True)
class Place:
    """How one key is at the start."""

    key: str
    at_source: bool
    at_target: str
    """"": nothing; "copy", "older": of another version; "other size"; "foreign": nobody's copy; "rotten": its ETag is
    not that of the bytes it claims."""
    row: str
    """In the catalog: "" none, "right", "wrong": of another version."""

    @property
    def kind(self) -> Kind | None:
        """What a scan must say."""
        if self.at_source:
            if not self.at_target:
                return Kind.MISSING
            return None if self.at_target == "copy" else Kind.DIFFERENT
        if not self.at_target:
            return None
        return Kind.FOREIGN if self.at_target == "foreign" else Kind.EXTRA


PLACES = st.lists(
    st.builds(
        Place,
        st.text("ab/é\U0001f600", min_size=1, max_size=3),
        st.booleans(),
        st.sampled_from(["", "copy", "copy", "copy", "older", "other size", "foreign", "rotten"]),
        st.sampled_from(["", "right", "right", "wrong"]),
    ),
    max_size=14,
    unique_by=lambda place: place.key,
)


class Told:
    """Implements Sink: remembers."""

    def __init__(self) -> None:
        self.differences: list[Difference] = []

    async def take(self, unit: Unit, differences: Sequence[Difference]) -> int:
        self.differences += differences
        return 0

    @property
    def kinds(self) -> dict[str, Kind]:
        return {one.key: one.kind for one in self.differences}


class World:
    def __init__(self, clock: VirtualClock, path: Path, *rules: MirrorRule, **more: Any) -> None:
        self.clock = clock
        self.rules = rules or (RULE,)
        self.node = ObjectNode(clock, path, *self.rules, **more)
        self.source = self.node.source.store(B)
        self.target = self.node.targets["t"].store(B)
        self.catalog = self.node.catalog
        self.checkpoints: ScanCheckpoints = MemoryDocuments()
        self.tally = ScanTally()
        self.told = Told()

    async def fill(self, places: Sequence[Place]) -> None:
        for place in places:
            data = f"bytes of {place.key}".encode()
            info = await self.source.put(Key(place.key), data)
            etag, mtime = info.etag, info.modified_at
            if place.at_target == "foreign":
                await self.target.put(Key(place.key), data)
            elif place.at_target:
                body = data[:-1] if place.at_target == "other size" else data
                if place.at_target == "older":
                    etag, body = "0" * 32, bytes(len(data))
                record = CopyRecord(etag, mtime).encoded()
                await self.target.put(Key(place.key), body, content=content_of(body), metadata=record)
                if place.at_target == "rotten":
                    self.target.replace_bytes(place.key, bytes(len(body)), honest_etag=True)
            if place.row and place.at_target not in ("", "foreign"):
                held = (await self.target.head(Key(place.key))).etag
                wrong = place.row == "wrong" or place.at_target in ("older", "rotten")
                row = Copy(Key(place.key), "f" * 32 if wrong else etag, len(data), round(mtime), held)
                await self.catalog.record_copies(T, B, [row])
            if not place.at_source:
                await self.source.delete(Key(place.key))

    def scans(
        self,
        sink: Sink,
        *,
        workers: int,
        page: int,
        tags: TagScan | None = None,
        source: BucketStores | None = None,
        catalog: Catalog | None = None,
        buckets: Callable[[], Sequence[Bucket]] = lambda: [B],
        admit: Callable[[MirrorRule, int], Awaitable[bool]] | None = None,
        nodes: Callable[[], int] = lambda: 1,
    ) -> ScanMaker:
        async def of(_: MirrorRule) -> Sequence[Bucket]:
            return buckets()

        return ScanMaker(
            self.rules,
            source=self.node.source if source is None else source,
            targets=dict(self.node.targets),
            catalog=self.catalog if catalog is None else catalog,
            buckets=of,
            sink=sink,
            clock=self.clock,
            workers=workers,
            page=page,
            tags=tags,
            admit=admit,
            nodes=nodes,
        )

    def run(
        self, sink: Sink | None = None, *, workers: int = 1, page: int = 3, tags: TagScan | None = None, **more: Any
    ) -> ScanRun:
        return ScanRun(self.scans(sink or self.told, workers=workers, page=page, tags=tags), self.tally, **more)

    def deletes(self, most: int = 100, share: float = 1.0, grace_s: float = WEEK) -> ScanDeletes:
        return ScanDeletes(
            rules=self.rules,
            source=self.node.source,
            catalog=self.catalog,
            queue=JournalSink(self.node.journal, self.clock, share=1.0),
            clock=self.clock,
            limits=GuardLimits(most, share),
            grace_s=grace_s,
        )

    @property
    def deletions(self) -> set[str]:
        return {task.draft.key for task in self.node.journal.open_tasks if task.draft.op.is_delete}
