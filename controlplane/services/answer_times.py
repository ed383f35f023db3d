"""Who is told how long stores take: the lanes, for their pace (services/lanes.py), or nobody."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from controlplane.model.pace import Side


class Answered(Protocol):
    """Is told how long a store took to answer, by the name of the rule and the kind of request."""

    def __call__(self, rule: str, latency_s: float, kind: str = "", side: Side = Side.SOURCE) -> None: ...


class Moving(Protocol):
    """Is around a body that fills the line to a store, while it moves. One that raises tells nothing."""

    def __call__(self, rule: str, side: Side, size: int, /) -> AbstractContextManager[None]: ...


def unheard(rule: str, latency_s: float, kind: str = "", side: Side = Side.SOURCE) -> None:
    """For those who do not want to know how long stores take."""


def unwatched(_rule: str, _side: Side, _size: int) -> AbstractContextManager[None]:
    """The same for bodies."""
    return nullcontext()
