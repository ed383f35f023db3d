"""Everything at once: clients write, delete and read while the mirror works, stores fail and the mirror is killed.

What a client was told must hold at every moment; when all is well again, every store must agree with it."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from controlplane.model.content import Guid
from controlplane.model.keys import Key, blob_key
from controlplane.model.retry import RetrySchedule
from controlplane.ports.errors import MillraceError, NotFound, Rejected, StorageFull, Unavailable
from tests.support.fakes import FakeStore, Node, content_of
from tests.unit.services.conftest import NewNode

BLOBS = [b"blob %d " % n * (n * 400 + 1) for n in range(4)]
THERE, GONE = "there", "gone"

SEEDS = int(os.environ.get("TEST_SEEDS", "8"))
"""How many random courses are run; raise it to look for more."""


class Weather:
    """Faults that come and go."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.share = 0.0

    def over(self, store: FakeStore) -> None:
        def fault(op: str, key: Key) -> None:
            if self._chance.random() < self.share:
                raise self._chance.choice((Unavailable, StorageFull, Rejected))(f"{op} {key} told to")

        store.fault = fault


class Client:
    """Owns one blob, and remembers what it was told; None: the last answer was an error, so either may be true."""

    def __init__(self, node: Node, data: bytes, chance: random.Random) -> None:
        self.node = node
        self.data = data
        self.guid: Guid = content_of(data).md5
        self.told: str | None = GONE
        self._chance = chance

    async def live(self) -> None:
        for _ in range(20):
            await self.act()
            await self.node.clock.sleep(self._chance.choice((0, 0.01, 0.1, 0.5)))

    async def act(self) -> None:
        step: Callable[[], Awaitable[None]] = self._chance.choice((self._write, self._delete, self._read, self._read))
        try:
            await step()
        except NotFound:
            assert self.told != THERE, f"{self.guid} was acknowledged and is not found"
        except MillraceError:
            if step != self._read:
                self.told = None

    async def _write(self) -> None:
        await self.node.store(self.data)
        self.told = THERE

    async def _delete(self) -> None:
        await self.node.writer.delete(self.guid)
        self.told = GONE

    async def _read(self) -> None:
        assert await self.node.read(self.guid) == self.data
        assert self.told != GONE, f"{self.guid} was deleted and came back"


async def mirroring(node: Node, chance: random.Random) -> None:
    """A mirror that is killed again and again."""
    while True:
        mirror = node.new_mirror()
        life = asyncio.ensure_future(node.clock.sleep(chance.random() * 2))
        while not life.done():
            if not await mirror.once():
                await node.clock.sleep(0.02)
        for worker in mirror.workers:
            worker.cancel()
        await asyncio.gather(*mirror.workers, return_exceptions=True)


async def changing(node: Node, weather: Weather, chance: random.Random) -> None:
    while True:
        weather.share = chance.choice((0.0, 0.0, 0.1, 0.4))
        await node.clock.sleep(chance.random() * 2)


async def agree(node: Node, client: Client) -> None:
    """What the client was told is what every store says."""
    key = blob_key(client.guid)
    if client.told == THERE:
        assert await node.read(client.guid) == client.data
        assert node.persistent.data(key) == client.data
        assert node.primary.data(key) == client.data
    elif client.told == GONE:
        with pytest.raises(NotFound):
            await node.read(client.guid)
        assert not node.persistent.has(key)
        assert not node.primary.has(key)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_i1_i4_i5_what_clients_were_told_holds(new_node: NewNode, seed: int) -> None:
    chance = random.Random(seed)
    schedule = RetrySchedule(0.05, 2.0, 1.0, budget=1000)
    node = new_node(schedule=schedule, memory_bytes=1000, hot_bytes=6000, recheck_s=0.3, batch=4)
    weather = Weather(chance)
    weather.over(node.primary)
    weather.over(node.persistent)
    node.primary.latency, node.persistent.latency = chance.choice([(0.0, 0.0), (0.01, 0.1), (0.1, 0.01), (0.05, 0.3)])
    node.journal.faults.latency = node.catalog.faults.latency = 0.003
    clients = [Client(node, data, chance) for data in BLOBS]
    around = [asyncio.ensure_future(mirroring(node, chance)), asyncio.ensure_future(changing(node, weather, chance))]
    await asyncio.gather(*(client.live() for client in clients))
    for work in around:
        work.cancel()
    await asyncio.wait(around)
    weather.share = 0.0
    await node.drain(node.new_mirror())
    await node.filler.aclose()
    assert node.journal.open_tasks == []
    for client in clients:
        await agree(node, client)
    await node.filler.aclose()
