"""A KV node: configuration, ring, vnodes, transfers and the calls that other nodes and commands make."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.standin.config.cuttlefish import Configuration
from tests.hosts.standin.dist import epmd
from tests.hosts.standin.dist.link import LinkServer, Peers
from tests.hosts.standin.kv import backends
from tests.hosts.standin.kv.cluster import Cluster
from tests.hosts.standin.kv.coordinator import Coordinator
from tests.hosts.standin.kv.handoff import Handoff
from tests.hosts.standin.kv.objects import dump, restore
from tests.hosts.standin.kv.properties import Properties
from tests.hosts.standin.kv.vnodes import Vnodes


@dataclass(frozen=True)
class Tuning:
    """What only the stand-in has: the pace of transfers, how long a hanging request hangs, copies on one disk."""

    transfer_seconds: float = 0.15
    hang_seconds: float = 60.0
    reap_seconds: float = 3.0
    replicas: int | None = None
    use_epmd: bool = True


def check_name(name: str) -> None:
    """Erlang's rule for long names. Raises StartFailure."""
    local, _, host = name.partition("@")
    if not local or "." not in host:
        raise backends.StartFailure(f"Can't set long node name!\nPlease check your configuration: {name}")


class KvNode:
    """Constructing reads the configuration and opens the data; `start` makes it a member that others can reach."""

    def __init__(self, configuration: Configuration, etc: Path, tuning: Tuning, bye: Callable[[], None]) -> None:
        values = configuration.values
        self.configuration, self.tuning = configuration, tuning
        self.name = values["nodename"]
        check_name(self.name)
        self.started = time.monotonic()
        self.peers = Peers(values["distributed_cookie"], epmd.locate)
        self.backends = backends.read(configuration, etc / "advanced.config")
        state = Path(values["ring.state_dir"]) / "riak_core_ring.default"
        self.cluster = Cluster(self.name, int(values["ring_size"]), int(values["target_n_val"]), state, self.peers, bye)
        self.properties = Properties(configuration, self.cluster, tuning.replicas)
        self.vnodes = Vnodes(self.name, self.backends, self.properties.of)
        self.coordinator = Coordinator(self.cluster, self.vnodes, self.properties, tuning.hang_seconds)
        self.limit = int(values["transfer_limit"])
        self.handoff = Handoff(self.cluster, self.vnodes, lambda: self.limit, tuning.transfer_seconds)
        self._server: LinkServer | None = None
        self._registration: epmd.Registration | None = None
        self.stopping = threading.Event()
        self.commands: Callable[[list[str]], tuple[str, int]] | None = None
        self.counters: dict[str, int] = {}

    def start(self) -> None:
        values = self.configuration.values
        if self.tuning.use_epmd:
            self._server = bind(values, self.handle)
            self._server.start()
            self._registration = epmd.Registration(self.name.partition("@")[0], self._server.port)
            self.cluster.start()
            self.handoff.start()

    def stop(self) -> None:
        self.stopping.set()
        self.coordinator.close()
        self.handoff.stop()
        self.cluster.stop()
        if self._registration is not None:
            self._registration.close()
        if self._server is not None:
            self._server.stop()
        self.peers.close()
        self.vnodes.close()

    def count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1

    # -- calls ----------------------------------------------------------------------------------------------------

    def handle(self, op: str, args: dict[str, Any], blob: bytes) -> tuple[Any, bytes]:
        """A call of a node or a command; unknown ones raise."""
        method = getattr(self, f"on_{op}", None)
        if method is None:
            method = getattr(self.cluster, f"do_{op}", None)
            if method is None:
                raise LookupError(f"no call {op}")
            if self.cluster.ring.claimant != self.name:
                return self.cluster.on_claimant(op, args), b""
            return method(**args), b""
        return method(args, blob)

    def on_hello(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        return self.cluster.hello(args), b""

    def on_ring(self, _: dict[str, Any], __: bytes) -> tuple[Any, bytes]:
        return self.cluster.ring.to_json(), b""

    def on_new_ring(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        from tests.hosts.standin.kv import ring as rings

        self.cluster.accept(rings.from_json(args))
        return None, b""

    def on_metadata(self, _: dict[str, Any], __: bytes) -> tuple[Any, bytes]:
        return self.cluster.metadata, b""

    def on_new_metadata(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        self.cluster.merge_metadata(args)
        return None, b""

    def on_vget(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        found = self.vnodes.get(args["index"], tuple(args["place"]))
        return (None, b"") if found is None else dump(found)

    def on_merge(self, args: dict[str, Any], blob: bytes) -> tuple[Any, bytes]:
        self.vnodes.merge(args["index"], tuple(args["place"]), restore(args["object"], blob))
        return None, b""

    def on_coordinate(self, args: dict[str, Any], blob: bytes) -> tuple[Any, bytes]:
        place = tuple(args["place"])
        return dump(self.vnodes.coordinate(args["index"], place, args["context"], args["write"], blob))

    def on_reap(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        self.vnodes.reap(args["index"], tuple(args["place"]), args["clock"])
        return None, b""

    def on_keys(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        return list(self.vnodes.keys(args["type"], args["bucket"])), b""

    def on_buckets(self, _: dict[str, Any], __: bytes) -> tuple[Any, bytes]:
        return list(self.vnodes.buckets()), b""

    def on_fold(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        rows, data = [], []
        for key, value in self.coordinator.local_fold(**args):
            header, blob = dump(value)
            rows.append((key, header, len(blob)))
            data.append(blob)
        return rows, b"".join(data)

    def on_state(self, _: dict[str, Any], __: bytes) -> tuple[Any, bytes]:
        """What the status commands of other nodes show about this one."""
        return {
            "waiting": self.handoff.waiting(),
            "active": {str(p): node for p, node in self.handoff.active.items()},
            "limit": self.limit,
            "version": self.cluster.ring.version,
        }, b""

    def on_limit(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        self.limit = args["limit"]
        return None, b""

    def on_admin(self, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        assert self.commands is not None
        return self.commands(args["words"]), b""

    def on_ping(self, _: dict[str, Any], __: bytes) -> tuple[Any, bytes]:
        return "pong", b""

    def on_pid(self, _: dict[str, Any], __: bytes) -> tuple[Any, bytes]:
        return os.getpid(), b""

    def on_stop(self, _: dict[str, Any], __: bytes) -> tuple[Any, bytes]:
        threading.Timer(0.05, self.cluster._bye).start()
        return "ok", b""


def bind(values: dict[str, str], handler: Any) -> LinkServer:
    interface = values.get("erlang.distribution.interface", "0.0.0.0")
    first = int(values.get("erlang.distribution.port_range.minimum", 0))
    last = int(values.get("erlang.distribution.port_range.maximum", first))
    for port in range(first, last + 1):
        try:
            return LinkServer((interface, port), values["distributed_cookie"], handler)
        except OSError:
            continue
    raise backends.StartFailure(f"no free port for the distribution from {first} to {last} on {interface}")
