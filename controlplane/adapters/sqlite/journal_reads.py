"""Reading the journal: which entries are due, dead letters, counts. For a reader's connection, in one snapshot each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from typing import Any

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Bucket, Key
from controlplane.model.task import Draft, Op, Task, TaskState
from controlplane.ports.journal import JournalStats

WAITING_CONSIDERED = 1000
"""Most entries that came due and have not been sifted that one read looks at."""

_FAILED = 2
_OPS = {op.value: op for op in Op}


def read_due(connection: sqlite3.Connection, now: float, limit: int, skip: Collection[int]) -> tuple[list[Task], bool]:
    """The due tasks in order of seq, and whether entries should be sifted: then the answer may lack some."""
    skipped = json.dumps(list(skip))
    connection.execute("BEGIN")
    try:
        came_due = connection.execute(
            "SELECT seq FROM entry INDEXED BY entry_waiting"
            " WHERE stage = 1 AND waits = 1 AND due_at <= ? ORDER BY due_at LIMIT ?",
            (now, WAITING_CONSIDERED + 1),
        ).fetchall()
        rows = connection.execute(
            "SELECT seq, stage, op, bucket, key, md5, sha256, size, etag, attempts, due_at, enqueued_at, error"
            " FROM entry INDEXED BY entry_by_stage"
            " WHERE stage = 1 AND waits = 0 AND seq NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?",
            (skipped, limit),
        ).fetchall()
        if came_due:
            waiting = sorted({seq for (seq,) in came_due}.difference(skip))[:limit]
            rows += connection.execute(
                "SELECT seq, stage, op, bucket, key, md5, sha256, size, etag, attempts, due_at, enqueued_at, error"
                " FROM entry WHERE seq IN (SELECT value FROM json_each(?))",
                (json.dumps(waiting),),
            ).fetchall()
            rows.sort()
    finally:
        connection.execute("COMMIT")
    tasks = [_task(row) for row in rows if row[10] <= now]
    early = len(tasks) < len(rows)
    return tasks[:limit], early or len(came_due) > WAITING_CONSIDERED


def read_failed(connection: sqlite3.Connection, limit: int, after: int) -> list[Task]:
    rows = connection.execute(
        "SELECT seq, stage, op, bucket, key, md5, sha256, size, etag, attempts, due_at, enqueued_at, error"
        " FROM entry WHERE stage = 2 AND waits = 0 AND seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    ).fetchall()
    return [_task(row) for row in rows]


def read_stats(connection: sqlite3.Connection, limit: int) -> JournalStats:
    pending, pending_bytes, failed, oldest = connection.execute(
        "SELECT pending, pending_bytes, failed, (SELECT enqueued_at FROM entry WHERE seq = (SELECT min(first) FROM ("
        " SELECT min(seq) AS first FROM entry WHERE stage = 1 AND waits = 0"
        " UNION ALL SELECT min(seq) FROM entry WHERE stage = 1 AND waits = 1))) FROM meta"
    ).fetchone()
    return JournalStats(pending, pending_bytes, failed, oldest, limit)


def _task(row: tuple[Any, ...]) -> Task:
    seq, stage, op, bucket, key, md5, sha256, size, etag, attempts, due_at, enqueued_at, error = row
    content = None if md5 is None else Content(Md5(md5), Sha256(sha256), size)
    draft = Draft(_OPS[op], Bucket(bucket), Key(key), content, etag, size if content is None else None)
    state = TaskState.FAILED if stage == _FAILED else TaskState.PENDING
    return Task(seq, draft, state, attempts, due_at, enqueued_at, error)
