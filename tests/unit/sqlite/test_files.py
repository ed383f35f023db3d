"""Database files: durable, shared, refused when damaged, and honest about disks that do not take a write."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.sqlite.faults import translate
from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.adapters.sqlite.journal_session import JournalSession
from controlplane.adapters.sqlite.schema import Schema, open_database
from controlplane.ports.errors import Corrupt, Full, MillraceError, Rejected, StorageFull, Unavailable
from tests.contract.catalog_suite import NEAR, manifest
from tests.contract.journal_suite import NOW, draft


async def opened(path: Path, limit: int = 1000) -> SqliteJournal:
    journal = SqliteJournal(path, limit=limit)
    await journal.open()
    return journal


async def with_pragma(journal: SqliteJournal, pragma: str) -> None:
    """A fault of the disk, as SQLite itself reports it: set on the writer's connection between two transactions."""

    def apply(session: JournalSession) -> None:
        session.connection.execute(f"PRAGMA {pragma}")

    await journal._writer.submit(apply, guarded=False)


class TestDurability:
    async def test_a_journal_is_found_again_after_it_was_closed(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db")
        tasks = [await journal.append(draft(f"k{n % 2}", 5), NOW) for n in range(4)]
        await journal.bury(tasks[1].seq, attempts=2, error="no")
        before = await journal.stats()
        await journal.aclose()
        journal = await opened(tmp_path / "j.db")
        assert await journal.stats() == before
        assert list(await journal.due(NOW, 10)) == [tasks[0], tasks[3]]
        await journal.close([task.seq for task in tasks])
        await journal.aclose()
        journal = await opened(tmp_path / "j.db")
        assert (await journal.append(draft("x"), 1.0)).seq > tasks[-1].seq  # although that entry is gone
        await journal.aclose()

    async def test_a_catalog_is_found_again_after_it_was_closed(self, tmp_path: Path) -> None:
        for _ in range(2):
            catalog = SqliteCatalog(tmp_path / "c.db")
            await catalog.open()
            await catalog.record(manifest("a", NEAR))
            await catalog.aclose()
        catalog = SqliteCatalog(tmp_path / "c.db")
        await catalog.open()
        assert await catalog.get(manifest("a").guid) == manifest("a", NEAR)
        assert sum((await catalog.counts(NEAR)).values()) == 1
        await catalog.aclose()

    async def test_what_is_queued_is_written_before_it_closes(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db")
        appends = [asyncio.create_task(journal.append(draft(f"k{n}"), NOW)) for n in range(300)]
        await asyncio.sleep(0)
        await journal.aclose()
        assert len({task.seq for task in await asyncio.gather(*appends)}) == 300
        journal = await opened(tmp_path / "j.db")
        assert (await journal.stats()).pending == 300
        await journal.aclose()

    async def test_more_writes_than_the_queue_holds_wait_their_turn(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db", 5000)
        await asyncio.gather(*(journal.append(draft(f"k{n}"), NOW) for n in range(3000)))
        assert (await journal.stats()).pending == 3000
        await journal.aclose()


class TestTwoInstances:
    async def test_they_keep_the_bound_and_the_order_together(self, tmp_path: Path) -> None:
        one, two = await opened(tmp_path / "j.db", 100), await opened(tmp_path / "j.db", 100)
        answers = await asyncio.gather(
            *((one, two)[n % 2].append(draft(f"k{n % 9}"), NOW - n % 2 * 50) for n in range(160)),
            return_exceptions=True,
        )
        seqs = [answer.seq for answer in answers if not isinstance(answer, BaseException)]
        assert len(set(seqs)) == 100
        assert sum(isinstance(answer, Full) for answer in answers) == 60
        assert await one.stats() == await two.stats()
        seen: list[tuple[str, int]] = []
        while batch := await two.due(NOW, 4):
            seen += [(task.draft.key, task.seq) for task in batch]
            await one.close([task.seq for task in batch])
        assert sorted(seq for _, seq in seen) == sorted(seqs)
        for key in {key for key, _ in seen}:
            ordered = [seq for at, seq in seen if at == key]
            assert ordered == sorted(ordered)
        await one.aclose()
        await two.aclose()

    async def test_both_may_create_it_at_once(self, tmp_path: Path) -> None:
        journals = [SqliteJournal(tmp_path / "j.db", limit=100) for _ in range(4)]
        await asyncio.gather(*(journal.open() for journal in journals))
        for journal in journals:
            await journal.append(draft("a"), NOW)
        assert (await journals[0].stats()).pending == 4
        for journal in journals:
            await journal.aclose()
        assert [path.name for path in tmp_path.iterdir()] == ["j.db"]


class TestManyEntries:
    async def test_a_mass_that_comes_due_at_once_is_all_answered_in_the_end(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db", 20_000)
        tasks = await asyncio.gather(*(journal.append(draft(f"k{n}"), NOW) for n in range(9000)))
        await asyncio.gather(
            *(journal.postpone(t.seq, attempts=1, due_at=NOW + 60 + n % 7, error="") for n, t in enumerate(tasks))
        )
        assert list(await journal.due(NOW + 59, 500)) == []
        seen: set[int] = set()
        while batch := await journal.due(NOW + 70, 500):
            seqs = [task.seq for task in batch]
            assert seqs == sorted(seqs)
            assert seen.isdisjoint(seqs)
            seen.update(seqs)
            await journal.close(seqs)
        assert seen == {task.seq for task in tasks}
        await journal.aclose()

    async def test_revive_all_reaches_every_dead_letter(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db", 20_000)
        tasks = await asyncio.gather(*(journal.append(draft(f"k{n}"), NOW) for n in range(5000)))
        await asyncio.gather(*(journal.bury(task.seq, attempts=1, error="") for task in tasks))
        assert await journal.revive(None, NOW) == 5000
        assert (await journal.stats()).failed == 0
        assert len(await journal.due(NOW, 6000)) == 5000
        await journal.aclose()


class TestDamage:
    @pytest.mark.parametrize("damage", [b"", b"\0" * 8192, b"this is not a database" * 1000])
    async def test_a_damaged_journal_is_refused_and_left_as_it_is(self, tmp_path: Path, damage: bytes) -> None:
        path = tmp_path / "j.db"
        path.write_bytes(damage)
        with pytest.raises(Corrupt, match=r"j\.db.*never recreated"):
            await opened(path)
        assert path.read_bytes() == damage

    async def test_a_torn_page_or_a_cut_file_is_found_when_it_is_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "j.db"
        journal = await opened(path)
        await asyncio.gather(*(journal.append(draft(f"k{n}"), NOW) for n in range(500)))
        await journal.aclose()
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], whole[:8192] + b"\xa5" * 8192 + whole[16384:]):
            path.write_bytes(damaged)
            with pytest.raises(Corrupt, match="stop Millrace"):
                await opened(path)

    async def test_a_lost_file_whose_wal_is_there_is_not_recreated(self, tmp_path: Path) -> None:
        (tmp_path / "j.db-wal").write_bytes(b"entries")
        with pytest.raises(Corrupt, match="missing"):
            await opened(tmp_path / "j.db")
        assert not (tmp_path / "j.db").exists()

    async def test_a_file_that_another_process_made_after_the_first_look_is_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "j.db"
        other = await opened(path)
        await other.append(draft("k"), NOW)
        assert (tmp_path / "j.db-wal").exists()
        really = Path.exists
        looks = 0

        def exists(self: Path) -> bool:
            nonlocal looks
            looks += self == path
            return really(self) and not (self == path and looks == 1)

        monkeypatch.setattr(Path, "exists", exists)
        journal = await opened(path)
        assert looks > 1
        assert (await journal.stats()).pending == 1
        await journal.aclose()
        await other.aclose()

    async def test_a_damaged_catalog_says_that_it_can_be_removed(self, tmp_path: Path) -> None:
        (tmp_path / "c.db").write_bytes(b"x" * 5000)
        catalog = SqliteCatalog(tmp_path / "c.db")
        with pytest.raises(Corrupt, match=r"remove the file.*rebuilt"):
            await catalog.open()

    async def test_the_catalog_is_not_taken_for_the_journal(self, tmp_path: Path) -> None:
        catalog = SqliteCatalog(tmp_path / "c.db")
        await catalog.open()
        await catalog.aclose()
        with pytest.raises(Corrupt, match="not a journal"):
            await opened(tmp_path / "c.db")


class TestVersions:
    ONE = Schema("notes", 7, ("CREATE TABLE a (x)",), True, "throw it away")
    TWO = Schema("notes", 7, ("CREATE TABLE a (x)", "CREATE TABLE b (x);\nINSERT INTO b VALUES (1)"), True, "")

    def test_an_older_file_is_brought_up_to_date(self, tmp_path: Path) -> None:
        open_database(tmp_path / "n.db", self.ONE).close()
        for _ in range(2):
            connection = open_database(tmp_path / "n.db", self.TWO)
            assert connection.execute("SELECT x FROM b").fetchall() == [(1,)]
            connection.close()

    def test_a_newer_file_is_refused(self, tmp_path: Path) -> None:
        open_database(tmp_path / "n.db", self.TWO).close()
        with pytest.raises(Rejected, match=r"n\.db has version 2 .* up to 1.*newer Millrace"):
            open_database(tmp_path / "n.db", self.ONE)

    def test_a_failed_step_changes_nothing(self, tmp_path: Path) -> None:
        open_database(tmp_path / "n.db", self.ONE).close()
        broken = Schema("notes", 7, (*self.ONE.versions, "CREATE TABLE b (x);\nCREATE TABLE a (x)"), True, "")
        with pytest.raises(Unavailable, match="already exists"):
            open_database(tmp_path / "n.db", broken)
        connection = open_database(tmp_path / "n.db", self.TWO)
        assert connection.execute("SELECT count(*) FROM b").fetchone() == (1,)
        connection.close()


class TestDisk:
    async def test_a_full_disk_is_storage_full_and_recovers(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db", 100_000)
        first = await journal.append(draft("first"), NOW)
        await with_pragma(journal, "max_page_count=40")
        answers = await asyncio.gather(
            *(journal.append(draft(f"k{n:04}" * 40), NOW) for n in range(900)), return_exceptions=True
        )
        assert all(isinstance(answer, StorageFull) for answer in answers if isinstance(answer, BaseException))
        written = sum(not isinstance(answer, BaseException) for answer in answers)
        assert written < 900
        assert (await journal.stats()).pending == 1 + written
        assert (await journal.due(NOW, 1))[0] == first
        await with_pragma(journal, "max_page_count=100000")
        await journal.append(draft("after"), NOW)
        assert (await journal.stats()).pending == 2 + written
        await journal.aclose()

    async def test_a_file_that_became_read_only_is_unavailable(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db")
        first = await journal.append(draft("a"), NOW)
        await with_pragma(journal, "query_only=ON")
        with pytest.raises(Unavailable, match=r"j\.db.*READONLY.*owner and mode"):
            await journal.append(draft("b"), NOW)
        assert list(await journal.due(NOW, 10)) == [first]
        await journal.aclose()

    async def test_a_missing_directory_is_unavailable(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="check that its directory is there"):
            await opened(tmp_path / "missing" / "j.db")
        assert not (tmp_path / "missing").exists()

    @pytest.mark.parametrize(
        ("code", "category"),
        [
            (sqlite3.SQLITE_FULL, StorageFull),
            (sqlite3.SQLITE_IOERR_SHMSIZE, StorageFull),
            (sqlite3.SQLITE_BUSY, Unavailable),
            (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable),
            (sqlite3.SQLITE_IOERR_FSYNC, Unavailable),
            (sqlite3.SQLITE_READONLY_DBMOVED, Unavailable),
            (sqlite3.SQLITE_CANTOPEN, Unavailable),
            (sqlite3.SQLITE_CORRUPT_INDEX, Corrupt),
            (sqlite3.SQLITE_NOTADB, Corrupt),
            (None, Unavailable),
        ],
    )
    def test_every_result_code_has_its_category(self, code: int | None, category: type[MillraceError]) -> None:
        error = sqlite3.OperationalError("said so")
        if code is not None:
            error.sqlite_errorcode = code
        fault = translate(error, "the journal j.db", "do this")
        assert type(fault) is category
        assert "the journal j.db" in str(fault)


class TestWrites:
    async def test_a_failing_write_does_not_touch_those_of_its_transaction(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db")
        first = await journal.append(draft("z", 5), NOW)

        def breaks(session: JournalSession) -> None:
            session.close_entries([first.seq])
            session.connection.execute("INSERT INTO meta VALUES (2, 0, 0, 0, 0)")

        answers = await asyncio.gather(
            journal.append(draft("a"), NOW),
            journal._writer.submit(breaks),
            journal.append(draft("b"), NOW),
            journal.postpone(first.seq, attempts=3, due_at=NOW, error=""),
            return_exceptions=True,
        )
        assert isinstance(answers[1], Unavailable)
        assert isinstance(answers[1].__cause__, sqlite3.IntegrityError)
        assert [t.draft.key for t in await journal.due(NOW, 10)] == ["z", "a", "b"]
        assert (await journal.stats()).pending_bytes == 25
        await journal.aclose()

    async def test_a_cancelled_caller_leaves_the_others_alone(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db", 10_000)
        appends = [asyncio.create_task(journal.append(draft(f"k{n}"), NOW)) for n in range(2000)]
        await asyncio.sleep(0)
        for append in appends[::2]:
            append.cancel()
        answers = await asyncio.gather(*appends, return_exceptions=True)
        kept = {answer.seq for answer in answers if not isinstance(answer, BaseException)}
        assert len(kept) == 1000
        await journal.append(draft("the room was given back"), NOW)
        assert kept <= {task.seq for task in await journal.due(NOW, 3000)}
        await journal.aclose()

    async def test_what_sqlite_cannot_hold_is_rejected_alone(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db")
        answers = await asyncio.gather(
            *(journal.append(draft(key, size), NOW) for key, size in (("\ud800", 1), ("big", 1 << 63), ("ok", 1))),
            return_exceptions=True,
        )
        assert [type(answer).__name__ for answer in answers] == ["Rejected", "Rejected", "Task"]
        await journal.bury(answers[2].seq, attempts=1, error="bad \ud800 text")
        assert (await journal.failed())[0].error == "bad \\ud800 text"
        await journal.aclose()

    async def test_a_lock_held_too_long_is_unavailable(self, tmp_path: Path) -> None:
        journal = await opened(tmp_path / "j.db")
        await with_pragma(journal, "busy_timeout=20")
        other = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="BUSY"):
            await journal.append(draft("a"), NOW)
        other.execute("ROLLBACK")
        other.close()
        await journal.append(draft("a"), NOW)
        await journal.aclose()


class TestFlushing:
    async def test_nobody_waits_for_the_disk_of_another_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The write lock is free while a commit is flushed: processes flush side by side."""
        one, two = await opened(tmp_path / "j.db"), await opened(tmp_path / "j.db")
        await with_pragma(two, "busy_timeout=0")
        flushing, go_on = threading.Event(), threading.Event()
        flush = os.fdatasync

        def slow(fd: int) -> None:
            if not flushing.is_set():
                flushing.set()
                go_on.wait(10)
            flush(fd)

        monkeypatch.setattr(os, "fdatasync", slow)
        waits = asyncio.create_task(one.append(draft("a"), NOW))
        assert await asyncio.to_thread(flushing.wait, 10)
        second = await two.append(draft("b"), NOW)
        assert not waits.done()
        go_on.set()
        assert (await waits).seq < second.seq
        await one.aclose()
        await two.aclose()

    async def test_what_was_not_flushed_is_not_acknowledged_and_the_log_is_begun_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = await opened(tmp_path / "j.db")
        await journal.append(draft("a"), NOW)
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", _fails)
            with pytest.raises(Unavailable, match="did not take a write"):
                await journal.append(draft("b"), NOW)
        log = tmp_path / "j.db-wal"
        reader = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entry").fetchone()
        await with_pragma_free(journal)
        before = log.stat().st_size
        # A later flush says nothing about what the disk has lost: first the log must go.
        with pytest.raises(Unavailable, match="cannot be written anew"):
            await journal.append(draft("c"), NOW)
        assert log.stat().st_size >= before > 0
        reader.execute("ROLLBACK")
        reader.close()
        await journal.append(draft("d"), NOW)
        assert log.stat().st_size < before
        assert [task.draft.key for task in await journal.due(NOW, 10)][-1] == "d"
        await journal.aclose()


async def with_pragma_free(journal: SqliteJournal) -> None:
    """Nothing waits for a reader: set past the session's own transactions."""
    connection = journal._writer._session.connection
    await asyncio.to_thread(connection.execute, "PRAGMA busy_timeout=20")


def _fails(_fd: int) -> None:
    raise OSError(5, "Input/output error")
