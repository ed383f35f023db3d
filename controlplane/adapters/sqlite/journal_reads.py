"""Reading the journal: which entries are due, dead letters, counts. For a reader's connection, in one snapshot each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, Key
from controlplane.model.rule_stats import NO_LAGS, RuleStats
from controlplane.model.sharding import Shard, shard_of
from controlplane.model.task import Draft, Dropped, Op, Task, TaskState
from controlplane.ports.journal import JournalStats

WAITING_CONSIDERED = 1000
"""Most entries that came due and have not been sifted that one read looks at."""

_FAILED = 2
COLUMNS = "seq, stage, op, bucket, key, md5, sha256, size, etag, attempts, due_at, enqueued_at, error, rule, failure"
_OPS = {op.value: op for op in Op}


def read_due(
    connection: sqlite3.Connection,
    now: float,
    limit: int,
    skip: Collection[int],
    rule: str | None,
    shards: Collection[Shard] | None,
) -> tuple[list[Task], bool]:
    """The due tasks in order of seq, and whether entries should be sifted: then the answer may lack some."""
    skipped = json.dumps(list(skip))
    of_shards = "" if shards is None else _only(connection, shards)
    connection.execute("BEGIN")
    try:
        came_due = connection.execute(
            "SELECT seq FROM entry INDEXED BY entry_waiting"  # noqa: S608
            " WHERE stage = 1 AND waits = 1 AND due_at <= ?1 AND (?2 IS NULL OR rule = ?2)"
            f"{of_shards} ORDER BY due_at LIMIT ?3",
            (now, rule, WAITING_CONSIDERED + 1),
        ).fetchall()
        rows: list[tuple[Any, ...]] = []
        # One rule after the other: within one the index is in order of seq.
        for name in _rules(connection) if rule is None else (rule,):
            rows += connection.execute(
                f"SELECT {COLUMNS} FROM entry INDEXED BY entry_by_stage WHERE stage = 1 AND waits = 0 AND rule = ?"  # noqa: S608
                f" AND seq NOT IN (SELECT value FROM json_each(?)){of_shards} ORDER BY seq LIMIT ?",
                (name, skipped, limit),
            ).fetchall()
        if came_due:
            waiting = sorted({seq for (seq,) in came_due}.difference(skip))[:limit]
            rows += connection.execute(
                f"SELECT {COLUMNS} FROM entry WHERE seq IN (SELECT value FROM json_each(?))",  # noqa: S608
                (json.dumps(waiting),),
            ).fetchall()
        rows.sort()
    finally:
        connection.execute("COMMIT")
    tasks = [task_of(row) for row in rows if row[10] <= now]
    early = len(tasks) < len(rows)
    return tasks[:limit], early or len(came_due) > WAITING_CONSIDERED


def _only(connection: sqlite3.Connection, shards: Collection[Shard]) -> str:
    """A condition. Not a column: a journal in a file belongs to one node, which works on all of it."""
    connection.create_function("shard_of", 2, shard_of, deterministic=True)
    return f" AND shard_of(bucket, key) IN ({', '.join(str(int(shard)) for shard in shards)})"


def read_failed(connection: sqlite3.Connection, limit: int, after: int) -> list[Task]:
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM entry INDEXED BY entry_failed WHERE stage = 2 AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
        (after, limit),
    ).fetchall()
    return [task_of(row) for row in rows]


def read_one(connection: sqlite3.Connection, seq: int) -> Task | None:
    row = connection.execute(f"SELECT {COLUMNS} FROM entry WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
    return None if row is None else task_of(row)


def read_newest(connection: sqlite3.Connection, bucket: str, key: str, rule: str) -> Task | None:
    row = connection.execute(
        f"SELECT {COLUMNS} FROM entry INDEXED BY entry_by_key WHERE bucket = ? AND key = ? AND rule = ?"  # noqa: S608
        " ORDER BY seq DESC LIMIT 1",
        (bucket, key, rule),
    ).fetchone()
    return None if row is None else task_of(row)


def read_dropped(connection: sqlite3.Connection, limit: int, after: int) -> list[Dropped]:
    rows = connection.execute(
        "SELECT seq, 2, op, bucket, key, md5, sha256, size, etag, attempts, due_at, enqueued_at, error, rule, failure,"
        " reason, dropped_at FROM dropped WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    ).fetchall()
    return [Dropped(task_of(row[:-2]), row[-2], row[-1]) for row in rows]


def read_stats(connection: sqlite3.Connection, limit: int) -> JournalStats:
    connection.execute("BEGIN")
    try:
        pending, pending_bytes, failed = connection.execute(
            "SELECT pending, pending_bytes, failed FROM meta"
        ).fetchone()
        oldest = [at for name in _rules(connection) if (at := _oldest(connection, name)) is not None]
    finally:
        connection.execute("COMMIT")
    return JournalStats(pending, pending_bytes, failed, min(oldest)[1] if oldest else None, limit)


def read_rules(connection: sqlite3.Connection) -> dict[str, RuleStats]:
    connection.execute("BEGIN")
    try:
        rows = connection.execute(
            "SELECT name, pending, pending_bytes, failed, copied, copied_bytes, progress_at, lag_total FROM rule"
        ).fetchall()
        lags: dict[str, list[int]] = {}
        for name, slot, copies in connection.execute("SELECT rule, slot, copies FROM lag"):
            counts = lags.setdefault(name, list(NO_LAGS))
            counts[min(slot, len(counts) - 1)] += copies
        oldest = {row[0]: _oldest(connection, row[0]) for row in rows}
    finally:
        connection.execute("COMMIT")
    found: dict[str, RuleStats] = {}
    for name, pending, pending_bytes, failed, copied, copied_bytes, progress_at, lag_total in rows:
        first = oldest[name]
        found[name] = RuleStats(
            pending,
            pending_bytes,
            failed,
            None if first is None else first[1],
            copied,
            copied_bytes,
            progress_at,
            tuple(lags.get(name, NO_LAGS)),
            lag_total,
        )
    return found


def read_paused(connection: sqlite3.Connection) -> dict[str, float]:
    return dict(connection.execute("SELECT rule, since FROM pause").fetchall())


def _rules(connection: sqlite3.Connection) -> Sequence[str]:
    return [name for (name,) in connection.execute("SELECT name FROM rule WHERE pending > 0").fetchall()]


def _oldest(connection: sqlite3.Connection, rule: str) -> tuple[int, float] | None:
    """Of the pending entries of a rule: seq, and when it was enqueued."""
    found: tuple[int, float] | None = connection.execute(
        "SELECT seq, enqueued_at FROM entry WHERE seq = (SELECT min(first) FROM ("
        " SELECT min(seq) AS first FROM entry WHERE stage = 1 AND waits = 0 AND rule = ?1"
        " UNION ALL SELECT min(seq) FROM entry WHERE stage = 1 AND waits = 1 AND rule = ?1))",
        (rule,),
    ).fetchone()
    return found


def task_of(row: tuple[Any, ...]) -> Task:
    seq, stage, op, bucket, key, md5, sha256, size, etag, attempts, due_at, enqueued_at, error, rule, failure = row
    content = None if md5 is None else Content(Md5(md5), Sha256(sha256), size)
    draft = Draft(_OPS[op], Bucket(bucket), Key(key), content, etag, size if content is None else None, rule)
    state = TaskState.FAILED if stage == _FAILED else TaskState.PENDING
    return Task(seq, draft, state, attempts, due_at, enqueued_at, error, Failure(failure) if failure else None)
