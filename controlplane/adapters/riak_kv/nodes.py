"""Which node is asked next: in turn, the ones that failed of late left out (passive ejection). Pure bookkeeping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class _Node:
    address: str
    failures: int = 0
    ejected_until: float = 0.0


class Nodes:
    """Times are of one monotonic clock."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._nodes = [_Node(address) for address in addresses]
        self._turn = 0

    def order(self, now: float) -> list[str]:
        """All nodes: the healthy ones in turn, then those that are ejected, the one that comes back first before."""
        self._turn = (self._turn + 1) % len(self._nodes)
        turned = self._nodes[self._turn :] + self._nodes[: self._turn]
        healthy = [node for node in turned if node.ejected_until <= now]
        ejected = sorted((node for node in turned if node.ejected_until > now), key=lambda node: node.ejected_until)
        return [node.address for node in (*healthy, *ejected)]

    def failed(self, address: str, now: float) -> None:
        """Leave it out for a second, twice as long each further time, up to LONGEST_PAUSE_S."""
        for node in self._nodes:
            if node.address == address:
                node.failures += 1
                node.ejected_until = now + min(FIRST_PAUSE_S * 2.0 ** min(node.failures - 1, 16), LONGEST_PAUSE_S)

    def answered(self, address: str) -> None:
        for node in self._nodes:
            if node.address == address and node.failures:
                node.failures, node.ejected_until = 0, 0.0
