"""Locks between the processes of one node. The kernel frees those of a process that ends, however it ends."""

from __future__ import annotations

from typing import Protocol


class NodeLocks(Protocol):
    """Held by name; a name is held exclusively by one holder, or shared by many, of this process and of others."""

    def try_exclusive(self, name: str) -> bool:
        """Take it unless anybody holds it. Never waits."""
        ...

    def try_shared(self, name: str) -> bool:
        """Take it unless somebody holds it exclusively. Never waits."""
        ...

    def release(self, name: str) -> None:
        """Give back what one try took."""
        ...
