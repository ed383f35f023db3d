"""ShardDirectory: who is a member of the cluster and which shards it owns, all under one lease for each agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from controlplane.model.sharding import Ownership, Shard
from controlplane.ports.errors import MillraceError

MEMBERS: Final = "members"
SHARD_KEYS: Final = "shards"
"""First parts of the names that belong to this port alone."""


class SessionLost(MillraceError):
    """The lease is gone: this agent is no member any more and owns nothing, whatever it believed."""


class NotOwner(MillraceError):
    """The shard of this key belongs to another agent, or will before long. Its entry stays for that one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One consistent reading."""

    members: Mapping[str, int]
    """Nodes and their weights."""
    owners: Mapping[Shard, Ownership]


class ShardDirectory(Protocol):
    """Every method raises Unavailable; the outcome is unknown then, and the next seen() tells."""

    async def join(self, node: str, weight: int, ttl_s: float) -> str:
        """Begin a session under a new lease, and be a member from now on; return the session's name, which no other
        one ever has. What a former session of this node owned stays owned until its lease ends."""
        ...

    async def renew(self) -> None:
        """Begin the lease's time anew. Raises SessionLost."""
        ...

    async def seen(self) -> Seen: ...

    async def take(self, shard: Shard) -> int | None:
        """Own a shard that nobody owned at the last seen(), for this session. The epoch: greater than that of any owner
        of any shard before; None: somebody was faster. Raises SessionLost."""
        ...

    async def let_go(self, shard: Shard, epoch: int) -> None:
        """Give a shard of this session back, if its ownership is still of that epoch."""
        ...

    async def leave(self) -> None:
        """End the session with all that it owns, at once. Leaving twice succeeds."""
        ...
