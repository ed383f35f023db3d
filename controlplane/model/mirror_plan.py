"""What becomes of a mirror task after an attempt: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from controlplane.model.copies import Noted
from controlplane.model.failures import Failure
from controlplane.model.made_often import made_often
from controlplane.model.manifest import Location
from controlplane.model.retry import Schedules
from controlplane.model.task import Task


@made_often
@dataclass(frozen=True, slots=True)
class Done:
    """The promise is kept and proved: the entry may be closed."""

    task: Task
    location: Location | None
    """What the catalog should say of the target; None: nothing new."""
    copied_bytes: int = 0
    note: str = ""
    """Why nothing was copied, where nothing was."""
    rows: tuple[Noted, ...] = ()
    """Of an S3 object whose copy was proved: what the catalog should say, so that no scan has to ask the target."""


@dataclass(frozen=True, slots=True)
class Failed:
    task: Task
    failure: Failure
    error: str
    store_away: bool = False
    """The whole store is away or full, not only this object: it counts against nothing, or an outage would bury the
    journal. Nor does what came on before it failed."""


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing failed, it is only too early (the grace of a delete)."""

    task: Task
    due_at: float


Worked: TypeAlias = Done | Later
"""What working a task comes to, unless it raises."""

Outcome: TypeAlias = Worked | Failed


@dataclass(frozen=True, slots=True)
class Close:
    done: Done


@dataclass(frozen=True, slots=True)
class Postpone:
    task: Task
    attempts: int
    due_at: float
    error: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Bury:
    task: Task
    attempts: int
    error: str
    failure: Failure


Action: TypeAlias = Close | Postpone | Bury


def settle(outcome: Outcome, schedules: Schedules, now: float, jitter: float) -> Action:
    """The journal's next step after `outcome`.

    Invariants: nothing but a Done closes an entry (I1); neither an outage of a store nor its wish to be left alone ever
    makes a dead letter; every other failure makes one after at most the budget of its category.
    """
    match outcome:
        case Done():
            return Close(outcome)
        case Later(task, due_at):
            return Postpone(task, task.attempts, due_at, "")
        case Failed(task, failure, error, store_away):
            # Whatever a store that is away says, it is asked again soon: it may be back.
            schedule = schedules[Failure.UNAVAILABLE if store_away else failure]
            if store_away or failure is Failure.THROTTLED:
                return Postpone(task, task.attempts, now + schedule.wait_s(task.attempts + 1, jitter), error, failure)
            attempts = task.attempts + 1
            if schedule.exhausted(attempts):
                return Bury(task, attempts, error, failure)
            return Postpone(task, attempts, now + schedule.wait_s(attempts, jitter), error, failure)
