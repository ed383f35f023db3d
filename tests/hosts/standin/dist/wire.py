"""Frames between nodes, commands and Riak CS: 4 bytes length, 1 byte code, 4 bytes JSON length, JSON, raw bytes.

The outer frame (length, code) is that of Riak's protocol buffers, so one port can serve both. Text in the JSON that
names buckets and keys is Latin-1: one character for each byte.
"""

import json
import socket
import struct
from typing import Any

CALL = 240
REPLY = 241
FAILURE = 242
MAXIMUM = 128 << 20


class Disconnected(ConnectionError):
    """The peer closed the connection between or within frames."""


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    buffer = bytearray(size)
    view = memoryview(buffer)
    got = 0
    while got < size:
        count = sock.recv_into(view[got:])
        if count == 0:
            raise Disconnected(f"the peer closed after {got} of {size} bytes")
        got += count
    return bytes(buffer)


def send_raw(sock: socket.socket, code: int, payload: bytes) -> None:
    sock.sendall(struct.pack(">IB", len(payload) + 1, code) + payload)


def receive_raw(sock: socket.socket) -> tuple[int, bytes]:
    (length,) = struct.unpack(">I", receive_exactly(sock, 4))
    if not 1 <= length <= MAXIMUM:
        raise Disconnected(f"a frame of {length} bytes")
    body = receive_exactly(sock, length)
    return body[0], body[1:]


def pack(message: Any, blob: bytes = b"") -> bytes:
    text = json.dumps(message, separators=(",", ":")).encode()
    return struct.pack(">I", len(text)) + text + blob


def unpack(payload: bytes) -> tuple[Any, bytes]:
    (size,) = struct.unpack_from(">I", payload)
    return json.loads(payload[4 : 4 + size]), payload[4 + size :]
