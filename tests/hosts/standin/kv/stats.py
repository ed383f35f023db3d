"""What /stats and `riak admin status` show: the recorded keys, with live values where the stand-in has them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.hosts.standin.kv.node import KvNode


@cache
def _template() -> str:
    return Path(__file__).with_name("stats.json").read_text()


def statistics(node: KvNode) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(_template())
    ring = node.cluster.ring
    members = sorted(ring.members)
    shares = ",".join(f"{{'{name}',{ring.owners.count(name)}}}" for name in members)
    values.update(
        nodename=node.name,
        connected_nodes=sorted(node.cluster.up() - {node.name}),
        ring_members=members,
        ring_num_partitions=ring.size,
        ring_creation_size=ring.size,
        ring_ownership=f"[{shares}]",
        storage_backend=node.backends.module,
        node_gets=node.counters.get("node_gets_total", 0),
        node_puts=node.counters.get("node_puts_total", 0),
    )
    for name, count in node.counters.items():
        if name in values:
            values[name] = count
    return values
