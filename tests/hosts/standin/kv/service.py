"""A KV node with its listeners: what `riak foreground` runs, and what the loopback launcher starts in process."""

import logging
import threading
from pathlib import Path

from tests.hosts.standin.config.cuttlefish import Configuration
from tests.hosts.standin.kv.admin import Admin
from tests.hosts.standin.kv.http import SOFTWARE, KvHttp
from tests.hosts.standin.kv.node import KvNode, Tuning
from tests.hosts.standin.kv.pb import PbServer
from tests.hosts.standin.web.server import WebServer, address

log = logging.getLogger("riak")


class KvService:
    """`ended` is set when the node was told to stop or has left its cluster."""

    def __init__(self, configuration: Configuration, etc: Path, tuning: Tuning) -> None:
        self.ended = threading.Event()
        self.node = KvNode(configuration, etc, tuning, self.ended.set)
        self.admin = Admin(self.node)
        self.node.commands = self.admin
        self.web: list[WebServer] = []
        self.pb: list[PbServer] = []
        values = configuration.values
        try:
            for key in sorted(k for k in values if k.startswith("listener.http.")):
                self.web.append(WebServer(address(values[key]), KvHttp(self.node), SOFTWARE))
            for key in sorted(k for k in values if k.startswith("listener.protobuf.")):
                self.pb.append(PbServer(address(values[key]), self.node))
        except OSError as error:
            self._close()
            raise OSError(f"{key} = {values[key]}: {error}") from error

    def start(self) -> None:
        self.node.start()
        for server in (*self.web, *self.pb):
            server.start()
        log.info("riak_core is up, %s serves", self.node.name)

    def stop(self) -> None:
        for server in (*self.web, *self.pb):
            server.stop()
        self.node.stop()

    def _close(self) -> None:
        for server in (*self.web, *self.pb):
            server.server_close()
        self.node.stop()
