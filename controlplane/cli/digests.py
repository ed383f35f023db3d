"""MD5 and SHA-256 of blocks that pass by, computed in two threads beside the transfer."""

from __future__ import annotations

import hashlib
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Self

from controlplane.model.content import Content, Md5, Sha256

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCKS_AHEAD = 4
"""Blocks that wait for a slow hash: the bound on memory."""


class Digester:
    """Feed it with update(), then call content() once. Close it (or leave its context) in any case."""

    def __init__(self) -> None:
        self._size = 0
        self._first = b""
        self._lanes: list[_Lane] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, block: bytes) -> None:
        """Take a block, which must not change afterwards; waits when the hashes are behind."""
        if not self._size:
            # What fits into one block is not worth two threads.
            self._first = block
        elif not self._lanes:
            self._lanes = [_Lane(hashlib.md5(usedforsecurity=False)), _Lane(hashlib.sha256())]
            self._feed(self._first)
            self._first = b""
        if self._lanes:
            self._feed(block)
        self._size += len(block)

    def content(self) -> Content:
        """The identity of all blocks so far. Nothing may be added after it."""
        if self._lanes:
            md5, sha256 = (lane.finish() for lane in self._lanes)
        else:
            md5 = hashlib.md5(self._first, usedforsecurity=False).hexdigest()
            sha256 = hashlib.sha256(self._first).hexdigest()
        return Content(Md5(md5), Sha256(sha256), self._size)

    def close(self) -> None:
        for lane in self._lanes:
            lane.finish()

    def _feed(self, block: bytes) -> None:
        for lane in self._lanes:
            lane.blocks.put(block)


class _Lane:
    def __init__(self, digest: _Hash) -> None:
        self._digest = digest
        self.blocks: Queue[bytes] = Queue(_BLOCKS_AHEAD)
        self._thread = Thread(target=self._work, name=f"digest-{digest.name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while block := self.blocks.get():
            self._digest.update(block)

    def finish(self) -> str:
        if self._thread.is_alive():
            self.blocks.put(b"")
            self._thread.join()
        return self._digest.hexdigest()
