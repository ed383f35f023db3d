"""Directory over etcd v3 (3.4 and newer) by its JSON gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from controlplane.adapters.etcd.announcement import Announcement
from controlplane.adapters.etcd.health import describe
from controlplane.adapters.etcd.keyspace import Keyspace
from controlplane.adapters.etcd.members import Members
from controlplane.adapters.etcd.options import EtcdOptions
from controlplane.adapters.etcd.schema import KeySchema, by_node, endpoint_at, write_endpoint
from controlplane.adapters.etcd.swap import swap
from controlplane.adapters.etcd.watch import EndpointWatch
from controlplane.model.endpoints import Endpoint, EndpointSet
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Versioned
from controlplane.ports.errors import Corrupt


class EtcdDirectory:
    """Implements ports.directory.Directory. One request takes at most options.timeout_s at each member.

    Closing it leaves the leases to expire: withdraw first."""

    def __init__(self, options: EtcdOptions, cluster: str, clock: Clock) -> None:
        self._members = Members(options)
        self._keyspace = Keyspace(self._members)
        self._schema = KeySchema(cluster)
        self._clock = clock
        self._recheck_s = options.recheck_s
        self._announcements: dict[str, Announcement] = {}

    async def announce(self, endpoint: Endpoint, ttl_s: float) -> None:
        key = self._schema.endpoint(endpoint)
        announcement = self._announcements.setdefault(key, Announcement(self._keyspace, key))
        await announcement.announce(write_endpoint(endpoint), ttl_s)

    async def withdraw(self, endpoint: Endpoint) -> None:
        key = self._schema.endpoint(endpoint)
        # Kept, also afterwards: whoever announces at the same time must wait on the same lock.
        await self._announcements.setdefault(key, Announcement(self._keyspace, key)).withdraw()

    async def endpoints(self, service: str) -> EndpointSet:
        prefix = self._schema.endpoints(service)
        listing = await self._keyspace.list(prefix)
        found = (endpoint_at(service, prefix, kv.key, kv.value) for kv in listing.kvs)
        return EndpointSet(by_node(one for one in found if one is not None), listing.revision)

    async def watch(self, service: str) -> AsyncGenerator[EndpointSet, None]:
        prefix = self._schema.endpoints(service)
        watch = EndpointWatch(self._keyspace, self._clock, service, prefix, self._recheck_s)
        async with aclosing(watch.sets()) as sets:
            async for one in sets:
                yield one

    async def get(self, name: str) -> Versioned | None:
        key = self._schema.name(name)
        kv = await self._keyspace.read(key)
        if kv is None:
            return None
        try:
            return Versioned(kv.value.decode(), kv.mod_revision)
        except UnicodeDecodeError as error:
            raise Corrupt(f"{key} in etcd is not UTF-8 text: another program wrote it; delete that key") from error

    async def compare_and_swap(
        self, name: str, expected_revision: int | None, value: str | None, ttl_s: float | None = None
    ) -> int | None:
        return await swap(self._keyspace, self._schema.name(name), expected_revision, value, ttl_s)

    async def check(self) -> str:
        return await describe(self._members, self._schema.root)

    async def aclose(self) -> None:
        await self._members.aclose()
