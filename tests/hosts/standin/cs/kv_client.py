"""Riak CS's connections to its one KV endpoint."""

import json
import socket
import threading
from typing import Any

from tests.hosts.standin.dist import wire
from tests.hosts.standin.kv.objects import RiakObject, restore


class KvDown(ConnectionError):
    """The KV node cannot be reached, or too few of its replicas answered."""


class KvClient:
    """A pool of connections to `riak_host`; a broken one is replaced once for each call."""

    def __init__(self, address: tuple[str, int], timeout: float = 65.0) -> None:
        self._address, self._timeout = address, timeout
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    def _connect(self) -> socket.socket:
        try:
            sock = socket.create_connection(self._address, 5.0)
        except OSError as error:
            raise KvDown(f"{self._address[0]}:{self._address[1]}: {error}") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(self._timeout)
        return sock

    def call(self, op: str, args: dict[str, Any], blob: bytes = b"") -> tuple[Any, bytes]:
        with self._lock:
            sock, reused = (self._idle.pop(), True) if self._idle else (None, False)
        payload = wire.pack({"op": op, "args": args}, blob)
        for _ in range(2):
            sock = sock or self._connect()
            try:
                wire.send_raw(sock, wire.CALL, payload)
                code, reply = wire.receive_raw(sock)
                break
            except OSError as error:
                sock.close()
                sock = None
                if not reused:
                    raise KvDown(str(error)) from error
                reused = False
        else:
            raise KvDown("the connection breaks")
        with self._lock:
            self._idle.append(sock)
        message, data = wire.unpack(reply)
        if code == wire.FAILURE:
            raise KvDown(str(message))
        return message, data

    def get(self, bucket: str, key: str, *, r: int = 2, pr: int = 0) -> RiakObject | None:
        header, data = self.call("get", {"bucket": bucket, "key": key, "r": r, "pr": pr})
        return None if header is None else restore(header, data)

    def put(self, bucket: str, key: str, value: bytes, context: dict[str, int] | None = None) -> None:
        self.call("put", {"bucket": bucket, "key": key, "context": context or {}}, value)

    def delete(self, bucket: str, key: str, context: dict[str, int]) -> None:
        self.call("put", {"bucket": bucket, "key": key, "context": context, "deleted": True})

    def fold(self, bucket: str, after: str = "", prefix: str = "", limit: int = 1001) -> list[tuple[str, RiakObject]]:
        args = {"bucket": bucket, "after": after, "prefix": prefix, "limit": limit}
        rows, data = self.call("fold", args)
        found, at = [], 0
        for key, header, size in rows:
            found.append((key, restore(header, data[at : at + size])))
            at += size
        return found

    # -- JSON records -------------------------------------------------------------------------------------------------

    def read(self, bucket: str, key: str, *, pr: int = 0) -> tuple[Any, dict[str, int]]:
        """The newest live value, or None, and the context to write with."""
        found = self.get(bucket, key, pr=pr)
        return decode(found), found.clock if found else {}

    def write(self, bucket: str, key: str, record: Any, context: dict[str, int]) -> None:
        self.put(bucket, key, json.dumps(record).encode(), context)

    def records(self, bucket: str) -> list[tuple[str, Any]]:
        rows, after = [], ""
        while page := self.fold(bucket, after):
            rows += [(key, decode(value)) for key, value in page]
            after = page[-1][0]
        return [(key, record) for key, record in rows if record is not None]

    def close(self) -> None:
        for sock in self._idle:
            sock.close()


def decode(found: RiakObject | None) -> Any:
    if found is None or not found.live:
        return None
    return json.loads(max(found.live, key=lambda s: s.modified).value)
