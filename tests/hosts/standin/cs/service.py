"""A Riak CS node with its listeners: what `riak-cs foreground` runs, and what the loopback launcher starts."""

import logging
import os
import threading
from typing import Any

from tests.hosts.standin.config.cuttlefish import Configuration
from tests.hosts.standin.cs.admin_api import AdminApi
from tests.hosts.standin.cs.console import Console
from tests.hosts.standin.cs.gc import Collector
from tests.hosts.standin.cs.kv_client import KvClient, KvDown
from tests.hosts.standin.cs.objects import Objects
from tests.hosts.standin.cs.s3 import S3
from tests.hosts.standin.cs.stanchion import Stanchion
from tests.hosts.standin.cs.state import CsState
from tests.hosts.standin.cs.users import Buckets, Users
from tests.hosts.standin.dist import epmd
from tests.hosts.standin.dist.link import LinkServer
from tests.hosts.standin.kv.backends import StartFailure
from tests.hosts.standin.kv.node import bind, check_name
from tests.hosts.standin.web.server import WebServer, address

log = logging.getLogger("riak-cs")


class CsService:
    """Raises StartFailure when KV cannot be reached, OSError when an address is taken."""

    def __init__(self, configuration: Configuration, *, use_epmd: bool = True) -> None:
        values = configuration.values
        check_name(values["nodename"])
        self.ended = threading.Event()
        self._use_epmd = use_epmd
        kv = KvClient(address(values["riak_host"]))
        try:
            ring, _ = kv.call("ring", {})
        except KvDown as error:
            raise StartFailure(f"Riak is not available at riak_host = {values['riak_host']}: {error}") from error
        self._check_cookie(values, ring)
        users, buckets = Users(kv), Buckets(kv)
        stanchion = Stanchion(values, kv, users, buckets)
        self.state = CsState(configuration, kv, users, buckets, Objects(kv), stanchion)
        self.collector = Collector(self.state.objects, values)
        self.console = Console(self.state, self.collector)
        self.web: list[WebServer] = []
        self._link: LinkServer | None = None
        self._registration: epmd.Registration | None = None
        software = values["server.name"]
        try:
            self.web.append(WebServer(address(values["listener"]), S3(self.state), software))
            if "admin.listener" in values:
                self.web.append(WebServer(address(values["admin.listener"]), AdminApi(self.state), software))
        except OSError as error:
            for server in self.web:
                server.server_close()
            raise OSError(f"listener: {error}") from error

    def _check_cookie(self, values: dict[str, str], ring: dict[str, Any]) -> None:
        """Stanchion's place is looked up over the distribution, so CS needs KV's cookie."""
        if not self._use_epmd:
            return
        from tests.hosts.standin.dist.link import NotReachable, Peers

        peers = Peers(values["distributed_cookie"], epmd.locate)
        for name in ring["members"]:
            try:
                peers.call(name, "ping", timeout=3.0)
                return
            except NotReachable as error:
                log.warning("node %s does not answer over the distribution: %s", name, error)
            finally:
                peers.close()
        raise StartFailure("no KV node answers over the distribution: is distributed_cookie the same?")

    def start(self) -> None:
        try:
            self.state.stanchion.start()
        except KvDown as error:
            raise StartFailure(f"Riak is not available: {error}") from error
        for server in self.web:
            server.start()
        self.collector.start()
        if self._use_epmd:
            values = self.state.values
            self._link = bind(values, self.handle)
            self._link.start()
            self._registration = epmd.Registration(values["nodename"].partition("@")[0], self._link.port)
        log.info("riak_cs is up, %s serves", self.state.values["nodename"])

    def stop(self) -> None:
        self.collector.stop()
        for server in self.web:
            server.stop()
        self.state.stanchion.stop()
        if self._registration is not None:
            self._registration.close()
        if self._link is not None:
            self._link.stop()
        self.state.kv.close()

    def handle(self, op: str, args: dict[str, Any], _: bytes) -> tuple[Any, bytes]:
        match op:
            case "ping":
                return "pong", b""
            case "pid":
                return os.getpid(), b""
            case "stop":
                threading.Timer(0.05, self.ended.set).start()
                return "ok", b""
            case "admin":
                return self.console(args["words"]), b""
        raise LookupError(f"no call {op}")
