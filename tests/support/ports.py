"""Ports of loopback for servers that tests start."""

from __future__ import annotations

import random
import socket

_FIRST, _LAST = 10_000, 32_000
"""Below those that the kernel gives to outgoing connections: none of them can take a port before its server does."""

_given: set[int] = set()
_chance = random.SystemRandom()


def free_port() -> int:
    """A port that nothing listens on; never the same one twice, and hardly ever one of another test process."""
    while True:
        port = _chance.randrange(_FIRST, _LAST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
