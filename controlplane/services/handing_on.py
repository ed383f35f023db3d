"""Journal entries of S3 objects that name no rule, or none that covers the object in these settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from controlplane.model.copies import Noted
from controlplane.model.mirror_plan import Done, Later, Worked
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.task import Task
from controlplane.ports.errors import Full, MillraceError
from controlplane.ports.fault_points import reach
from controlplane.ports.journal import Journal

WorkFor: TypeAlias = Callable[[Task, MirrorRule, Sequence[MirrorRule]], Awaitable[Worked]]
"""Works a task for one rule, of all that cover its object."""


async def hand_on(task: Task, rules: Sequence[MirrorRule], journal: Journal, work: WorkFor) -> Worked:
    """Each of the rules that cover the object gets an entry of its own. In a journal that is full of such entries there
    is no room for any: then the task is worked here, for one rule after the other, and makes room by that. Raises Full
    when that fails: it is not the object's fault, and the next try may find room."""
    rows: list[Noted] = []
    for rule in rules:
        its_own = replace(task.draft, rule=rule.name)
        try:
            # Acknowledged when this one was: the lag goes on counting.
            await journal.append(its_own, task.enqueued_at)
        except Full as full:
            try:
                done = await work(replace(task, draft=its_own), rule, rules)
            except MillraceError as error:
                raise Full(f"{full}; {error}") from error
            if isinstance(done, Later):
                return Later(task, done.due_at)
            rows += done.rows
    reach("objects.handed_on")
    note = "one entry for each of its rules" if rules else "no rule mirrors it any more"
    return Done(task, None, note=note, rows=tuple(rows))
