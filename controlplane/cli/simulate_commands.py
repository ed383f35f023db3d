"""`millrace simulate`: what a cluster of a given size would cost, by the real planner and figures of this machine."""

from __future__ import annotations

import asyncio
import tempfile
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.cli import output
from controlplane.cli.exit_codes import ExitCode, UsageError

if TYPE_CHECKING:
    from controlplane.model.scale import Estimate, Load, Measured, Shards

_SAMPLE_ROWS = 100_000


def simulate(arguments: Namespace) -> int:
    load = _load(arguments)
    if not 0 <= arguments.lose < load.nodes:
        raise UsageError(f"--lose {arguments.lose}: of {load.nodes} agents at least one must remain")
    shards, measured, found = asyncio.run(_run(load, arguments))
    if arguments.json:
        output.document(
            {"load": asdict(load), "measured": asdict(measured), "shards": asdict(shards), "estimate": asdict(found)}
        )
    else:
        _tell(load, measured, shards, found, arguments)
    return ExitCode.OK


async def _run(load: Load, arguments: Namespace) -> tuple[Shards, Measured, Estimate]:
    from controlplane.model.scale import estimate
    from controlplane.wiring.scale_probe import measure
    from controlplane.wiring.shard_simulation import ShardSimulation

    with tempfile.TemporaryDirectory(prefix="millrace-simulate-") as folder:
        measured = await measure(Path(folder), agents=load.nodes, keys=_SAMPLE_ROWS, key_bytes=arguments.key_bytes)
    simulation = ShardSimulation(
        load.nodes, ttl_s=arguments.lease_ttl, pace_s=min(1.0, arguments.lease_ttl / 6), seed=arguments.seed
    )
    shards = await simulation.run(arguments.lose)
    return shards, measured, estimate(load, measured, shards)


def _load(arguments: Namespace) -> Load:
    from controlplane.model.scale import Load

    return Load(
        objects=arguments.objects,
        nodes=arguments.nodes,
        scan_days=arguments.scan_days,
        page_s=arguments.page_ms / 1000,
        page=arguments.page,
        scan_workers=arguments.scan_workers,
        scan_nodes=min(arguments.scan_nodes, arguments.nodes),
        writes_s=arguments.writes,
        outage_s=arguments.outage_hours * 3600,
        journal_limit=arguments.journal_limit,
        disk_bytes=int(arguments.disk_gb * 1e9),
        list_price=arguments.list_price,
    )


def _tell(load: Load, measured: Measured, shards: Shards, found: Estimate, arguments: Namespace) -> None:
    rows = [
        *_shard_rows(load, measured, shards, found, arguments),
        *_scan_rows(load, measured, found),
        *_store_rows(load, measured, found),
    ]
    output.table(("what", "how much", "by"), rows)
    for bend in found.bends:
        output.line(f"bends: {bend.what}")
        output.line(f"  then: {bend.then}")
    if not found.bends:
        output.line("bends: nowhere")


Rows = list[tuple[str, str, str]]


def _shard_rows(load: Load, measured: Measured, shards: Shards, found: Estimate, arguments: Namespace) -> Rows:
    simulated = "simulated: the agents' code"
    lost = f"{arguments.lose} of {load.nodes} agents lost"
    return [
        ("agents that own shards", f"{shards.working} of {load.nodes}", simulated),
        ("shards of the busiest agent", f"{shards.most} (mean {found.shard_mean:.1f})", simulated),
        (f"{lost}: shards moved", f"{shards.moved}, {shards.needless} needlessly", simulated),
        (f"{lost}: without an owner for at most", output.span(shards.longest_unowned_s), simulated),
        (f"{lost}: writes to etcd", f"{shards.writes_after_loss}", simulated),
        ("etcd, nothing going on", f"{shards.requests_s:,.0f} requests/s, {shards.bytes_s / 1e6:,.1f} MB/s", simulated),
        ("an agent's decision after a change", f"{measured.plan_s * 1000:.0f} ms of CPU", "measured here"),
    ]


def _scan_rows(load: Load, measured: Measured, found: Estimate) -> Rows:
    assumed = "your figures"
    return [
        ("a scan's own work, all equal", f"{measured.scan_keys_s:,.0f} keys/s of CPU", "measured here"),
        ("one scan: its own work, all nodes", f"{found.scan_cpu_days * 24:,.1f} h of CPU", "measured here"),
        (f"one scan: waiting for listings, {load.scan_nodes} nodes", f"{found.scan_wait_days * 24:,.1f} h", assumed),
        ("list requests at each store", f"{found.pages_day:,.0f} a day, {found.pages_s:,.0f}/s", assumed),
        ("list requests at the target cost", f"{found.list_cost_day:,.2f} a day", assumed),
    ]


def _store_rows(load: Load, measured: Measured, found: Estimate) -> Rows:
    return [
        ("catalog, a copy", f"{measured.catalog_row_bytes:.0f} B", "measured here"),
        ("catalog, all copies", output.size(int(found.catalog_bytes)), "measured here"),
        ("catalog, divided among working agents", output.size(int(found.catalog_bytes_node)), "measured here"),
        ("journal, an entry", f"{measured.journal_entry_bytes:.0f} B", "measured here"),
        (
            f"journals after {load.outage_s / 3600:g} h without the target",
            f"{found.backlog:,.0f} entries, {output.size(int(found.backlog_bytes_node))} a node",
            "measured here",
        ),
        ("writes are pushed back after", output.span(found.fits_outage_s), "your figures"),
    ]
