"""The journal in one SQLite file that several processes share: the gateway appends, the agent drains."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from controlplane.adapters.sqlite.journal_reads import (
    read_dropped,
    read_due,
    read_failed,
    read_newest,
    read_one,
    read_paused,
    read_rules,
    read_stats,
)
from controlplane.adapters.sqlite.journal_schema import JOURNAL
from controlplane.adapters.sqlite.journal_session import SIFTED_ROWS, JournalSession
from controlplane.adapters.sqlite.reader import ReaderThread
from controlplane.adapters.sqlite.writer import WriterThread
from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, Key
from controlplane.model.rule_stats import RuleStats
from controlplane.model.sharding import Shard
from controlplane.model.task import Draft, Dropped, Task
from controlplane.ports.errors import Rejected, Unavailable
from controlplane.ports.journal import EVERY_RULE, JournalStats

_SIFTS = 2
_INT64 = 1 << 63


class SqliteJournal:
    """See the port. Appends that meet share one fsync; the bound and the order are exact across processes.

    When more than 1000 tasks come due between two calls of due(), those that were due first are answered first
    (each answer is in order of seq, and the order within a key always holds).
    revive() leaves a dead letter alone behind which a newer task of its key is pending: it is superseded."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._writer = WriterThread(JournalSession(path, limit))
        self._reader = ReaderThread(path, JOURNAL)

    @property
    def is_shared(self) -> bool:
        return False

    async def open(self) -> None:
        """Create the file when there is none. Raises Corrupt for a damaged file, which is left as it is; Rejected for
        one of a newer version; Unavailable and StorageFull."""
        await self._writer.open()
        try:
            await self._reader.open()
        except BaseException:
            await self._writer.aclose()
            raise

    async def append(self, draft: Draft, now: float) -> Task:
        _require_storable(draft, now)
        return await self._writer.submit(lambda session: session.append(draft, now), guarded=False)

    async def due(
        self,
        now: float,
        limit: int,
        skip: Collection[int] = (),
        *,
        rule: str | None = None,
        shards: Collection[Shard] | None = None,
    ) -> Sequence[Task]:
        if limit <= 0 or (shards is not None and not shards):
            return []
        skipped = frozenset(skip)

        def read(connection: sqlite3.Connection) -> tuple[list[Task], bool]:
            return read_due(connection, now, limit, skipped, rule, shards)

        tasks, unsifted = await self._reader.read(read)
        for _ in range(_SIFTS):
            if not unsifted:
                break
            try:
                await self._writer.submit(lambda session: session.sift(now))
            except Unavailable:
                break  # what is known to be due can be worked on although nothing can be written just now
            tasks, unsifted = await self._reader.read(read)
        return tasks

    async def close(
        self, seqs: Sequence[int], *, copied: Mapping[int, int] | None = None, now: float = 0.0
    ) -> Sequence[Task]:
        if not seqs:
            return ()
        closing = tuple(seqs)
        return await self._writer.submit(lambda session: session.close_entries(closing, copied, now))

    async def postpone(
        self, seq: int, *, attempts: int, due_at: float, error: str, failure: Failure | None = None
    ) -> None:
        said = _storable(error)
        await self._writer.submit(lambda session: session.postpone(seq, attempts, due_at, said, failure))

    async def bury(self, seq: int, *, attempts: int, error: str, failure: Failure | None = None) -> None:
        said = _storable(error)
        await self._writer.submit(lambda session: session.bury(seq, attempts, said, failure))

    async def find(self, seq: int) -> Task | None:
        return await self._reader.read(lambda connection: read_one(connection, seq))

    async def newest_of(self, bucket: Bucket, key: Key, rule: str) -> Task | None:
        return await self._reader.read(lambda connection: read_newest(connection, bucket, key, rule))

    async def drop(self, seqs: Sequence[int], reason: str, now: float) -> int:
        dropping, said = tuple(seqs), _storable(reason)
        return await self._writer.submit(lambda session: session.drop(dropping, said, now))

    async def dropped(self, limit: int = 1000, after: int = 0) -> Sequence[Dropped]:
        if limit <= 0:
            return []
        return await self._reader.read(lambda connection: read_dropped(connection, limit, after))

    async def rules(self) -> Mapping[str, RuleStats]:
        return await self._reader.read(read_rules)

    async def pause(self, rule: str, now: float) -> None:
        await self._writer.submit(lambda session: session.pause(rule, now))

    async def resume(self, rule: str) -> bool:
        which = None if rule == EVERY_RULE else rule
        return await self._writer.submit(lambda session: session.resume(which))

    async def paused(self) -> Mapping[str, float]:
        return await self._reader.read(read_paused)

    async def failed(self, limit: int = 1000, after: int = 0) -> Sequence[Task]:
        if limit <= 0:
            return []
        return await self._reader.read(lambda connection: read_failed(connection, limit, after))

    async def revive(self, seqs: Sequence[int] | None, now: float) -> int:
        """In transactions of some thousands: others write in between, and a crash leaves the rest as dead letters."""
        if seqs is None:
            return await self._revive_all(now)
        ordered = sorted(set(seqs))
        revived = 0
        for start in range(0, len(ordered), SIFTED_ROWS):
            chunk = ordered[start : start + SIFTED_ROWS]
            revived += await self._revive(chunk, now)
        return revived

    async def _revive_all(self, now: float) -> int:
        revived = after = 0
        while chunk := await self._failed_after(after):
            revived += await self._revive(chunk, now)
            after = chunk[-1]
        return revived

    async def _failed_after(self, after: int) -> Sequence[int]:
        return await self._writer.submit(lambda session: session.failed_after(after, SIFTED_ROWS))

    async def _revive(self, seqs: Sequence[int], now: float) -> int:
        return await self._writer.submit(lambda session: session.revive(seqs, now))

    async def stats(self) -> JournalStats:
        return await self._reader.read(lambda connection: read_stats(connection, self._limit))

    async def aclose(self) -> None:
        """Finish what is queued and close; later calls raise Unavailable. Idempotent."""
        try:
            await self._writer.aclose()
        finally:
            await self._reader.aclose()


def _require_storable(draft: Draft, now: float) -> None:
    """One entry that SQLite cannot take would fail all those that share its statement."""
    try:
        for text in (draft.bucket, draft.key, draft.etag, draft.rule):
            text.encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"the journal cannot hold the key {draft.key!r}: it is not valid Unicode") from error
    if not 0 <= draft.size < _INT64:
        raise Rejected(f"the journal cannot hold a size of {draft.size} bytes ({draft.key!r})")
    if not math.isfinite(now):
        raise Rejected(f"the journal cannot hold the time {now}")


def _storable(error: str) -> str:
    return error.encode(errors="backslashreplace").decode()
