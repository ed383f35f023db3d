"""What a cluster of a given size costs, and where the design would bend: arithmetic on measured and assumed figures.

`Measured` and `Shards` come from runs of the real code (wiring/scale_probe.py, wiring/shard_simulation.py), `Load` from
who asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from controlplane.model.sharding import SHARDS

DAY_S: Final = 86_400.0

_MOST_OF_THE_MEAN: Final = 2.0
"""An agent with more than this many times the mean of the shards is a bend."""

_MOST_SCANNING: Final = 50
"""Every node of a shared scan changes one document each 10 s (services/shared_scan.py), and reads it each second."""

_BUSY_ETCD_BYTES_S: Final = 20e6
"""Answers beyond this are more than a small etcd cluster should be asked for all day."""


@dataclass(frozen=True, slots=True)
class Load:
    """As the operator states it."""

    objects: int
    nodes: int
    """That run an agent with a share in the work."""
    scan_days: float
    """One scan of everything in this time."""
    page_s: float
    """For one listing of `page` keys; of the slower of both stores."""
    page: int
    scan_workers: int
    """Listings under way at once in a scan, on each node that takes part."""
    scan_nodes: int
    """That share a scan."""
    writes_s: float
    """Objects written a second, all nodes."""
    outage_s: float
    """For which the target is away."""
    journal_limit: int
    """Entries for each node."""
    disk_bytes: int
    """That a node may give to its catalog."""
    list_price: float
    """Of 1,000 list requests at the target, in its currency."""


@dataclass(frozen=True, slots=True)
class Measured:
    """By the real code, on the machine that ran it."""

    scan_keys_s: float
    """Keys that a scan gets through in a second of CPU when all is equal, the usual case; without parsing listings."""
    catalog_row_bytes: float
    journal_entry_bytes: float
    plan_s: float
    """CPU of one agent's decision about all shards after a change of the members."""


@dataclass(frozen=True, slots=True)
class Shards:
    """Of a simulated cluster: real agents' code, real planner, simulated time."""

    working: int
    """Agents that own any shard."""
    most: int
    """Shards of the busiest agent."""
    moved: int
    """Shards that changed hands when the agents were lost."""
    needless: int
    """Of these, the ones that nobody had lost."""
    longest_unowned_s: float
    requests_s: float
    """That etcd answers in quiet times."""
    bytes_s: float
    """In its answers then."""
    writes_after_loss: int


@dataclass(frozen=True, slots=True)
class Bend:
    """Where the design is beyond what it was made for."""

    what: str
    then: str
    """What to do."""


@dataclass(frozen=True, slots=True)
class Estimate:
    pages_day: float
    """List requests a day, at each of the two stores."""
    pages_s: float
    list_cost_day: float
    """At the target, in the currency of the price."""
    scan_cpu_days: float
    """CPU-days of comparing for one scan, all nodes together."""
    scan_wait_days: float
    """Days that one scan waits for listings, with all workers of all its nodes."""
    catalog_bytes: float
    """All copies, in one place."""
    catalog_bytes_node: float
    """Divided evenly among the agents that work."""
    backlog: float
    """Journal entries after the outage, all nodes."""
    backlog_bytes_node: float
    fits_outage_s: float
    """For how long the target may be away until writes are pushed back."""
    shard_mean: float
    bends: tuple[Bend, ...]


def estimate(load: Load, measured: Measured, shards: Shards) -> Estimate:
    pages = load.objects / load.page
    pages_day = pages / load.scan_days
    scan_wait_days = pages * load.page_s / load.scan_workers / load.scan_nodes / DAY_S
    catalog = load.objects * measured.catalog_row_bytes
    working = max(1, shards.working)
    backlog = load.writes_s * load.outage_s
    found = Estimate(
        pages_day=pages_day,
        pages_s=pages_day / DAY_S,
        list_cost_day=pages_day / 1000 * load.list_price,
        scan_cpu_days=load.objects / measured.scan_keys_s / DAY_S,
        scan_wait_days=scan_wait_days,
        catalog_bytes=catalog,
        catalog_bytes_node=catalog / working,
        backlog=backlog,
        backlog_bytes_node=backlog * measured.journal_entry_bytes / load.nodes,
        fits_outage_s=load.journal_limit * load.nodes / load.writes_s if load.writes_s else float("inf"),
        shard_mean=SHARDS / load.nodes,
        bends=(),
    )
    return replace(found, bends=tuple(_bends(load, measured, shards, found)))


def _bends(load: Load, measured: Measured, shards: Shards, found: Estimate) -> list[Bend]:
    bends = []
    if shards.working < load.nodes:
        bends.append(
            Bend(
                f"{load.nodes - shards.working} of {load.nodes} agents own none of the {SHARDS} shards",
                "give most agents cluster.weight = 0: some dozens of agents are enough, the others only answer clients",
            )
        )
    elif shards.most > _MOST_OF_THE_MEAN * found.shard_mean:
        bends.append(
            Bend(
                f"the busiest agent owns {shards.most} shards, {shards.most / found.shard_mean:.1f} times the mean",
                "fewer agents (cluster.weight = 0 on the others) share the work more evenly",
            )
        )
    if shards.bytes_s > _BUSY_ETCD_BYTES_S:
        bends.append(
            Bend(
                f"agents read {shards.bytes_s / 1e6:.0f} MB/s of members and shards from etcd, with nothing going on",
                "fewer members: each asks once a second, however long its lease is",
            )
        )
    cpu_days = found.scan_cpu_days / load.scan_nodes
    one_pass = max(cpu_days, found.scan_wait_days)
    if one_pass > load.scan_days:
        slow = "comparing" if cpu_days > found.scan_wait_days else "listing"
        bends.append(
            Bend(
                f"one scan takes {one_pass:.1f} days of {slow} on {load.scan_nodes} nodes, more than the "
                f"{load.scan_days:g} given",
                "more nodes that scan, or mirror.scan.workers (as far as the stores list that fast), or a longer "
                "mirror.scan.interval_s; "
                "the journal carries every write in the meantime",
            )
        )
    if load.scan_nodes > _MOST_SCANNING:
        bends.append(
            Bend(
                f"{load.scan_nodes} nodes scan together, and all change one document in etcd",
                f"mirror.scan.interval_s = 0 on all but {_MOST_SCANNING} of them",
            )
        )
    catalog = found.catalog_bytes / load.scan_nodes
    if catalog > load.disk_bytes:
        bends.append(
            Bend(
                f"the catalog of copies takes {catalog / 1e9:,.0f} GB on each of {load.scan_nodes} nodes that scan, "
                f"more than {load.disk_bytes / 1e9:,.0f} GB",
                "more nodes that scan, a disk for it, or the catalog in Riak KV (catalog.kind); without a row a scan "
                "asks the target with a HEAD for each object",
            )
        )
    if found.fits_outage_s < load.outage_s:
        bends.append(
            Bend(
                f"journals are full after {found.fits_outage_s / 3600:.1f} hours without the target, and writes pushed "
                f"back, before the {load.outage_s / 3600:g} hours are over",
                "a greater journal.limit (its disk: see above)",
            )
        )
    if measured.plan_s > 0.2:
        bends.append(
            Bend(
                f"after each change of the members every agent decides for {measured.plan_s:.1f} s of CPU",
                "fewer members; it happens once a change",
            )
        )
    return bends
