#!/usr/bin/env python3
"""Writes figures of a Riak node for the node exporter's textfile collector. Usage: riak_stats.py TARGET URL"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import urllib.request

TIMEOUT_S = 10
COUNTERS = (
    "node_gets_total", "node_puts_total", "vnode_gets_total", "vnode_puts_total", "vnode_index_reads_total",
    "read_repairs_total", "coord_redirs_total", "dropped_vnode_requests_total", "node_get_fsm_rejected_total",
    "node_put_fsm_rejected_total", "node_get_fsm_errors_total", "pbc_connects_total", "rejected_handoffs",
    "handoff_timeouts", "ignored_gossip_total",
)  # fmt: skip
GAUGES = (
    "node_get_fsm_time_mean", "node_get_fsm_time_95", "node_get_fsm_time_99", "node_get_fsm_time_100",
    "node_put_fsm_time_mean", "node_put_fsm_time_95", "node_put_fsm_time_99", "node_put_fsm_time_100",
    "node_get_fsm_siblings_99", "node_get_fsm_siblings_100", "node_get_fsm_objsize_99", "node_get_fsm_objsize_100",
    "node_get_fsm_active", "node_put_fsm_active", "pbc_active", "list_fsm_active", "index_fsm_active",
    "memory_total", "memory_processes_used", "memory_ets", "memory_binary", "sys_process_count", "ring_num_partitions",
)  # fmt: skip


def exposition(stats: dict | None) -> str:
    """Of None (the node does not answer) only that it is away."""
    lines = ["# HELP riak_up 1 while the node answers /stats.", "# TYPE riak_up gauge"]
    lines.append(f"riak_up {int(stats is not None)}")
    if stats is None:
        return "\n".join(lines) + "\n"
    for names, kind in ((COUNTERS, "counter"), (GAUGES, "gauge")):
        for name in names:
            value = stats.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                lines += [f"# TYPE riak_{name} {kind}", f"riak_{name} {value}"]
    for name in ("ring_members", "connected_nodes"):
        if isinstance(stats.get(name), list):
            # Connections of Riak CS and of tools are not members of the ring.
            members = set(stats.get("ring_members") or [])
            count = len(members.intersection(stats[name]) if members else stats[name])
            lines += [f"# TYPE riak_{name} gauge", f"riak_{name} {count}"]
    lines += partitions(str(stats.get("ring_ownership", "")))
    return "\n".join(lines) + "\n"


def partitions(ownership: str) -> list[str]:
    """Of `[{'riak@a',22},{'riak@b',21}]` the share of each node."""
    found = re.findall(r"\{'?([^',{}]+)'?,\s*(\d+)\}", ownership)
    if not found:
        return []
    lines = ["# TYPE riak_ring_partitions gauge"]
    return lines + [f'riak_ring_partitions{{node="{node}"}} {count}' for node, count in sorted(found)]


def read(url: str) -> dict | None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            stats = json.load(response)
        return stats if isinstance(stats, dict) else None
    except (OSError, ValueError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return None


def write_whole(target: str, text: str) -> None:
    """The collector must never read half a file."""
    with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(target), prefix=".", delete=False) as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    os.replace(file.name, target)


if __name__ == "__main__":
    write_whole(sys.argv[1], exposition(read(sys.argv[2])))
