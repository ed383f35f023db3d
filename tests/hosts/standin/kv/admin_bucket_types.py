"""`riak admin bucket-type ...`."""

import json
from typing import Any

from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.properties import Invalid

_CREATED = "\n\nWARNING: After activating {name}, nodes in this cluster"
_CREATED += "\ncan no longer be downgraded to a version of Riak prior to 2.0"
_ACTIVATED = "\n\nWARNING: Nodes in this cluster can no longer be\ndowngraded to a version of Riak prior to 2.0"
_USAGE = """\
Usage: riak-admin bucket-type <command>

The follow commands can be used to manage bucket types for the cluster:

   list                           List all bucket types and their activation status
   status <type>                  Display the status and properties of a type
   activate <type>                Activate a type
   create <type> <json>           Create or modify a type before activation
   update <type> <json>           Update a type after activation

"""


def run(node: KvNode, words: list[str]) -> str:
    match words:
        case ["list"]:
            rows = [f"{name} ({'active' if on else 'not active'})" for name, on in node.properties.types().items()]
            return "\n".join(rows) + "\nok\n"
        case ["status", name]:
            return status(node, name)
        case ["activate", name]:
            return activate(node, name)
        case [("create" | "update") as command, name, text]:
            return change(node, command, name, text)
    return _USAGE


def _missing(name: str) -> str:
    return f"{name} is not an existing bucket type\n{{error,undefined}}\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        inner = f"{value['mod']},{value['fun']}"
        return f"{{modfun,{inner}}}" if value["fun"] == "mapreduce_linkfun" else f"{{{inner}}}"
    return str(value)


def status(node: KvNode, name: str) -> str:
    known = node.properties.type(name)
    if name != "default" and known is None:
        return _missing(name)
    active = known is None or known["active"]
    rows = []
    for key, value in node.properties.of_type(name).items():
        rows.append(f"{key}: '{value}'" if key == "claimant" else f"{key}: {_shown(value)}")
    return f"{name} {'is active' if active else 'is not active'}\n\n" + "\n".join(rows) + "\nok\n"


def activate(node: KvNode, name: str) -> str:
    known = node.properties.type(name)
    if known is None:
        return _missing(name)
    first = not any(on for other, on in node.properties.types().items() if other != "default")
    node.properties.activate_type(name)
    return f"{name} has been activated{_ACTIVATED if first else ''}\nok\n"


def change(node: KvNode, command: str, name: str, text: str) -> str:
    try:
        props = json.loads(text)["props"]
    except (ValueError, TypeError, KeyError):
        return f"Cannot {command} bucket type {name}: invalid json\nerror\n"
    first = len(node.properties.types()) == 1
    try:
        if command == "create":
            node.properties.create_type(name, props)
        else:
            if node.properties.type(name) is None:
                return _missing(name)
            node.properties.update_type(name, props)
    except Invalid as invalid:
        verb = "creating" if command == "create" else "updating"
        return f"Error {verb} bucket type {name}:\n{invalid}\nerror\n"
    done = "created" if command == "create" else "updated"
    return f"{name} {done}{_CREATED.format(name=name) if command == 'create' and first else ''}\nok\n"
