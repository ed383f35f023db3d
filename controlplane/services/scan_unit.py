"""The scan of one bucket: several workers read stretches of both listings and of the catalog, and compare them.

It finds and tells; it does not copy. Memory is constant: two pages of each listing a worker. Whatever is behind a
range's cursor has been told and recorded, so a scan that breaks off anywhere goes on from the cursors and ends with the
same answer; what was told since then is told twice.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from controlplane.model.copies import Copy
from controlplane.model.keys import Key
from controlplane.model.mirror_rules import MirrorRule, covering
from controlplane.model.scan_join import Difference, Joined, Kind, Listed, join
from controlplane.model.scan_ranges import LAST, Alphabet, Range, Samples, middle, split, worth_splitting
from controlplane.model.scan_state import Unit, UnitState
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.fault_points import reach
from controlplane.ports.listing import Listing
from controlplane.ports.object_store import ObjectInfo
from controlplane.services.copy_judging import copy_of, copy_of_same_bytes, orphan
from controlplane.services.target_heads import TargetHeads

PAGE: Final = 1000
_PROBES: Final = 12

Row = TypeVar("Row", bound="tuple[Any, ...]")

_key = itemgetter(0)


class Sink(Protocol):
    """Where differences go."""

    async def take(self, unit: Unit, differences: Sequence[Difference]) -> int:
        """How many of them are in the journal now. Durable when this returns: they are not told again. May wait."""
        ...


class Stopped(Exception):
    """The scan was asked to end; what is done is in its state."""


class _Stream(Generic[Row]):
    """One of the three sorted sequences that are joined, from a cursor on."""

    def __init__(
        self, fetch: Callable[[Key | None], Awaitable[tuple[Sequence[Row], bool]]], after: Key | None, page: int
    ) -> None:
        self._fetch = fetch
        self._page = page
        self._after = after
        self._rows: list[Row] = []
        self._more = True

    async def fill(self, until: Key | None) -> None:
        """See to it that at least one page is at hand, or all up to `until`."""
        if not self._more or len(self._rows) >= self._page or self._reaches(until):
            return
        rows, self._more = await self._fetch(self._after)
        if rows:
            self._after = rows[-1][0]
            self._rows = [*self._rows, *rows] if self._rows else list(rows)

    def _reaches(self, until: Key | None) -> bool:
        return until is not None and bool(self._rows) and self._rows[-1][0] >= until

    @property
    def end(self) -> Key | None:
        """All keys up to this one are at hand; None: all there are."""
        return self._after if self._more else None

    def take(self, end: Key | None) -> list[Row]:
        """And forget the rows up to `end`; None: all."""
        at = len(self._rows) if end is None else bisect_right(self._rows, end, key=_key)
        if at == len(self._rows):
            taken, self._rows = self._rows, []
            return taken
        taken = self._rows[:at]
        del self._rows[:at]
        return taken


class UnitScan:
    def __init__(
        self,
        unit: Unit,
        state: UnitState,
        *,
        rules: Sequence[MirrorRule],
        source: Listing,
        target: Listing,
        heads: TargetHeads,
        source_heads: TargetHeads | None = None,
        catalog: Catalog,
        sink: Sink,
        clock: Clock,
        workers: int,
        trust_catalog: bool = True,
        read: Callable[[Copy], Awaitable[bool]] | None = None,
        moved: Callable[[int], Awaitable[None]] | None = None,
        page: int = PAGE,
        due_since: float | None = None,
        remembers: Callable[[Key], bool] = lambda _: True,
    ) -> None:
        """`trust_catalog`: False asks the target about every key. `read`: whether the bytes of a copy are those that it
        claims. `moved` is told of keys that are done, after the state says so; what it raises ends the scan.
        `due_since`: copies whose objects are absent since then are counted as due. `remembers`: whether this catalog
        knows what the last scan saw of a key; else an absence that it noted may be an old one, and begins now."""
        self.unit = unit
        self.state = state
        self.samples = Samples()
        self._alphabet = Alphabet(unit.prefix)
        self._rules = tuple(rules)
        self._source = source
        self._target = target
        self._heads = heads
        self._source_heads = source_heads
        self._catalog = catalog
        self._sink = sink
        self._clock = clock
        self._workers = workers
        self._trust_catalog = trust_catalog
        self._read = read
        self._moved = moved
        self._page = page
        self._due_since = due_since
        self._remembers = remembers
        self._floor = unit.floor()
        self._step = asyncio.Event()

    async def run(self) -> None:
        """To the end. Raises what a listing, the target, the catalog or the sink raises; the state is whole then."""
        for one in self.state.ranges:
            one.taken = False
        workers = [asyncio.ensure_future(self._work()) for _ in range(self._workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while not self.state.done:
            one = next((one for one in self.state.ranges if not one.taken and not one.done), None)
            one = one or await self._steal()
            if one is not None:
                one.taken = True
                await self._scan(one)
            elif not self.state.done:
                step = self._step
                await step.wait()

    def _told(self) -> None:
        """Wake the workers that wait for something to steal."""
        self._step.set()
        self._step = asyncio.Event()

    # Sharding

    async def _steal(self) -> Range | None:
        """Half of what the busiest worker has left; None: nobody has enough."""
        victim = worth_splitting(self.state.ranges, self.unit.prefix)
        if victim is None:
            return None
        victim.pages = 0
        at = await self._split_point(victim)
        # Things went on meanwhile: a point that has been passed splits nothing.
        if at is None or victim.done or at <= victim.horizon or (victim.until is not None and at >= victim.until):
            return None
        return split(self.state.ranges, victim, at)

    async def spare(self) -> Range | None:
        """A stretch that this scan gives away from now on: one that waits for a worker, or half of what the busiest one
        has left; None: there is nothing worth it. What is given counts nowhere in the state any more."""
        waiting = [one for one in self.state.ranges if not one.taken and not one.done]
        one = waiting[-1] if waiting and len(self.state.ranges) > 1 else await self._steal()
        if one is not None:
            if one.taken or len(self.state.ranges) < 2:
                return None
            self.state.ranges.remove(one)
        return one

    async def _split_point(self, victim: Range) -> Key | None:
        """A key with objects of the source on both sides, found by asking the listing. Halving what is really left
        takes a few looks of one key each."""
        if victim.horizon >= LAST:
            return None
        low = await self._next_key(Key(max(victim.horizon, victim.cursor)))
        # Both bound it: what was looked for before the range was cut may say more than is left of it.
        high: str = min(end for end in (victim.top, victim.until, Key(self.unit.prefix + LAST)) if end is not None)
        if low is None or low >= high:
            return None
        for attempt in range(_PROBES):
            # A scan has seen the first characters of keys only up to where it is: the first look is beyond these.
            alphabet = self._alphabet if attempt or victim.top is not None else None
            at = middle(low, high, self.unit.prefix, alphabet)
            if at is None:
                return None
            behind = await self._next_key(at)
            if behind is not None and behind < high:
                self._alphabet.see(behind)
                return at
            high = victim.top = at
        return None

    async def _next_key(self, after: Key) -> Key | None:
        page = await self._source.page(after or None, 1)
        return page.rows[0].key if page.rows else None

    # Scanning

    async def _scan(self, one: Range) -> None:
        start = one.cursor or None
        source: _Stream[Listed] = _Stream(self._page_of(self._source), start, self._page)
        target: _Stream[Listed] = _Stream(self._page_of(self._target), start, self._page)
        known: _Stream[Copy] = _Stream(self._rows, start if start is not None else self._floor, self._page)
        while True:
            await asyncio.gather(source.fill(one.until), target.fill(one.until), known.fill(one.until))
            end = min((end for end in (source.end, target.end, known.end) if end is not None), default=None)
            last = one.until is not None and (end is None or end >= one.until)
            if last:
                end = one.until
            # From here on nobody splits the range before `end`.
            one.horizon = LAST if end is None else end
            listed, held = source.take(end), target.take(end)
            joined = join(listed, held, known.take(end), trust=self._trust_catalog)
            await self._settle(joined, len(listed), len(held))
            one.pages += 1
            if end is not None:
                one.cursor = end
            one.done = last or end is None
            if listed:
                self.samples.add(listed[-1].key)
                self._alphabet.see(listed[0].key)
                self._alphabet.see(listed[-1].key)
            self._told()
            if self._moved is not None:
                await self._moved(max(len(listed), len(held)))
            if one.done:
                return

    def _page_of(self, listing: Listing) -> Callable[[Key | None], Awaitable[tuple[Sequence[Listed], bool]]]:
        async def fetch(after: Key | None) -> tuple[Sequence[Listed], bool]:
            return await listing.page(after, self._page)

        return fetch

    async def _rows(self, after: Key | None) -> tuple[Sequence[Copy], bool]:
        rows = await self._catalog.copies(
            self.unit.target,
            self.unit.bucket,
            after=after,
            until=Key(self.unit.prefix + LAST),
            limit=self._page,
        )
        return rows, len(rows) == self._page

    async def _settle(self, joined: Joined, listed: int, held: int) -> None:
        """Decide what the listings left open, record it, and tell the differences. Counts come last, without a wait
        before the cursor moves: a state that is saved at any moment is of one piece."""
        found: list[Difference] = []
        rows: list[Copy] = []
        if joined.missing or joined.different:
            found += [Difference(Kind.MISSING, at.key, at.size, at.etag) for at in joined.missing]
            found += [Difference(Kind.DIFFERENT, at.key, at.size, at.etag) for at in joined.different]
        same, witness = joined.same, joined.witness
        heads = len(joined.doubtful) + sum(row is None for _, row in joined.extra)
        vanished = list(joined.vanished)
        if joined.doubtful:
            answers = await self._heads.ask([doubt.source.key for doubt in joined.doubtful])
            for (at, _), info in zip(joined.doubtful, answers, strict=True):
                copy = None if info is None else copy_of(at, info) or await self._rewritten(at, info)
                if copy is None:
                    kind = Kind.MISSING if info is None else Kind.DIFFERENT
                elif self._read is None or await self._read(copy):
                    rows.append(copy)
                    same += 1
                    witness = at
                    continue
                else:
                    kind = Kind.DAMAGED
                found.append(Difference(kind, at.key, at.size, at.etag))
        due = await self._look_at_extra(joined, found, rows, vanished) if joined.extra else 0
        found = [one for one in found if self._is_ours(one.key)]
        if rows:
            await self._catalog.record_copies(self.unit.target, self.unit.bucket, rows)
        if vanished:
            await self._catalog.forget_copies(self.unit.target, self.unit.bucket, vanished)
        enqueued = 0
        if found:
            enqueued = await self._sink.take(self.unit, found)
        reach("scan.told")
        counts = self.state.counts
        counts.listed_at_source += listed
        counts.listed_at_target += held
        counts.same += same
        counts.heads += heads
        counts.enqueued += enqueued
        for one in found:
            counts.count(one.kind)
        self.state.witness = witness or self.state.witness
        self.state.due += due

    async def _rewritten(self, at: Listed, held: ObjectInfo) -> Copy | None:
        """Whether another version has the very bytes and metadata of the copy: then copying it again is of no use."""
        if self._source_heads is None or held.content is None or held.content.md5 != at.etag:
            return None
        (original,) = await self._source_heads.ask([at.key])
        return None if original is None else copy_of_same_bytes(at, held, original)

    async def _look_at_extra(
        self, joined: Joined, found: list[Difference], rows: list[Copy], vanished: list[Key]
    ) -> int:
        """How many are due."""
        due = 0
        now = self._clock.now()
        unknown = [at.key for at, row in joined.extra if row is None]
        answers = dict(zip(unknown, await self._heads.ask(unknown), strict=True))
        for at, row in joined.extra:
            if row is None:
                info = answers[at.key]
                if info is None:
                    vanished.append(at.key)  # the listing was older than a deletion
                    continue
                row = orphan(info, now)
                if row is None:
                    found.append(Difference(Kind.FOREIGN, at.key, at.size, at.etag))
                    continue
                rows.append(row)
            elif not row.absent_since or not self._remembers(at.key):
                rows.append(row._replace(absent_since=now))
            elif self._due_since is not None and row.absent_since <= self._due_since:
                due += self._is_ours(at.key)
            found.append(Difference(Kind.EXTRA, at.key, at.size, row.source_etag))
        return due

    def _is_ours(self, key: Key) -> bool:
        """Whether this rule is the one that counts for the key at this target: an earlier one may cover it too."""
        return self.unit.rule in covering(self._rules, self.unit.bucket, key)
