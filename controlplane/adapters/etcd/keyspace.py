"""The few operations of etcd v3 that the directory uses, on keys as text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controlplane.adapters.etcd.members import Answer, Members
from controlplane.adapters.etcd.transport import Refused, Stream
from controlplane.adapters.etcd.wire import Json, KeyValue, Nonsense, encode, integer, member, prefix_end, read_kvs
from controlplane.adapters.etcd.wire import revision_of as revision_in
from controlplane.ports.errors import Rejected, Unavailable

_NOT_FOUND = 5


class LeaseLost(Exception):
    """The lease has expired or was revoked; nothing was written."""


@dataclass(frozen=True, slots=True)
class Listing:
    kvs: list[KeyValue]
    revision: int
    """Of the store when it was read."""
    cluster_id: int


class Keyspace:
    """Every method raises Unavailable and Rejected. All reads are linearizable."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self.timeout_s = members.timeout_s

    @property
    def closed(self) -> bool:
        return self._members.closed

    async def read(self, key: str) -> KeyValue | None:
        kvs = (await self._range({"key": encode(key)})).kvs
        return kvs[0] if kvs else None

    async def list(self, prefix: str) -> Listing:
        return await self._range({"key": encode(prefix), "range_end": encode(prefix_end(prefix))})

    async def put(self, key: str, value: str, lease: int) -> None:
        """Raises LeaseLost. Safe to send twice: the same value under the same lease."""
        await self._call("/v3/kv/put", {"key": encode(key), "value": encode(value), "lease": str(lease)})

    async def delete_unless_leased(self, key: str) -> int:
        """Delete a key that has no lease; return the lease that it has (0: it is gone)."""
        unleased = {"key": encode(key), "target": "LEASE", "result": "EQUAL", "lease": "0"}
        body = {
            "compare": [unleased],
            "success": [{"request_delete_range": {"key": encode(key)}}],
            "failure": [{"request_range": {"key": encode(key)}}],
        }
        succeeded, kv = read_transaction((await self._call("/v3/kv/txn", body)).fields)
        return 0 if succeeded or kv is None else kv.lease

    async def transact(self, body: Json, *, repeatable: bool) -> Answer:
        """Raises LeaseLost, and OutcomeUnknown when it is not repeatable."""
        return await self._call("/v3/kv/txn", body, repeatable=repeatable)

    async def grant(self, ttl_s: float) -> tuple[int, int]:
        """A new lease, and the store's revision at a time before it."""
        fields = (await self._call("/v3/lease/grant", {"TTL": str(whole_seconds(ttl_s))})).fields
        try:
            lease, revision = integer(fields, "ID"), revision_in(fields)
        except Nonsense as error:
            raise nonsense(error) from error
        if not lease:
            raise Unavailable("etcd granted no lease: its answer has no ID")
        return lease, revision

    async def keep_alive(self, lease: int) -> None:
        """Begin the lease's time anew. Raises LeaseLost."""
        fields = (await self._call("/v3/lease/keepalive", {"ID": str(lease)})).fields
        try:
            alive = integer(member(fields, "result"), "TTL") > 0
        except Nonsense as error:
            raise nonsense(error) from error
        if not alive:
            raise LeaseLost(f"lease {lease} has expired")

    async def revoke(self, lease: int) -> None:
        """Remove the lease with its keys; one that is gone already is fine."""
        try:
            await self._call("/v3/lease/revoke", {"ID": str(lease)})
        except LeaseLost:
            pass

    async def watch(self, key: str, start_revision: int, *, prefix: bool = False, avoid: str = "") -> Stream:
        request = {"key": encode(key), "start_revision": str(start_revision), "progress_notify": True}
        if prefix:
            request["range_end"] = encode(prefix_end(key))
        return await self._members.stream("/v3/watch", {"create_request": request}, avoid)

    async def _range(self, body: Json) -> Listing:
        fields = (await self._call("/v3/kv/range", body)).fields
        try:
            return Listing(read_kvs(fields), revision_in(fields), integer(member(fields, "header"), "cluster_id"))
        except Nonsense as error:
            raise nonsense(error) from error

    async def _call(self, path: str, body: Json, *, repeatable: bool = True) -> Answer:
        try:
            return await self._members.call(path, body, repeatable=repeatable)
        except Refused as error:
            if error.code == _NOT_FOUND and "lease" in error.message:
                raise LeaseLost(error.message) from error
            raise Rejected(f"etcd refused {path}: {error.message}") from error


def read_transaction(fields: Json) -> tuple[bool, KeyValue | None]:
    """Whether the comparison held, and the key in the answer of a request_range. Raises Unavailable (nonsense)."""
    try:
        succeeded = fields.get("succeeded") is True
        responses = fields.get("responses") or [{}]
        kvs = read_kvs(member(responses[0], "response_range"))
    except (Nonsense, AttributeError, LookupError, TypeError) as error:
        raise nonsense(error) from error
    return succeeded, kvs[0] if kvs else None


def whole_seconds(ttl_s: float) -> int:
    """etcd counts leases in whole seconds, from 1."""
    return max(1, math.ceil(ttl_s))


def nonsense(error: Exception) -> Unavailable:
    return Unavailable(f"etcd answered nonsense ({error}): does another program listen on its port?")
