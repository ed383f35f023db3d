"""Prometheus metrics, made from the plain tallies when they are scraped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from controlplane.model.rule_stats import RuleStats
from controlplane.model.tally import (
    BlobTally,
    GcTally,
    LifecycleTally,
    MirrorTally,
    PublishTally,
    RequestTally,
    ScanTally,
    ShardTally,
    WorkerTally,
)
from controlplane.ports.hot_cache import CacheStats, HotCache, TierStats
from controlplane.ports.journal import JournalStats
from controlplane.status.rule_metrics import buckets_of, rule_metrics
from controlplane.status.sources import Sources

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


def render(
    sources: Sources,
    journal: JournalStats | None,
    now: float,
    rules: Mapping[str, RuleStats] | None = None,
    paused: Collection[str] = (),
) -> bytes:
    """The text exposition format of everything in `sources` and of the journal at `now` (Unix seconds). `rules` and
    `paused`: as the journal has them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(sources, journal, now, rules or {}, paused))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(
        self,
        sources: Sources,
        journal: JournalStats | None,
        now: float,
        rules: Mapping[str, RuleStats],
        paused: Collection[str],
    ) -> None:
        self._rules = rules
        self._paused = paused
        self._sources = sources
        self._journal = journal
        self._now = now

    def collect(self) -> Iterable[Metric]:
        sources = self._sources
        build = GaugeMetricFamily(
            "millrace_build_info", "Always 1; the labels tell who this is.", labels=list(sources.labels)
        )
        build.add_metric(list(sources.labels.values()), 1)
        yield build
        yield from self._gateway()
        yield from self._agent()
        if self._journal is not None:
            yield from _journal(self._journal, self._now)

    def _gateway(self) -> Iterator[Metric]:
        sources = self._sources
        if sources.workers is not None:
            yield from _workers(sources.workers)
        if sources.requests is not None:
            yield from _requests(sources.requests, "http", "method")
        if sources.s3 is not None:
            yield from _requests(sources.s3, "s3", "operation")
        if sources.blobs is not None:
            yield from _blobs(sources.blobs)
        if sources.hot is not None:
            yield from _hot(sources.hot)

    def _agent(self) -> Iterator[Metric]:
        sources = self._sources
        if sources.mirror is not None:
            yield from _mirror(sources.mirror)
        if sources.publish is not None:
            yield from _publish(sources.publish)
        if sources.gc is not None:
            yield from _gc(sources.gc)
        if sources.lifecycle is not None:
            yield from _lifecycle(sources.lifecycle)
        if sources.shards is not None:
            yield from _shards(sources.shards)
        if sources.scan is not None:
            yield from _scan(sources.scan)
        if self._rules:
            yield from rule_metrics(self._rules, self._paused, self._now)


def _requests(tally: RequestTally, front: str, kind: str) -> Iterator[Metric]:
    """`front` is http (the blob API) or s3; `kind` what its requests are told apart by."""
    requests = CounterMetricFamily(f"millrace_{front}_requests", "Requests answered.", labels=(kind, "status"))
    for (name, status), count in sorted(tally.requests.items()):
        requests.add_metric((name, str(status)), count)
    yield requests
    seconds = HistogramMetricFamily(
        f"millrace_{front}_request_duration_seconds", "From the head's arrival to the last byte sent.", labels=(kind,)
    )
    for name, histogram in sorted(tally.seconds.items()):
        seconds.add_metric((name,), buckets_of(histogram), histogram.total)
    yield seconds
    yield CounterMetricFamily(f"millrace_{front}_sent_bytes", "Body bytes sent.", tally.sent_bytes)
    yield CounterMetricFamily(
        f"millrace_{front}_received_bytes", "Body bytes announced by clients.", tally.received_bytes
    )


def _blobs(tally: BlobTally) -> Iterator[Metric]:
    yield CounterMetricFamily("millrace_blobs_stored", "Blobs acknowledged as new or repaired.", tally.stored)
    yield CounterMetricFamily("millrace_blobs_deduplicated", "Writes of blobs that were there.", tally.deduplicated)
    yield CounterMetricFamily("millrace_blobs_deleted", "Blobs deleted.", tally.deleted)
    yield CounterMetricFamily("millrace_blob_collisions", "MD5 collisions refused and quarantined.", tally.collisions)
    yield CounterMetricFamily("millrace_blobs_corrupt", "Damaged copies met and not served.", tally.corrupt)
    fills = CounterMetricFamily(
        "millrace_blob_fills", "Fetches of blobs from a farther store.", labels=("store", "result")
    )
    for (store, result), count in sorted(tally.fills.items()):
        fills.add_metric((store, result), count)
    yield fills


def _workers(tally: WorkerTally) -> Iterator[Metric]:
    yield GaugeMetricFamily("millrace_gateway_workers", "Processes that the settings ask for.", tally.wanted)
    yield GaugeMetricFamily("millrace_gateway_workers_serving", "Those that serve now.", tally.serving)
    yield CounterMetricFamily("millrace_gateway_worker_restarts", "Workers that had to be replaced.", tally.restarts)


def _hot(cache: HotCache | CacheStats) -> Iterator[Metric]:
    stats = cache if isinstance(cache, CacheStats) else cache.stats()
    yield GaugeMetricFamily("millrace_hot_cache_entries", "Blobs in the hot cache.", stats.entries)
    yield GaugeMetricFamily("millrace_hot_cache_bytes", "Bytes in the hot cache.", stats.bytes)
    yield GaugeMetricFamily("millrace_hot_cache_limit_bytes", "Bound of the hot cache.", stats.limit_bytes)
    yield CounterMetricFamily("millrace_hot_cache_hits", "Look-ups that hit.", stats.hits)
    yield CounterMetricFamily("millrace_hot_cache_misses", "Look-ups that missed.", stats.misses)
    yield CounterMetricFamily("millrace_hot_cache_evictions", "Blobs evicted for room.", stats.evictions)
    if stats.tier is not None:
        yield from _tier(stats.tier)


def _tier(tier: TierStats) -> Iterator[Metric]:
    yield CounterMetricFamily("millrace_hot_tier_recalled", "Blobs that the shared hot tier gave.", tier.recalled)
    yield CounterMetricFamily("millrace_hot_tier_wrong", "Values there that were not what their names say.", tier.wrong)
    yield GaugeMetricFamily("millrace_hot_tier_away", "1: it does not answer, and is passed over.", float(tier.away))


def _shards(tally: ShardTally) -> Iterator[Metric]:
    yield GaugeMetricFamily("millrace_cluster_members", "Agents that are members, as seen last.", tally.members)
    yield GaugeMetricFamily("millrace_cluster_shards_owned", "Shards of this agent.", tally.owned)
    yield CounterMetricFamily("millrace_cluster_shards_taken", "Shards taken.", tally.taken)
    yield CounterMetricFamily("millrace_cluster_shards_let_go", "Shards handed over in order.", tally.let_go)
    yield CounterMetricFamily(
        "millrace_cluster_sessions_lost", "Leases that ended while the agent lived.", tally.sessions_lost
    )
    yield CounterMetricFamily(
        "millrace_cluster_cancelled_work", "Work that was under way when its shard was lost.", tally.cancelled
    )
    yield CounterMetricFamily(
        "millrace_cluster_directory_errors", "Failed rounds with the directory.", tally.directory_errors
    )


def _mirror(tally: MirrorTally) -> Iterator[Metric]:
    yield CounterMetricFamily("millrace_mirror_copied_objects", "Objects copied and proved.", tally.copied)
    yield CounterMetricFamily("millrace_mirror_copied_bytes", "Bytes of them.", tally.copied_bytes)
    yield CounterMetricFamily("millrace_mirror_deleted_objects", "Deletions done and proved.", tally.deleted)
    yield CounterMetricFamily(
        "millrace_mirror_superseded", "Tasks closed because nothing was left to do.", tally.superseded
    )
    yield CounterMetricFamily("millrace_mirror_retries", "Attempts that failed and will be repeated.", tally.retried)
    yield CounterMetricFamily("millrace_mirror_dead_letters", "Tasks given up.", tally.buried)
    yield CounterMetricFamily(
        "millrace_mirror_store_outages", "Times that a whole store was away.", tally.store_outages
    )
    yield CounterMetricFamily(
        "millrace_mirror_acls_carried", "Copies that got the ACL of their object.", tally.acls_carried
    )
    yield CounterMetricFamily(
        "millrace_mirror_acls_noted", "Copies beside which an ACL was noted that they could not have.", tally.acls_noted
    )
    yield GaugeMetricFamily("millrace_mirror_in_flight", "Tasks under way.", tally.in_flight)
    lag = HistogramMetricFamily(
        "millrace_mirror_lag_seconds", "From acknowledgement to proved copy, of copies proved since the start."
    )
    lag.add_metric((), buckets_of(tally.lag), tally.lag.total)
    yield lag


def _publish(tally: PublishTally) -> Iterator[Metric]:
    yield GaugeMetricFamily("millrace_endpoint_published", "1 while the endpoint is in the directory.", tally.published)
    probes = CounterMetricFamily("millrace_endpoint_probes", "Own PUT, GET, DELETE probes.", labels=("result",))
    probes.add_metric(("passed",), tally.probes_passed)
    probes.add_metric(("failed",), tally.probes_failed)
    yield probes
    yield CounterMetricFamily("millrace_directory_errors", "Failed calls of the directory.", tally.directory_errors)


def _gc(tally: GcTally) -> Iterator[Metric]:
    yield GaugeMetricFamily("millrace_gc_duty_held", "1 while Riak CS's garbage is this node's to collect.", tally.held)
    yield CounterMetricFamily("millrace_gc_batches", "Garbage collection batches started here.", tally.batches)
    yield GaugeMetricFamily(
        "millrace_gc_last_batch_timestamp_seconds", "When the last was started here; 0: never.", tally.last_batch_at
    )
    yield CounterMetricFamily("millrace_gc_halts", "Times that collection was halted here.", tally.halts)
    yield CounterMetricFamily("millrace_gc_errors", "Commands of Riak CS without a certain outcome.", tally.errors)
    yield CounterMetricFamily("millrace_gc_lock_errors", "Failed rounds of the duty's lock.", tally.directory_errors)


def _journal(stats: JournalStats, now: float) -> Iterator[Metric]:
    yield GaugeMetricFamily("millrace_journal_pending_entries", "Promised copies not made yet.", stats.pending)
    yield GaugeMetricFamily("millrace_journal_pending_bytes", "Bytes of them.", stats.pending_bytes)
    yield GaugeMetricFamily("millrace_journal_failed_entries", "Dead letters.", stats.failed)
    yield GaugeMetricFamily("millrace_journal_limit_entries", "Bound at which writes are refused.", stats.limit)
    age = 0.0 if stats.oldest_enqueued_at is None else max(0.0, now - stats.oldest_enqueued_at)
    yield GaugeMetricFamily("millrace_journal_oldest_age_seconds", "Age of the oldest pending entry.", age)


def _lifecycle(tally: LifecycleTally) -> Iterator[Metric]:
    yield GaugeMetricFamily("millrace_lifecycle_duty_held", "1 while lifecycle rules are this node's.", tally.held)
    yield CounterMetricFamily("millrace_lifecycle_sweeps", "Sweeps over all buckets finished here.", tally.sweeps)
    yield GaugeMetricFamily(
        "millrace_lifecycle_last_sweep_timestamp_seconds",
        "When the last was finished here; 0: never.",
        tally.last_sweep_at,
    )
    yield CounterMetricFamily("millrace_lifecycle_expired", "Objects that expired.", tally.expired)
    yield CounterMetricFamily("millrace_lifecycle_aborted", "Abandoned multipart uploads aborted.", tally.aborted)
    yield CounterMetricFamily("millrace_lifecycle_errors", "Buckets that could not be swept.", tally.errors)
    yield CounterMetricFamily(
        "millrace_lifecycle_lock_errors", "Failed rounds of the duty's lock.", tally.directory_errors
    )


def _scan(tally: ScanTally) -> Iterator[Metric]:
    yield GaugeMetricFamily("millrace_scan_interval_seconds", "Between two scans; 0: none come.", tally.interval_s)
    yield GaugeMetricFamily("millrace_scan_under_way", "1 while this node compares stores.", tally.under_way)
    yield CounterMetricFamily("millrace_scan_runs", "Scans concluded here; each by one node.", tally.runs)
    yield CounterMetricFamily("millrace_scan_keys", "Keys compared here.", tally.keys)
    yield GaugeMetricFamily("millrace_scan_nodes", "That scan together; 0: this one alone, or none.", tally.nodes)
    yield GaugeMetricFamily("millrace_scan_pieces", "Stretches of keys that this node is comparing.", tally.pieces)
    yield CounterMetricFamily("millrace_scan_pieces_given", "Stretches given to other nodes.", tally.given)
    yield CounterMetricFamily(
        "millrace_scan_pieces_taken_over", "Stretches of nodes that were gone, freed by this one.", tally.taken_over
    )
    yield CounterMetricFamily(
        "millrace_scan_sessions_lost", "Leases of this node that ended although it lived.", tally.sessions_lost
    )
    yield GaugeMetricFamily(
        "millrace_scan_last_timestamp_seconds", "When the last ended, on any node; 0: unknown.", tally.last_finished_at
    )
    yield GaugeMetricFamily("millrace_scan_last_duration_seconds", "How long that took.", tally.last_seconds)
    yield GaugeMetricFamily("millrace_scan_last_keys_per_second", "How fast it was.", tally.keys_per_second)
    found = CounterMetricFamily("millrace_scan_found", "Differences found, by kind.", labels=("kind",))
    for kind, count in sorted(tally.found.items()):
        found.add_metric((kind,), count)
    yield found
    last = GaugeMetricFamily("millrace_scan_last_found", "Those of the last finished scan.", labels=("kind",))
    for kind, count in sorted(tally.last_found.items()):
        last.add_metric((kind,), count)
    yield last
    yield CounterMetricFamily("millrace_scan_enqueued", "Copies put into the journal.", tally.enqueued)
    yield CounterMetricFamily("millrace_scan_deletes_enqueued", "Deletions put into it.", tally.deletes_enqueued)
    yield CounterMetricFamily(
        "millrace_scan_guard_refusals", "Buckets in which the guard forbade deletions.", tally.guard_refusals
    )
    yield CounterMetricFamily(
        "millrace_scan_failed_buckets", "Buckets that were not scanned to their end.", tally.failed_buckets
    )
