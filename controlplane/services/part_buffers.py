"""Memory for parts of large objects, used again: the kernel zeroes and maps what is new, which costs more CPU than to
receive a part into it."""

from __future__ import annotations

from controlplane.http.block_reads import is_free


class PartBuffers:
    """Invariant: no more buffers are kept and handed out together than were ever handed out at once."""

    __slots__ = ("_kept", "_users")

    def __init__(self) -> None:
        self._kept: list[bytearray] = []
        self._users = 0

    def begin(self) -> None:
        """One more who may take some."""
        self._users += 1

    def end(self) -> None:
        """One less; after the last, nothing is kept."""
        self._users -= 1
        if not self._users:
            self._kept.clear()

    def take(self, length: int) -> bytearray:
        """Of just that length; what it contains is of others."""
        for index, kept in enumerate(self._kept):
            if len(kept) == length:
                return self._kept.pop(index)
        if self._kept:
            self._kept.pop()  # in exchange
        return bytearray(length)

    def give(self, buffer: bytearray) -> None:
        """One that was taken, and is done with. Dropped where somebody still looks at it."""
        if self._users and is_free(buffer):
            self._kept.append(buffer)
