"""Requests over the cluster: quorum reads and writes, read repair, listings, secondary indexes."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from tests.hosts.standin.dist.link import NotReachable, RemoteError
from tests.hosts.standin.kv import ring as rings
from tests.hosts.standin.kv.cluster import Cluster
from tests.hosts.standin.kv.log_store import Place
from tests.hosts.standin.kv.objects import RiakObject, dump, merge, restore
from tests.hosts.standin.kv.properties import Properties
from tests.hosts.standin.kv.vnodes import UnknownBackend, Vnodes

REPLICA_TIMEOUT = 3.0


class TimedOut(RuntimeError):
    """Too few replicas answered."""


class Coordinator:
    def __init__(self, cluster: Cluster, vnodes: Vnodes, properties: Properties, patience: float) -> None:
        self._cluster, self._vnodes, self.properties, self._patience = cluster, vnodes, properties, patience
        self._pool = ThreadPoolExecutor(64, "replica")
        self._alone = len(cluster.ring.members) == 1

    def close(self) -> None:
        """What was acknowledged may still be on its way to the last replica."""
        self._pool.shutdown(wait=True)

    def _replicas(self, place: Place) -> list[tuple[int, str, bool]]:
        ring = self._cluster.ring
        first = rings.partition_of(*place, ring.size)
        n = self.properties.n_val(place[0], place[1])
        found = rings.preference_list(ring, first, n, self._cluster.up())
        return [(ring.index(p), node, primary) for p, node, primary in found]

    def _remote(self, node: str, op: str, args: dict[str, Any], blob: bytes = b"") -> RiakObject | None:
        try:
            header, data = self._cluster.peers.call(node, op, args, blob, REPLICA_TIMEOUT)
        except NotReachable as error:
            self._cluster.suspect(node, error)
            raise
        return restore(header, data) if header is not None else None

    def _ask(
        self,
        replicas: list[tuple[int, str, bool]],
        local: Callable[[int], Any],
        op: str,
        args: dict[str, Any],
        blob: bytes = b"",
    ) -> dict[Future[Any], tuple[int, str, bool]]:
        """Starts the request on every replica; those on this node are run at once."""
        started: dict[Future[Any], tuple[int, str, bool]] = {}
        for replica in replicas:
            index, node, _ = replica
            if node != self._cluster.node:
                future = self._pool.submit(self._remote, node, op, args | {"index": index}, blob)
            else:
                future = Future()
                try:
                    future.set_result(local(index))
                except RemoteError as error:
                    future.set_exception(error)
            started[future] = replica
        return started

    def _guard_backend(self, place: Place) -> None:
        """A bucket in a backend that does not exist hangs until the request times out."""
        if self._vnodes.backends.choose(place[1], self.properties.of(place[0], place[1])) is None:
            time.sleep(self._patience)
            raise TimedOut

    def get(self, place: Place, r: int = 2, pr: int = 0) -> RiakObject | None:
        """The merge of at least r replies (of as many as there are). Raises TimedOut when there are fewer."""
        self._guard_backend(place)
        replicas = self._replicas(place)
        if sum(primary for _, _, primary in replicas) < min(pr, self.properties.n_val(place[0], place[1])):
            raise TimedOut
        needed = min(r, self.properties.n_val(place[0], place[1]))
        pending = self._ask(replicas, lambda index: self._vnodes.get(index, place), "vget", {"place": place})
        replies = _enough(pending, needed)
        if len(replies) < needed:
            raise TimedOut
        found = [value for value in replies.values() if value is not None]
        if not found:
            return None
        result = found[0]
        for value in found[1:]:
            result = merge(result, value)
        stale = [replica for replica, value in replies.items() if value is None or value.clock != result.clock]
        if stale:
            self._store(place, result, stale)
        return result

    def _store(
        self, place: Place, value: RiakObject, replicas: list[tuple[int, str, bool]]
    ) -> dict[Future[Any], tuple[int, str, bool]]:
        header, blob = dump(value)
        return self._ask(
            replicas,
            lambda index: self._vnodes.merge(index, place, value),
            "merge",
            {"place": place, "object": header},
            blob,
        )

    def put(self, place: Place, context: dict[str, int], write: dict[str, Any], value: bytes, w: int = 2) -> RiakObject:
        """Raises TimedOut when fewer than w replicas took it."""
        self._guard_backend(place)
        replicas = self._replicas(place)
        replicas.sort(key=lambda replica: (not replica[2], replica[1] != self._cluster.node))
        written: RiakObject | None = None
        while replicas and written is None:
            index, node, _ = replicas.pop(0)
            if node == self._cluster.node:
                written = self._vnodes.coordinate(index, place, context, write, value)
            else:
                args = {"index": index, "place": place, "context": context, "write": write}
                try:
                    written = self._remote(node, "coordinate", args, value)
                except (NotReachable, RemoteError):
                    continue
        if written is None:
            raise TimedOut
        needed = min(w, self.properties.n_val(place[0], place[1])) - 1
        if len(_enough(self._store(place, written, replicas), needed)) < needed:
            raise TimedOut
        return written

    def reap(self, place: Place, clock: dict[str, int]) -> None:
        """Removes a tombstone from all replicas, if all primaries are there."""
        replicas = self._replicas(place)
        if all(primary for _, _, primary in replicas):
            self._ask(
                replicas, lambda index: self._vnodes.reap(index, place, clock), "reap", {"place": place, "clock": clock}
            )

    # -- listings ---------------------------------------------------------------------------------------------------

    def _everywhere(self, op: str, args: dict[str, Any]) -> Iterator[Any]:
        """The answers of all reachable members. Raises TimedOut when replicas may be missing from all of them."""
        up = self._cluster.up()
        futures = [
            self._pool.submit(self._cluster.peers.call, n, op, args, b"", 20.0) for n in up - {self._cluster.node}
        ]
        for future in futures:
            try:
                yield future.result()
            except (NotReachable, RemoteError):
                continue

    def keys(self, bucket_type: str, bucket: str) -> set[str]:
        """Keys of live objects and of tombstones that are not reaped yet."""
        try:
            found = self._vnodes.keys(bucket_type, bucket)
        except UnknownBackend:
            time.sleep(self._patience)
            raise TimedOut from None
        for names, _ in self._everywhere("keys", {"type": bucket_type, "bucket": bucket}):
            found.update(names)
        return found

    def fold(self, bucket: str, after: str, prefix: str, limit: int) -> list[tuple[str, RiakObject]]:
        """Objects of a bucket of the default type, by key, from behind `after`, at most `limit` of them."""
        args = {"bucket": bucket, "after": after, "prefix": prefix, "limit": limit}
        merged: dict[str, RiakObject] = dict(self.local_fold(**args))
        for rows, blob in self._everywhere("fold", args):
            at = 0
            for key, header, size in rows:
                value = restore(header, blob[at : at + size])
                at += size
                merged[key] = merge(merged[key], value) if key in merged else value
        return sorted(merged.items())[:limit]

    def local_fold(self, bucket: str, after: str, prefix: str, limit: int) -> list[tuple[str, RiakObject]]:
        names = sorted(k for k in self._vnodes.keys("default", bucket) if k > after and k.startswith(prefix))
        rows = []
        for key in names[:limit]:
            value = self._vnodes.newest(("default", bucket, key))
            if value is not None:
                rows.append((key, value))
        return rows

    def buckets(self) -> set[tuple[str, str]]:
        found = self._vnodes.buckets()
        for names, _ in self._everywhere("buckets", {}):
            found.update((kind, name) for kind, name in names)
        return found

    def index(
        self, bucket_type: str, bucket: str, matches: Callable[[str, RiakObject], list[Any]]
    ) -> list[tuple[Any, str]]:
        """(term, key) of every index entry for which `matches` gives terms, sorted by term and key."""
        rows = []
        for key in self.keys(bucket_type, bucket):
            found = self.get((bucket_type, bucket, key), 1)
            if found is not None and found.live:
                rows += [(term, key) for term in matches(key, found)]
        return sorted(set(rows))


def _enough(pending: dict[Future[Any], tuple[int, str, bool]], needed: int) -> dict[tuple[int, str, bool], Any]:
    """The replies there are once `needed` of them came, or all that came at the end."""
    replies: dict[tuple[int, str, bool], Any] = {}
    left = set(pending)
    while left:
        done, left = wait(left, None if len(replies) < needed else 0, FIRST_COMPLETED)
        if not done:
            break
        for future in done:
            if future.exception() is None:
                replies[pending[future]] = future.result()
    return replies
