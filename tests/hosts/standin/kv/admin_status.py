"""`riak admin` commands that report on the cluster: member-status, ring-status, ringready, transfers ..."""

from collections.abc import Callable
from typing import Any

from tests.hosts.standin.dist.link import NotReachable, RemoteError
from tests.hosts.standin.kv.admin_cluster import membership
from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.stats import statistics
from tests.hosts.standin.kv.tables import heading, node_list, rule


def states(node: KvNode) -> dict[str, dict[str, Any] | None]:
    """What each member says about itself; None for one that cannot be reached."""
    found: dict[str, dict[str, Any] | None] = {}
    for name in sorted(node.cluster.ring.members):
        try:
            found[name] = node.on_state({}, b"")[0] if name == node.name else node.peers.call(name, "state")[0]
        except (NotReachable, RemoteError):
            found[name] = None
    return found


def member_status(node: KvNode, _: list[str]) -> str:
    return membership(node.cluster.ring) + "ok\n"


def ring_status(node: KvNode, _: list[str]) -> str:
    ring, up = node.cluster.ring, node.cluster.up()
    claimant = "up" if ring.claimant in up else "down"
    lines = [heading("Claimant"), f"Claimant:  '{ring.claimant}'", f"Status:     {claimant}"]
    lines += [f"Ring Ready: {'true' if _ready(node) else 'false'}", "", heading("Ownership Handoff")]
    if not ring.moves:
        lines += ["No pending changes.", ""]
    pairs = sorted({(ring.owners[p], target) for p, target in ring.moves.items()})
    for owner, target in pairs:
        lines += [f"Owner:      {owner}", f"Next Owner: {target}", ""]
        for partition in sorted(p for p, t in ring.moves.items() if (ring.owners[p], t) == (owner, target)):
            lines += [f"Index: {ring.index(partition)}", "  Waiting on: [riak_kv_vnode,riak_pipe_vnode]", ""]
        lines += [rule(), ""]
    lines.append(heading("Unreachable Nodes"))
    missing = sorted(n for n, state in ring.members.items() if n not in up and state != "down")
    if not missing:
        lines += ["All nodes are up and reachable", "", "ok"]
        return "\n".join(lines) + "\n"
    lines += [
        f"The following nodes are unreachable: {node_list(missing)}",
        "",
        "WARNING: The cluster state will not converge until all nodes",
        "are up. Once the above nodes come back online, convergence",
        "will continue. If the outages are long-term or permanent, you",
        "can either mark the nodes as down (riak-admin down NODE) or",
        "forcibly remove the nodes from the cluster (riak-admin",
        "force-remove NODE) to allow the remaining nodes to settle.",
        "ok",
    ]
    return "\n".join(lines) + "\n"


def _ready(node: KvNode) -> bool:
    """Whether all reachable members have the same ring."""
    versions = {state["version"] for state in states(node).values() if state}
    return len(versions) == 1


def ringready(node: KvNode, _: list[str]) -> str:
    found = states(node)
    down = sorted(name for name, state in found.items() if state is None)
    if down:
        return f"FALSE {node_list(down)} down.  All nodes need to be up to check.\nerror\n"
    if len({state["version"] for state in found.values() if state}) > 1:
        names = sorted(found)
        return f"FALSE Node {names[0]} and {names[-1]} list different partition owners\nerror\n"
    shown, line = [], "TRUE All nodes agree on the ring ["
    for position, name in enumerate(sorted(found)):
        piece = f"'{name}'" + ("," if position < len(found) - 1 else "]")
        if len(line) + len(piece) > 80:
            shown.append(line)
            line = " " * 34
        line += piece
    return "\n".join([*shown, line]) + "\nok\n"


def transfers(node: KvNode, _: list[str]) -> str:
    found = states(node)
    ring = node.cluster.ring
    down = [name for name, state in found.items() if state is None]
    lines = [f"Nodes {node_list(down)} are currently down."] if down else []
    waiting = [f"'{n}' waiting to handoff {s['waiting']} partitions" for n, s in found.items() if s and s["waiting"]]
    lines += waiting
    if not waiting and not down:
        lines.append("No transfers active")
    lines += ["", "Active Transfers:", ""]
    for name, state in found.items():
        for partition, target in (state or {"active": {}})["active"].items():
            index = ring.index(int(partition))
            lines += [f"transfer type: ownership_transfer\nvnode type: riak_kv_vnode\npartition: {index}"]
            lines += [f"source node: {name}\ntarget node: {target}", ""]
    lines += ["", *(f"Node '{name}' could not be contacted" for name in down), "ok"]
    return "\n".join(lines) + "\n"


def status(node: KvNode, _: list[str]) -> str:
    lines = [f"1-minute stats for '{node.name}'", "-------------------------------------------"]
    for name, value in statistics(node).items():
        shown = node_list(value) if isinstance(value, list) and name != "disk" else value
        lines.append(f"{name} : {shown}")
    return "\n".join(lines) + "\n\nok\n"


def vnode_status(node: KvNode, _: list[str]) -> str:
    ring = node.cluster.ring
    lines = ["Vnode status information", "-------------------------------------------", ""]
    for partition in ring.owned_by(node.name):
        index = ring.index(partition)
        rows = []
        for name, found in node.vnodes.status(index).items():
            module = node.backends.named[name].module
            if "file" in found:
                where = f'{{"{found["file"]}",\n             0,{found["dead"]},{found["bytes"]}}}'
                detail = f"{{key_count,{found['keys']}}},\n   {{status,[{where}]}}"
            else:
                detail = f"{{data_table_status,[{{size,{found['keys']}}}]}},\n   {{used_memory,{found['used_memory']}}}"
            rows.append(f'{{<<"{name}">>,\n  [{{mod,{module}}},\n   {detail}]}}')
        shown = ",\n ".join(rows)
        lines += [f"VNode: {index}", f"Backend: {node.backends.module}", "Status: ", f"[{shown}]", ""]
    return "\n".join(lines) + "\nok\n"


COMMANDS: dict[str, Callable[[KvNode, list[str]], str]] = {
    "member-status": member_status,
    "member_status": member_status,
    "ring-status": ring_status,
    "ring_status": ring_status,
    "ringready": ringready,
    "transfers": transfers,
    "status": status,
    "vnode-status": vnode_status,
}
