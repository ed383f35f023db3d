"""What is done to journal entries inside a write transaction: few statements for many entries.

Every statement gives up the interpreter lock, and in a busy process getting it back costs more than the statement.
CROSS JOIN and INDEXED BY pin the order: without statistics SQLite would start from all entries of a stage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from controlplane.adapters.sqlite.journal_reads import COLUMNS, task_of
from controlplane.adapters.sqlite.journal_schema import JOURNAL
from controlplane.adapters.sqlite.rule_counts import RuleCounts
from controlplane.adapters.sqlite.write_session import WriteSession
from controlplane.model.failures import Failure
from controlplane.model.hybrid_clock import next_stamp
from controlplane.model.task import Draft, Task, TaskState
from controlplane.ports.errors import Full
from controlplane.ports.fault_points import reach

SIFTED_ROWS = 2048
"""Most entries that one sift() moves either way: a few tens of milliseconds under the write lock."""
_INSERTED_AT_ONCE = (64, 16, 4, 1)


@dataclass(slots=True)
class Counters:
    """The row of meta, inside a transaction."""

    last_stamp: int
    pending: int
    pending_bytes: int
    failed: int


class JournalSession(WriteSession):
    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path, JOURNAL)
        self._limit = limit
        self._counters = Counters(0, 0, 0, 0)
        self._stored = self._counters
        self._rules = RuleCounts()
        self._appended: list[tuple[Any, ...]] = []
        self._appended_keys: set[tuple[str, str, str]] = set()

    def load(self) -> None:
        self._appended.clear()
        self._appended_keys.clear()
        self._rules.clear()
        row = self.connection.execute("SELECT last_stamp, pending, pending_bytes, failed FROM meta").fetchone()
        if row is None:
            raise JOURNAL.damaged(self._path, "has lost its counters")
        self._counters = Counters(*row)
        self._stored = replace(self._counters)

    def store(self) -> None:
        now = self._counters
        if now != self._stored:
            self.connection.execute(
                "UPDATE meta SET last_stamp = ?, pending = ?, pending_bytes = ?, failed = ?",
                (now.last_stamp, now.pending, now.pending_bytes, now.failed),
            )
            self._stored = replace(now)
        self._rules.store(self.connection)

    def mark(self) -> object:
        return replace(self._counters), self._rules.mark()

    def restore(self, mark: object) -> None:
        match mark:
            case (Counters() as counters, RuleCounts() as rules):
                self._counters = counters
                self._rules.restore(rules)

    def commit(self) -> None:
        self.settle()
        self.store()
        reach("journal.before_commit")
        super().commit()
        reach("journal.after_commit")

    def append(self, draft: Draft, now: float) -> Task:
        """Needs no savepoint: it raises before it changes anything, and the row is inserted by settle()."""
        counters = self._counters
        if counters.pending + counters.failed >= self._limit:
            raise Full(
                f"{self.name} holds {counters.pending} pending and {counters.failed} failed entries, its limit is "
                f"{self._limit}: see why the mirror does not keep up (`millrace mirror status`), or raise journal.limit"
            )
        counters.last_stamp = seq = next_stamp(counters.last_stamp, now)
        counters.pending += 1
        content = draft.content
        at = (draft.bucket, draft.key, draft.rule)
        self._rules.move(draft.rule, 1, draft.size)
        counters.pending_bytes += draft.size
        digests: tuple[Any, ...] = (None, None, draft.object_size)
        if content is not None:
            digests = (content.md5, content.sha256, content.size)
        self._appended.append(
            (seq, at in self._appended_keys, *at, draft.op.value, *at, *digests, draft.etag, now, now)
        )
        self._appended_keys.add(at)
        return Task(seq, draft, TaskState.PENDING, 0, now, now)

    def settle(self) -> None:
        done = 0
        for rows in _INSERTED_AT_ONCE:
            while len(self._appended) - done >= rows:
                chunk = self._appended[done : done + rows]
                self.connection.execute(_insertion(rows), [value for row in chunk for value in row])
                done += rows
        self._appended.clear()
        self._appended_keys.clear()

    def close_entries(
        self, seqs: Sequence[int], copied: Mapping[int, int] | None = None, now: float = 0.0
    ) -> list[Task]:
        """The dead letters that were superseded by that, and removed as well."""
        execute = self.connection.execute
        closing = json.dumps(list(seqs))
        superseded = execute(
            "DELETE FROM entry WHERE seq IN ("  # noqa: S608 - constant text
            " SELECT f.seq FROM json_each(?1) j CROSS JOIN entry c ON c.seq = j.value"
            " CROSS JOIN entry f INDEXED BY entry_by_key ON f.bucket = c.bucket AND f.key = c.key AND f.rule = c.rule"
            f"  AND f.stage = 2 AND f.seq < c.seq) RETURNING {COLUMNS}",
            (closing,),
        ).fetchall()
        letters = [task_of(row) for row in superseded]
        for letter in letters:
            self._move(letter.draft.rule, failed=-1)
        # An entry that is closed while an older one of its key is open does not open the way for younger ones.
        execute(
            "UPDATE entry SET stage = 1, waits = due_at > enqueued_at WHERE seq IN ("
            " SELECT (SELECT b.seq FROM entry b WHERE b.bucket = c.bucket AND b.key = c.key AND b.rule = c.rule"
            "  AND b.stage = 0 AND b.seq NOT IN (SELECT value FROM json_each(?1))"
            "   ORDER BY b.seq LIMIT 1)"
            " FROM json_each(?1) j CROSS JOIN entry c ON c.seq = j.value WHERE c.stage = 1)",
            (closing,),
        )
        counted = execute(
            "SELECT rule, count(*) FILTER (WHERE stage < 2), coalesce(sum(size) FILTER (WHERE stage < 2), 0),"
            " count(*) FILTER (WHERE stage = 2) FROM entry WHERE seq IN (SELECT value FROM json_each(?1))"
            " GROUP BY rule",
            (closing,),
        ).fetchall()
        for rule, pending, pending_bytes, failed in counted:
            self._move(rule, -pending, -pending_bytes, -failed)
        if copied is not None:
            self._rules.progress([row[0] for row in counted], now)
            self._count_copied(copied, now)
        execute("DELETE FROM entry WHERE seq IN (SELECT value FROM json_each(?1))", (closing,))
        return letters

    def _count_copied(self, copied: Mapping[int, int], now: float) -> None:
        rows = self.connection.execute(
            "SELECT seq, rule, enqueued_at FROM entry WHERE seq IN (SELECT value FROM json_each(?))",
            (json.dumps(list(copied)),),
        ).fetchall()
        for seq, rule, enqueued_at in rows:
            self._rules.copied(rule, copied[seq], max(now - enqueued_at, 0.0))

    def _move(self, rule: str, pending: int = 0, pending_bytes: int = 0, failed: int = 0) -> None:
        counters = self._counters
        counters.pending += pending
        counters.pending_bytes += pending_bytes
        counters.failed += failed
        self._rules.move(rule, pending, pending_bytes, failed)

    def postpone(self, seq: int, attempts: int, due_at: float, error: str, failure: Failure | None) -> None:
        self.connection.execute(
            "UPDATE entry SET attempts = ?, due_at = ?, error = ?, failure = ?, waits = (stage = 1)"
            " WHERE seq = ? AND stage < 2",
            (attempts, due_at, error, failure.value if failure else "", seq),
        )

    def bury(self, seq: int, attempts: int, error: str, failure: Failure | None) -> None:
        buried = self.connection.execute(
            "UPDATE entry SET stage = 2, waits = 0, attempts = ?, error = ?, failure = ? WHERE seq = ? AND stage < 2"
            " RETURNING rule, coalesce(size, 0)",
            (attempts, error, failure.value if failure else "", seq),
        ).fetchall()
        if not buried:
            return
        rule, size = buried[0]
        self._move(rule, -1, -size, 1)
        # The oldest that was behind it is the first of its key now, unless the buried one was not the first itself.
        self.connection.execute(
            "UPDATE entry SET stage = 1, waits = due_at > enqueued_at WHERE seq = ("
            " SELECT (SELECT b.seq FROM entry b WHERE b.bucket = f.bucket AND b.key = f.key"
            "   AND b.rule = f.rule AND b.stage = 0 ORDER BY b.seq LIMIT 1) FROM entry f WHERE f.seq = ?"
            "  AND NOT EXISTS ("
            "   SELECT 1 FROM entry h WHERE h.bucket = f.bucket AND h.key = f.key AND h.rule = f.rule"
            "   AND h.stage = 1))",
            (seq,),
        )

    def failed_after(self, after: int, limit: int) -> list[int]:
        found: str = self.connection.execute(
            "SELECT json_group_array(seq) FROM ("
            "SELECT seq FROM entry INDEXED BY entry_failed WHERE stage = 2 AND seq > ? ORDER BY seq LIMIT ?)",
            (after, limit),
        ).fetchone()[0]
        seqs: list[int] = json.loads(found)
        return seqs

    def revive(self, seqs: Sequence[int], now: float) -> int:
        """All but those behind which a newer task of the key is pending: what was superseded must not come back."""
        execute = self.connection.execute
        found = execute(
            "SELECT f.seq, f.rule, coalesce(f.size, 0) FROM entry f"
            " WHERE f.seq IN (SELECT value FROM json_each(?)) AND +f.stage = 2 AND NOT EXISTS (SELECT 1 FROM entry p"
            "  WHERE p.bucket = f.bucket AND p.key = f.key AND p.rule = f.rule AND p.stage IN (0, 1)"
            "  AND p.seq > f.seq)",
            (json.dumps(list(seqs)),),
        ).fetchall()
        chosen = json.dumps([row[0] for row in found])
        revived = execute(
            "UPDATE entry SET stage = 0, waits = 0, attempts = 0, due_at = ?, error = '', failure = ''"
            " WHERE seq IN (SELECT value FROM json_each(?))",
            (now, chosen),
        ).rowcount
        execute(
            "UPDATE entry SET stage = 1 WHERE seq IN ("
            " SELECT (SELECT b.seq FROM entry b WHERE b.bucket = r.bucket AND b.key = r.key AND b.rule = r.rule"
            "   AND b.stage = 0 ORDER BY b.seq LIMIT 1)"
            " FROM json_each(?) j CROSS JOIN entry r ON r.seq = j.value WHERE NOT EXISTS ("
            "  SELECT 1 FROM entry h WHERE h.bucket = r.bucket AND h.key = r.key AND h.rule = r.rule"
            "  AND h.stage = 1))",
            (chosen,),
        )
        for _, rule, size in found:
            self._move(rule, 1, size, -1)
        return revived

    def drop(self, seqs: Sequence[int], reason: str, now: float) -> int:
        found = self.connection.execute(
            "INSERT INTO dropped SELECT seq, op, bucket, key, md5, sha256, size, etag, attempts, due_at, enqueued_at,"
            " error, rule, failure, ?, ? FROM entry WHERE seq IN (SELECT value FROM json_each(?)) AND +stage = 2"
            " RETURNING seq, rule",
            (reason, now, json.dumps(list(seqs))),
        ).fetchall()
        self.connection.execute(
            "DELETE FROM entry WHERE seq IN (SELECT value FROM json_each(?))", (json.dumps([row[0] for row in found]),)
        )
        for _, rule in found:
            self._move(rule, failed=-1)
        return len(found)

    def pause(self, rule: str, now: float) -> None:
        self.connection.execute("INSERT INTO pause VALUES (?, ?) ON CONFLICT DO NOTHING", (rule, now))

    def resume(self, rule: str | None) -> bool:
        """None: all."""
        if rule is None:
            return self.connection.execute("DELETE FROM pause").rowcount > 0
        return self.connection.execute("DELETE FROM pause WHERE rule = ?", (rule,)).rowcount > 0

    def sift(self, now: float) -> None:
        """Move entries that came due from waiting to ready, those due first, and the other way what a clock that was
        set back has made early; at most SIFTED_ROWS each."""
        self.connection.execute(
            "UPDATE entry SET waits = 0 WHERE seq IN ("
            "SELECT seq FROM entry INDEXED BY entry_waiting"
            " WHERE stage = 1 AND waits = 1 AND due_at <= ? ORDER BY due_at LIMIT ?)",
            (now, SIFTED_ROWS),
        )
        self.connection.execute(
            "UPDATE entry SET waits = 1 WHERE due_at > ? AND seq IN ("
            "SELECT seq FROM entry WHERE stage = 1 AND waits = 0 ORDER BY seq LIMIT ?)",
            (now, SIFTED_ROWS),
        )


@lru_cache
def _insertion(rows: int) -> str:
    row = (
        "(?, CASE WHEN ? OR EXISTS ("
        "SELECT 1 FROM entry WHERE bucket = ? AND key = ? AND rule = ? AND stage = 1) THEN 0 ELSE 1 END, 0,"
        " ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, '', '')"
    )
    columns = (
        "seq, stage, waits, op, bucket, key, rule, md5, sha256, size, etag, attempts, due_at, enqueued_at, error,"
        " failure"
    )
    return f"INSERT INTO entry ({columns}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - constant text
