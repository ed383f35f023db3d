"""Power cuts on loopback: a socket that gets nothing more, and whose peer gets neither acknowledgement nor reset."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import Protocol

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
"""One instruction of the classic packet filter: keep 0 bytes. The kernel then does as if the segment had not come."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def cut_power(end: HasFileno) -> None:
    """Of the host at this end; for a listening socket, connections are no longer opened. It needs no rights."""
    program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    with socket.socket(fileno=os.dup(end.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def give_power(end: HasFileno) -> None:
    """A listening socket takes connections again."""
    with socket.socket(fileno=os.dup(end.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
