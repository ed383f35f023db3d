"""A cluster of any size in one process: every agent is the real ShardOwnership with the real planner, only time and the
directory are simulated. What is counted is what etcd would have been asked for."""

from __future__ import annotations

import heapq
import json
import random
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.adapters.memory.shard_directory import InProcessShards, MemoryShardDirectory
from controlplane.model.scale import Shards
from controlplane.model.sharding import SHARDS, Ownership, Shard
from controlplane.ports.shards import Seen
from controlplane.services.shard_ownership import ShardOwnership

_REST_S = 2.0
"""After everything has an owner: what moves then moves needlessly."""


class _SteppedClock:
    """ports.clock.Clock whose time is set by the simulation."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"an agent's round waits {seconds} s, which the simulation does not know")


@dataclass
class _Asked:
    """Requests to etcd, and the bytes of its answers (of the directory's readings: the rest is small)."""

    requests: int = 0
    writes: int = 0
    bytes: int = 0


class _CountingDirectory(MemoryShardDirectory):
    """What adapters/etcd/shard_directory.py sends for each call: join is a lease and a put, a reading two requests when
    something has changed, all else one request."""

    def __init__(self, shared: InProcessShards, asked: _Asked) -> None:
        super().__init__(shared)
        self._asked = asked
        self._known: Seen | None = None

    async def join(self, node: str, weight: int, ttl_s: float) -> str:
        self._count(2, writes=2)
        return await super().join(node, weight, ttl_s)

    async def renew(self) -> None:
        self._count(1)
        await super().renew()

    async def seen(self) -> Seen:
        seen = await super().seen()
        self._count(1)
        self._asked.bytes += 2 * _OWNER_BYTES
        if seen != self._known:
            self._known = seen
            self._count(1)
            self._asked.bytes += len(seen.members) * _MEMBER_BYTES + len(seen.owners) * _OWNER_BYTES
        return seen

    async def take(self, shard: Shard) -> int | None:
        self._count(1, writes=1)
        return await super().take(shard)

    async def let_go(self, shard: Shard, epoch: int) -> None:
        self._count(1, writes=1)
        await super().let_go(shard, epoch)

    def _count(self, requests: int, writes: int = 0) -> None:
        self._asked.requests += requests
        self._asked.writes += writes


class ShardSimulation:
    """`agents` join, come to rest, run quietly, and `lost` of them die at once without a word."""

    def __init__(self, agents: int, *, ttl_s: float, pace_s: float, seed: int = 0) -> None:
        self._ttl_s = ttl_s
        self._chance = random.Random(seed)  # noqa: S311 - only spreads the rounds
        self._clock = _SteppedClock()
        self._shared = InProcessShards(self._clock)
        self._asked = _Asked()
        self._agents = {
            node: ShardOwnership(_CountingDirectory(self._shared, self._asked), node, self._clock, ttl_s=ttl_s)
            for node in (f"agent{number:04d}" for number in range(agents))
        }
        self._rounds = [(self._chance.random() * pace_s, node) for node in self._agents]
        heapq.heapify(self._rounds)
        self._pace_s = pace_s

    async def run(self, lost: int) -> Shards:
        """Raises ValueError when nobody would be left."""
        if not 0 <= lost < len(self._agents):
            raise ValueError(f"of {len(self._agents)} agents {lost} cannot be lost: at least one must remain")
        while len(self._shared.owners) < SHARDS or len(self._shared.sessions) < len(self._agents):
            await self._step()
        await self._until(self._clock.at + self._ttl_s)
        before, quiet_from = _Asked(**vars(self._asked)), self._clock.at
        await self._until(quiet_from + self._ttl_s)
        quiet_s = self._clock.at - quiet_from
        requests = self._asked.requests - before.requests
        answered = self._asked.bytes - before.bytes
        held = Counter(self._node_of(owner) for owner in self._shared.owners.values())

        owners, writes, lost_at = dict(self._shared.owners), self._asked.writes, self._clock.at
        # The busiest: the worst that can be lost.
        gone = {node for node, _ in held.most_common(lost)}
        for node in gone:
            del self._agents[node]
        longest = await self._settle(owners, lost_at)
        moved = {shard for shard, owner in self._shared.owners.items() if owner != owners.get(shard)}
        needless = {shard for shard in moved if self._node_of(owners[shard]) not in gone}
        return Shards(
            working=len(held),
            most=max(held.values()),
            moved=len(moved),
            needless=len(needless),
            longest_unowned_s=longest,
            requests_s=requests / quiet_s,
            bytes_s=answered / quiet_s,
            writes_after_loss=self._asked.writes - writes,
        )

    async def _settle(self, before: Mapping[Shard, Ownership], lost_at: float) -> float:
        """Go on until all is at rest; how long the last shard that was lost had no living owner."""
        longest = 0.0
        end = lost_at + self._ttl_s + 4 * self._pace_s + _REST_S
        waiting = {shard for shard, owner in before.items() if self._node_of(owner) not in self._agents}
        while self._rounds[0][0] <= end:
            await self._step()
            if not waiting:
                continue
            if back := {shard for shard in waiting if self._shared.owners.get(shard, before[shard]) != before[shard]}:
                waiting -= back
                longest = self._clock.at - lost_at
                end = self._clock.at + _REST_S
        if waiting or len(self._shared.owners) != SHARDS:
            raise AssertionError(f"{len(waiting)} shards have no owner {end - lost_at:g} s after the loss")
        return longest

    async def _until(self, end: float) -> None:
        while self._rounds[0][0] <= end:
            await self._step()
        self._clock.at = end

    async def _step(self) -> None:
        at, node = heapq.heappop(self._rounds)
        if node not in self._agents:
            return
        self._clock.at = max(self._clock.at, at)
        await self._agents[node].once()
        heapq.heappush(self._rounds, (at + self._pace_s, node))

    @staticmethod
    def _node_of(owner: Ownership) -> str:
        return owner.session.partition("#")[0]


def _kv_bytes(key: str, value: str) -> int:
    """Of etcd's JSON for one key."""
    fields = {
        "key": b64encode(key.encode()).decode(),
        "create_revision": "1234567",
        "mod_revision": "1234567",
        "version": "1",
        "value": b64encode(value.encode()).decode(),
        "lease": "7587869411234567890",
    }
    return len(json.dumps(fields, separators=(",", ":"))) + 1


_SESSION = "agent0000/694d7e8f1a2b3c4d"
_MEMBER_BYTES = _kv_bytes("/millrace/v1/default/members/agent0000", f'{{"session":"{_SESSION}","weight":100}}')
_OWNER_BYTES = _kv_bytes("/millrace/v1/default/shards/100", f'{{"session":"{_SESSION}"}}')
