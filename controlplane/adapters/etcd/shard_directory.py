"""Members and shards in etcd: `members/<node>` and `shards/<n>`, all keys of one agent under one lease.

One lease for all, unlike endpoints: 256 leases would cost 256 requests where one keeps everything alive, and they shall
end together. The epoch of an owner is the revision at which its key was made, so it grows over all shards.
"""

from __future__ import annotations

import json
import logging

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
    member,
    members,
    prefix_end,
    read_kvs,
    revision_of,
)
from controlplane.model.sharding import SHARDS, Ownership, Shard
from controlplane.ports.directory import require_part
from controlplane.ports.shards import MEMBERS, SHARD_KEYS, Seen, SessionLost

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
        ranges = [
            {"request_range": {"key": encode(prefix), "range_end": encode(prefix_end(prefix))}}
            for prefix in (self._members, self._shards)
        ]
        answer = await self._keyspace.transact({"compare": [], "success": ranges}, repeatable=True)
        try:
            nodes, shards = (read_kvs(member(one, "response_range")) for one in members(answer.fields, "responses"))
            self._seen_at = revision_of(answer.fields)
        except (Nonsense, ValueError) as error:
            raise nonsense(error) from error
        return Seen(
            {
                kv.key.decode().removeprefix(self._members): weight
                for kv in nodes
                if (weight := _weight(kv)) is not None
            },
            {
                shard: Ownership(_read(kv, "session"), kv.mod_revision)
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


def _read(kv: KeyValue, name: str) -> str:
    """A field of a value; "" when it is none of ours: then nobody's session owns that shard, and it is said."""
    try:
        fields: Json = json.loads(kv.value)
        return str(fields[name])
    except (ValueError, KeyError, TypeError):
        _log.error("%r in etcd holds %r, which no agent wrote: delete that key", kv.key, kv.value[:200])
        return ""


def _weight(kv: KeyValue) -> int | None:
    weight = _read(kv, "weight")
    return int(weight) if weight.isdecimal() else None


def _shard(kv: KeyValue, prefix: str) -> Shard | None:
    number = kv.key.decode(errors="replace").removeprefix(prefix)
    return Shard(int(number)) if number.isdecimal() and int(number) < SHARDS else None
