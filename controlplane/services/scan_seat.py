"""This node's seat at the board of a shared scan: its lease, and changes to what all nodes see."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from controlplane.model.scan_board import Board
from controlplane.model.scan_board_document import read_board, write_board
from controlplane.model.tally import ScanTally
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError, Unavailable
from controlplane.ports.scan_board import NoSession, Posted, ScanBoards

log = logging.getLogger(__name__)

T = TypeVar("T")

NEVER: Final = float("-inf")
_TRIES: Final = 40


class NoBoard(Exception):
    """There is none, or it is not of this node's run: another node has concluded it, or other settings rule it."""


@dataclass(frozen=True, slots=True)
class Look:
    board: Board | None
    """None: there is none, or none that this version can read."""
    posted: Posted

    @property
    def sessions(self) -> frozenset[str]:
        return self.posted.sessions


class ScanSeat:
    """Invariant: a change is made to the newest board, by a node whose lease is there at that moment. Work goes on only
    while the lease surely lasts: its time counts from before the directory was asked."""

    def __init__(self, boards: ScanBoards, node: str, clock: Clock, tally: ScanTally, *, ttl_s: float) -> None:
        self._boards = boards
        self._node = node
        self._clock = clock
        self._tally = tally
        self._ttl_s = ttl_s
        self._lasts_until = NEVER
        self._jitter = random.Random()  # noqa: S311 - jitter, not a secret
        self.session = ""

    @property
    def is_sure(self) -> bool:
        return self._clock.monotonic() < self._lasts_until - self._ttl_s / 6

    @property
    def pace_s(self) -> float:
        """Of keep(): several may fail within the lease."""
        return min(1.0, self._ttl_s / 6)

    async def join(self) -> None:
        """Raises Unavailable."""
        asked_at = self._clock.monotonic()
        self.session = await self._boards.join(self._node, self._ttl_s)
        self._lasts_until = asked_at + self._ttl_s

    async def keep(self) -> None:
        """One renewal. What fails is tried again; a lease that is lost is noticed by who works."""
        asked_at = self._clock.monotonic()
        try:
            await self._boards.renew()
        except NoSession as error:
            if self._lasts_until != NEVER:
                self._tally.sessions_lost += 1
                log.warning("scan: this node lost its lease, and its share is others': %s", error)
            self._lasts_until = NEVER
        except MillraceError as error:
            left = max(0.0, self._lasts_until - self._ttl_s / 6 - self._clock.monotonic())
            log.warning("scan: %s; worked on for %.1f s more", error, left)
        else:
            self._lasts_until = asked_at + self._ttl_s

    async def leave(self) -> None:
        """What this node holds is free at once."""
        self._lasts_until = NEVER
        try:
            await self._boards.leave()
        except MillraceError as error:
            log.warning("scan: the lease was not given back, it will end by itself: %s", error)

    async def look(self) -> Look:
        """Raises Unavailable."""
        posted = await self._boards.seen()
        self._tally.nodes = len(posted.sessions)
        if posted.text is None:
            return Look(None, posted)
        try:
            return Look(read_board(posted.text), posted)
        except ValueError as error:
            log.warning("the board of the scan cannot be read: %s", error)
            return Look(None, posted)

    async def post(self, look: Look, board: Board | None) -> bool:
        """Instead of what was seen; False: it has changed since. Raises NoSession, Unavailable."""
        text = None if board is None else write_board(board)
        return await self._boards.swap(look.posted.revision, text)

    async def change(self, run: int, change: Callable[[Board, frozenset[str]], T]) -> T:
        """`change` gets the board and the sessions that are there, again for every try; what it does to the board holds
        when this returns. Raises NoBoard, NoSession, Unavailable (then it may hold)."""
        for _ in range(_TRIES):
            look = await self.look()
            board = look.board
            if board is None or board.run != run:
                raise NoBoard
            if self.session not in look.sessions:
                self._lasts_until = NEVER
                raise NoSession(f"{self.session} is not among the nodes that scan")
            freed = board.reap(look.sessions)
            result = change(board, look.sessions)
            if write_board(board) == look.posted.text or await self.post(look, board):
                self._tally.taken_over += freed
                return result
            await self._clock.sleep(self._jitter.uniform(0.0, 0.1))
        raise Unavailable("the board of the scan is changed by others all the time", 1.0)
