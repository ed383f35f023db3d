"""What becomes of a mirror task after an attempt: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from controlplane.model.manifest import Location
from controlplane.model.retry import RetrySchedule
from controlplane.model.task import Task


class Failure(Enum):
    """Why an attempt failed, as far as the decision needs to know."""

    OBJECT = "object"
    """This object's own: it counts against the budget."""
    STORE = "store"
    """The whole store is away: it counts against nothing, or an outage would bury the journal."""
    HOPELESS = "hopeless"
    """A retry cannot help (a collision at the target): a dead letter at once."""


@dataclass(frozen=True, slots=True)
class Done:
    """The promise is kept and proved: the entry may be closed."""

    task: Task
    location: Location | None
    """What the catalog should say of the target; None: nothing new."""
    copied_bytes: int = 0
    note: str = ""
    """Why nothing was copied, where nothing was."""


@dataclass(frozen=True, slots=True)
class Failed:
    task: Task
    failure: Failure
    error: str


Outcome: TypeAlias = Done | Failed


@dataclass(frozen=True, slots=True)
class Close:
    done: Done


@dataclass(frozen=True, slots=True)
class Postpone:
    task: Task
    attempts: int
    due_at: float
    error: str


@dataclass(frozen=True, slots=True)
class Bury:
    task: Task
    attempts: int
    error: str


Action: TypeAlias = Close | Postpone | Bury


def settle(outcome: Outcome, schedule: RetrySchedule, now: float, jitter: float) -> Action:
    """The journal's next step after `outcome`.

    Invariants: nothing but a Done closes an entry (I1); a store's outage never makes a dead letter; every other
    failure makes one after at most schedule.budget attempts.
    """
    match outcome:
        case Done():
            return Close(outcome)
        case Failed(task, failure, error):
            attempts = task.attempts + 1
            due_at = now + schedule.wait_s(attempts, jitter)
            match failure:
                case Failure.STORE:
                    return Postpone(task, task.attempts, due_at, error)
                case Failure.HOPELESS:
                    return Bury(task, attempts, error)
                case Failure.OBJECT if schedule.exhausted(attempts):
                    return Bury(task, attempts, error)
                case Failure.OBJECT:
                    return Postpone(task, attempts, due_at, error)
