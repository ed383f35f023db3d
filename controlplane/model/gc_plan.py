"""When the local Riak CS node may collect garbage: the pure decision of one round.

Riak CS collects on every node whose own timer is on, and several collectors at once get into each other's way. So all
timers are off (`gc.interval = infinity`), and the node whose agent holds the duty runs batches.

Invariant: a batch is asked for only while there is time to have it cancelled before the duty can be another node's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Local(Enum):
    """The Riak CS node beside the agent, as far as it is known."""

    UNKNOWN = "unknown"
    """Not asked yet, or it did not answer."""
    IDLE = "idle"
    COLLECTING = "collecting"
    SCHEDULED = "scheduled"
    """Its own timer is on: it would collect by itself, now or later."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds."""

    interval_s: float
    """From the start of one batch to the start of the next."""
    check_s: float
    """A look at the local node is good for this long."""
    command_s: float
    """A command of the local node has ended by then, with or without success."""
    margin_s: float = 1.0
    """For what lies between the steps."""

    def halt_by(self, held_until: float) -> float:
        """The moment at which halting must begin, so that it has ended when the duty ends."""
        return held_until - self.command_s - self.margin_s

    @property
    def retry_s(self) -> float:
        """A node that does not answer is asked again after this: each question costs it CPU."""
        return self.check_s / 6


@dataclass(frozen=True, slots=True)
class Situation:
    """Moments are of one monotonic clock."""

    now: float
    held_until: float
    """The duty is ours up to here, whatever happens; minus infinity: not at all."""
    local: Local
    asked_at: float
    """When the local node was asked for anything last; minus infinity: never."""
    silent: int
    """Questions in a row that it did not answer."""
    may_collect: bool
    """A batch was asked for, and nothing since has shown that none is under way."""
    next_batch_at: float


class Action(Enum):
    LOOK = "look"
    START = "start"
    HALT = "halt"
    REST = "rest"


PATIENCE = 3
"""Unanswered questions after which a node is taken for dead."""


def plan(at: Situation, times: Times) -> Action:
    """What is to be done with the local node now; one thing, and after it the situation is another one."""
    halt_by = times.halt_by(at.held_until)
    age = at.now - at.asked_at
    if at.local is Local.SCHEDULED:
        return Action.HALT
    if at.may_collect and at.now >= halt_by:
        return Action.HALT if at.silent < PATIENCE or age >= times.retry_s else Action.REST
    if at.local is Local.UNKNOWN:
        return Action.LOOK if not at.silent or age >= times.retry_s else Action.REST
    if age >= times.check_s:
        return Action.LOOK
    in_time = at.now + times.command_s <= halt_by
    if at.local is Local.IDLE and at.now >= at.next_batch_at and in_time:
        # An old look proves nothing: the node may have gone since, or somebody may have switched its timer on.
        return Action.START if age <= times.margin_s else Action.LOOK
    return Action.REST


def wants_duty(local: Local, silent: int, *, holding: bool) -> bool:
    """A node whose Riak CS does not answer does not take the duty, and leaves it to others after some patience."""
    return local is not Local.UNKNOWN or (holding and silent < PATIENCE)
