"""Counters and histograms as plain numbers, so that counting on the hot path costs nanoseconds.

The status room turns them into Prometheus metrics when they are scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)


class Histogram:
    """Counts per bucket: `counts[i]` holds observations <= bounds[i]; the last one those above all bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """What `other` has observed, over the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


@dataclass(slots=True)
class RequestTally:
    """The gateway's requests, by (method, status)."""

    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: dict[str, Histogram] = field(default_factory=dict)
    """Duration by method."""

    def observe(self, method: str, status: int, sent: int, seconds: float) -> None:
        key = (method, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.sent_bytes += sent
        histogram = self.seconds.get(method)
        if histogram is None:
            histogram = self.seconds[method] = Histogram(LATENCY_BOUNDS_S)
        histogram.observe(seconds)

    def add(self, other: RequestTally) -> None:
        for key, count in other.requests.items():
            self.requests[key] = self.requests.get(key, 0) + count
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        for name, histogram in other.seconds.items():
            self.seconds.setdefault(name, Histogram(histogram.bounds)).add(histogram)


@dataclass(slots=True)
class BlobTally:
    """What the blob service met."""

    stored: int = 0
    deduplicated: int = 0
    deleted: int = 0
    collisions: int = 0
    corrupt: int = 0
    fills: dict[tuple[str, str], int] = field(default_factory=dict)
    """By (source store, result): filled, corrupt, unavailable, missing."""

    def count_fill(self, store: str, result: str) -> None:
        self.fills[store, result] = self.fills.get((store, result), 0) + 1

    def add(self, other: BlobTally) -> None:
        self.stored += other.stored
        self.deduplicated += other.deduplicated
        self.deleted += other.deleted
        self.collisions += other.collisions
        self.corrupt += other.corrupt
        for key, count in other.fills.items():
            self.fills[key] = self.fills.get(key, 0) + count


@dataclass(slots=True)
class WorkerTally:
    """The processes of one gateway."""

    wanted: int
    serving: int = 0
    restarts: int = 0


@dataclass(slots=True)
class MirrorTally:
    """What the mirror did since the process started."""

    copied: int = 0
    copied_bytes: int = 0
    deleted: int = 0
    superseded: int = 0
    retried: int = 0
    buried: int = 0
    store_outages: int = 0
    in_flight: int = 0
    acls_carried: int = 0
    acls_noted: int = 0
    """Of copies: those that the target could not have."""
    lag: Histogram = field(default_factory=lambda: Histogram(LAG_BOUNDS_S))
    """Seconds from acknowledgement to verified copy."""


@dataclass(slots=True)
class PublishTally:
    """The endpoint's own health."""

    probes_passed: int = 0
    probes_failed: int = 0
    published: bool = False
    directory_errors: int = 0
    last_error: str = ""


@dataclass(slots=True)
class GcTally:
    """This node's part in the garbage collection of Riak CS."""

    held: bool = False
    """The duty is this node's."""
    batches: int = 0
    last_batch_at: float = 0.0
    """Unix seconds at which a batch was started here last; 0: never."""
    halts: int = 0
    errors: int = 0
    """Commands of the local Riak CS without a certain outcome."""
    directory_errors: int = 0
    last_error: str = ""


@dataclass(slots=True)
class LifecycleTally:
    """This node's part in the lifecycle of S3 buckets."""

    held: bool = False
    """The duty is this node's."""
    sweeps: int = 0
    last_sweep_at: float = 0.0
    """Unix seconds at which a sweep was finished here last; 0: never."""
    expired: int = 0
    """Objects."""
    aborted: int = 0
    """Multipart uploads."""
    errors: int = 0
    """Buckets that could not be swept."""
    directory_errors: int = 0
    last_error: str = ""


@dataclass(slots=True)
class ScanTally:
    """Scans on this node since the process started."""

    interval_s: float = 0.0
    """Between scans that come by themselves; 0: none do."""
    under_way: bool = False
    runs: int = 0
    """Finished ones."""
    failed_buckets: int = 0
    """Times that a bucket could not be scanned to its end."""
    last_finished_at: float = 0.0
    """Unix seconds, of the last scan on any node, before this process too; 0: not known, or never."""
    last_seconds: float = 0.0
    keys: int = 0
    """Compared."""
    keys_per_second: float = 0.0
    """Of the last finished scan, by the clock on the wall."""
    found: dict[str, int] = field(default_factory=dict)
    """By kind (model.scan_join.Kind), of all scans."""
    last_found: dict[str, int] = field(default_factory=dict)
    """The same of the last finished one."""
    enqueued: int = 0
    deletes_enqueued: int = 0
    guard_refusals: int = 0
    """Buckets in which the guard forbade deletions."""
    nodes: int = 0
    """That scan together, as they were seen last; 0: this one alone, or none."""
    pieces: int = 0
    """Stretches of keys that this node is comparing now, in a scan that nodes share."""
    given: int = 0
    """Stretches that it gave away to others."""
    taken_over: int = 0
    """Stretches of nodes that were gone, which it freed."""
    sessions_lost: int = 0
    """How often its lease ended although it lived."""


@dataclass(slots=True)
class ShardTally:
    """An agent's part in the cluster: what is so now, and counts since its start."""

    members: int = 0
    """Of the cluster, as they were seen last."""
    owned: int = 0
    taken: int = 0
    let_go: int = 0
    sessions_lost: int = 0
    """How often its lease ended although it lived."""
    cancelled: int = 0
    """Pieces of work that were under way when their shard was lost."""
    directory_errors: int = 0
