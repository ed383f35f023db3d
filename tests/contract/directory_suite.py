"""What every Directory promises. Each adapter's tests subclass DirectoryContract and give it a `directory` fixture."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from controlplane.model.endpoints import Endpoint, EndpointSet
from controlplane.ports.directory import Directory
from controlplane.ports.errors import Rejected, Unavailable

PATIENCE_S = 60.0
"""For what must happen at some time; a busy machine may take its time."""


def endpoint(node: str = "a", service: str = "blobs", weight: int = 100) -> Endpoint:
    return Endpoint(service, node, f"http://{node}.example:8470", zone="z1", version="0.1.0", weight=weight)


class Watcher:
    """Collects what a watch yields, and checks that revisions only grow and that nothing is yielded twice."""

    def __init__(self, directory: Directory, service: str) -> None:
        self.seen: list[EndpointSet] = []
        self._sets = directory.watch(service)

    async def next(self) -> EndpointSet:
        async with asyncio.timeout(PATIENCE_S):
            now = await anext(self._sets)
        if self.seen:
            assert now.revision > self.seen[-1].revision
            assert now.endpoints != self.seen[-1].endpoints
        self.seen.append(now)
        return now

    async def until(self, holds: Callable[[EndpointSet], bool]) -> EndpointSet:
        """Fail the test if no set for which it holds is yielded in time."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds(now := await self.next()):
                pass
        return now

    async def aclose(self) -> None:
        await self._sets.aclose()


@asynccontextmanager
async def watching(directory: Directory, service: str) -> AsyncIterator[Watcher]:
    async with aclosing(Watcher(directory, service)) as watcher:
        yield watcher


def nodes(found: EndpointSet) -> list[str]:
    return [one.node for one in found.endpoints]


class DirectoryContract:
    slack_s = 0.5
    """How much later than its TTL a value may leave; it has PATIENCE_S for it where only that it leaves is promised."""

    @pytest.fixture
    def service(self) -> str:
        """One of its own for each test: adapters may share a real cluster."""
        return f"s{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def name(self, service: str) -> str:
        return f"shards/{service}"

    async def gone(self, seen: Callable[[], object]) -> float:
        """The moment when the awaited `seen()` was falsy."""
        async with asyncio.timeout(PATIENCE_S):
            while await seen():  # type: ignore[misc]
                await asyncio.sleep(0.05)
        return time.monotonic()

    async def test_an_announced_endpoint_is_found_as_it_was_given(self, directory: Directory, service: str) -> None:
        given = replace(endpoint("n.1-x_y", service), zone="zürich", weight=0)
        await directory.announce(given, 30)
        assert (await directory.endpoints(service)).endpoints == (given,)

    async def test_a_service_without_endpoints_is_an_empty_set(self, directory: Directory, service: str) -> None:
        assert (await directory.endpoints(service)).endpoints == ()

    async def test_endpoints_are_those_of_the_service_in_order_of_node(
        self, directory: Directory, service: str
    ) -> None:
        for node in ("b", "a", "c-1", "B"):
            await directory.announce(endpoint(node, service), 30)
        await directory.announce(endpoint("x", service + "-other"), 30)
        assert nodes(await directory.endpoints(service)) == ["B", "a", "b", "c-1"]

    async def test_announcing_again_changes_nothing_but_the_time(self, directory: Directory, service: str) -> None:
        await directory.announce(endpoint("a", service), 30)
        async with watching(directory, service) as watcher:
            await watcher.next()
            for _ in range(3):
                await directory.announce(endpoint("a", service), 30)
            await directory.announce(endpoint("a", service, weight=7), 30)
            assert [one.weight for one in (await watcher.next()).endpoints] == [7]

    async def test_every_change_has_a_greater_revision(self, directory: Directory, service: str) -> None:
        revisions = [(await directory.endpoints(service)).revision]
        for weight in (1, 2, 3):
            await directory.announce(endpoint("a", service, weight), 30)
            revisions.append((await directory.endpoints(service)).revision)
        await directory.withdraw(endpoint("a", service))
        revisions.append((await directory.endpoints(service)).revision)
        assert revisions == sorted(set(revisions))

    async def test_a_withdrawn_endpoint_is_gone_at_once_and_others_stay(
        self, directory: Directory, service: str
    ) -> None:
        await directory.announce(endpoint("a", service), 30)
        await directory.announce(endpoint("b", service), 30)
        await directory.withdraw(endpoint("a", service))
        assert nodes(await directory.endpoints(service)) == ["b"]
        await directory.announce(endpoint("a", service), 30)
        assert nodes(await directory.endpoints(service)) == ["a", "b"]

    async def test_withdrawing_what_is_not_there_succeeds(self, directory: Directory, service: str) -> None:
        await directory.withdraw(endpoint("a", service))
        await directory.withdraw(endpoint("a", service))
        assert (await directory.endpoints(service)).endpoints == ()

    async def test_an_endpoint_that_is_no_longer_announced_leaves_within_its_ttl(
        self, directory: Directory, service: str
    ) -> None:
        async def there() -> object:
            return (await directory.endpoints(service)).endpoints

        async with watching(directory, service) as watcher:
            assert nodes(await watcher.next()) == []
            await directory.announce(endpoint("a", service), 3)
            assert nodes(await watcher.next()) == ["a"]
            await asyncio.sleep(1)
            began = time.monotonic()
            await directory.announce(endpoint("a", service), 3)
            assert await self.gone(there) - began > 2.5
            assert nodes(await watcher.next()) == []

    async def test_an_endpoint_that_left_by_its_ttl_is_back_with_the_next_announcement(
        self, directory: Directory, service: str
    ) -> None:
        async def there() -> object:
            return (await directory.endpoints(service)).endpoints

        await directory.announce(endpoint("a", service), 1)
        await self.gone(there)
        await directory.announce(endpoint("a", service), 30)
        assert nodes(await directory.endpoints(service)) == ["a"]

    async def test_a_watch_yields_the_set_now_and_after_each_change(self, directory: Directory, service: str) -> None:
        await directory.announce(endpoint("a", service), 30)
        async with watching(directory, service) as watcher:
            assert nodes(await watcher.next()) == ["a"]
            await directory.announce(endpoint("b", service), 30)
            assert nodes(await watcher.next()) == ["a", "b"]
            await directory.announce(endpoint("c", service + "-other"), 30)
            await directory.withdraw(endpoint("a", service))
            assert nodes(await watcher.next()) == ["b"]
            assert watcher.seen[-1] == replace(await directory.endpoints(service), revision=watcher.seen[-1].revision)

    async def test_a_slow_watcher_sees_the_last_state(self, directory: Directory, service: str) -> None:
        async with watching(directory, service) as watcher:
            await watcher.next()
            for weight in range(1, 31):
                await directory.announce(endpoint("a", service, weight), 30)
            await watcher.until(lambda found: [one.weight for one in found.endpoints] == [30])

    async def test_watchers_do_not_take_changes_from_each_other(self, directory: Directory, service: str) -> None:
        async with watching(directory, service) as one, watching(directory, service) as other:
            await one.next()
            await other.next()
            await directory.announce(endpoint("a", service), 30)
            assert nodes(await one.next()) == nodes(await other.next()) == ["a"]

    async def test_a_closed_directory_ends_its_watches_and_refuses_work(
        self, directory: Directory, service: str
    ) -> None:
        async with watching(directory, service) as watcher:
            await watcher.next()
            waiting = asyncio.create_task(watcher.next())
            await asyncio.sleep(0.1)
            await directory.aclose()
            with pytest.raises(Unavailable, match="closed"):
                await waiting
        with pytest.raises(Unavailable, match="closed"):
            await directory.endpoints(service)
        await directory.aclose()

    async def test_a_name_is_created_only_once(self, directory: Directory, name: str) -> None:
        assert await directory.get(name) is None
        revision = await directory.compare_and_swap(name, None, "mine")
        assert revision is not None
        assert await directory.compare_and_swap(name, None, "yours") is None
        there = await directory.get(name)
        assert there is not None
        assert (there.value, there.revision) == ("mine", revision)

    async def test_a_swap_needs_the_present_revision(self, directory: Directory, name: str) -> None:
        first = await directory.compare_and_swap(name, None, "1")
        assert first is not None
        second = await directory.compare_and_swap(name, first, "2")
        assert second is not None
        assert second > first
        assert await directory.compare_and_swap(name, first, "3") is None
        assert await directory.compare_and_swap(name, second + 1000, "3") is None
        assert await directory.compare_and_swap(name, 0, "3") is None
        there = await directory.get(name)
        assert there is not None
        assert (there.value, there.revision) == ("2", second)

    async def test_a_swap_with_none_deletes(self, directory: Directory, name: str) -> None:
        first = await directory.compare_and_swap(name, None, "é\n")
        assert await directory.compare_and_swap(name, first, None) is not None
        assert await directory.get(name) is None
        assert await directory.compare_and_swap(name, first, "2") is None
        again = await directory.compare_and_swap(name, None, "")
        assert again is not None
        assert first is not None
        assert again > first
        there = await directory.get(name)
        assert there is not None
        assert there.value == ""

    async def test_a_value_with_a_ttl_leaves_with_it(self, directory: Directory, name: str) -> None:
        async def there() -> object:
            return await directory.get(name)

        began = time.monotonic()
        revision = await directory.compare_and_swap(name, None, "owner", ttl_s=2)
        assert revision is not None
        assert await self.gone(there) - began > 1
        assert await directory.compare_and_swap(name, revision, "owner") is None
        assert await directory.compare_and_swap(name, None, "other") is not None

    async def test_a_swap_replaces_the_ttl(self, directory: Directory, name: str) -> None:
        first = await directory.compare_and_swap(name, None, "owner", ttl_s=1)
        assert await directory.compare_and_swap(name, first, "owner") is not None
        await asyncio.sleep(1.5 + self.slack_s)
        assert await directory.get(name) is not None

    async def test_of_many_that_create_one_wins(self, directory: Directory, name: str) -> None:
        swaps = (directory.compare_and_swap(name, None, f"task{at}") for at in range(8))
        results = await asyncio.gather(*swaps)
        winners = [at for at, revision in enumerate(results) if revision is not None]
        assert len(winners) == 1
        there = await directory.get(name)
        assert there is not None
        assert (there.value, there.revision) == (f"task{winners[0]}", results[winners[0]])

    @pytest.mark.parametrize("wrong", ["", "/a", "a/", "a//b", "a\nb", "endpoints/blobs/a", "x" * 2000, "\ud800"])
    async def test_a_name_that_is_none_is_rejected(self, directory: Directory, wrong: str) -> None:
        with pytest.raises(Rejected):
            await directory.get(wrong)
        with pytest.raises(Rejected):
            await directory.compare_and_swap(wrong, None, "x")

    @pytest.mark.parametrize("wrong", ["", "a/b", ".", "a b", "ä"])
    async def test_a_node_or_service_that_is_no_part_of_a_key_is_rejected(
        self, directory: Directory, wrong: str
    ) -> None:
        for bad in (endpoint(wrong), endpoint("a", wrong)):
            with pytest.raises(Rejected):
                await directory.announce(bad, 10)
            with pytest.raises(Rejected):
                await directory.withdraw(bad)
        with pytest.raises(Rejected):
            await directory.endpoints(wrong)
        with pytest.raises(Rejected):
            await anext(directory.watch(wrong))

    async def test_check_says_something_for_people(self, directory: Directory) -> None:
        assert await directory.check()
