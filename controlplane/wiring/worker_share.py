"""What one gateway process shares with its siblings; ALONE where it has none."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Final

from controlplane.ports.changes import Changes
from controlplane.ports.node_locks import NodeLocks


@dataclass(frozen=True, slots=True)
class SiblingShare:
    """How the workers of one gateway show each other what they fetch: each answers at a port of its own."""

    listener: socket.socket
    urls: tuple[str, ...]
    """Of the others."""
    secret: str = field(repr=False)
    locks: NodeLocks


@dataclass(frozen=True, slots=True)
class WorkerShare:
    number: int = 0
    """From 0; names this process's own folders."""
    blobs: socket.socket | None = None
    """Bound already, and accepted from by all."""
    s3: socket.socket | None = None
    evictions: Changes | None = None
    """From the hot caches, in Unix seconds."""
    changes: Changes | None = None
    """Of buckets and their documents, in monotonic seconds."""
    guids: NodeLocks | None = None
    fills: NodeLocks | None = None
    siblings: SiblingShare | None = None


ALONE: Final = WorkerShare()
