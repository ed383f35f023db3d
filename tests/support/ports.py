"""Ports of loopback for servers that tests start."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

_FIRST, _LAST = 10_000, 32_000
"""Below those that the kernel gives to outgoing connections: none of them can take a port before its server does."""

_given: set[int] = set()
_chance = random.SystemRandom()


def free_port() -> int:
    """A port that nothing listens on, and that nobody else gets from here before this process has ended: no other test
    process of this user either. So it stays free until its server starts, while that is down, and for tests of an
    address where nobody answers."""
    while True:
        port = _chance.randrange(_FIRST, _LAST)
        if port not in _given and _is_reserved(port) and _is_free(port):
            _given.add(port)
            return port


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


@cache
def _reservations(pid: int) -> int:
    """Descriptor of an empty file with a lock at the offset of every port that is given. The kernel ends the locks with
    their process, and a process that was forked has none. It must never be closed: that ends them all."""
    path = Path(tempfile.gettempdir(), f"millrace-test-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_reserved(port: int) -> bool:
    """For this process, now. A port that was locked and is not free stays locked: it is somebody's."""
    try:
        fcntl.lockf(_reservations(os.getpid()), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
