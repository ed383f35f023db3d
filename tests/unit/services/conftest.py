from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import FakeStore, Faults, Node
from tests.support.object_node import ObjectNode
from tests.support.virtual_time import VirtualClock

NewNode = Callable[..., Node]


@pytest.fixture
def new_node(clock: VirtualClock, tmp_path: Path) -> Iterator[NewNode]:
    """Makes nodes; their spools must be empty when the test ends: no half file (I1)."""
    nodes: list[Node] = []

    def make(**settings: Any) -> Node:
        node = Node(clock, tmp_path / f"spool{len(nodes)}", **settings)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.spool.close()
        assert node.spool_files() == []


async def break_off(node: Node | ObjectNode, slow: Sequence[FakeStore | Faults], *, after_s: float) -> None:
    """The agent dies in the middle: each call of what is slow takes a second until then."""
    for part in slow:
        part.latency = 1.0
    mirror = node.new_mirror()
    running = asyncio.ensure_future(node.drain(mirror))
    await node.clock.sleep(after_s)
    running.cancel()
    for worker in mirror.workers:
        worker.cancel()
    await asyncio.wait((running, *mirror.workers))
    for part in slow:
        part.latency = 0.0


@pytest.fixture
def node(new_node: NewNode) -> Node:
    return new_node()
