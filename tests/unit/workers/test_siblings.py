"""Which worker of a gateway fetches what all want: one, whatever the others do, and somebody always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.adapters.node_locks import FileLocks
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import NotFound, Unavailable
from controlplane.ports.object_store import ObjectInfo, ObjectReader
from controlplane.ports.peers import Asker, noted_object, object_note
from controlplane.services.fetch import Source
from controlplane.services.fetch_sharing import PEERS, SIBLINGS, Cluster, FetchSharing, brought_by_another
from controlplane.services.providers import Providers
from controlplane.services.siblings import Siblings
from tests.support.virtual_time import VirtualClock

NAME = "objects/" + "0" * 64
BODY = b"the bytes that all want"
INFO = ObjectInfo(Key("key"), len(BODY), "etag", 1.5, metadata={"a": "ü\udc80"}, headers={"cache-control": "no-cache"})


class Open:
    """BODY from `offset`; it breaks off after `breaks_at` bytes."""

    file: tuple[int, int] | None = None
    info = INFO

    def __init__(self, offset: int = 0, breaks_at: int | None = None) -> None:
        self.length = len(BODY) - offset
        self._offset = offset
        self._breaks_at = breaks_at
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BODY[self._offset : self._breaks_at]
        if self._breaks_at is not None:
            raise Unavailable("it died")

    async def aclose(self) -> None:
        self.closed = True


class Network:
    """Implements ports.peers.Peers over workers in this process, by their URLs."""

    def __init__(self) -> None:
        self.workers: dict[str, FetchSharing] = {}
        self.hanging: set[str] = set()
        self.opened: list[Open] = []
        self.breaks_at: int | None = None

    async def open(self, url: str, name: str, asker: Asker) -> ObjectReader:
        if url in self.hanging:
            await asyncio.sleep(10)
            raise Unavailable(f"{url} says nothing")
        if url not in self.workers:
            raise Unavailable(f"{url} is not there")
        if not self.workers[url].shows(name, asker):
            if asker is Asker.GATEWAY:
                return await self.workers[url].forwarded(name)
            raise NotFound("not here")
        await asyncio.sleep(0.001)
        reader = Open(breaks_at=self.breaks_at)
        self.opened.append(reader)
        return reader

    async def aclose(self) -> None:
        """Nothing is open."""


class Machine:
    """A gateway of some workers; with `directory` it belongs to a cluster."""

    def __init__(
        self,
        folder: Path,
        name: str,
        network: Network,
        clock: VirtualClock,
        directory: InProcessDirectory | None = None,
    ) -> None:
        urls = [f"{name}/{n}" for n in range(3)]
        self.locks = [FileLocks(folder / name) for _ in urls]
        self.workers = []
        for url, locks in zip(urls, self.locks, strict=True):
            siblings = Siblings(locks, network, tuple(other for other in urls if other != url), clock)
            cluster = None
            if directory is not None:
                cluster = Cluster(Providers(directory, clock, url=urls[0], node=name), network)
            network.workers[url] = FetchSharing(clock, siblings, cluster)
            self.workers.append(network.workers[url])


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def machine(tmp_path: Path, network: Network, clock: VirtualClock) -> Iterator[Machine]:
    made = Machine(tmp_path, "m", network, clock)
    yield made
    for locks in made.locks:
        locks.close()


async def not_there() -> Source | None:
    return None


async def at_store(offset: int) -> ObjectReader:
    return Open(offset)


async def find(worker: FetchSharing) -> Source | None:
    return await worker.find(NAME, not_there, at_store, None)


async def test_one_fetches_and_the_others_follow(machine: Machine) -> None:
    found = await asyncio.gather(*(find(worker) for worker in machine.workers))
    assert [source.store for source in found if source is not None] == [SIBLINGS, SIBLINGS]
    for source in found:
        if source is not None:
            assert b"".join([chunk async for chunk in source.reader]) == BODY
            assert brought_by_another(source)
    for worker in machine.workers:
        await worker.release(NAME)
    assert await find(machine.workers[0]) is None


async def test_what_an_earlier_fetch_has_brought_is_not_fetched_again(machine: Machine) -> None:
    near = Source(StoreName("near"), Open(), None, None)

    async def there() -> Source | None:
        return near

    assert await machine.workers[0].find(NAME, there, at_store, None) is near


async def test_who_breaks_off_is_replaced_by_the_store_from_the_next_byte(machine: Machine, network: Network) -> None:
    network.breaks_at = 7
    assert await find(machine.workers[0]) is None
    source = await find(machine.workers[1])
    assert source is not None
    assert b"".join([chunk async for chunk in source.reader]) == BODY
    assert not brought_by_another(source), "somebody has to put it into the nearer store"


async def test_a_dead_one_is_not_waited_for(machine: Machine, network: Network) -> None:
    assert await find(machine.workers[0]) is None
    del network.workers["m/0"]
    machine.locks[0].close()  # as the kernel does
    assert await find(machine.workers[1]) is None
    assert await find(machine.workers[2]) is not None
    machine.locks.pop(0)


async def test_one_that_hangs_costs_time_and_no_answer(machine: Machine, network: Network, clock: VirtualClock) -> None:
    assert await find(machine.workers[0]) is None
    network.hanging.add("m/0")
    began = clock.monotonic()
    assert await find(machine.workers[1]) is None
    assert clock.monotonic() - began < 30
    await machine.workers[1].release(NAME)  # it has no lock to give back


async def test_a_second_answer_is_closed(machine: Machine, network: Network) -> None:
    assert await find(machine.workers[0]) is None
    network.workers["m/2"] = machine.workers[0]
    source = await find(machine.workers[1])
    assert source is not None
    await asyncio.sleep(1)
    assert sum(not reader.closed for reader in network.opened) == 1


async def test_of_two_gateways_one_worker_fetches(tmp_path: Path, network: Network, clock: VirtualClock) -> None:
    directory = InProcessDirectory(clock)
    machines = [Machine(tmp_path, name, network, clock, directory) for name in ("a", "b")]
    workers = [worker for machine in machines for worker in machine.workers]
    found = await asyncio.gather(*(find(worker) for worker in workers))
    places = sorted(source.store for source in found if source is not None)
    assert places == [PEERS, *[SIBLINGS] * 4]
    fetcher = workers[found.index(None)]
    assert fetcher.shows(NAME, Asker.GATEWAY)
    assert fetcher.shows(NAME, Asker.WORKER)
    for machine in machines:
        for locks in machine.locks:
            locks.close()


async def test_a_request_of_another_gateway_finds_the_worker_that_fetches(
    tmp_path: Path, network: Network, clock: VirtualClock
) -> None:
    """Its claim names the gateway, and the connection is taken by any of the workers."""
    directory = InProcessDirectory(clock)
    one, other = (Machine(tmp_path, name, network, clock, directory) for name in ("a", "b"))
    assert await find(one.workers[2]) is None
    source = await find(other.workers[1])
    assert source is not None
    assert source.store == PEERS
    # Nobody is sent round: who only follows shows nothing to other gateways.
    with pytest.raises(NotFound):
        await network.open("b/0", NAME, Asker.GATEWAY)
    for machine in (one, other):
        for locks in machine.locks:
            locks.close()


def test_what_is_told_of_an_object_is_the_object() -> None:
    assert noted_object(object_note(INFO)) == INFO
    assert object_note(INFO).isascii()
    assert "\n" not in object_note(INFO)
