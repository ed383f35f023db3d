"""Tags of objects compared with those of their copies, without a look at every object.

Tags lie in records of the S3 front's private bucket, named by a hash of the object's key. What a scan has found equal
it notes in the catalog, with the record's ETag. So the next scan is a merge-join of two sorted sequences, the listing
of the records and the notes, in constant memory, and asks only about objects whose record is new, another one, or gone.
A copy with tags is noted when it is made, without the ETag, so that it is asked about when its record is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

from controlplane.model.copies import Copy, Noted
from controlplane.model.copy_record import CopyRecord, Tags, decode_copy_record
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule, covering
from controlplane.model.scan_join import Difference, Kind
from controlplane.model.scan_state import Counts, Unit
from controlplane.ports.catalog import Catalog
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ObjectInfo, ObjectStore
from controlplane.services.scan_admission import Admit, at_once
from controlplane.services.scan_unit import Sink

log = logging.getLogger(__name__)

_PAGE: Final = 1000
_SIDE_BY_SIDE: Final = 8
_REQUESTS: Final = 4
"""At most, for one object: its record, both sides, its tags."""


class TaggedRecord(NamedTuple):
    """An entry of the listing of records."""

    name: Key
    etag: str
    size: int
    mtime: int


class TagRecords(Protocol):
    """Where tags are, seen from the mirror (services/source_tags.py)."""

    async def records(self, bucket: Bucket, after: Key | None, limit: int) -> tuple[Sequence[TaggedRecord], bool]:
        """In the order of their names, and whether there are more. Raises Unavailable, Rejected."""
        ...

    async def key_in(self, record: Key) -> Key | None:
        """The key of the object that a record is about; None: it is gone. Raises Unavailable, Corrupt."""
        ...

    async def of(self, bucket: Bucket, info: ObjectInfo, *, now: bool = False) -> Tags: ...


class _Pair(NamedTuple):
    record: TaggedRecord | None
    note: Copy | None


class TagScan:
    """Invariant: a note says of a record what was true when copy and object were last asked; whatever is not so any
    more has another ETag, or is gone."""

    def __init__(self, tags: TagRecords, catalog: Catalog, rules: Sequence[MirrorRule]) -> None:
        self._tags = tags
        self._catalog = catalog
        self._rules = tuple(rules)
        self._places = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def run(
        self,
        unit: Unit,
        counts: Counts,
        *,
        source: ObjectStore,
        target: ObjectStore,
        sink: Sink,
        trust_catalog: bool,
        moved: Callable[[int], Awaitable[None]],
        admit: Admit = at_once,
    ) -> None:
        """To be called after the unit was scanned: what has no copy is not looked at. Raises what stores, catalog and
        sink raise."""
        waiting: list[_Pair] = []
        async for pair in self._joined(unit, admit):
            if trust_catalog and pair.record is not None and pair.note is not None and _is_same(pair.record, pair.note):
                continue
            waiting.append(pair)
            if len(waiting) >= _PAGE:
                await self._look(unit, waiting, counts, source, target, sink, admit)
                await moved(0)
                waiting = []
        await self._look(unit, waiting, counts, source, target, sink, admit)

    async def _joined(self, unit: Unit, admit: Admit) -> AsyncIterator[_Pair]:
        """Every record and every note once, those of one name together."""
        records, notes = self._records(unit.bucket, admit), self._notes(unit)
        record, note = await anext(records, None), await anext(notes, None)
        while record is not None or note is not None:
            if note is None or (record is not None and record.name < note.key):
                yield _Pair(record, None)
                record = await anext(records, None)
            elif record is None or note.key < record.name:
                yield _Pair(None, note)
                note = await anext(notes, None)
            else:
                yield _Pair(record, note)
                record, note = await anext(records, None), await anext(notes, None)

    async def _records(self, bucket: Bucket, admit: Admit) -> AsyncIterator[TaggedRecord]:
        after: Key | None = None
        more = True
        while more:
            await admit(1)
            page, more = await self._tags.records(bucket, after, _PAGE)
            for record in page:
                yield record
                after = record.name

    async def _notes(self, unit: Unit) -> AsyncIterator[Copy]:
        after: Key | None = None
        while page := await self._catalog.copies(unit.target, notes_of(unit), after=after, limit=_PAGE):
            for note in page:
                yield note
            after = page[-1].key

    async def _look(
        self,
        unit: Unit,
        pairs: Sequence[_Pair],
        counts: Counts,
        source: ObjectStore,
        target: ObjectStore,
        sink: Sink,
        admit: Admit,
    ) -> None:
        answers = await asyncio.gather(*(self._look_at(unit, pair, source, target, admit) for pair in pairs))
        found: list[Difference] = []
        equal: list[Copy] = []
        gone: list[Key] = []
        for pair, (key, difference) in zip(pairs, answers, strict=True):
            if difference is not None:
                found.append(difference)
            elif pair.record is None:
                assert pair.note is not None
                gone.append(pair.note.key)
            elif key is not None:
                record = pair.record
                equal.append(Copy(record.name, record.etag, record.size, record.mtime, key))
        if found:
            counts.enqueued += await sink.take(unit, found)
        if equal:
            await self._catalog.record_copies(unit.target, notes_of(unit), equal)
        if gone:
            await self._catalog.forget_copies(unit.target, notes_of(unit), gone)
        counts.heads += len(pairs)
        for one in found:
            counts.count(one.kind)
            counts.same -= 1  # the listings had not shown it

    async def _look_at(
        self, unit: Unit, pair: _Pair, source: ObjectStore, target: ObjectStore, admit: Admit
    ) -> tuple[Key | None, Difference | None]:
        """The object's key, when it is known that nothing has to be done for it; and what differs."""
        async with self._places:
            await admit(_REQUESTS)
            if pair.record is not None:
                key = await self._tags.key_in(pair.record.name)
            else:
                assert pair.note is not None
                key = Key(pair.note.target_etag)
            if key is None:
                return None, None
            if not key.startswith(unit.prefix) or unit.rule not in covering(self._rules, unit.bucket, key):
                return key, None
            try:
                info = await source.head(key)
            except NotFound:
                return key, None  # a record of what is gone; whether its copy may go is no question of tags
            try:
                said = decode_copy_record((await target.head(key)).metadata)
            except NotFound:
                return None, None  # the scan has told, and the copy will have its tags
            if said is None or (said.etag, round(said.modified_at)) != (info.etag, round(info.modified_at)):
                return None, None  # another version: the scan has told
            tags = await self._tags.of(unit.bucket, info, now=True)
            if said.tags_digest != CopyRecord("", 0.0, tags=tags).tags_digest:
                return None, Difference(Kind.DIFFERENT, key, info.size, info.etag)
            return key, None


def note_of_copy(rule: MirrorRule, bucket: Bucket, record: Key, key: Key) -> Noted:
    """Of a copy that was made just now, with tags."""
    unit = Unit(rule, bucket, rule.prefix)
    return Noted(unit.target, notes_of(unit), Copy(record, "", 0, 0, key))


def notes_of(unit: Unit) -> Bucket:
    """Where the notes of a unit are among the rows of the catalog: under a name that no bucket has. There a row is
    about a record: key, ETag, size and time are the record's, as the private bucket lists it, and in the place of the
    target's ETag is the key of the object."""
    return Bucket(f"{unit.bucket}/tags/{unit.prefix}")


def _is_same(record: TaggedRecord, note: Copy) -> bool:
    return (record.etag, record.size, record.mtime) == (note.source_etag, note.size, note.source_mtime)
