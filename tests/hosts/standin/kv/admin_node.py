"""`riak admin` commands about one node or its settings."""

import os
import threading
import time
from collections.abc import Callable

from tests.hosts.standin.dist.link import NotReachable, RemoteError
from tests.hosts.standin.kv.admin_status import states
from tests.hosts.standin.kv.admin_texts import HANDOFF_USAGE, RING_SIZE, STAT_USAGE, TRANSFER_LIMIT
from tests.hosts.standin.kv.coordinator import TimedOut
from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.tables import csv, heading, rule, table

SERVICES = "[riak_kv,riak_pipe,riak_repl]"


def services(_: KvNode, __: list[str]) -> str:
    return SERVICES + "\n"


def wait_for_service(_: KvNode, words: list[str]) -> str:
    """The command repeats this until the service is up."""
    name = words[0] if words else ""
    return f"{name} is up\n" if name in SERVICES.strip("[]").split(",") else f"{name} is not up: {SERVICES}\n"


def test(node: KvNode, _: list[str]) -> str:
    place = ("default", "riak_admin_test", os.urandom(8).hex())
    try:
        written = node.coordinator.put(place, {}, {"metadata": {}}, b"x")
        found = node.coordinator.get(place)
        node.coordinator.put(place, written.clock, {"metadata": {}, "deleted": True}, b"")
    except TimedOut:
        return "Failed to write test value: {error,timeout}\nerror\n"
    if found is None:
        return "Failed to read test value: {error,notfound}\nerror\n"
    return f"Successfully completed 1 read/write cycle to '{node.name}'\n"


def transfer_limit(node: KvNode, words: list[str]) -> str:
    if not words:
        lines = [heading("Transfer Limit"), "Limit        Node", rule()]
        lines += [f"{(s or {'limit': '?'})['limit']:>5}        '{name}'" for name, s in states(node).items()]
        lines += [rule(), "Note: You can change transfer limits with 'riak-admin transfer_limit <limit>'"]
        lines += ["      and 'riak-admin transfer_limit <node> <limit>'", "ok"]
        return "\n".join(lines) + "\n"
    limit = int(words[-1])
    names = words[:-1] or sorted(node.cluster.ring.members)
    for name in names:
        try:
            node.peers.call(name, "limit", {"limit": limit}) if name != node.name else node.on_limit(
                {"limit": limit}, b""
            )
        except (NotReachable, RemoteError):
            return f"Failed to set transfer limit for '{name}'\nerror\n"
    where = f"for '{words[0]}'" if len(words) > 1 else "on all nodes"
    return f"Set transfer limit {where} to {limit}\nok\n"


def handoff(node: KvNode, words: list[str]) -> str:
    match words:
        case ["summary"]:
            columns = ["Node", "Total", "Ownership", "Resize", "Hinted", "Repair"]
            rows = []
            for name, state in states(node).items():
                active = len((state or {"active": {}})["active"])
                owned = f"{active} ({state['waiting']})" if state and state["waiting"] else ""
                rows.append([f"  {name}  ", str(active), owned, "", "", ""])
            width = max(len(row[0]) for row in rows)
            drawn = table(columns, [[f"{row[0]:<{width}}", *row[1:]] for row in rows])
            return (
                "Each cell indicates active transfers and, in parenthesis, the number of all known transfers.\n"
                f"The 'Total' column is the sum of the active transfers.\n{drawn}\nok\n"
            )
        case ["details"]:
            return "No ongoing transfers.\nok\n"
        case ["config"]:
            columns = ["node", "transfer_limit", "handoff.outbound", "handoff.inbound", "handoff.port"]
            port = node.configuration.values["handoff.port"]
            return table(columns, [[node.name, str(node.limit), "on", "on", port]]) + "\nok\n"
    return HANDOFF_USAGE


def show(node: KvNode, words: list[str]) -> str:
    keys = [word for word in words if not word.startswith("-")]
    if not keys:
        return "Usage: riak-admin show <variable> ... [[--node | -n] <node> | --all]\n{error,1}\n"
    values = node.configuration.values
    unknown = [key for key in keys if key not in values]
    if unknown:
        return f"Invalid config keys: {' '.join(unknown)} \n{{error,1}}\n"
    found = states(node) if "--all" in words else {node.name: node.on_state({}, b"")[0]}
    width = max(len(name) for name in found)
    rows = []
    for name, state in found.items():
        cells = [str((state or {"limit": "?"})["limit"]) if key == "transfer_limit" else values[key] for key in keys]
        rows.append([f"{name:<{width}}", *cells])
    if "--format=csv" in words:
        return csv(["node", *keys], rows) + "ok\n"
    return table(["node", *keys], rows) + "\nok\n"


def set_value(node: KvNode, words: list[str]) -> str:
    pairs = [word.partition("=") for word in words if "=" in word and not word.startswith("-")]
    if not pairs:
        return "Usage: riak-admin set <variable>=<value> ... [[--node | -n] <node> | --all]\n{error,1}\n"
    for key, _, value in pairs:
        if key != "transfer_limit":
            return f"Invalid config keys: {key} \n{{error,1}}\n"
        transfer_limit(node, [*([] if "--all" in words else [node.name]), value])
    return "".join(f"{key} set to {value} on {node.name}\n" for key, _, value in pairs) + "ok\n"


def describe(_: KvNode, words: list[str]) -> str:
    known = {"transfer_limit": TRANSFER_LIMIT, "ring_size": RING_SIZE}
    return known.get(words[0] if words else "", f"Invalid config keys: {' '.join(words)} \n{{error,1}}\n")


def stat(node: KvNode, words: list[str]) -> str:
    if words[:1] != ["show"] or len(words) < 2:
        return STAT_USAGE
    count = node.counters.get("node_gets_total", 0)
    return f"[{','.join(words[1].split('.'))}]: [{{count,{count}}},{{one,0}}]\nok\n"


def repair_2i(_: KvNode, __: list[str]) -> str:
    return "2i repair is not running\nok\n"


def security(_: KvNode, words: list[str]) -> str:
    return "Disabled\nok\n" if words == ["status"] else "ok\n"


def ensemble_status(_: KvNode, __: list[str]) -> str:
    return "============================== Consensus System ===============================\nEnabled:     false\nok\n"


def aae_status(node: KvNode, _: list[str]) -> str:
    indexes = [node.cluster.ring.index(p) for p in node.cluster.ring.owned_by(node.name)]
    lines = [heading("Exchanges"), f"{'Index':<51}{'Last (ago)':<15}{'All (ago)':<12}", rule()]
    lines += [f"{index:<51}{'--':<15}{'--':<12}" for index in indexes]
    lines += ["", heading("Entropy Trees"), f"{'Index':<51}Built (ago)", rule()]
    lines += [f"{index:<51}--" for index in indexes]
    lines += ["", heading("Keys Repaired"), f"{'Index':<53}Last      Mean      Max   ", rule()]
    lines += [f"{index:<53}{0:^5}{0:^15}{0:^6}".rstrip() for index in indexes]
    return "\n".join(lines) + "\nok\n"


def leave(node: KvNode, _: list[str]) -> str:
    """The old, unstaged command."""
    node.cluster.on_claimant("stage", {"change": ["leave", node.name]})
    node.cluster.on_claimant("plan", {})
    node.cluster.on_claimant("commit", {})
    return f"Success: '{node.name}' will leave the cluster\nok\n"


def top(node: KvNode, _: list[str]) -> str:
    return f"{'=' * 90}\n '{node.name}'{time.strftime('%H:%M:%S'):>60}\n procs {threading.active_count()}\n{'=' * 90}\n"


COMMANDS: dict[str, Callable[[KvNode, list[str]], str]] = {
    "services": services,
    "wait-for-service": wait_for_service,
    "test": test,
    "transfer-limit": transfer_limit,
    "transfer_limit": transfer_limit,
    "handoff": handoff,
    "show": show,
    "set": set_value,
    "describe": describe,
    "stat": stat,
    "repair-2i": repair_2i,
    "security": security,
    "ensemble-status": ensemble_status,
    "aae-status": aae_status,
    "leave": leave,
    "top": top,
}
