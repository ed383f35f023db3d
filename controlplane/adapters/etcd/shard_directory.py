"""Members and shards in etcd: `members/<node>` and `shards/<n>`, all keys of one agent under one lease.

One lease for all, unlike endpoints: 256 leases would cost 256 requests where one keeps everything alive, and they shall
end together. The epoch of an owner is the revision at which its key was made, so it grows over all shards.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from controlplane.adapters.etcd.keyspace import Keyspace, LeaseLost, nonsense
from controlplane.adapters.etcd.members import Members, OutcomeUnknown
from controlplane.adapters.etcd.options import EtcdOptions
from controlplane.adapters.etcd.schema import KeySchema
from controlplane.adapters.etcd.swap import Swap, apply
from controlplane.adapters.etcd.wire import (
    Json,
    KeyValue,
    Nonsense,
    encode,
    integer,
    member,
    members,
    prefix_end,
    read_kvs,
    revision_of,
)
from controlplane.model.sharding import SHARDS, Ownership, Shard
from controlplane.ports.directory import require_part
from controlplane.ports.shards import MEMBERS, SHARD_KEYS, Seen, SessionLost

T = TypeVar("T")

_log = logging.getLogger(__name__)


class EtcdShardDirectory:
    """Implements ports.shards.ShardDirectory, over connections of its own: a slow request of others delays no lease."""

    def __init__(self, options: EtcdOptions, cluster: str) -> None:
        self._connections = Members(options)
        self._keyspace = Keyspace(self._connections)
        schema = KeySchema(cluster)
        self._members, self._shards = schema.name(MEMBERS) + "/", schema.name(SHARD_KEYS) + "/"
        self._lease = 0
        self._session = ""
        self._seen_at = 0
        self._known: tuple[tuple[_Mark, _Mark], Seen] | None = None

    async def join(self, node: str, weight: int, ttl_s: float) -> str:
        key = self._members + require_part(node, "a node name")
        lease, _ = await self._keyspace.grant(ttl_s)
        session = f"{node}/{lease:x}"
        value = json.dumps({"session": session, "weight": weight}, separators=(",", ":"))
        try:
            await self._keyspace.put(key, value, lease)
        except LeaseLost as error:
            raise OutcomeUnknown(f"the lease of {key} ended before it was used: try again") from error
        self._lease, self._session = lease, session
        return session

    async def renew(self) -> None:
        try:
            await self._keyspace.keep_alive(self._require_lease())
        except LeaseLost as error:
            self._lease = 0
            raise SessionLost(str(error)) from error

    async def seen(self) -> Seen:
        # All keys are some 85 KB, every agent asks once a second, and hardly ever did anything change.
        revision, marks = await self._read(_newest, _mark)
        if self._known is None or self._known[0] != marks:
            revision, (nodes, shards) = await self._read(dict, read_kvs)
            self._known = ((_mark_of(nodes), _mark_of(shards)), self._understand(nodes, shards))
        self._seen_at = revision
        return self._known[1]

    async def _read(self, shape: Callable[[Json], Json], understand: Callable[[Json], T]) -> tuple[int, tuple[T, T]]:
        """Members and shards at one revision; `shape` completes a range request."""
        ranges = [
            {"request_range": shape({"key": encode(prefix), "range_end": encode(prefix_end(prefix))})}
            for prefix in (self._members, self._shards)
        ]
        answer = await self._keyspace.transact({"compare": [], "success": ranges}, repeatable=True)
        try:
            first, second = (understand(member(one, "response_range")) for one in members(answer.fields, "responses"))
            return revision_of(answer.fields), (first, second)
        except (Nonsense, ValueError) as error:
            raise nonsense(error) from error

    def _understand(self, nodes: Sequence[KeyValue], shards: Sequence[KeyValue]) -> Seen:
        return Seen(
            {
                kv.key.decode().removeprefix(self._members): weight
                for kv in nodes
                if (weight := _weight(kv)) is not None
            },
            {
                shard: Ownership(_field(kv, "session"), kv.mod_revision)
                for kv in shards
                if (shard := _shard(kv, self._shards)) is not None
            },
        )

    async def take(self, shard: Shard) -> int | None:
        lease = self._require_lease()
        value = json.dumps({"session": self._session}, separators=(",", ":"))
        # Read back when the answer is lost: since that reading nothing but this very take writes the key by our lease.
        return await apply(self._keyspace, Swap(f"{self._shards}{shard}", None, value, lease, self._seen_at))

    async def let_go(self, shard: Shard, epoch: int) -> None:
        await apply(self._keyspace, Swap(f"{self._shards}{shard}", epoch, None))

    async def leave(self) -> None:
        if self._lease:
            await self._keyspace.revoke(self._lease)
            self._lease = 0

    async def aclose(self) -> None:
        """Leaves the lease to expire: leave first."""
        await self._connections.aclose()

    def _require_lease(self) -> int:
        if not self._lease:
            raise SessionLost("this agent has no lease")
        return self._lease


_Mark: TypeAlias = "tuple[int, int]"
"""How many keys there are, and the newest one's revision. A deletion lowers the one or a creation raises the other: two
equal marks are of the same keys and values."""


def _newest(keys: Json) -> Json:
    return {**keys, "limit": "1", "keys_only": True, "sort_order": "DESCEND", "sort_target": "MOD"}


def _mark(answer: Json) -> _Mark:
    """Of all keys, from an answer about the newest."""
    return integer(answer, "count"), max((kv.mod_revision for kv in read_kvs(answer)), default=0)


def _mark_of(keys: Sequence[KeyValue]) -> _Mark:
    return len(keys), max((kv.mod_revision for kv in keys), default=0)


def _field(kv: KeyValue, name: str) -> str:
    """A field of a value; "" when it is none of ours: then nobody's session owns that shard, and it is said."""
    try:
        fields: Json = json.loads(kv.value)
        return str(fields[name])
    except (ValueError, KeyError, TypeError):
        _log.error("%r in etcd holds %r, which no agent wrote: delete that key", kv.key, kv.value[:200])
        return ""


def _weight(kv: KeyValue) -> int | None:
    weight = _field(kv, "weight")
    return int(weight) if weight.isdecimal() else None


def _shard(kv: KeyValue, prefix: str) -> Shard | None:
    number = kv.key.decode(errors="replace").removeprefix(prefix)
    return Shard(int(number)) if number.isdecimal() and int(number) < SHARDS else None
