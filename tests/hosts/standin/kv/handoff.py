"""Transfers: partitions that move to their next owner, and hinted data that goes home."""

import threading
import time
from collections.abc import Callable

from tests.hosts.standin.dist.link import NotReachable, RemoteError
from tests.hosts.standin.kv.cluster import Cluster
from tests.hosts.standin.kv.log_store import Place
from tests.hosts.standin.kv.objects import dump
from tests.hosts.standin.kv.vnodes import Vnodes

_FAREWELL = 20.0
"""Seconds that the transfers of a node that has left may still take."""


class Handoff:
    """At most `limit()` transfers at a time; each takes at least `pace` seconds."""

    def __init__(self, cluster: Cluster, vnodes: Vnodes, limit: Callable[[], int], pace: float) -> None:
        self._cluster, self._vnodes, self._limit, self._pace = cluster, vnodes, limit, pace
        self.active: dict[int, str] = {}
        self._stop = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="handoff").start()

    def stop(self) -> None:
        """A node that has left its cluster first ends what is under way, and keeps nothing of what others own now."""
        self._stop.set()
        if self._cluster.node in self._cluster.ring.members:
            return
        end = time.monotonic() + _FAREWELL
        while self.active and time.monotonic() < end:
            time.sleep(0.05)
        for partition, node in self._due().items():
            self._transfer(partition, node)

    def waiting(self) -> int:
        """Partitions here that belong elsewhere or are about to."""
        return len(self._due(everywhere=True))

    def _due(self, *, everywhere: bool = False) -> dict[int, str]:
        ring, up = self._cluster.ring, self._cluster.up()
        partitions = {ring.index(p): p for p in range(ring.size)}
        due = {p: node for p, node in ring.moves.items() if ring.owners[p] == self._cluster.node}
        for index in self._vnodes.indexes():
            partition = partitions.get(index)
            if partition is not None and self._is_foreign(partition):
                due[partition] = ring.owners[partition]
        return {p: node for p, node in due.items() if everywhere or node in up}

    def _is_foreign(self, partition: int) -> bool:
        """Neither here nor on its way here: what arrives for the next owner must not be sent back and dropped."""
        ring, node = self._cluster.ring, self._cluster.node
        return ring.owners[partition] != node and ring.moves.get(partition) != node

    def _run(self) -> None:
        while not self._stop.is_set():
            for partition, node in self._due().items():
                if partition not in self.active and len(self.active) < self._limit():
                    self.active[partition] = node
                    threading.Thread(target=self._transfer, args=(partition, node), daemon=True).start()
            self._stop.wait(0.1)

    def _transfer(self, partition: int, node: str) -> None:
        cluster, index = self._cluster, self._cluster.ring.index(partition)
        try:
            time.sleep(self._pace)
            sent = self._copy(index, node, {})
            with self._vnodes.guard(index):
                self._copy(index, node, sent)  # requests wait meanwhile: only what has changed since
                if cluster.ring.moves.get(partition) == node:
                    cluster.on_claimant("moved", {"partition": partition})
                if self._is_foreign(partition):
                    self._vnodes.drop(index)
        except (NotReachable, RemoteError):
            time.sleep(0.5)
        finally:
            self.active.pop(partition, None)

    def _copy(self, index: int, node: str, sent: dict[Place, dict[str, int]]) -> dict[Place, dict[str, int]]:
        """Sends what was not sent with this clock before; returns the clocks of all that the other side has."""
        for place, value in self._vnodes.contents(index):
            if sent.get(place) == value.clock:
                continue
            header, blob = dump(value)
            self._cluster.peers.call(node, "merge", {"index": index, "place": place, "object": header}, blob, 20)
            sent[place] = value.clock
        return sent
