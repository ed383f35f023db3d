"""Who asks: kept briefly, looked up once for many; an outage is never "no such key" (I5), a disabled user leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from controlplane.ports.accounts import Account
from controlplane.ports.errors import MillraceError, NotFound, Rejected, Unavailable
from controlplane.ports.upstream import KeyPair
from controlplane.services.s3.callers import Callers
from tests.support.virtual_time import VirtualClock

ALICE = Account(KeyPair("ALICE", "secret"), "a" * 64, "alice", enabled=True, buckets=frozenset({"hers"}))
KEEP_S = 60.0


class AdminPort:
    """Riak CS's users, as a test sets them; slow, and away when told."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.users = {"ALICE": ALICE}
        self.error: MillraceError | None = None
        self.asked = 0

    async def by_key(self, access_key: str) -> Account:
        self.asked += 1
        await self.clock.sleep(0.5)
        if self.error is not None:
            raise self.error
        if access_key not in self.users:
            raise NotFound("no such key")
        return self.users[access_key]

    async def all(self) -> Sequence[Account]:
        self.asked += 1
        await self.clock.sleep(0.5)
        if self.error is not None:
            raise self.error
        return tuple(self.users.values())

    async def aclose(self) -> None: ...


@pytest.fixture
def port(clock: VirtualClock) -> AdminPort:
    return AdminPort(clock)


@pytest.fixture
def callers(port: AdminPort, clock: VirtualClock) -> Callers:
    return Callers(port, clock, KEEP_S)


async def test_many_that_ask_at_once_cost_one_look_up(callers: Callers, port: AdminPort) -> None:
    found = await asyncio.gather(*(callers.by_key("ALICE") for _ in range(50)))
    assert found == [ALICE] * 50
    assert port.asked == 1
    assert callers.known("ALICE") is ALICE


async def test_one_that_gives_up_does_not_fail_the_others(callers: Callers) -> None:
    impatient = asyncio.create_task(callers.by_key("ALICE"))
    patient = asyncio.create_task(callers.by_key("ALICE"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient is ALICE


async def test_a_disabled_user_and_a_new_secret_count_within_the_time_also_of_a_busy_caller(
    callers: Callers, port: AdminPort, clock: VirtualClock
) -> None:
    await callers.by_key("ALICE")
    port.users["ALICE"] = replace(ALICE, enabled=False, keys=KeyPair("ALICE", "new"))
    changed_at = clock.monotonic()
    while (found := await callers.by_key("ALICE")).enabled:
        assert clock.monotonic() - changed_at < KEEP_S
        await clock.sleep(1.0)
    assert found.keys.secret_key == "new"


async def test_i5_an_outage_is_unavailable_for_an_unknown_key(callers: Callers, port: AdminPort) -> None:
    port.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await callers.by_key("ALICE")
    with pytest.raises(Unavailable):
        await callers.by_key("NOBODY")


@pytest.mark.parametrize("error", [Unavailable("away"), Rejected("our own admin key is refused")])
async def test_i5_in_an_outage_a_known_caller_is_served_until_its_time_is_over_and_then_refused_as_in_an_outage(
    callers: Callers, port: AdminPort, clock: VirtualClock, error: MillraceError
) -> None:
    await callers.by_key("ALICE")
    began = clock.monotonic()
    port.error = error
    served_until = began

    async def as_long_as_it_is_served() -> None:
        nonlocal served_until
        while await callers.by_key("ALICE") is ALICE:
            served_until = clock.monotonic()
            await clock.sleep(1.0)

    with pytest.raises(type(error)):
        await as_long_as_it_is_served()
    assert KEEP_S - 5 <= served_until - began <= KEEP_S
    port.error = None
    assert await callers.by_key("ALICE") is ALICE


async def test_i5_a_known_caller_that_riak_cs_does_not_find_for_a_moment_is_served(
    callers: Callers, port: AdminPort, clock: VirtualClock
) -> None:
    """As when a Riak node has just gone down: what is said then is "no such key"."""
    await callers.by_key("ALICE")
    await clock.sleep(KEEP_S * 0.6)
    del port.users["ALICE"]
    for _ in range(5):
        assert await callers.by_key("ALICE") is ALICE
        await clock.sleep(1.0)
    assert port.asked > 2
    port.users["ALICE"] = ALICE
    await clock.sleep(KEEP_S * 0.2)
    assert await callers.by_key("ALICE") is ALICE
    await clock.sleep(KEEP_S * 0.4)
    assert await callers.by_key("ALICE") is ALICE


async def test_i5_a_caller_that_is_listed_but_not_found_is_unavailable_and_a_deleted_one_is_gone(
    callers: Callers, port: AdminPort, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await callers.by_key("ALICE")
    await clock.sleep(KEEP_S + 1)

    async def hidden(access_key: str) -> Account:
        raise NotFound("no such key")

    with monkeypatch.context() as patch:
        patch.setattr(port, "by_key", hidden)
        with pytest.raises(Unavailable):
            await callers.by_key("ALICE")
    assert await callers.by_key("ALICE") is ALICE
    del port.users["ALICE"]
    await clock.sleep(KEEP_S + 1)
    with pytest.raises(NotFound):
        await callers.by_key("ALICE")


async def test_i5_who_comes_when_a_slow_look_up_is_under_way_and_the_time_is_over_is_not_told_that_he_is_unknown(
    callers: Callers, port: AdminPort, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await callers.by_key("ALICE")

    async def hidden(access_key: str) -> Account:
        await clock.sleep(5.0)
        raise NotFound("no such key")

    monkeypatch.setattr(port, "by_key", hidden)
    await clock.sleep(KEEP_S - 1)
    assert await callers.by_key("ALICE") is ALICE  # and looked up beside it
    await clock.sleep(2.0)
    with pytest.raises(Unavailable):
        await callers.by_key("ALICE")


async def test_guessing_keys_does_not_load_the_admin_port(callers: Callers, port: AdminPort) -> None:
    for _ in range(100):
        with pytest.raises(NotFound):
            await callers.by_key("NOBODY")
    assert port.asked == 1


async def test_a_key_that_was_made_a_moment_ago_is_found(
    callers: Callers, port: AdminPort, clock: VirtualClock
) -> None:
    with pytest.raises(NotFound):
        await callers.by_key("BOB")
    port.users["BOB"] = replace(ALICE, keys=KeyPair("BOB", "s"), id="b" * 64)
    await clock.sleep(3.0)
    assert (await callers.by_key("BOB")).keys.secret_key == "s"


async def test_a_wrong_signature_looks_again_but_not_all_the_time(
    callers: Callers, port: AdminPort, clock: VirtualClock
) -> None:
    await callers.by_key("ALICE")
    assert await callers.again("ALICE", ALICE) is None
    await clock.sleep(3.0)
    port.users["ALICE"] = rotated = replace(ALICE, keys=KeyPair("ALICE", "new"))
    assert await callers.again("ALICE", ALICE) is rotated
    assert await callers.again("ALICE", rotated) is None


async def test_owners_are_found_by_id_and_by_bucket(callers: Callers, port: AdminPort) -> None:
    assert await callers.by_id("a" * 64) is ALICE
    assert await callers.owner_of("hers") is ALICE
    assert port.asked == 1
    port.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await callers.by_id("c" * 64)  # who is not in the list may have come since


async def test_somebody_who_came_since_the_list_was_read_is_found(
    callers: Callers, port: AdminPort, clock: VirtualClock
) -> None:
    assert await callers.by_id("b" * 64) is None
    port.users["BOB"] = bob = replace(ALICE, keys=KeyPair("BOB", "s"), id="b" * 64, email="Bob@example.com")
    await clock.sleep(1.0)
    assert await callers.by_id("b" * 64) is bob
    assert await callers.by_email("bob@EXAMPLE.com") is bob
