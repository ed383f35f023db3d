"""The agent's mirror from its settings: lanes, copiers, the uploads in parts and their sweep."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from controlplane.adapters.s3 import S3Buckets, S3ObjectStore, is_one_service
from controlplane.model.keys import Bucket
from controlplane.model.mirror_plan import Worked
from controlplane.model.retry import RetrySchedule
from controlplane.model.tally import MirrorTally
from controlplane.model.task import Task
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.errors import Rejected
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.part_store import PartStore, WithParts
from controlplane.ports.server_copy import ServerCopy
from controlplane.ports.upload_ledger import Upload, UploadLedger
from controlplane.services.bulk_copying import BulkCopier
from controlplane.services.bulk_object_copying import BulkObjectCopier
from controlplane.services.copying import Copier
from controlplane.services.lanes import LanePlan, Lanes
from controlplane.services.large_copying import LargeCopier, UploadSweep
from controlplane.services.mirror import Mirror
from controlplane.services.object_acls import ObjectAcls
from controlplane.services.object_copying import ObjectCopier
from controlplane.services.runner import Runner
from controlplane.services.shared_documents import SharedDocuments
from controlplane.services.target_states import TargetStates
from controlplane.services.together import Combined, Together
from controlplane.services.upload_register import OrphanSweep, UploadRegister
from controlplane.settings.stores import S3Store
from controlplane.settings.tree import Settings
from controlplane.wiring.adapters import open_agent_spool, s3_options
from controlplane.wiring.s3_mirror import limits_of, rule_name

if TYPE_CHECKING:
    from controlplane.wiring.s3_mirror import S3Mirror
    from controlplane.wiring.shards_part import ShardsPart

Work: TypeAlias = Callable[[Task], Awaitable[Worked]]

BLOBS: Final = ""
"""The lane of blobs, as entries in the journal name it."""
_SWEEP_EVERY_S: Final = 3600.0
_TELL_AT_LEAST_EVERY_S: Final = 600.0
UPLOADS: Final = "uploads"
"""In the directory: unfinished uploads of all nodes."""


class MirrorPart:
    """Over stores, journal, catalog and ledger that its owner opened and will close. `run` starts a loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        primary: ObjectStore,
        persistent: ObjectStore | None,
        s3_mirror: S3Mirror | None,
        journal: Journal,
        catalog: Catalog,
        uploads: UploadLedger,
        shards: ShardsPart | None,
        directory: Directory,
        clock: Clock,
    ) -> None:
        mirror = settings.mirror
        self.tally = MirrorTally()
        self._settings = settings
        self._clock = clock
        self._persistent = persistent
        self._s3_mirror = s3_mirror
        self._closing = ExitStack()
        self._register: UploadRegister | None = None
        self._orphans: OrphanSweep | None = None
        if settings.directory.etcd.endpoints:
            documents = SharedDocuments(directory, UPLOADS)
            uploads = self._register = UploadRegister(uploads, documents, settings.node.name)
            self._orphans = OrphanSweep(
                documents,
                clock,
                settings.node.name,
                parts_of=self._parts_of_rule,
                # A node that lives has done it by then itself.
                after_s=mirror.abandon_parts_after_s + 3 * _SWEEP_EVERY_S,
            )
        self.lanes = self._build_lanes(primary)
        large = LargeCopier(
            uploads,
            clock,
            above_bytes=mirror.large_bytes,
            buffers=mirror.part_buffers,
            admit=self.lanes.go_on,
            moving=self.lanes.moving,
            tell_every_s=min(_TELL_AT_LEAST_EVERY_S, mirror.abandon_parts_after_s / 4),
        )
        together: list[Together] = []
        blobs: Work | None = None
        if persistent is not None:
            copier = Copier(
                primary=primary,
                persistent=persistent,
                catalog=catalog,
                journal=journal,
                clock=clock,
                read_back=mirror.verify == "read",
                large=large,
                parts=_parts_of(persistent),
                at_service=_way_between(settings, primary, persistent),
            )
            blobs = copier.work
            if isinstance(primary, S3ObjectStore) and isinstance(persistent, S3ObjectStore):
                bulk = BulkCopier(copier, primary=primary.bulk, persistent=persistent.bulk)
                together += [] if mirror.verify == "read" else [bulk]
        objects: Work | None = None
        if s3_mirror is not None:
            states = _states_of(s3_mirror, catalog, clock)
            object_copier = self._build_object_copier(s3_mirror, journal, large, states)
            objects = object_copier.work
            bulk_objects = BulkObjectCopier(
                object_copier,
                s3_mirror.rules,
                source=s3_mirror.source,
                targets=s3_mirror.targets,
                clock=clock,
                tags=s3_mirror.tags,
                states=states,
                answered=self.lanes.answered,
            )
            together += [] if mirror.verify == "read" else [bulk_objects]
        retry = mirror.retry
        work: Work = partial(_work, blobs, objects)
        combined: Together = Combined(*together)
        if shards is not None:
            work, combined = shards.guard(journal, work, combined)
        self._mirror = Mirror(
            work,
            journal=journal if shards is None else shards.journal(journal),
            catalog=catalog,
            lanes=self.lanes,
            clock=clock,
            schedule=RetrySchedule(retry.first_s, retry.factor, retry.most_s, retry.budget),
            jitter=random.random,
            tally=self.tally,
            batch=mirror.batch,
            large_bytes=mirror.large_bytes,
            together=combined,
            read_through=[rule.name for rule in s3_mirror.rules if rule.read_through] if s3_mirror is not None else (),
        )
        self._sweep = UploadSweep(uploads, clock, parts_of=self._parts, after_s=mirror.abandon_parts_after_s)

    def start(self, run: Callable[[Runner], asyncio.Task[None]]) -> None:
        run(Runner("mirror", self._mirror.once, self._clock, every_s=self._settings.mirror.idle_s))
        run(Runner("upload sweep", self._sweep_once, self._clock, every_s=_SWEEP_EVERY_S, most_s=_SWEEP_EVERY_S))

    async def aclose(self) -> None:
        """After the runners were told to stop: finish the copies under way."""
        await self._mirror.aclose()
        self._closing.close()

    async def _sweep_once(self) -> bool:
        if self._register is not None:
            await self._register.tell()  # at the start, and what was missed while etcd was away
        try:
            await self._sweep.once()
        finally:
            if self._orphans is not None:
                await self._orphans.once()
        return False

    def _build_lanes(self, primary: ObjectStore) -> Lanes:
        settings = self._settings.mirror
        plans: dict[str, LanePlan] = {}
        if self._persistent is not None:
            plans[BLOBS] = LanePlan((primary, self._persistent), limits_of(settings.limits))
        s3_mirror = self._s3_mirror
        if s3_mirror is not None:
            timetables = {rule_name(rule): limits_of(rule.limits) for rule in settings.rules}
            for rule in s3_mirror.rules:
                stores = (s3_mirror.source, s3_mirror.targets[rule.target])
                plans[rule.name] = LanePlan(stores, timetables[rule.name])
        return Lanes(self._clock, plans, concurrency=settings.concurrency)

    def _build_object_copier(
        self, s3_mirror: S3Mirror, journal: Journal, large: LargeCopier, states: TargetStates
    ) -> ObjectCopier:
        spool = open_agent_spool(self._settings)
        self._closing.callback(spool.close)
        settings = self._settings.mirror
        return ObjectCopier(
            s3_mirror.rules,
            source=s3_mirror.source,
            targets=s3_mirror.targets,
            tombstones=s3_mirror.tombstones,
            journal=journal,
            spool=spool,
            clock=self._clock,
            read_back=settings.verify == "read",
            tags=s3_mirror.tags,
            states=states,
            large=large,
            delete_grace_s=settings.delete_grace_s,
            admit=self.lanes.admit,
            answered=self.lanes.answered,
            moving=self.lanes.moving,
            at_service=s3_mirror.at_service,
            acls=ObjectAcls(
                s3_mirror.source,
                {name: target for name, target in s3_mirror.targets.items() if isinstance(target, S3Buckets)},
                self.tally,
            ),
        )

    def _parts(self, upload: Upload) -> PartStore | None:
        """Where an upload of the ledger is."""
        return self._parts_of_rule(upload.rule, upload.bucket)

    def _parts_of_rule(self, name: str, bucket: Bucket) -> PartStore | None:
        if name == BLOBS:
            return None if self._persistent is None else _parts_of(self._persistent)
        if self._s3_mirror is None:
            return None
        rule = next((rule for rule in self._s3_mirror.rules if rule.name == name), None)
        return None if rule is None else self._s3_mirror.targets[rule.target].parts(bucket)


def _way_between(settings: Settings, primary: ObjectStore, persistent: ObjectStore) -> ServerCopy | None:
    """How the service that has both stores copies blobs by itself; None: they are not one service's."""
    here, there = settings.primary, settings.persistent
    if not isinstance(here, S3Store) or not isinstance(there, S3Store):
        return None
    if not isinstance(primary, S3ObjectStore) or not isinstance(persistent, S3ObjectStore):
        return None
    source = s3_options(here)
    return persistent.server_copy(source) if is_one_service(source, s3_options(there)) else None


def _states_of(s3_mirror: S3Mirror, catalog: Catalog, clock: Clock) -> TargetStates:
    """Riak CS, which alone lists by version 1, answers 412 to every If-None-Match."""
    s3 = {name: at.template for name, at in s3_mirror.targets.items() if isinstance(at, S3Buckets)}
    unfenced = [name for name, at in s3.items() if not at.conditional_put or at.list_version == 1]
    return TargetStates(catalog, clock, unfenced=unfenced)


def _parts_of(store: ObjectStore) -> PartStore | None:
    """Beside a store of files or in memory there is none."""
    return store.parts if isinstance(store, WithParts) else None


async def _work(blobs: Work | None, objects: Work | None, task: Task) -> Worked:
    """What the settings no longer name a target for stays in the journal, and is said."""
    work, setting = (objects, "mirror.rules") if task.draft.op.is_of_object else (blobs, "persistent")
    if work is None:
        raise Rejected(f"nothing says where {task.draft.bucket}/{task.draft.key} is to be copied: set {setting}")
    return await work(task)
