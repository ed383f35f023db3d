"""One gateway and one agent for each data directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.ports.errors import Rejected


@contextmanager
def hold_node_lock(data_dir: Path, role: str) -> Iterator[int]:
    """Hold `<data_dir>/<role>.lock` while this process works there; the kernel frees it however the process ends.

    Yields the descriptor: a child that inherits it holds the lock too, and longer than this process when that dies.

    Raises Rejected when another process holds it: two gateways would remove each other's spool files.
    """
    path = data_dir / f"{role}.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Rejected(
                f"another millrace {role} (process {holder}) works in {data_dir}: stop it, or give this one a "
                "node.data_dir of its own"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield fd
    finally:
        os.close(fd)
