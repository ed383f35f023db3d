"""What the processes of one gateway share: each object here stands for a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from controlplane.adapters.change_board import ChangeBoard, create_board
from controlplane.adapters.memory.hot_cache import MemoryHotCache
from controlplane.adapters.memory.object_store import MemoryObjectStore
from controlplane.adapters.node_locks import FileLocks
from controlplane.adapters.watched_hot_cache import WatchedHotCache
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.services.fill_fence import FillFence
from controlplane.services.guid_locks import GuidLocks
from controlplane.services.s3.subresources import Kind, Subresources
from tests.support.object_node import FakeBuckets
from tests.support.virtual_time import VirtualClock

ONE, TWO = Md5("1" * 32), Md5("2" * 32)
PLACE = Bucket("b"), Key("k")


@pytest.fixture
def boards() -> Iterator[tuple[ChangeBoard, ChangeBoard]]:
    fd = create_board()
    pair = ChangeBoard(fd), ChangeBoard(fd)
    os.close(fd)
    yield pair
    for board in pair:
        board.close()


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[FileLocks, FileLocks]]:
    pair = FileLocks(tmp_path / "locks"), FileLocks(tmp_path / "locks")
    yield pair
    for each in pair:
        each.close()


class TestLocks:
    def test_one_exclusive_holder_or_many_that_share(self, locks: tuple[FileLocks, FileLocks]) -> None:
        one, two = locks
        assert one.try_exclusive("a")
        assert not two.try_exclusive("a")
        assert not two.try_shared("a")
        assert not one.try_exclusive("a")  # two tasks of one process are two holders
        assert two.try_exclusive("b")
        one.release("a")
        assert two.try_shared("a")
        assert one.try_shared("a")
        assert one.try_shared("a")
        one.release("a")
        assert not two.try_exclusive("a")
        two.release("a")
        assert not two.try_exclusive("a")
        one.release("a")
        assert two.try_exclusive("a")

    def test_what_a_killed_process_held_is_free(self, tmp_path: Path) -> None:
        holds = (
            "import sys, time; from pathlib import Path; from controlplane.adapters.node_locks import FileLocks\n"
            "held = FileLocks(Path(sys.argv[1])); print(held.try_exclusive('a'), flush=True); time.sleep(60)"
        )
        own = FileLocks(tmp_path / "locks")
        with subprocess.Popen([sys.executable, "-c", holds, str(tmp_path / "locks")], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"True\n"
            assert not own.try_shared("a")
            other.send_signal(signal.SIGKILL)
        assert own.try_exclusive("a")
        own.close()

    async def test_a_guid_has_one_holder_in_all_processes(
        self, locks: tuple[FileLocks, FileLocks], clock: VirtualClock
    ) -> None:
        processes = [GuidLocks(each, clock) for each in locks]
        held: set[Md5] = set()

        async def work(process: GuidLocks, guid: Md5) -> None:
            for _ in range(20):
                async with process.hold(guid):
                    assert guid not in held
                    held.add(guid)
                    await clock.sleep(0.01)
                    held.remove(guid)

        await asyncio.gather(*(work(each, guid) for each in processes for guid in (ONE, ONE, TWO)))


class TestFillFence:
    async def test_a_write_waits_for_the_fill_of_another_process(
        self, locks: tuple[FileLocks, FileLocks], clock: VirtualClock
    ) -> None:
        source = FakeBuckets("riak-cs", clock)
        filler, writer = (FillFence(clock, source, None, each) for each in locks)
        async with filler.filling(*PLACE) as free:
            assert free
            writing = asyncio.create_task(writer.begin_write(*PLACE))
            await clock.sleep(10)
            assert not writing.done()
            await writer.begin_write(PLACE[0], Key("another"))
        await writing
        async with filler.filling(*PLACE) as free:
            assert not free
        await writer.end_write(*PLACE, "etag")
        async with filler.filling(*PLACE) as free:
            assert free

    async def test_writes_of_one_key_in_several_processes_go_side_by_side(
        self, locks: tuple[FileLocks, FileLocks], clock: VirtualClock
    ) -> None:
        source = FakeBuckets("riak-cs", clock)
        fences = [FillFence(clock, source, None, each) for each in locks]
        await asyncio.wait_for(asyncio.gather(*(fence.begin_write(*PLACE) for fence in fences)), 1)
        fences[0].end_delete(*PLACE)
        async with fences[0].filling(*PLACE) as free:
            assert not free  # the other one still writes


class TestHotCaches:
    async def test_i4_what_one_evicts_the_others_do_not_take_for_valid(
        self, boards: tuple[ChangeBoard, ChangeBoard], clock: VirtualClock
    ) -> None:
        one, two = (WatchedHotCache(MemoryHotCache(100_000, 1000), board, clock) for board in boards)
        for guid in (ONE, TWO):
            for cache in (one, two):
                await cache.admit(Content(guid, Sha256("0" * 64), 1), "", b"x", clock.now())
        await clock.sleep(1)
        one.evict(ONE)
        assert one.lookup(ONE) is None
        stale, other = two.lookup(ONE), two.lookup(TWO)
        assert stale is not None
        assert stale.validated_at == 0
        assert other is not None
        assert other.validated_at > 0
        await clock.sleep(1)
        two.touch(ONE, clock.now())  # a store was asked meanwhile
        again = two.lookup(ONE)
        assert again is not None
        assert again.validated_at == clock.now()


class TestChanges:
    def test_a_name_keeps_its_youngest_change(self, boards: tuple[ChangeBoard, ChangeBoard]) -> None:
        one, two = boards
        assert two.last("a") == -inf
        one.mark("a", 5.0)
        two.mark("a", 4.0)
        assert one.last("a") == two.last("a") == 5.0
        names = [f"{n}" for n in range(1000)]
        assert sum(two.last(name) == -inf for name in names) > 990

    async def test_a_document_that_one_process_changes_counts_at_once_in_the_others(
        self, boards: tuple[ChangeBoard, ChangeBoard], clock: VirtualClock
    ) -> None:
        store = MemoryObjectStore(StoreName("private"), clock=clock)
        one, two = (Subresources(store, clock, 5, board) for board in boards)
        for document in (b"<A/>", b"<B/>"):
            await clock.sleep(0.1)
            await one.put_bucket_document("b", Kind.CORS, document)
            assert await two.bucket_document("b", Kind.CORS) == document
            assert await one.bucket_document("b", Kind.CORS) == document
        await clock.sleep(0.1)
        assert not two.known_absent("b", Kind.CORS)
        await one.delete_bucket_document("b", Kind.CORS)
        assert await two.bucket_document("b", Kind.CORS) is None
        await clock.sleep(0.1)
        await two.put_bucket_document("b", Kind.CORS, b"<C/>")
        assert not one.known_absent("b", Kind.CORS)


def test_guids_spread_over_the_board() -> None:
    fd = create_board()
    board = ChangeBoard(fd)
    os.close(fd)
    for n in range(100):
        board.mark(hashlib.md5(b"%d" % n).hexdigest(), 1.0)
    hit = sum(board.last(hashlib.md5(b"x%d" % n).hexdigest()) > 0 for n in range(10_000))
    assert hit < 200  # 100 of 32,768 places: a hundredth asks once too often at most
    board.close()
