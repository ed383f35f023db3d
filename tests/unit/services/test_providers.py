"""Who fetches a blob for all: one claim, followed by the others, taken over when its owner does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.model.content import Guid
from controlplane.model.keys import Key
from controlplane.ports.directory import Versioned
from controlplane.ports.errors import Unavailable
from controlplane.ports.object_store import ObjectInfo
from controlplane.services.providers import TTL_S, Providers, ResumedReader
from tests.support.virtual_time import VirtualClock

GUID = Guid("0" * 32)


class Away(InProcessDirectory):
    """Does not answer while `silent`."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.silent = False
        self.asked = 0

    async def get(self, name: str) -> Versioned | None:
        self.asked += 1
        if self.silent:
            await asyncio.sleep(9)
            raise Unavailable("no member answered")
        return await super().get(name)


@pytest.fixture
def directory(clock: VirtualClock) -> Away:
    return Away(clock)


def gateway(directory: Away, clock: VirtualClock, number: int) -> Providers:
    return Providers(directory, clock, url=f"http://g{number}", node=f"g{number}")


async def test_one_of_many_fetches_and_the_others_find_it(directory: Away, clock: VirtualClock) -> None:
    gateways = [gateway(directory, clock, number) for number in range(5)]
    found = await asyncio.gather(*(one.find_or_claim(GUID) for one in gateways))
    providing = [one for one in gateways if one.provides(GUID)]
    assert len(providing) == 1
    assert {None if at is None else at.url for at in found} == {None, f"http://g{gateways.index(providing[0])}"}
    # A fetch may last: the claim is kept.
    await clock.sleep(10 * TTL_S)
    assert await gateways[0 if gateways[0] not in providing else 1].find_or_claim(GUID) is not None
    await providing[0].release(GUID)
    assert await directory.get(f"providers/{GUID}") is None


async def test_a_claim_of_one_that_does_not_answer_is_taken_over(directory: Away, clock: VirtualClock) -> None:
    dead, living, third = (gateway(directory, clock, number) for number in range(3))
    assert await dead.find_or_claim(GUID) is None
    found = await living.find_or_claim(GUID)
    assert found is not None
    assert await living.find_or_claim(GUID, instead_of=found) is None
    assert living.provides(GUID)
    at = await third.find_or_claim(GUID)
    assert at is not None
    assert at.url == "http://g1"
    # The former one was only slow: it finds out, and takes nothing from the new one.
    await clock.sleep(TTL_S / 2)
    assert not dead.provides(GUID)
    await dead.release(GUID)
    at = await third.find_or_claim(GUID)
    assert at is not None
    assert at.url == "http://g1"
    await living.release(GUID)


async def test_a_claim_of_a_dead_gateway_ends_with_its_lease(directory: Away, clock: VirtualClock) -> None:
    dead, living = gateway(directory, clock, 0), gateway(directory, clock, 1)
    assert await dead.find_or_claim(GUID) is None
    dead._keeping[GUID].cancel()
    await clock.sleep(TTL_S + 0.1)
    assert await living.find_or_claim(GUID) is None
    assert living.provides(GUID)
    await living.release(GUID)


async def test_nonsense_and_a_former_run_of_this_gateway_stand_in_nobodys_way(
    directory: Away, clock: VirtualClock
) -> None:
    await directory.compare_and_swap(f"providers/{GUID}", None, "nonsense")
    former, now = gateway(directory, clock, 0), gateway(directory, clock, 0)
    for one in (former, now):
        assert await one.find_or_claim(GUID) is None
        assert one.provides(GUID)
    for one in (former, now):
        await one.release(GUID)


async def test_i10_a_directory_that_is_away_costs_a_second_now_and_then(directory: Away, clock: VirtualClock) -> None:
    one = gateway(directory, clock, 0)
    directory.silent = True
    began = clock.monotonic()
    assert await one.find_or_claim(GUID) is None
    assert clock.monotonic() - began <= 1.0
    for _ in range(100):
        assert await one.find_or_claim(GUID) is None
    assert clock.monotonic() - began <= 1.0
    assert directory.asked == 1
    directory.silent = False
    await clock.sleep(6)
    assert await one.find_or_claim(GUID) is None
    assert one.provides(GUID)
    await one.release(GUID)


class Bytes:
    """An ObjectReader that breaks off after some bytes."""

    file: tuple[int, int] | None = None

    def __init__(self, data: bytes, breaks_after: int | None = None, size: int | None = None) -> None:
        self._data, self._breaks_after = data, breaks_after
        self.info = ObjectInfo(Key(f"blobs/{GUID}"), len(data) if size is None else size, GUID, 0.0)
        self.length = len(data)
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), 3):
            if self._breaks_after is not None and at >= self._breaks_after:
                raise Unavailable("gone")
            yield self._data[at : at + 3]

    async def aclose(self) -> None:
        self.closed += 1


DATA = bytes(range(200))


@pytest.mark.parametrize("breaks_after", [0, 3, 99, 198])
async def test_what_a_peer_broke_off_goes_on_at_the_store(breaks_after: int) -> None:
    peer = Bytes(DATA, breaks_after)
    rest: list[Bytes] = []

    async def resume(offset: int) -> Bytes:
        rest.append(Bytes(DATA[offset:], size=len(DATA)))
        return rest[0]

    reader = ResumedReader(peer, resume)
    assert b"".join([chunk async for chunk in reader]) == DATA
    await reader.aclose()
    assert peer.closed == 1
    assert rest[0].closed == 1


@pytest.mark.parametrize("size", [199, 201])
async def test_a_store_that_has_something_else_is_not_gone_on_with(size: int) -> None:
    async def resume(offset: int) -> Bytes:
        return Bytes(DATA[offset:], size=size)

    with pytest.raises(Unavailable):
        _ = [chunk async for chunk in ResumedReader(Bytes(DATA, 9), resume)]


async def test_a_store_that_breaks_off_too_is_not_asked_again() -> None:
    async def resume(offset: int) -> Bytes:
        return Bytes(DATA[offset:], 3, size=len(DATA))

    with pytest.raises(Unavailable):
        _ = [chunk async for chunk in ResumedReader(Bytes(DATA, 9), resume)]
