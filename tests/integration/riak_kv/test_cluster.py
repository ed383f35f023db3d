"""The journal and catalog of a cluster on Riak KV: several handles at once, and a Riak that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from controlplane.adapters.riak_kv import RiakCatalog, RiakHttp, RiakJournal, RiakKvOptions
from controlplane.adapters.riak_kv.journal_document import record_key
from controlplane.adapters.riak_kv.records import REMEMBERED_S, Records
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.content import Md5, Sha256
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import LocationState
from controlplane.model.sharding import SHARDS, Shard, shard_of
from controlplane.ports.errors import Conflict, Full, Rejected, Unavailable
from tests.contract.catalog_suite import FAR, NEAR, at, manifest
from tests.contract.journal_suite import NOW, draft
from tests.support.ports import free_port
from tests.support.riak_kv import RiakNode, given_or_standin

Open = Callable[..., Awaitable[RiakJournal]]


class ShiftedClock(SystemClock):
    """The system's, some seconds ahead."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def now(self) -> float:
        return super().now() + self.ahead_s


@pytest.fixture(scope="module")
def riak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    with given_or_standin(tmp_path_factory.mktemp("riak")) as node:
        yield node


@pytest.fixture
async def opened(riak: RiakNode) -> AsyncIterator[Open]:
    """Further handles of one cluster's journal, as other nodes have them."""
    cluster = riak.cluster()
    async with AsyncExitStack() as closing:

        async def open_(node: str, limit: int = 1000, clock: SystemClock | None = None, **more: float) -> RiakJournal:
            clock = clock or SystemClock()
            kv = riak.over_http(clock)
            journal = RiakJournal(kv, cluster=cluster, node=node, limit=limit, clock=clock, **more)
            await journal.open()
            closing.push_async_callback(journal.aclose)
            return journal

        yield open_


async def test_what_one_node_appends_another_drains_and_a_third_counts(opened: Open) -> None:
    gateway, agent = await opened("g"), await opened("a")
    tasks = [await gateway.append(draft(f"k{n}", 5), NOW + n) for n in range(20)]
    assert list(await agent.due(NOW + 30, 100)) == tasks
    await agent.close([task.seq for task in tasks[:15]], copied={tasks[0].seq: 5}, now=NOW + 40)
    third = await opened("t")
    stats = await third.stats()
    assert (stats.pending, stats.pending_bytes, stats.oldest_enqueued_at) == (5, 25, NOW + 15)
    figures = (await third.rules())[""]
    assert (figures.pending, figures.copied, figures.copied_bytes, figures.progress_at) == (5, 1, 5, NOW + 40)
    # A handle that has never met a task finds it by its number.
    await third.bury(tasks[16].seq, attempts=1, error="no")
    assert [task.seq for task in await agent.failed()] == [tasks[16].seq]


async def test_entries_of_one_key_keep_their_order_whatever_the_clocks_say(opened: Open) -> None:
    first, second = await opened("a"), await opened("b")
    one = await first.append(draft("k"), NOW + 3600)  # an hour ahead
    two = await second.append(draft("k"), NOW)
    three = await first.append(draft("k"), NOW + 3600)
    assert one.seq < two.seq < three.seq
    assert list(await second.due(NOW + 7200, 10)) == [one]
    await second.close([one.seq])
    assert list(await first.due(NOW + 7200, 10)) == [two]


async def test_changes_that_do_not_know_of_each_other_are_all_kept(opened: Open) -> None:
    """Many nodes append to, postpone and close entries of a few keys at once: siblings are joined, nothing is lost."""
    nodes = [await opened(f"n{n}") for n in range(5)]
    drafts = [(node, draft(f"k{n % 3}")) for n in range(12) for node in nodes]
    tasks = await asyncio.gather(*(node.append(what, NOW) for node, what in drafts))
    assert len({task.seq for task in tasks}) == len(tasks)
    found: set[int] = set()
    for turn in range(200):
        due = await nodes[turn % 5].due(NOW + 1, 100)
        if not due:
            break
        assert not found & {task.seq for task in due}  # nothing is done twice when nobody crashes
        found |= {task.seq for task in due}
        await asyncio.gather(*(nodes[n % 5].close([task.seq]) for n, task in enumerate(due)))
    assert found == {task.seq for task in tasks}
    assert (await (await opened("end")).stats()).pending == 0


async def test_each_agent_gets_what_is_in_its_shards(opened: Open) -> None:
    journal = await opened("a")
    tasks = [await journal.append(draft(f"k{n}", rule="far" if n % 2 else ""), NOW) for n in range(30)]
    owned = [frozenset(Shard(n) for n in range(SHARDS) if n % 3 == part) for part in range(3)]
    parts = [await journal.due(NOW, 100, shards=shards) for shards in owned]
    for shards, part in zip(owned, parts, strict=True):
        assert {shard_of(task.draft.bucket, task.draft.key) for task in part} <= shards
    assert sorted(task.seq for part in parts for task in part) == [task.seq for task in tasks]
    assert [task.seq for task in await journal.due(NOW, 100, shards=owned[0], rule="far")] == [
        task.seq for task in parts[0] if task.draft.rule == "far"
    ]
    assert list(await journal.due(NOW, 100, shards=())) == []


async def test_the_bound_counts_what_others_appended_after_a_recount(opened: Open) -> None:
    mine, other = await opened("a", 5, recount_s=0.0), await opened("b", 5)
    for n in range(3):
        await other.append(draft(f"o{n}"), NOW)
    await mine.append(draft("m0"), NOW)
    for n in range(1, 20):
        try:
            await mine.append(draft(f"m{n}"), NOW)
        except Full:
            break
        await asyncio.sleep(0.3)  # the recount goes on beside the work
    assert n < 19
    assert 5 <= (await (await opened("c")).stats()).pending <= 8


async def test_a_record_is_removed_when_nothing_late_can_bring_its_entries_back(opened: Open, riak: RiakNode) -> None:
    clock = ShiftedClock()
    journal = await opened("a", clock=clock)
    task = await journal.append(draft("k"), NOW)
    await journal.close([task.seq])
    records: Records = journal._records
    key = record_key("blobs", "k", "")
    assert await records.sweep(clock.now() - REMEMBERED_S) == 0
    record = await records.get(key)
    assert record is not None
    assert list(record.closed) == [task.seq]
    clock.ahead_s = REMEMBERED_S + 5
    assert await records.sweep(clock.now() - REMEMBERED_S) == 1
    assert await records.get(key) is None
    again = await journal.append(draft("k"), NOW)
    assert list(await journal.due(NOW, 10)) == [again]


async def test_more_entries_of_one_key_than_are_indexed_are_counted(opened: Open) -> None:
    journal = await opened("a")
    for n in range(105):
        await journal.append(draft("k", 3), NOW + n)
    stats = await (await opened("b")).stats()
    assert (stats.pending, stats.pending_bytes) == (105, 315)


# -- the catalog ------------------------------------------------------------------------------------------------------


async def test_catalog_changes_of_several_nodes_are_joined(riak: RiakNode) -> None:
    cluster = riak.cluster()
    clock = SystemClock()
    async with AsyncExitStack() as closing:
        nodes = []
        for _ in range(4):
            kv = riak.over_http(clock)
            nodes.append(RiakCatalog(kv, cluster=cluster, clock=clock))
            closing.push_async_callback(nodes[-1].aclose)
        known = manifest("a", NEAR)
        await nodes[0].record(known)
        stores = [StoreName(f"s{n}") for n in range(4)]
        await asyncio.gather(
            *(
                node.set_locations([(known.guid, at(store, known.content))])
                for node, store in zip(nodes, stores, strict=True)
            )
        )
        found = await nodes[0].get(known.guid)
        assert found is not None
        assert {location.store for location in found.locations} == {NEAR, *stores}
        with pytest.raises(Conflict):
            await nodes[1].record(replace(known, content=replace(known.content, sha256=Sha256("0" * 64))))
        for store in stores:
            assert (await nodes[2].counts(store))[LocationState.MIRRORED] == 1


async def test_of_two_nodes_rows_of_one_copy_the_later_counts_once(riak: RiakNode) -> None:
    cluster, clock, bucket = riak.cluster(), SystemClock(), Bucket("b")
    async with AsyncExitStack() as closing:
        nodes = []
        for _ in range(2):
            kv = riak.over_http(clock)
            nodes.append(RiakCatalog(kv, cluster=cluster, clock=clock))
            closing.push_async_callback(nodes[-1].aclose)
        for turn in range(10):
            rows = [[Copy(Key(f"k{n}"), f"{turn}-{who}", n, 1, "t") for n in range(5)] for who in range(2)]
            await asyncio.gather(
                *(node.record_copies(FAR, bucket, part) for node, part in zip(nodes, rows, strict=True))
            )
            found = await nodes[0].copies(FAR, bucket)
            assert [copy.key for copy in found] == [f"k{n}" for n in range(5)]
            assert all(copy in rows[0] or copy in rows[1] for copy in found)
            assert [copy.key for copy in await nodes[1].copies(FAR, bucket, limit=3)] == ["k0", "k1", "k2"]


# -- a Riak that fails ------------------------------------------------------------------------------------------------


def client(*urls: str, kind: str = "default", **options: float) -> RiakHttp:
    return RiakHttp(RiakKvOptions(urls, kind, **options), SystemClock())  # type: ignore[arg-type]


async def test_a_node_that_is_away_is_passed_over(riak: RiakNode) -> None:
    kv = client(f"http://127.0.0.1:{free_port()}", riak.http_url, kind=riak.bucket_type)
    bucket = riak.cluster()
    for n in range(4):
        await kv.store(bucket, f"k{n}", b"v")
        assert (await kv.fetch(bucket, f"k{n}")).values == (b"v",)
    await kv.aclose()


async def test_an_outage_is_never_not_found() -> None:
    kv = client(f"http://127.0.0.1:{free_port()}")
    journal = RiakJournal(kv, cluster="c", node="n", limit=5, clock=SystemClock())
    catalog = RiakCatalog(kv, cluster="c", clock=SystemClock())
    await journal.open()
    for call in (
        lambda: kv.fetch("b", "k"),
        lambda: kv.index("b", "x_bin", "0", "1", limit=1),
        lambda: kv.delete("b", "k", b""),
        lambda: journal.find(5),
        lambda: journal.due(NOW, 1),
        lambda: journal.append(draft("k"), NOW),
        lambda: catalog.get(Md5("0" * 32)),
        lambda: catalog.by_sha256(Sha256("0" * 64)),
    ):
        with pytest.raises(Unavailable, match="no node of Riak KV answers"):
            await call()
    await kv.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Object Not Found\r\nContent-Length: 5\r\n\r\nproxy",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 18\r\n\r\nrequest timed out\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut",
        b"HTTP/1.1 300 Multiple Choices\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nSiblings:",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["404 of a proxy", "503", "cut", "siblings as text", "no http", "nothing"],
)
async def test_nonsense_is_unavailable(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    kv = client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(Unavailable):
        await kv.fetch("b", "k")
    await kv.aclose()
    server.close()
    await server.wait_closed()


async def test_a_node_that_hangs_is_given_up_and_the_next_is_asked(riak: RiakNode) -> None:
    hung = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await hung.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    kv = client(url, riak.http_url, kind=riak.bucket_type, timeout_s=0.4, connect_timeout_s=0.1)
    bucket = riak.cluster()
    for n in range(3):
        await kv.store(bucket, f"k{n}", b"v")
    assert (await kv.fetch(bucket, "k1")).values == (b"v",)
    hung.set()
    await kv.aclose()
    server.close()
    await server.wait_closed()


async def test_more_than_the_bound_is_pushed_back(riak: RiakNode) -> None:
    kv = client(riak.http_url, kind=riak.bucket_type, waiting=5)
    answers = await asyncio.gather(*(kv.fetch(riak.cluster(), "k") for _ in range(9)), return_exceptions=True)
    pushed_back = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(pushed_back) == 4
    assert "pushed back" in str(pushed_back[0])
    assert (await kv.fetch(riak.cluster(), "k")).values == ()
    await kv.aclose()


async def test_an_unknown_bucket_type_is_refused_with_what_to_do(riak: RiakNode) -> None:
    kv = client(riak.http_url, kind="nonsense")
    for call in (lambda: kv.fetch("b", "k"), lambda: kv.store("b", "k", b"")):
        with pytest.raises(Rejected, match="bucket-type create"):
            await call()
    await kv.aclose()


async def test_an_empty_name_is_refused_before_it_means_something_else(riak: RiakNode) -> None:
    """Riak's server passes over empty parts of a path: of a range without a lower end it would see one term."""
    kv = client(riak.http_url, kind=riak.bucket_type)
    for call in (
        lambda: kv.index("b", "x_bin", "", "z", limit=1),
        lambda: kv.index("b", "x_bin", "a", "", limit=1),
        lambda: kv.fetch("b", ""),
        lambda: kv.store("", "k", b""),
        lambda: kv.delete("b", "", b""),
    ):
        with pytest.raises(Rejected, match="empty"):
            await call()
    await kv.aclose()


async def test_siblings_and_tombstones(riak: RiakNode) -> None:
    kv = client(riak.http_url, kind=riak.bucket_type)
    bucket = riak.cluster()
    await kv.store(bucket, "a/ü %2F", b"one\r\n--x", indexes=[("x_bin", "1")])
    with pytest.raises(Conflict):
        await kv.store(bucket, "a/ü %2F", b"two", if_absent=True)
    await kv.store(bucket, "a/ü %2F", b"two")  # without the clock
    found = await kv.fetch(bucket, "a/ü %2F")
    assert sorted(found.values) == [b"one\r\n--x", b"two"]
    await kv.store(bucket, "a/ü %2F", b"three")  # a third that the next line does not know of
    await kv.delete(bucket, "a/ü %2F", found.clock)
    left = await kv.fetch(bucket, "a/ü %2F")
    assert left.values == (b"three",)
    await kv.delete(bucket, "a/ü %2F", left.clock)
    gone = await kv.fetch(bucket, "a/ü %2F")
    assert gone.values == ()
    await kv.store(bucket, "a/ü %2F", b"four", clock=gone.clock, if_absent=True)
    assert (await kv.fetch(bucket, "a/ü %2F")).values == (b"four",)
    await kv.delete(bucket, "never was", b"")
    await kv.ping()
    await kv.aclose()


async def test_an_index_is_read_page_by_page(riak: RiakNode) -> None:
    kv = riak.over_http()
    bucket = riak.cluster()
    for n in range(7):
        await kv.store(bucket, f"k{n}", b"", indexes=[("x_bin", f"{n}"), ("x_bin", f"9{n}")])
    rows: list[tuple[str, str]] = []
    continuation = b""
    pages = 0
    while True:
        page = await kv.index(bucket, "x_bin", "0", "~", limit=7, continuation=continuation)
        rows += page.rows
        pages += 1
        if not page.continuation:
            break
        continuation = page.continuation
    assert rows == [(f"{n}", f"k{n}") for n in range(7)] + [(f"9{n}", f"k{n}") for n in range(7)]
    assert pages == 3  # a full last page has a continuation too
    assert (await kv.index(bucket, "x_bin", "0", "~", limit=9, regex="^9[12]")).rows == (("91", "k1"), ("92", "k2"))
    await kv.aclose()
