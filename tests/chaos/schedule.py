"""What the nemesis does when: drawn from a seed alone, so that a seed that fails replays."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

NODES = 3


class Fault(Enum):
    KILL_GATEWAY = "kill gateway"
    KILL_AGENT = "kill agent"
    PAUSE_GATEWAY = "pause gateway"
    PAUSE_AGENT = "pause agent"
    KILL_ETCD = "kill an etcd member"
    CUT_ETCD = "cut etcd: two of three members pause"
    TARGET_CUT = "target: connections are closed"
    TARGET_500 = "target: 500"
    TARGET_503 = "target: 503"
    TARGET_TRUNCATED = "target: answers break off"
    TARGET_SLOW = "target: slow"
    SOURCE_CUT = "source: connections are closed"
    SOURCE_503 = "source: 503"
    SOURCE_TRUNCATED = "source: answers break off"
    SOURCE_SLOW = "source: slow"
    FILL_DISK = "the disk is full"


NEEDS_NODE = frozenset(
    {Fault.KILL_GATEWAY, Fault.KILL_AGENT, Fault.PAUSE_GATEWAY, Fault.PAUSE_AGENT, Fault.KILL_ETCD, Fault.FILL_DISK}
)


@dataclass(frozen=True, slots=True)
class Strike:
    at_s: float
    """From the beginning."""
    fault: Fault
    node: int
    """Whom it hits; 0 where the fault is of all."""
    for_s: float
    """Then it is healed."""

    def __str__(self) -> str:
        where = f" {self.node}" if self.fault in NEEDS_NODE else ""
        return f"{self.at_s:6.1f} s  {self.fault.value}{where} for {self.for_s:.1f} s"


KILLS = frozenset({Fault.KILL_GATEWAY, Fault.KILL_AGENT})


def schedule(seed: int, length_s: float, every_s: float = 2.0, spared: int | None = None) -> tuple[Strike, ...]:
    """About a strike every `every_s` seconds, each healed by the end. Every fault comes before any comes twice.

    `spared`: a node whose processes are never killed, so that they live through the whole run; the next one is instead.
    """
    rng = random.Random(seed)
    strikes: list[Strike] = []
    deck: list[Fault] = []
    at_s = 1.0 + rng.random()
    while True:
        if not deck:
            deck = list(Fault)
            rng.shuffle(deck)
        fault = deck.pop()
        node = rng.randrange(NODES) if fault in NEEDS_NODE else 0
        if fault in KILLS and node == spared:
            node = (node + 1) % NODES
        for_s = round(rng.uniform(0.5, 8.0 if "pause" in fault.value or "kill" in fault.value else 5.0), 2)
        if at_s + for_s > length_s:
            return tuple(strikes)
        strikes.append(Strike(round(at_s, 2), fault, node, for_s))
        at_s += rng.uniform(0.3, 1.7) * every_s
