"""Port 8087: ping, server information, objects and index queries in protocol buffers, and the stand-in's own calls for
Riak CS.

Message codes below 200 are Riak's. Other requests of real clients get RpbErrorResp, so they fail loudly.
"""

import socket
import socketserver
import struct
from typing import Any

from tests.hosts.standin.dist import wire
from tests.hosts.standin.dist.link import answer
from tests.hosts.standin.kv.coordinator import TimedOut
from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.objects import dump
from tests.hosts.standin.kv.pb_object import CODES, Objects, Refused
from tests.hosts.standin.kv.pb_wire import encode
from tests.hosts.standin.threaded_server import ThreadedServer

_ERROR, _PING, _PONG, _INFO, _INFO_REPLY = 0, 1, 2, 7, 8


class _Session(socketserver.BaseRequestHandler):
    server: "PbServer"

    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connections.add(sock)
        try:
            while True:
                code, payload = wire.receive_raw(sock)
                wire.send_raw(sock, *self.server.reply(code, payload))
        except OSError:
            return
        finally:
            self.server.connections.discard(sock)


class PbServer(ThreadedServer):
    def __init__(self, address: tuple[str, int], node: KvNode) -> None:
        self._node = node
        self._objects = Objects(node)
        super().__init__(address, _Session)

    def reply(self, code: int, payload: bytes) -> tuple[int, bytes]:
        if code == _PING:
            return _PONG, b""
        if code == _INFO:
            return _INFO_REPLY, _text_field(1, self._node.name) + _text_field(2, "3.2.3")
        if code in CODES:
            try:
                return self._objects.answer(code, payload)
            except Refused as refused:
                return _ERROR, encode((1, str(refused).encode()), (2, 0))
        if code == wire.CALL:
            return answer(self.call, payload)
        message = f"Message code {code} is not known to the stand-in"
        return _ERROR, _text_field(1, message) + b"\x10\x00"

    def call(self, op: str, args: dict[str, Any], blob: bytes) -> tuple[Any, bytes]:
        """The calls of Riak CS: get, put, fold on the default bucket type."""
        coordinator = self._node.coordinator
        try:
            if op == "get":
                found = coordinator.get(("default", args["bucket"], args["key"]), args.get("r", 2), args.get("pr", 0))
                return (None, b"") if found is None else dump(found)
            if op == "put":
                place = ("default", args["bucket"], args["key"])
                write = {"metadata": args.get("metadata", {}), "deleted": args.get("deleted", False)}
                written = coordinator.put(place, args.get("context", {}), write, blob)
                if not written.live:
                    coordinator.reap(place, written.clock)
                return {"clock": written.clock}, b""
            if op == "fold":
                return self._fold(args)
            return self._node.handle(op, args, blob)
        except TimedOut as error:
            raise RuntimeError("timeout") from error

    def _fold(self, args: dict[str, Any]) -> tuple[Any, bytes]:
        rows, data = [], []
        for key, value in self._node.coordinator.fold(**args):
            header, blob = dump(value)
            rows.append((key, header, len(blob)))
            data.append(blob)
        return rows, b"".join(data)


def _text_field(number: int, text: str) -> bytes:
    raw = text.encode()
    return struct.pack("BB", number << 3 | 2, len(raw)) + raw
