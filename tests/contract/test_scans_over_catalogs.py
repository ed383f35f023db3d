"""A mirror and its scans find the same whichever catalog they write to: memory, SQLite, or Riak KV."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.memory.catalog import MemoryCatalog
from controlplane.adapters.riak_kv import RiakCatalog
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Key
from controlplane.model.scan_join import Kind
from controlplane.model.scan_state import Counts
from controlplane.ports.catalog import Catalog
from controlplane.services.scan_tags import TagScan
from controlplane.services.source_tags import SourceTags
from tests.support.fakes import damage
from tests.support.object_node import PRIVATE
from tests.support.riak_kv import RiakNode
from tests.support.scan_world import World

NAMES = ["a", "b/ü", "c d", "d\U0001f600", *(f"k{number:02d}" for number in range(20))]


@pytest.fixture(params=["memory", "sqlite", "riak-kv"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Catalog]:
    catalog: Any
    match request.param:
        case "memory":
            catalog = MemoryCatalog()
        case "sqlite":
            catalog = SqliteCatalog(tmp_path / "catalog.db")
        case _:
            riak: RiakNode = request.getfixturevalue("riak")
            clock = SystemClock()
            kv = riak.over_http(clock)
            catalog = RiakCatalog(kv, cluster=riak.cluster(), clock=clock)
    await catalog.open()
    yield catalog
    await catalog.aclose()


@pytest.mark.parametrize("bulk", [False, True])
async def test_what_was_copied_is_known_and_what_differs_is_found(catalog: Catalog, tmp_path: Path, bulk: bool) -> None:
    clock: Any = SystemClock()
    world = World(clock, tmp_path / "spool", bulk=bulk)
    over: Any = catalog
    world.catalog = world.node.catalog = over

    async def scan() -> Counts:
        world.told.differences.clear()
        tags = TagScan(SourceTags(world.node.source, PRIVATE, clock), catalog, world.rules)
        return (await world.run(workers=2, page=5, tags=tags).run()).totals

    for name in NAMES:
        await world.node.put(name, name.encode())
    await world.node.tag("a", (("colour", "red"),))
    await world.node.drain(world.node.new_mirror())
    first = await scan()
    assert (first.same, first.differences, first.heads) == (len(NAMES), 0, 1)  # of the one that has tags
    assert (await scan()).heads == 0
    await world.target.delete(Key("b/ü"))
    damage(world.target, "c d")
    world.node.lose("k03")
    found = await scan()
    assert world.told.kinds == {"b/ü": Kind.MISSING, "c d": Kind.DIFFERENT, "k03": Kind.EXTRA}
    assert found.same == len(NAMES) - 3
    again = await scan()
    assert world.told.kinds == {"b/ü": Kind.MISSING, "c d": Kind.DIFFERENT, "k03": Kind.EXTRA}
    assert again.same == found.same
    world.node.spool.close()
