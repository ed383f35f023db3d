"""Mirror tasks of deletes: a copy goes when the source confirms that its object is gone, and its tombstone after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.model.copies import Noted
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_plan import Done, Later, Worked
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.task import Task
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, MillraceError, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.object_store import Expected, ObjectStore
from controlplane.services.object_tombstones import ObjectTombstones
from controlplane.services.presence import exists
from controlplane.services.target_states import Asked, TargetStates

TAKE_BACK_AFTER_S: Final = 2.0
"""Seconds after which an object that still stands is taken for written again, not for about to be deleted; and before
which no tombstone is lifted of one that does not. The gateway promises a delete anew when the whole took longer than
half of it."""

_GRACE_LOOK_S: Final = 5.0
_LOOKS: Final = 4


@dataclass(frozen=True, slots=True)
class RuleTarget:
    rule: MirrorRule
    store: ObjectStore


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of bringing an object to the target of a rule."""

    there: bool
    """Whether the source had the object to the end."""
    copied_bytes: int = 0
    note: str = ""
    rows: tuple[Noted, ...] = ()


class ObjectDeletes:
    """Works the delete tasks of ObjectCopier, under its invariants: only what the source confirms deletes (I4)."""

    def __init__(
        self,
        *,
        targets: Mapping[str, BucketStores],
        tombstones: ObjectTombstones,
        clock: Clock,
        grace_s: float,
        states: TargetStates,
        lives: Callable[[Bucket, Key], Awaitable[bool]],
        bring: Callable[[Task, RuleTarget], Awaitable[Brought]],
        forget: Callable[[Task, RuleTarget], Awaitable[None]],
    ) -> None:
        """`lives`: whether the source has it; `bring` copies what was written again; `forget` comes before a copy
        goes, and ends what is under way to it."""
        self._targets = targets
        self._tombstones = tombstones
        self._clock = clock
        self._grace_s = grace_s
        self._states = states
        self._lives = lives
        self._bring = bring
        self._forget = forget

    async def work(self, task: Task, target: RuleTarget, rules: Sequence[MirrorRule]) -> Worked:
        bucket, key = task.draft.bucket, task.draft.key
        known = (await self._states.known(target.rule, bucket, [key]))[key]  # before the source is asked
        if await self._lives(bucket, key):
            return await self._still_there(task, target, rules)
        if any(rule.read_through for rule in rules) and self._clock.now() < task.enqueued_at + TAKE_BACK_AFTER_S:
            # Of a key that Riak CS never had, or lost: the gateway may be about to put the tombstone of this very
            # delete, and one that comes after this has lifted it would stay for ever.
            return Later(task, task.enqueued_at + TAKE_BACK_AFTER_S)
        if target.rule.deletes:
            now = self._clock.now()
            due_at = task.enqueued_at + self._grace_s
            if now < due_at:
                # Looked at in between, ever more seldom: what is written again meanwhile waits behind this entry.
                return Later(task, min(due_at, now + max((now - task.enqueued_at) / 2, _GRACE_LOOK_S)))
            await self._forget(task, target)
            if not await self._remove(task, target, known):
                return await self._alive(task, target, rules)
            reach("objects.target_deleted")
            if await exists(target.store, key):
                # Or another node's copy, begun before the delete, came just now: so it is tried again.
                raise Unavailable(
                    f"{key} is still in {target.store.name} after its deletion: is the bucket versioned or locked?"
                )
            if await self._lives(bucket, key):
                # Written again meanwhile: what was deleted may have been its copy.
                return await self._alive(task, target, rules)
        await self._lift_of_the_dead(task, rules)
        return Done(task, None)

    async def _remove(self, task: Task, target: RuleTarget, known: Expected) -> bool:
        """Remove the copy that was there before the source said that its object is gone; never one that came later, of
        an object that was written again (services/target_states.py). False: the source has the object."""
        bucket, key, states = task.draft.bucket, task.draft.key, self._states
        before: Asked | Expected = known
        refused: list[Asked] = []
        for _ in range(_LOOKS):
            if not states.is_fenced(target.rule):
                await target.store.delete(key)
                return True
            etag = (before.expected if isinstance(before, Asked) else before).get("if_match")
            if etag:
                try:
                    await target.store.delete(key, if_match=etag)
                except Conflict:
                    refused += [before] if isinstance(before, Asked) else []
                else:
                    states.now_holds(target.rule, bucket, key, "")
                    return True
            before = await states.asked(target.rule, bucket, target.store, key, refused)
            if await self._lives(bucket, key):
                return False
            if before.held is None:
                return True
        raise Unavailable(f"{key} in {target.store.name} changes faster than it can be deleted")

    async def _lift_of_the_dead(self, task: Task, rules: Sequence[MirrorRule]) -> None:
        """The tombstone goes when no target that is read through has a copy any more. Each of them has a task that
        comes here after its deletion: of those that meet, the last one sees all of them empty."""
        bucket, key = task.draft.bucket, task.draft.key
        readable = [rule for rule in rules if rule.read_through]
        if not readable or not all(rule.deletes for rule in readable):
            return
        stores = [self._targets[rule.target].store(bucket) for rule in readable]
        for rule, store in zip(readable, stores, strict=True):
            try:
                if rule.name != task.draft.rule and await exists(store, key):
                    return
            except MillraceError:
                return  # it is away, and its own task will come
        await self._tombstones.lift(bucket, key)
        reach("objects.tombstone_lifted")
        for store in stores:
            # A newer life may have begun, been mirrored and ended while this one's tombstone was about to go.
            if await exists(store, key) and not await self._lives(bucket, key):
                await self._tombstones.put(bucket, key)
                raise Unavailable(f"{bucket}/{key} was written and deleted again at this very moment")

    async def _still_there(self, task: Task, target: RuleTarget, rules: Sequence[MirrorRule]) -> Worked:
        """Written again, or not deleted yet, or its deletion broke off before Riak CS was asked."""
        now = self._clock.now()
        if now - task.enqueued_at < TAKE_BACK_AFTER_S:
            return Later(task, min(task.enqueued_at, now) + TAKE_BACK_AFTER_S)  # its deletion may be under way
        return await self._alive(task, target, rules)

    async def _alive(self, task: Task, target: RuleTarget, rules: Sequence[MirrorRule]) -> Done:
        brought = await self._bring(task, target)
        if not brought.there:
            raise Unavailable(f"{task.draft.bucket}/{task.draft.key} was deleted at this very moment")
        if any(rule.read_through for rule in rules):
            await self.lift_of_the_living(task)
        note = "the object was written again, or its deletion broke off before it was acknowledged"
        return Done(task, None, brought.copied_bytes, note, brought.rows)

    async def lift_of_the_living(self, task: Task) -> None:
        """The gateway looks for its tombstone after it removed the object, this looks for the object after it removed
        the tombstone: of two that cross, one sees the other (I4)."""
        bucket, key = task.draft.bucket, task.draft.key
        await self._tombstones.lift(bucket, key)
        if not await self._lives(bucket, key):
            await self._tombstones.put(bucket, key)
            raise Unavailable(f"{bucket}/{key} was deleted at this very moment")
