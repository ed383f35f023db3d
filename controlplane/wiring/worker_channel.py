"""How a supervisor and its workers talk: pickles on an inherited pair of sockets that nobody else can open."""

from __future__ import annotations

import asyncio
import io
import pickle
import socket
import struct
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from controlplane.model.tally import BlobTally, RequestTally
from controlplane.ports.errors import MillraceError
from controlplane.ports.hot_cache import CacheStats
from controlplane.settings.secret import Secret
from controlplane.settings.tree import Settings

_LENGTH: Final = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a worker. Numbers of descriptors are those that it inherits; -1: none."""

    settings: Settings
    """As the supervisor has read them: a settings file that was changed since counts for none or for all."""
    number: int
    blobs_fd: int
    s3_fd: int
    evictions_fd: int
    changes_fd: int
    sibling_fd: int
    """Bound to the worker's own port on the loopback address, where the others follow what it fetches."""
    sibling_ports: tuple[int, ...]
    """Of all workers, by number."""
    sibling_secret: str = field(repr=False)
    """What they ask each other with; of this run."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker serves."""

    url: str
    s3_url: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker cannot start."""

    kind: type[MillraceError]
    text: str


class Ask(Enum):
    TALLIES = "tallies"
    CHECKS = "checks"


@dataclass(frozen=True, slots=True)
class Question:
    number: int
    ask: Ask


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    """Of its question."""
    said: Any


@dataclass(frozen=True, slots=True)
class Tallies:
    requests: RequestTally
    blobs: BlobTally
    s3: RequestTally | None
    hot: CacheStats | None


Checks = dict[str, str]
"""What is wrong, by the name of the check; empty: nothing."""


class _Pickler(pickle.Pickler):
    def reducer_override(self, found: Any) -> Any:
        """Secrets refuse to be pickled; to a process of the same program and user, over its own socket, they go."""
        if isinstance(found, Secret):
            return Secret, (found.reveal(), found.source)
        return NotImplemented


def packed(message: object) -> bytes:
    buffer = io.BytesIO()
    buffer.write(bytes(_LENGTH.size))
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    whole = buffer.getbuffer()
    _LENGTH.pack_into(whole, 0, len(whole) - _LENGTH.size)
    return bytes(whole)


async def receive(reader: asyncio.StreamReader) -> Any:
    """None: the other side is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - of our own parent or child
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def receive_start(channel: socket.socket) -> Start:
    """Blocking. Raises EOFError when the supervisor is gone."""
    with channel.makefile("rb", buffering=0) as reader:  # what follows the message is not ours
        head = reader.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            raise EOFError("the supervisor has gone")
        left = _LENGTH.unpack(head)[0]
        parts = []
        while left:
            part = reader.read(left)
            if not part:
                raise EOFError("the supervisor has gone")
            parts.append(part)
            left -= len(part)
        found = pickle.loads(b"".join(parts))  # noqa: S301 - of our own parent
    if not isinstance(found, Start):
        raise TypeError(f"the first message is {type(found).__name__}")
    return found
