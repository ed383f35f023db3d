"""The board of a shared scan within one process: for tests. Several nodes share one InProcessBoard."""

from __future__ import annotations

from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable
from controlplane.ports.scan_board import NoSession, Posted


class InProcessBoard:
    """What all see."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.away = False
        """Nobody gets an answer."""
        self.text: str | None = None
        self.revision = 0
        self.swaps = 0
        self._count = 0
        self._sessions: dict[str, tuple[str, float]] = {}
        """By node: the session, and when its lease ends (monotonic seconds)."""

    def sessions(self) -> frozenset[str]:
        now = self.clock.monotonic()
        self._sessions = {node: at for node, at in self._sessions.items() if now < at[1]}
        return frozenset(session for session, _ in self._sessions.values())

    def begin(self, node: str, ttl_s: float) -> str:
        self._count += 1
        self.renew(node, f"{node}/{self._count}", ttl_s)
        return f"{node}/{self._count}"

    def renew(self, node: str, session: str, ttl_s: float) -> None:
        self._sessions[node] = (session, self.clock.monotonic() + ttl_s)

    def end(self, session: str) -> None:
        self._sessions = {node: at for node, at in self._sessions.items() if at[0] != session}


class MemoryScanBoards:
    """Implements ports.scan_board.ScanBoards for one node."""

    def __init__(self, shared: InProcessBoard) -> None:
        self._shared = shared
        self._node = ""
        self._session = ""
        self._ttl_s = 0.0

    async def join(self, node: str, ttl_s: float) -> str:
        self._node, self._ttl_s = node, ttl_s
        self._session = self._ask().begin(node, ttl_s)
        return self._session

    async def renew(self) -> None:
        shared = self._ask()
        self._require_session(shared)
        shared.renew(self._node, self._session, self._ttl_s)

    async def seen(self) -> Posted:
        shared = self._ask()
        return Posted(shared.sessions(), shared.text, shared.revision if shared.text is not None else 0)

    async def swap(self, revision: int, text: str | None) -> bool:
        shared = self._ask()
        self._require_session(shared)
        if revision != (shared.revision if shared.text is not None else 0):
            return False
        shared.text = text
        shared.revision += 1
        shared.swaps += 1
        return True

    async def leave(self) -> None:
        self._ask().end(self._session)

    def _ask(self) -> InProcessBoard:
        if self._shared.away:
            raise Unavailable("the directory is away")
        return self._shared

    def _require_session(self, shared: InProcessBoard) -> None:
        if self._session not in shared.sessions():
            raise NoSession(f"session {self._session or 'none'} is over")
