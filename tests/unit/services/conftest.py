from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import Node
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


@pytest.fixture
def node(new_node: NewNode) -> Node:
    return new_node()
