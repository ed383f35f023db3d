"""Members and shards within one process: for tests. Several agents share one InProcessShards."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.model.sharding import Ownership, Shard
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable
from controlplane.ports.shards import Seen, SessionLost


@dataclass(frozen=True, slots=True)
class _Session:
    node: str
    weight: int
    expires_at: float


class InProcessShards:
    """What all see."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.away = False
        """Nobody gets an answer."""
        self.revision = 0
        self.sessions: dict[str, _Session] = {}
        self.owners: dict[Shard, Ownership] = {}
        self._none_before = 0.0

    def begin(self, session: str, node: str, weight: int, ttl_s: float) -> None:
        """The session's time begins now, or anew."""
        expires_at = self.clock.monotonic() + ttl_s
        self.sessions[session] = _Session(node, weight, expires_at)
        self._none_before = min(self._none_before, expires_at)

    def end(self, session: str) -> None:
        self.sessions.pop(session, None)
        self.owners = {shard: there for shard, there in self.owners.items() if there.session != session}

    def expire(self) -> None:
        """Forget sessions whose time is over, with all that they own."""
        now = self.clock.monotonic()
        if now < self._none_before:
            return
        self.sessions = {name: one for name, one in self.sessions.items() if now < one.expires_at}
        self.owners = {shard: there for shard, there in self.owners.items() if there.session in self.sessions}
        self._none_before = min((one.expires_at for one in self.sessions.values()), default=0.0)


class MemoryShardDirectory:
    """Implements ports.shards.ShardDirectory for one agent."""

    def __init__(self, shared: InProcessShards) -> None:
        self._shared = shared
        self._session = ""
        self._ttl_s = 0.0

    async def join(self, node: str, weight: int, ttl_s: float) -> str:
        shared = self._ask()
        shared.revision += 1
        self._session, self._ttl_s = f"{node}#{shared.revision}", ttl_s
        shared.begin(self._session, node, weight, ttl_s)
        return self._session

    async def renew(self) -> None:
        shared = self._ask()
        there = self._require_session(shared)
        shared.begin(self._session, there.node, there.weight, self._ttl_s)

    async def seen(self) -> Seen:
        shared = self._ask()
        return Seen({one.node: one.weight for one in shared.sessions.values()}, dict(shared.owners))

    async def take(self, shard: Shard) -> int | None:
        shared = self._ask()
        self._require_session(shared)
        if shard in shared.owners:
            return None
        shared.revision += 1
        shared.owners[shard] = Ownership(self._session, shared.revision)
        return shared.revision

    async def let_go(self, shard: Shard, epoch: int) -> None:
        shared = self._ask()
        if shared.owners.get(shard) == Ownership(self._session, epoch):
            del shared.owners[shard]

    async def leave(self) -> None:
        shared = self._ask()
        shared.end(self._session)

    def _ask(self) -> InProcessShards:
        if self._shared.away:
            raise Unavailable("the directory is away")
        self._shared.expire()
        return self._shared

    def _require_session(self, shared: InProcessShards) -> _Session:
        if self._session not in shared.sessions:
            raise SessionLost(f"session {self._session or 'none'} is over")
        return shared.sessions[self._session]
