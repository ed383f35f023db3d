"""The S3 front's writes in the journal, before they are acknowledged; implements ports.write_log.WriteLog."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import AclCarried, MirrorRule, covering
from controlplane.model.task import Draft, Op
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Full
from controlplane.ports.fault_points import reach
from controlplane.ports.journal import Journal
from controlplane.services.fill_fence import FillFence
from controlplane.services.object_deletes import TAKE_BACK_AFTER_S
from controlplane.services.object_tombstones import ObjectTombstones

_LOOK_EVERY_S: Final = 0.1
_REMEMBERED: Final = 10_000


class ObjectWriteLog:
    """What no rule covers costs nothing. The journal's own bound stands; ready() sees it some entries early, so that
    the write is refused before Riak CS has it."""

    def __init__(
        self,
        rules: Sequence[MirrorRule],
        *,
        journal: Journal,
        tombstones: ObjectTombstones,
        fence: FillFence,
        clock: Clock,
    ) -> None:
        self._rules = tuple(rules)
        self._journal = journal
        self._tombstones = tombstones
        self._fence = fence
        self._clock = clock
        self._looked_at = float("-inf")
        self._room = 1
        self._deleting: OrderedDict[tuple[Bucket, Key], float] = OrderedDict()

    async def ready(self, bucket: str, key: str) -> None:
        place = Bucket(bucket), Key(key)
        rules = covering(self._rules, *place)
        if not rules:
            return
        await self._require_room()
        if any(rule.read_through for rule in rules):
            await self._fence.begin_write(*place)

    async def wrote(self, bucket: str, key: str, etag: str, size: int | None) -> None:
        place = Bucket(bucket), Key(key)
        rules = covering(self._rules, *place)
        if rules:
            # The journal first: a write that turns out to be gone is promised in vain, which costs one look.
            await self._append(Draft(Op.PUT_OBJECT, *place, etag=etag, object_size=size), rules)
            reach("objects.write_journalled")
            if any(rule.read_through for rule in rules):
                await self._fence.end_write(*place, etag)
            else:
                await self._fence.survived(*place, etag)

    async def regranted(self, bucket: str, key: str) -> None:
        place = Bucket(bucket), Key(key)
        rules = [rule for rule in covering(self._rules, *place) if rule.acl is not AclCarried.NONE]
        if rules:
            await self._append(Draft(Op.PUT_OBJECT, *place), rules)

    async def deleting(self, bucket: str, key: str) -> None:
        place = Bucket(bucket), Key(key)
        rules = covering(self._rules, *place)
        readable = any(rule.read_through for rule in rules)
        if readable:
            await self._fence.begin_write(*place)
        if self._concerned(rules):
            self._deleting[place] = self._clock.monotonic()
            self._deleting.move_to_end(place)
            if len(self._deleting) > _REMEMBERED:
                self._deleting.popitem(last=False)
            # Before the tombstone, so that there is never one that nobody will lift.
            await self._append(Draft(Op.DELETE_OBJECT, *place), self._concerned(rules))
            reach("objects.delete_journalled")
        if readable:
            await self._tombstones.put(*place)
            reach("objects.entombed")

    async def deleted(self, bucket: str, key: str) -> None:
        place = Bucket(bucket), Key(key)
        rules = covering(self._rules, *place)
        readable = any(rule.read_through for rule in rules)
        if rules and not readable:
            await self._fence.survived(*place, "")
        if not self._concerned(rules):
            return
        began = self._deleting.pop(place, float("-inf"))
        # The agent may have taken a slow delete for one that broke off, and have lifted its tombstone.
        slow = self._clock.monotonic() - began > TAKE_BACK_AFTER_S / 2
        lifted = readable and not await self._tombstones.has(*place)
        if slow or lifted:
            await self._append(Draft(Op.DELETE_OBJECT, *place), self._concerned(rules))
        if lifted:
            await self._tombstones.put(*place)
        if readable:
            self._fence.end_delete(*place)

    def _concerned(self, rules: Sequence[MirrorRule]) -> Sequence[MirrorRule]:
        """Those to which a delete is work: their target's, or a tombstone's end."""
        return [rule for rule in rules if rule.deletes or rule.read_through]

    async def _append(self, draft: Draft, rules: Sequence[MirrorRule]) -> None:
        """One entry for each rule: their targets do not wait for each other. All are on stable storage after this."""
        now = self._clock.now()
        if len(rules) == 1:
            await self._journal.append(replace(draft, rule=rules[0].name), now)
            return
        answers = await asyncio.gather(
            *(self._journal.append(replace(draft, rule=rule.name), now) for rule in rules), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _require_room(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            stats = await self._journal.stats()
            self._room = stats.limit - stats.pending - stats.failed
            self._looked_at = now
        if self._room <= 0:
            raise Full("the journal is full: see why the mirror does not keep up (`millrace mirror status`)")
        self._room -= 1
