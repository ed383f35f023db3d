"""Tasks that are worked together, because that is cheaper than one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.model.mirror_plan import Done, Worked
from controlplane.model.task import Task


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A task that could not be finished together with others."""

    task: Task
    way_on: Callable[[], Awaitable[Worked]]
    """Works it alone, from the step that is in doubt; raises what working it alone raises."""


class Together(Protocol):
    def group(self, task: Task) -> Hashable | None:
        """Tasks of one group can be worked together; None: it goes alone."""
        ...

    async def work(self, tasks: Sequence[Task]) -> tuple[Sequence[Done], Sequence[Doubtful]]:
        """Tasks of one group: those that are done, and each of the others with its way on."""
        ...


class Combined:
    """Several kinds of groups. Implements Together."""

    def __init__(self, *kinds: Together) -> None:
        self._kinds = kinds

    def group(self, task: Task) -> Hashable | None:
        for number, kind in enumerate(self._kinds):
            group = kind.group(task)
            if group is not None:
                return number, group
        return None

    async def work(self, tasks: Sequence[Task]) -> tuple[Sequence[Done], Sequence[Doubtful]]:
        kind = next(kind for kind in self._kinds if kind.group(tasks[0]) is not None)
        return await kind.work(tasks)
