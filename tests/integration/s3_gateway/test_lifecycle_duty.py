"""Lifecycle rules carried out against the Riak CS stand-in, by two agents, with outages and races."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.adapters.riak_cs import RiakCsAccounts, RiakCsClient, RiakCsOptions
from controlplane.adapters.riak_cs.private_bucket import PrivateBucket
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.tally import LifecycleTally
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Reply, Upstream
from controlplane.s3.documents.lifecycle_xml import render_lifecycle
from controlplane.s3.documents.object_extras import ObjectExtras
from controlplane.s3.lifecycle import DAY, Filter, LifecycleRule
from controlplane.services.held_lock import HeldLock
from controlplane.services.s3.lifecycle import LifecycleDuty
from controlplane.services.s3.object_records import ObjectRecords, identity_of
from controlplane.services.s3.part_records import PartRecords
from controlplane.services.s3.subresources import Kind, Subresources
from tests.hosts.standin.cs import users
from tests.hosts.standin.loopback import Standin

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    with Standin(tmp_path_factory.mktemp("standin")) as running:
        yield running


class Later(SystemClock):
    """A clock that runs ahead of Riak CS's: what was put now is old already."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@dataclass
class Meddling:
    """An Upstream that does something before a request goes through."""

    real: Upstream
    before: Callable[[Ask], Awaitable[None]] | None = None
    sent: list[str] = field(default_factory=list)

    async def send(self, ask: Ask) -> Reply:
        self.sent.append(f"{ask.method} {ask.bucket}/{ask.key}")
        if self.before is not None:
            await self.before(ask)
        return await self.real.send(ask)

    async def check(self) -> None:
        await self.real.check()

    async def aclose(self) -> None:
        await self.real.aclose()


@dataclass
class Writes:
    """A WriteLog that remembers."""

    seen: list[tuple[str, str, str]] = field(default_factory=list)

    async def ready(self, bucket: str, key: str) -> None: ...

    async def wrote(self, bucket: str, key: str, etag: str, size: int | None) -> None: ...

    async def regranted(self, bucket: str, key: str) -> None: ...

    async def deleting(self, bucket: str, key: str) -> None:
        self.seen.append(("deleting", bucket, key))

    async def deleted(self, bucket: str, key: str) -> None:
        self.seen.append(("deleted", bucket, key))


class World:
    """Buckets of two users on a stand-in, and agents that look after them."""

    def __init__(self, standin: Standin) -> None:
        self.standin = standin
        self.clock = Later()
        self.directory = InProcessDirectory(self.clock)
        self.closing = AsyncExitStack()
        self.admin = KeyPair(standin.admin.key_id, standin.admin.key_secret)
        options = RiakCsOptions((standin.s3_url,), attempts=1)
        self.riak = RiakCsClient(options, SystemClock(), Random(1))
        self.upstream = Meddling(self.riak)
        self.accounts = RiakCsAccounts(
            RiakCsOptions((standin.admin_url,), attempts=1), self.admin, SystemClock(), Random(1)
        )
        number = next(_numbers)
        self.private = PrivateBucket(options, self.admin, f"documents-{number}", SystemClock(), Random(1))
        self.subresources = Subresources(self.private, self.clock, keep_s=0)
        self.records = ObjectRecords(self.riak, self.subresources, self.admin)
        self.writes = Writes()
        self.alice, self.bob = self.user(f"alice{number}"), self.user(f"bob{number}")
        self.bucket = f"bucket-{number}"

    def user(self, name: str) -> KeyPair:
        user = users.create(name, f"{name}@example.com")
        self.standin.cs.state.users.save(user)
        return KeyPair(user.key_id, user.key_secret)

    def agent(self, node: str) -> tuple[LifecycleDuty, HeldLock, LifecycleTally]:
        lock = HeldLock("locks/s3-lifecycle", node, self.directory, self.clock, ttl_s=30)
        tally = LifecycleTally()
        duty = LifecycleDuty(
            self.upstream, self.accounts, self.subresources, self.records, PartRecords(self.private),
            self.writes, self.admin, lock, self.clock,
            every_s=3600, tally=tally,
        )  # fmt: skip
        return duty, lock, tally

    async def ask(self, method: str, who: KeyPair, key: str = "", body: bytes = b"", **more: Any) -> tuple[int, Any]:
        headers = {"content-type": "text/plain"} if body else {}
        reply = await self.riak.send(
            Ask(
                method,
                who,
                self.bucket,
                key,
                headers=headers | more.pop("headers", {}),
                body=body,
                length=len(body),
                **more,
            )
        )
        headers = dict(reply.headers)
        found = await reply.read_all(10**6)
        reply.close()
        return reply.status, headers if method == "HEAD" else found

    async def rules(self, *rules: LifecycleRule) -> None:
        await self.subresources.put_bucket_document(self.bucket, Kind.LIFECYCLE, render_lifecycle(rules))

    async def keys(self) -> list[str]:
        _, listing = await self.ask("GET", self.alice)
        return [part.split(b"</Key>")[0].decode() for part in listing.split(b"<Key>")[1:]]


@pytest.fixture
async def world(standin: Standin) -> AsyncIterator[World]:
    found = World(standin)
    assert (await found.ask("PUT", found.alice))[0] == 200
    for key in ("logs/a", "logs/b+ü", "keep/a"):
        assert (await found.ask("PUT", found.alice, key, b"x" * 10))[0] == 200
    yield found
    for part in (found.riak, found.accounts, found.private):
        await part.aclose()


ONE_DAY = LifecycleRule("logs", True, Filter("logs/"), 1)


async def test_what_is_due_goes_and_nothing_else(world: World) -> None:
    duty, lock, tally = world.agent("n1")
    await world.rules(ONE_DAY)
    await lock.once()
    await duty.once()
    assert await world.keys() == ["keep/a", "logs/a", "logs/b+ü"]
    assert (tally.sweeps, tally.expired, tally.held) == (1, 0, True)
    world.clock.ahead = 2 * DAY
    await duty.once()
    assert len(await world.keys()) == 3, "a sweep is once an hour"
    duty, lock, tally = world.agent("n1")
    await lock.once()
    await duty.once()
    assert await world.keys() == ["keep/a"]
    assert (tally.expired, tally.errors) == (2, 0)
    assert world.writes.seen == [
        ("deleting", world.bucket, "logs/a"), ("deleted", world.bucket, "logs/a"),
        ("deleting", world.bucket, "logs/b+ü"), ("deleted", world.bucket, "logs/b+ü"),
    ]  # fmt: skip


async def test_tags_decide_and_an_overwrite_saves(world: World) -> None:
    await world.rules(LifecycleRule("tagged", True, Filter("logs/", (("tmp", "yes"),)), 1))
    for key, tags in (("logs/a", (("tmp", "yes"),)), ("logs/b+ü", (("tmp", "no"),)), ("keep/a", (("tmp", "yes"),))):
        _, found = await world.ask("HEAD", world.admin, key)
        await world.subresources.keep_extras(world.bucket, key, identity_of(found), ObjectExtras(tags))
    world.clock.ahead = 2 * DAY
    duty, lock, tally = world.agent("n1")
    await lock.once()
    await duty.once()
    assert await world.keys() == ["keep/a", "logs/b+ü"]
    assert tally.expired == 1


async def test_what_is_written_between_the_listing_and_the_delete_stays(world: World) -> None:
    await world.rules(ONE_DAY)
    world.clock.ahead = 2 * DAY

    async def overwrite(ask: Ask) -> None:
        if ask.method == "HEAD" and ask.key == "logs/a":
            await world.ask("PUT", world.alice, "logs/a", b"new")

    world.upstream.before = overwrite
    duty, lock, _ = world.agent("n1")
    await lock.once()
    await duty.once()
    assert await world.keys() == ["keep/a", "logs/a"]


async def test_rules_of_a_former_owner_of_the_bucket_take_nothing(world: World) -> None:
    await world.subresources.put_bucket_document(
        world.bucket, Kind.LIFECYCLE, render_lifecycle((ONE_DAY,)), owner="f" * 64
    )
    world.clock.ahead = 2 * DAY
    duty, lock, tally = world.agent("n1")
    await lock.once()
    await duty.once()
    assert (tally.sweeps, tally.expired, len(await world.keys())) == (1, 0, 3)


async def test_rules_that_are_deleted_or_disabled_take_nothing(world: World) -> None:
    world.clock.ahead = 20 * DAY
    for rules in ((LifecycleRule("off", False, Filter(), 1),), ()):
        if rules:
            await world.rules(*rules)
        else:
            await world.subresources.delete_bucket_document(world.bucket, Kind.LIFECYCLE)
        duty, lock, tally = world.agent("n1")
        await lock.once()
        await duty.once()
        assert (tally.sweeps, tally.expired) == (1, 0)
    assert len(await world.keys()) == 3


async def test_one_agent_does_it_and_stops_when_the_lock_goes(world: World) -> None:
    await world.rules(ONE_DAY)
    world.clock.ahead = 2 * DAY
    first, lock, tally = world.agent("n1")
    second, other, idle = world.agent("n2")
    await lock.once()
    await other.once()
    await second.once()
    assert (idle.held, idle.sweeps) == (False, 0)

    async def lose(ask: Ask) -> None:
        if ask.method == "DELETE":
            lock.held_until = float("-inf")

    world.upstream.before = lose
    await first.once()
    assert (tally.sweeps, tally.expired) == (0, 1), "the request under way is finished, the next is not begun"
    assert await world.keys() == ["keep/a", "logs/b+ü"]
    world.upstream.before = None
    await first.end()
    await other.once()
    await second.once()
    assert await world.keys() == ["keep/a"]
    assert idle.expired == 1


async def test_stop_ends_a_sweep(world: World) -> None:
    await world.rules(ONE_DAY)
    world.clock.ahead = 2 * DAY
    duty, lock, tally = world.agent("n1")
    await lock.once()

    async def stop(ask: Ask) -> None:
        if ask.method == "HEAD":
            duty.stop()

    world.upstream.before = stop
    await duty.once()
    assert (tally.sweeps, tally.expired, len(await world.keys())) == (0, 0, 3)


async def test_i5_an_outage_deletes_nothing_and_is_no_sweep_of_that_bucket(world: World) -> None:
    await world.rules(ONE_DAY)
    world.clock.ahead = 2 * DAY

    async def away(ask: Ask) -> None:
        if ask.key == "logs/b+ü" or not ask.key:
            raise Unavailable("Riak CS is away")

    world.upstream.before = away
    duty, lock, tally = world.agent("n1")
    await lock.once()
    await duty.once()
    assert (tally.expired, tally.errors) == (0, 1)
    assert "Riak CS is away" in tally.last_error
    world.upstream.before = None
    assert len(await world.keys()) == 3


async def test_one_bad_bucket_does_not_keep_the_others(world: World) -> None:
    await world.rules(ONE_DAY)
    await world.subresources.put_bucket_document("aaa-first", Kind.LIFECYCLE, b"<damaged")
    await world.subresources.put_bucket_document("aab-gone", Kind.LIFECYCLE, render_lifecycle((ONE_DAY,)))
    world.clock.ahead = 2 * DAY
    duty, lock, tally = world.agent("n1")
    await lock.once()
    await duty.once()
    assert await world.keys() == ["keep/a"]
    assert tally.errors == 1
    assert tally.last_error.startswith("bucket aaa-first")


async def test_objects_of_others_in_the_bucket_and_a_disabled_owner(world: World) -> None:
    await world.ask("PUT", world.alice, "logs/", b"", headers={})
    status, _ = await world.ask("PUT", world.alice, query=(("acl", ""),), headers={"x-amz-acl": "public-read-write"})
    assert status == 200
    assert (await world.ask("PUT", world.bob, "logs/of-bob", b"x"))[0] == 200
    owner = world.standin.cs.state.users.get(world.alice.access_key)
    assert owner is not None
    owner.status = "disabled"
    world.standin.cs.state.users.save(owner)
    await world.rules(ONE_DAY)
    world.clock.ahead = 2 * DAY
    duty, lock, tally = world.agent("n1")
    await lock.once()
    await duty.once()
    owner.status = "enabled"
    world.standin.cs.state.users.save(owner)
    assert (tally.errors, tally.last_error) == (0, "")
    assert await world.keys() == ["keep/a"]


async def test_abandoned_uploads_of_every_user_are_aborted(world: World) -> None:
    await world.ask("PUT", world.alice, query=(("acl", ""),), headers={"x-amz-acl": "public-read-write"})
    for who in (world.alice, world.bob):
        for key in ("logs/up", "keep/up"):
            status, _ = await world.ask("POST", who, key, query=(("uploads", ""),))
            assert status == 200
    await world.rules(LifecycleRule("abort", True, Filter("logs/"), abort_days=1))
    world.clock.ahead = 2 * DAY
    duty, lock, tally = world.agent("n1")
    await lock.once()
    await duty.once()
    assert (tally.aborted, tally.expired, tally.errors) == (2, 0, 0)
    for who, seen in ((world.alice, 2), (world.bob, 1)):  # the bucket's owner sees those of others
        _, listing = await world.ask("GET", who, query=(("uploads", ""),))
        assert listing.count(b"<Upload>") == seen
        assert listing.count(b"<Key>keep/up</Key>") == seen
    assert len(await world.keys()) == 3


async def test_more_than_a_page(world: World) -> None:
    for n in range(30):
        await world.ask("PUT", world.alice, f"logs/{n:03}", b"x")
    await world.rules(ONE_DAY)
    world.clock.ahead = 2 * DAY
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controlplane.services.s3.lifecycle._PAGE", 7)
        duty, lock, tally = world.agent("n1")
        await lock.once()
        await duty.once()
    assert tally.expired == 32
    assert await world.keys() == ["keep/a"]


async def test_a_bucket_with_versioning_enabled_past_the_gateway_is_left_alone(world: World) -> None:
    status, _ = await world.ask(
        "PUT", world.alice, body=b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        query=(("versioning", ""),), headers={"content-type": "application/xml"},
    )  # fmt: skip
    assert status == 200
    await world.rules(ONE_DAY)
    world.clock.ahead = 2 * DAY
    duty, lock, tally = world.agent("n1")
    await lock.once()
    await duty.once()
    assert (tally.expired, tally.sweeps) == (0, 1)
