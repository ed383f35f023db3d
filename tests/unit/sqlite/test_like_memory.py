"""The same operations get the same answers from SQLite and from memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from controlplane.adapters.memory.catalog import MemoryCatalog
from controlplane.adapters.memory.journal import MemoryJournal
from controlplane.adapters.sqlite.catalog import SqliteCatalog
from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.model.content import Sha256
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.model.sharding import ALL_SHARDS
from controlplane.ports.errors import MillraceError
from tests.contract.catalog_suite import content
from tests.contract.journal_suite import NOW, draft

TIMES = st.integers(0, 12).map(lambda n: NOW + n)
RULES = st.sampled_from(["", "far"])
KEYS = st.sampled_from("abc")
PICKS = st.lists(st.integers(0, 30), max_size=4)
NAMES = st.sampled_from("pqrs")
STORES = st.sampled_from([StoreName("near"), StoreName("far")])
LOCATIONS = st.builds(
    Location, STORES, st.just(Bucket("b")), st.sampled_from([Key("k"), Key("l")]), st.sampled_from(list(LocationState))
)
COPY_KEYS = st.text("aé\uffff\U0001f600/", max_size=3).map(Key)
COPIES = st.builds(
    Copy, COPY_KEYS, st.sampled_from("ef"), st.just(1), st.just(2), st.just("t"), st.sampled_from([0.0, 3.5])
)


async def outcome(call: Awaitable[Any]) -> Any:
    try:
        answer = await call
    except MillraceError as error:
        return type(error)
    return list(answer) if isinstance(answer, list | tuple) else answer


class Pair(RuleBasedStateMachine):
    """Two adapters that get every call."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.room = tempfile.TemporaryDirectory()
        self.path = Path(self.room.name) / "file.db"
        self.ours: Any = None
        self.model: Any = None

    def both(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        ours, model = self.loop.run_until_complete(self._both(call))
        assert ours == model
        return ours

    async def _both(self, call: Callable[[Any], Awaitable[Any]]) -> tuple[Any, Any]:
        return await outcome(call(self.ours)), await outcome(call(self.model))

    def teardown(self) -> None:
        self.loop.run_until_complete(self.ours.aclose())
        self.loop.close()
        self.room.cleanup()


class Journals(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.model = MemoryJournal(12)
        self.ours = SqliteJournal(self.path, limit=12)
        self.loop.run_until_complete(self.ours.open())
        self.seqs = [1]

    def pick(self, picks: list[int]) -> list[int]:
        return [self.seqs[-1 - n % len(self.seqs)] for n in picks]

    @rule(key=KEYS, size=st.sampled_from([None, 0, 5]), now=TIMES, of=RULES)
    def append(self, key: str, size: int | None, now: float, of: str) -> None:
        task = self.both(lambda journal: journal.append(draft(key, size, rule=of), now))
        if not isinstance(task, type):
            self.seqs.append(task.seq)

    @rule(now=TIMES, limit=st.integers(0, 6), skip=PICKS, of=st.none() | RULES, half=st.booleans())
    def due(self, now: float, limit: int, skip: list[int], of: str | None, half: bool) -> None:
        shards = frozenset(shard for shard in ALL_SHARDS if shard % 2) if half else None
        self.both(lambda journal: journal.due(now, limit, self.pick(skip), rule=of, shards=shards))

    @rule(picks=PICKS, copied=st.none() | PICKS, now=TIMES)
    def close(self, picks: list[int], copied: list[int] | None, now: float) -> None:
        closing = self.pick(picks)
        sizes = None if copied is None else {seq: 7 for seq in self.pick(copied) if seq in closing}
        self.both(lambda journal: journal.close(closing, copied=sizes, now=now))

    @rule(picks=PICKS, now=TIMES)
    def drop(self, picks: list[int], now: float) -> None:
        self.both(lambda journal: journal.drop(self.pick(picks), "why", now))

    @rule(pick=st.integers(0, 30), attempts=st.integers(0, 5), due_at=TIMES)
    def postpone(self, pick: int, attempts: int, due_at: float) -> None:
        (seq,) = self.pick([pick])
        self.both(lambda journal: journal.postpone(seq, attempts=attempts, due_at=due_at, error="later"))

    @rule(pick=st.integers(0, 30), attempts=st.integers(0, 5))
    def bury(self, pick: int, attempts: int) -> None:
        (seq,) = self.pick([pick])
        self.both(lambda journal: journal.bury(seq, attempts=attempts, error="never"))

    @rule(picks=st.none() | PICKS, now=TIMES)
    def revive(self, picks: list[int] | None, now: float) -> None:
        self.both(lambda journal: journal.revive(None if picks is None else self.pick(picks), now))

    @rule(limit=st.integers(0, 6), pick=st.integers(0, 30))
    def look(self, limit: int, pick: int) -> None:
        (after,) = self.pick([pick])
        self.both(lambda journal: journal.failed(limit, after))
        self.both(lambda journal: journal.dropped(limit, after))
        self.both(lambda journal: journal.find(after))
        self.both(lambda journal: journal.stats())
        self.both(lambda journal: journal.rules())

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.ours.aclose())
        self.ours = SqliteJournal(self.path, limit=12)
        self.loop.run_until_complete(self.ours.open())


class Catalogs(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.model = MemoryCatalog()
        self.ours = SqliteCatalog(self.path)
        self.loop.run_until_complete(self.ours.open())

    @rule(
        name=NAMES,
        sha256=st.none() | st.just(Sha256("0" * 64)),
        locations=st.lists(LOCATIONS, max_size=3),
        deleted_at=st.none() | TIMES,
    )
    def record(self, name: str, sha256: Sha256 | None, locations: list[Location], deleted_at: float | None) -> None:
        what = content(name) if sha256 is None else replace(content(name), sha256=sha256)
        recorded = Manifest(what, "x/y", NOW, tuple(locations), deleted_at)
        self.both(lambda catalog: catalog.record(recorded))

    @rule(updates=st.lists(st.tuples(NAMES, LOCATIONS), max_size=4))
    def set_locations(self, updates: list[tuple[str, Location]]) -> None:
        self.both(lambda catalog: catalog.set_locations([(content(name).md5, at) for name, at in updates]))

    @rule(name=NAMES, at=TIMES)
    def entomb(self, name: str, at: float) -> None:
        self.both(lambda catalog: catalog.entomb(content(name).md5, at))

    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        self.both(lambda catalog: catalog.forget(content(name).md5))

    @rule(store=STORES, rows=st.lists(COPIES, max_size=4))
    def record_copies(self, store: StoreName, rows: list[Copy]) -> None:
        self.both(lambda catalog: catalog.record_copies(store, Bucket("b"), rows))

    @rule(store=STORES, keys=st.lists(COPY_KEYS, max_size=2))
    def forget_copies(self, store: StoreName, keys: list[Key]) -> None:
        self.both(lambda catalog: catalog.forget_copies(store, Bucket("b"), keys))

    @rule(
        store=STORES,
        after=st.none() | COPY_KEYS,
        until=st.none() | COPY_KEYS,
        limit=st.integers(0, 5),
        absent=st.booleans(),
    )
    def look_at_copies(self, store: StoreName, after: Key | None, until: Key | None, limit: int, absent: bool) -> None:
        self.both(
            lambda catalog: catalog.copies(store, Bucket("b"), after=after, until=until, limit=limit, absent=absent)
        )

    @rule(name=NAMES, limit=st.integers(0, 3), store=STORES)
    def look(self, name: str, limit: int, store: StoreName) -> None:
        what = content(name)
        for call in (
            lambda catalog: catalog.get(what.md5),
            lambda catalog: catalog.by_sha256(what.sha256),
            lambda catalog: catalog.by_sha256(Sha256("0" * 64)),
            lambda catalog: catalog.list(what.md5, limit),
            lambda catalog: catalog.list(),
            lambda catalog: catalog.counts(store),
        ):
            self.both(call)


BUDGET = settings(max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestJournals = Journals.TestCase
TestJournals.settings = BUDGET
TestCatalogs = Catalogs.TestCase
TestCatalogs.settings = BUDGET
