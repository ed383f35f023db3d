"""Large bodies, read from the socket straight into memory that is used again.

What a transport hands to a plain protocol is a new bytes object for every read, of at most 256 kB with uvloop: memory
to be allocated, faulted in, copied to and given back, 4,000 times a gigabyte, and as many turns of everything behind
it. Here the transport fills blocks of up to 1 MiB, and whoever reads the body gets views of them. A block is filled
again when no view of it is left.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

MOST_BLOCK: Final = 1024 * 1024
LEAST_BLOCK: Final = 256 * 1024
_ALL_AT_MOST: Final = 4 * 1024 * 1024
"""One block of every body together, as long as the blocks are not the smallest."""
_KEPT: Final = 4 * 1024 * 1024
"""Bytes of blocks that nobody uses."""
_ROOM_LEAST: Final = 16 * 1024
"""A block with less room counts as full: a read costs the same for few bytes as for many."""


class Blocks:
    """The blocks of one server: smaller ones the more bodies come in at once, so that many hold little."""

    def __init__(self) -> None:
        self._bodies = 0
        self._kept: list[bytearray] = []
        """Of bodies that have ended; who reads them may still have views of some."""

    @property
    def block_bytes(self) -> int:
        size = MOST_BLOCK
        while size > LEAST_BLOCK and size * self._bodies > _ALL_AT_MOST:
            size //= 2
        return size

    def begin(self) -> None:
        """One body more."""
        self._bodies += 1

    def end(self, blocks: list[bytearray]) -> None:
        """One body less, which had these."""
        self._bodies -= 1
        self._kept += blocks
        while sum(map(len, self._kept)) > _KEPT:
            self._kept.pop(0)

    def take(self) -> bytearray:
        return _free_one(self._kept, self.block_bytes) or bytearray(self.block_bytes)


def _free_one(blocks: list[bytearray], size: int) -> bytearray | None:
    """The first free one of this size, taken out of the list."""
    for index, block in enumerate(blocks):
        if len(block) == size and is_free(block):
            return blocks.pop(index)
    return None


def is_free(block: bytearray) -> bool:
    """Whether no view of it is left: Python lets nobody change the size of memory that somebody looks at."""
    try:
        last = block.pop()
    except BufferError:
        return False
    block.append(last)
    return True


class BodyOwner(Protocol):
    """The connection, as the reader sees it."""

    @property
    def body_left(self) -> int:
        """Bytes of the body still to come."""

    def body_came(self, data: memoryview) -> None: ...

    def eof_received(self) -> bool: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class BlockReader(asyncio.BufferedProtocol):
    """Takes the place of a connection at its transport, for the rest of one body of known length, until leave(); asks
    for no byte behind the body, and passes on what is not about bytes."""

    def __init__(self, owner: BodyOwner, blocks: Blocks) -> None:
        blocks.begin()
        self._owner = owner
        self._blocks = blocks
        self._mine: list[bytearray] = []
        """The last one is being filled."""
        self._view = memoryview(b"")
        """Of that one."""
        self._end = 0
        """Up to here it is filled."""

    def leave(self) -> None:
        self._view = memoryview(b"")
        self._end = 0
        mine, self._mine = self._mine, []
        self._blocks.end(mine)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        left = self._owner.body_left
        if len(self._view) - self._end < min(left, _ROOM_LEAST):
            self._begin_block()
        return self._view[self._end : self._end + left]

    def buffer_updated(self, nbytes: int) -> None:
        start = self._end
        self._end += nbytes
        self._owner.body_came(self._view[start : self._end])

    def _begin_block(self) -> None:
        self._view = memoryview(b"")
        size = self._blocks.block_bytes
        block = _free_one(self._mine, size)
        if block is None:
            self._mine = [each for each in self._mine if len(each) == size]  # others go when they are read
            block = self._blocks.take()
        self._mine.append(block)
        self._view = memoryview(block)
        self._end = 0

    def eof_received(self) -> bool:
        return self._owner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()
