"""Journals of older versions are brought up to date with all that they promise."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.adapters.sqlite.journal_schema import JOURNAL
from controlplane.adapters.sqlite.schema import open_database
from controlplane.model.rule_stats import RuleStats
from controlplane.model.task import Op, TaskState
from tests.contract.journal_suite import NOW, draft

_ROWS = (
    # seq, stage, waits, op, bucket, key, size, etag, attempts, due_at, enqueued_at, error
    (10, 1, 0, "put-object", "photos", "a", 7, "e", 0, NOW, NOW, ""),
    (11, 0, 0, "delete-object", "photos", "a", None, "", 0, NOW + 1, NOW + 1, ""),
    (12, 1, 1, "put", "blobs", "b", 5, "", 2, NOW + 50, NOW + 2, "away"),
    (13, 2, 0, "put-object", "photos", "c", 3, "e", 12, NOW, NOW + 3, "no"),
)


def write_version_2(path: Path) -> None:
    """The file as the program before wrote it."""
    with closing(open_database(path, replace(JOURNAL, versions=JOURNAL.versions[:2]))) as connection:
        connection.executemany(
            "INSERT INTO entry (seq, stage, waits, op, bucket, key, size, etag, attempts, due_at, enqueued_at, error)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            _ROWS,
        )
        connection.execute("UPDATE meta SET last_stamp = 13, pending = 3, pending_bytes = 12, failed = 1")


async def test_a_journal_of_version_2_keeps_its_entries_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    write_version_2(path)
    journal = SqliteJournal(path, limit=100)
    await journal.open()
    assert [(task.seq, task.draft.op, task.draft.rule) for task in await journal.due(NOW + 9, 10)] == [
        (10, Op.PUT_OBJECT, "")
    ]
    assert [(task.seq, task.state) for task in await journal.failed()] == [(13, TaskState.FAILED)]
    assert await journal.rules() == {"": RuleStats(3, 12, 1, NOW)}
    await journal.close([10], copied={10: 7}, now=NOW + 1)
    assert [task.seq for task in await journal.due(NOW + 60, 10, rule="")] == [11, 12]
    new = await journal.append(draft("a", rule="far", bucket="photos", op=Op.PUT_OBJECT), NOW)
    assert list(await journal.due(NOW + 9, 10, rule="far")) == [new]
    await journal.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_an_empty_journal_of_version_2_has_no_rules(tmp_path: Path) -> None:
    open_database(tmp_path / "j.db", replace(JOURNAL, versions=JOURNAL.versions[:2])).close()
    journal = SqliteJournal(tmp_path / "j.db", limit=10)
    await journal.open()
    assert await journal.rules() == {}
    await journal.aclose()
