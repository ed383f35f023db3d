"""This agent's membership of the cluster and its shards: what keeps them, and what they bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from controlplane.adapters.etcd import EtcdOptions
from controlplane.adapters.etcd.shard_directory import EtcdShardDirectory
from controlplane.model.mirror_plan import Worked
from controlplane.model.tally import ShardTally
from controlplane.model.task import Task
from controlplane.ports.clock import Clock
from controlplane.ports.journal import Journal
from controlplane.services.guarded_work import GuardedTogether, GuardedWork
from controlplane.services.owned_journal import OwnedJournal
from controlplane.services.runner import Runner
from controlplane.services.shard_ownership import ShardOwnership
from controlplane.services.together import Together
from controlplane.settings.tree import Settings

_ROUND_S = 1.0
"""At most: what a dead agent leaves is taken within the TTL and two seconds, of which etcd may need one."""
_WATCH_S = 0.2


class ShardsPart:
    """For cluster.mode = "on"."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        cluster, etcd = settings.cluster, settings.directory.etcd
        self._clock = clock
        self._pace_s = min(_ROUND_S, cluster.lease_ttl_s / 6)
        options = EtcdOptions(
            endpoints=etcd.endpoints,
            username=etcd.username,
            password=etcd.password.reveal() if etcd.password is not None else "",
            ca_file=etcd.ca_file,
            cert_file=etcd.cert_file,
            key_file=etcd.key_file,
            # So that a member that says nothing leaves time for the others within the lease.
            timeout_s=min(etcd.timeout_s, cluster.lease_ttl_s / 8),
        )
        self._directory = EtcdShardDirectory(options, settings.node.cluster)
        self.ownership = ShardOwnership(
            self._directory, settings.node.name, clock, ttl_s=cluster.lease_ttl_s, weight=cluster.weight
        )
        self._runners: list[Runner] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def tally(self) -> ShardTally:
        return self.ownership.tally

    def journal(self, journal: Journal) -> Journal:
        """As this agent's mirror may drain it. A node's own journal is drained whole, whoever owns which shard."""
        return OwnedJournal(journal, self.ownership) if journal.is_shared else journal

    def guard(
        self, journal: Journal, work: Callable[[Task], Awaitable[Worked]], together: Together
    ) -> tuple[Callable[[Task], Awaitable[Worked]], Together]:
        """The work of a mirror of that journal, bounded by the shards where the journal is."""
        if not journal.is_shared:
            return work, together
        guarded = GuardedWork(self.ownership, work)
        return guarded, GuardedTogether(self.ownership, together, guarded)

    def start(self) -> None:
        """Begin the rounds. They go on until end(), since copies under way at a stop need the lease too."""
        self._runners = [
            Runner("shards", self.ownership.once, self._clock, every_s=self._pace_s, most_s=self._pace_s),
            Runner("shard watch", self.ownership.watch, self._clock, every_s=_WATCH_S, most_s=_WATCH_S),
        ]
        self._tasks = [asyncio.ensure_future(runner.run()) for runner in self._runners]

    async def end(self) -> None:
        """After the mirror's last work: the shards are others' at once."""
        for runner in self._runners:
            runner.stop()
        await asyncio.gather(*self._tasks)
        await self.ownership.leave()
        await self._directory.aclose()
