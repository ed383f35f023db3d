"""Large bodies come into the spool a few at a time, and every place is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.adapters.spool import DiskSpool
from controlplane.model.keys import Key
from controlplane.ports.errors import Unavailable
from controlplane.ports.object_store import ObjectInfo
from controlplane.services.spooled_bodies import SpooledBodies

LARGE, SMALL = 5 << 20, 1 << 20
PLACES = 4


class Reader:
    """Gives its body when it may; raises in the middle when it is told to."""

    file: tuple[int, int] | None = None

    def __init__(self, size: int, go: asyncio.Event, *, breaks: bool = False) -> None:
        self.info = ObjectInfo(Key("k"), size, "e", 0.0)
        self.length = size
        self._go = go
        self._breaks = breaks
        self.begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        yield bytes(self.length // 2)
        await self._go.wait()
        if self._breaks:
            raise Unavailable("it broke off")
        yield bytes(self.length - self.length // 2)

    async def aclose(self) -> None: ...


@pytest.fixture
def spool(tmp_path: Path) -> DiskSpool:
    return DiskSpool(tmp_path, memory_bytes=1000, stays=False)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("known", [True, False], ids=["size known before", "size not known"])
async def test_so_many_large_ones_at_once_and_small_ones_past_them(spool: DiskSpool, known: bool) -> None:
    bodies, go = SpooledBodies(spool), asyncio.Event()
    readers = [Reader(LARGE, go) for _ in range(PLACES + 3)] + [Reader(SMALL, go)]

    async def take(reader: Reader) -> int:
        async with bodies.turn(reader.length if known else 0) as turn:
            spooled = await turn.spooled(reader)
            spooled.discard()
            return spooled.content.size

    taking = [asyncio.ensure_future(take(reader)) for reader in readers]
    await settled()
    assert sum(reader.begun for reader in readers[:-1]) == PLACES
    assert readers[-1].begun
    go.set()
    assert await asyncio.gather(*taking) == [reader.length for reader in readers]
    spool.close()


async def test_the_place_is_free_as_soon_as_the_body_is_in(spool: DiskSpool) -> None:
    bodies, go = SpooledBodies(spool), asyncio.Event()
    go.set()
    async with bodies.turn(LARGE) as first, bodies.turn(LARGE) as second, bodies.turn(LARGE), bodies.turn(LARGE):
        (await first.spooled(Reader(LARGE, go))).discard()
        async with asyncio.timeout(5), bodies.turn(LARGE):
            pass
        second.end()
        async with asyncio.timeout(5), bodies.turn(LARGE), bodies.turn(LARGE):
            pass
    spool.close()


async def test_what_breaks_off_or_is_cancelled_gives_its_place_back(spool: DiskSpool, tmp_path: Path) -> None:
    bodies, go, never = SpooledBodies(spool), asyncio.Event(), asyncio.Event()
    go.set()

    async def take(reader: Reader) -> None:
        async with bodies.turn(LARGE) as turn:
            await turn.spooled(reader)

    for _ in range(PLACES + 1):
        with pytest.raises(Unavailable):
            await take(Reader(LARGE, go, breaks=True))
    for _ in range(PLACES + 1):
        taking = asyncio.ensure_future(take(Reader(LARGE, never)))
        await asyncio.sleep(0.005)
        taking.cancel()
        await asyncio.wait([taking])
    waiting = [asyncio.ensure_future(take(Reader(LARGE, never))) for _ in range(PLACES + 2)]
    await settled()
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    async with asyncio.timeout(5):
        async with bodies.turn(LARGE) as turn:
            (await turn.spooled(Reader(LARGE, go))).discard()
    spool.close()
    assert list(tmp_path.iterdir()) == []
