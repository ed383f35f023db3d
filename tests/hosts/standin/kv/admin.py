"""`riak admin`: finds the command, returns its output and its exit status."""

import json

from tests.hosts.standin.dist.link import NotReachable, RemoteError
from tests.hosts.standin.kv import admin_bucket_types, admin_cluster, admin_node, admin_status, admin_texts
from tests.hosts.standin.kv.node import KvNode


class Admin:
    """Runs inside the node; nearly every failure has exit status 0, as recorded."""

    def __init__(self, node: KvNode) -> None:
        self._node = node

    def __call__(self, words: list[str]) -> tuple[str, int]:
        node = self._node
        try:
            match words:
                case ["cluster", *rest]:
                    return admin_cluster.run(node, rest), 0
                case ["down", target]:
                    return admin_cluster.down(node, target), 0
                case ["bucket-type", *rest]:
                    return admin_bucket_types.run(node, rest), 0
                case [name, *rest] if name in admin_status.COMMANDS:
                    return admin_status.COMMANDS[name](node, rest), 0
                case [name, *rest] if name in admin_node.COMMANDS:
                    return admin_node.COMMANDS[name](node, rest), 0
            return admin_texts.ADMIN_USAGE, 1
        except (NotReachable, RemoteError) as error:
            return f"RPC to '{node.cluster.ring.claimant}' failed: {error}\nerror\n", 0
        except json.JSONDecodeError:
            return "error\n", 0
