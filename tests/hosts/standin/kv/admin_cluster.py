"""`riak admin cluster ...`, `down`, and the membership table that others print too."""

import json
from typing import Any

from tests.hosts.standin.dist.link import RemoteError
from tests.hosts.standin.kv import ring as rings
from tests.hosts.standin.kv.admin_texts import CLUSTER_USAGE, LOCATION_USAGE
from tests.hosts.standin.kv.claim import crowded
from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.ring import Ring
from tests.hosts.standin.kv.tables import centre, csv, heading, rule, table

_JOIN = {
    "self_join": "Failed: This node cannot join itself in a cluster",
    "not_single_node": "Failed: This node is already a member of a cluster",
    "different_ring_sizes": "Failed: {target} has a different ring_creation_size",
    "not_reachable": "Node {target} is not reachable!",
}
_STAGE = {
    "already_leaving": "{node!r} is already in the process of leaving the cluster.",
    "not_member": "Failed: {node!r} is not a member of the cluster.",
    "only_member": "Failed: {node!r} is the only member.",
    "is_claimant": "Failed: {node!r} is the claimant (see: riak-admin ring_status).\n"
    "The claimant is the node responsible for initiating cluster changes,\n"
    "and cannot forcefully be removed or replaced.",
    "invalid_replacement": "Failed: {by!r} is not a valid replacement candidate.\n"
    "Only newly joining nodes can be used for replacement.",
    "already_replacement": "Failed: {by!r} is already staged to replace another node.",
    "claimant_unreachable": "Failed: the claimant is not reachable.",
}
_STAGED = {
    "leave": "Success: staged leave request for {node!r}",
    "remove": "Success: staged remove request for {node!r}",
    "replace": "Success: staged replacement of {node!r} with {by!r}",
    "force_replace": "Success: staged forced replacement of {node!r} with {by!r}",
}
_CONVERGE = "\nCheck 'Ring Ready' in 'riak-admin ring_status'\nerror\n"
_ACTIONS = {"remove": "force-remove", "force_replace": "force-replace"}


def run(node: KvNode, words: list[str]) -> str:
    match words:
        case ["join", target]:
            return join(node, target)
        case ["leave"]:
            return stage(node, "leave", node.name)
        case [("leave" | "force-remove") as kind, name]:
            return stage(node, kind.removeprefix("force-"), name)
        case [("replace" | "force-replace") as kind, name, by]:
            return stage(node, kind.replace("-", "_"), name, by)
        case ["plan"]:
            return plan(node)
        case ["commit"]:
            return commit(node)
        case ["clear"]:
            node.cluster.on_claimant("clear", {})
            return "Cleared staged cluster changes\nok\n"
        case ["status", *options]:
            return status(node, options)
        case ["location"]:
            return LOCATION_USAGE
        case ["location", where, *_]:
            return f"Success: staged changing location of node '{node.name}' to {where}\nok\n"
        case [("partitions" | "partition-count" | "partition") as name, *options]:
            return _PARTITIONS[name](node, options)
    return CLUSTER_USAGE


def join(node: KvNode, target: str) -> str:
    try:
        node.cluster.join(target)
    except RemoteError as error:
        if error.kind in _JOIN:
            return _JOIN[error.kind].format(target=target) + "\nerror\n"
        return "Join failed. Try again in a few moments.\nerror\n"
    return f"Success: staged join request for '{node.name}' to '{target}'\nok\n"


def stage(node: KvNode, kind: str, name: str, by: str = "") -> str:
    try:
        node.cluster.on_claimant("stage", {"change": [kind, name, *([by] if by else [])]})
    except RemoteError as error:
        known = _STAGE.get(error.kind, "Failed: {node!r}: " + error.kind)
        return known.format(node=name, by=by) + ("\nok\n" if error.kind == "already_leaving" else "\nerror\n")
    return _STAGED[kind].format(node=name, by=by) + "\nok\n"


def down(node: KvNode, name: str) -> str:
    try:
        node.cluster.mark_down(name)
    except RemoteError as error:
        reasons = {"not_member": f'Failed: "{name}" is not a member of the cluster.', "is_up": f"Failed: {name} is up"}
        return reasons.get(error.kind, f"Down failed: {error.kind}") + "\nerror\n"
    return f'Success: "{name}" marked as down\nok\n'


def membership(ring: Ring) -> str:
    """The table of `member-status`, without its last word."""
    order = sorted(ring.members.items(), key=lambda pair: pair[0])
    future = ring.future()
    lines = [heading("Membership"), "Status     Ring    Pending    Node", rule()]
    for name, state in order:
        pending = f"{ring.percent(future.count(name)):5.1f}%" if ring.moves else "  --  "
        lines.append(f"{state:<8} {ring.share(name):5.1f}%    {pending}    {name}")
    count = {
        state: sum(s == state for s in ring.members.values())
        for state in ("valid", "leaving", "exiting", "joining", "down")
    }
    lines += [rule(), " / ".join(f"{state.capitalize()}:{number}" for state, number in count.items())]
    return "\n".join(lines) + "\n"


def plan(node: KvNode) -> str:
    try:
        answer: dict[str, Any] = node.cluster.on_claimant("plan", {})
    except RemoteError as error:
        if error.kind == "ring_not_ready":
            return "Cannot plan until cluster state has converged." + _CONVERGE
        raise
    ring = rings.from_json(answer["ring"])
    if not ring.staged:
        return "There are no staged changes\nok\n"
    lines = [heading("Staged Changes"), "Action         Details(s)", rule()]
    for change in ring.staged:
        details = " with ".join(f"'{name}'" for name in change[1:])
        lines.append(f"{_ACTIONS.get(change[0], change[0]):<15}{details}")
    steps = [rings.from_json(step) for step in answer["steps"]]
    noun = "transition" if len(steps) == 1 else "transitions"
    lines += [rule(), "", "", f"NOTE: Applying these changes will result in {len(steps)} cluster {noun}", ""]
    for number, step in enumerate(steps, 1):
        lines += ["#" * 79, f"After cluster transition {number}/{len(steps)}".center(79).rstrip(), "#" * 79, ""]
        lines.append(membership(step))
        if crowded(step.future(), node.cluster.target_n_val):
            lines += ["WARNING: Not all replicas will be on distinct nodes", ""]
        lines += _transfers(ring if number == 1 else steps[number - 2], step)
    return "\n".join(lines) + "\nok\n"


def _transfers(before: Ring, step: Ring) -> list[str]:
    counts: dict[tuple[str, str], int] = {}
    for partition, target in step.moves.items():
        pair = (before.owners[partition], target)
        counts[pair] = counts.get(pair, 0) + 1
    if not counts:
        return []
    rows = [f"  {number} transfers from '{a}' to '{b}'" for (a, b), number in sorted(counts.items())]
    return [f"Transfers resulting from cluster changes: {sum(counts.values())}", *rows, ""]


def commit(node: KvNode) -> str:
    try:
        node.cluster.on_claimant("commit", {})
    except RemoteError as error:
        if error.kind == "nothing_planned":
            return "You must verify the plan with 'riak-admin cluster plan' before committing\nok\n"
        if error.kind == "ring_not_ready":
            return "Cannot commit until cluster state has converged." + _CONVERGE
        return "Commit failed. Try again in a few moments.\nerror\n"
    return "Cluster changes committed\nok\n"


def status(node: KvNode, options: list[str]) -> str:
    ring, up = node.cluster.ring, node.cluster.up()
    future = ring.future()
    columns = ["node", "status", "avail", "ring", "pending"]
    rows = []
    for name in sorted(ring.members):
        mark = "(C) " if name == ring.claimant else "    "
        available = "up" if name in up else "down" if ring.members[name] == "down" else "down!"
        pending = f"{ring.percent(future.count(name)):.1f}" if ring.moves else "--"
        rows.append([mark + name, ring.members[name], available, f"{ring.share(name):.1f}", pending])
    if "--format=csv" in options:
        return csv(columns, rows) + "ok\n"
    if "--format=json" in options:
        cells = [dict(zip(columns, [cell.strip() for cell in row], strict=True)) for row in rows]
        parts = [
            {"type": "text", "text": "---- Cluster Status ----"},
            {"type": "text", "text": "Ring ready: true\n"},
            {"type": "table", "table": cells},
            {"type": "text", "text": "Key: (C) = Claimant; availability marked with '!' is unexpected"},
        ]
        return json.dumps(parts, separators=(",", ":")) + "\nok\n"
    width = max(len(row[0]) for row in rows)
    shown = [[f" {r[0]:<{width}} ", f"{r[1]:<6}", f" {centre(r[2], 5)} ", f"{r[3]:>5}", f"{r[4]:>6} "] for r in rows]
    for row, plain in zip(shown, rows, strict=True):
        if plain[4] == "--":
            row[4] = "  --   "
    drawn = table(columns, shown)
    key = "Key: (C) = Claimant; availability marked with '!' is unexpected\nok\n"
    return f"---- Cluster Status ----\nRing ready: true\n\n{drawn}\n{key}"


def _option(options: list[str], name: str, default: str) -> str:
    return next((o.partition("=")[2] for o in options if o.startswith(f"{name}=")), default)


def partitions(node: KvNode, options: list[str]) -> str:
    ring, name = node.cluster.ring, _option(options, "--node", node.name)
    width = len(str(ring.index(ring.size - 1)))
    rows = [["primary", f"{ring.index(p):<{width}}", str(p)] for p in ring.owned_by(name)]
    rows += [["secondary", "--", "--"], ["stopped", "--", "--"]]
    return f"Partitions owned by '{name}':\n{table(['type', 'index', 'id'], rows)}\nok\n"


def partition_count(node: KvNode, options: list[str]) -> str:
    ring, name = node.cluster.ring, _option(options, "--node", "")
    if not name:
        return f"Cluster-wide partition-count: {ring.size}\nok\n"
    rows = [[name, str(len(ring.owned_by(name))), f" {ring.share(name):.1f}"]]
    return table(["node", "partitions", "pct"], rows) + "\nok\n"


def partition(node: KvNode, options: list[str]) -> str:
    ring = node.cluster.ring
    number = _option(options, "id", "")
    position = int(number) if number else int(_option(options, "index", "0")) // ring.index(1)
    rows = [[str(ring.index(position)), str(position), ring.owners[position]]]
    return table(["index", "id", "node"], rows) + "\nok\n"


_PARTITIONS = {"partitions": partitions, "partition-count": partition_count, "partition": partition}
