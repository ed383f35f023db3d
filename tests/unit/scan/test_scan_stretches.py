"""What is remembered of who compared which keys: whole or not at all, and only of the very last run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.adapters.memory.documents import MemoryDocuments
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import MirrorRule
from controlplane.model.scan_board import OpenUnit, Piece
from controlplane.model.scan_state import Unit
from controlplane.ports.errors import StorageFull
from controlplane.services.scan_stretches import Stretches, StretchRecords

UNIT = Unit(MirrorRule("photos", "", "t"), Bucket("photos"), "")


def scanned(*cuts: tuple[str, str]) -> OpenUnit:
    """Ends and nodes; the last one goes to the end of the keys."""
    pieces, start = [], Key("")
    for number, (cut, node) in enumerate(cuts):
        until = None if number == len(cuts) - 1 else Key(cut)
        pieces.append(Piece(start, until, Key(cut), node, done=True))
        start = Key(cut)
    return OpenUnit(UNIT.name, pieces)


async def test_the_next_scan_begins_with_who_had_what() -> None:
    records = StretchRecords(MemoryDocuments())
    assert await records.load(UNIT) == Stretches()
    await records.save(UNIT, scanned(("g", "a"), ("m", "b"), ("", "a")), 7, "b")
    found = await records.load(UNIT)
    opened = found.opened(UNIT)
    assert [(piece.start, piece.until, piece.node) for piece in opened.pieces] == [
        ("", "g", "a"), ("g", "m", "b"), ("m", None, "a"),
    ]  # fmt: skip
    assert opened.prefers == "b"
    assert found.remembers("a", 8, Key("g"))
    assert not found.remembers("a", 8, Key("h"))
    assert found.remembers("a", 8, Key("zebra"))
    # A run in between, whatever became of it, may have seen other things.
    assert not found.remembers("a", 9, Key("g"))


async def test_many_cuts_are_remembered_up_to_a_bound_and_nobody_is_taken_for_who_had_the_rest() -> None:
    records = StretchRecords(MemoryDocuments())
    await records.save(UNIT, scanned(*((f"{n:04d}", "ab"[n % 2]) for n in range(1000))), 1, "a")
    found = await records.load(UNIT)
    assert len(found.last) == 256
    assert found.remembers("b", 2, Key("0001"))
    assert not any(found.remembers(node, 2, Key("0900")) for node in "ab")


async def test_what_is_too_large_is_not_remembered_and_neither_is_what_was_before() -> None:
    class Small(MemoryDocuments):
        full = False

        async def save(self, name: str, document: Mapping[str, Any]) -> None:
            if self.full:
                raise StorageFull("told to")
            await super().save(name, document)

    documents = Small()
    records = StretchRecords(documents)
    await records.save(UNIT, scanned(("", "a")), 1, "a")
    documents.full = True
    await records.save(UNIT, scanned(("", "b")), 2, "b")
    assert await records.load(UNIT) == Stretches()


async def test_a_record_of_somebody_else_is_none() -> None:
    documents = MemoryDocuments()
    records = StretchRecords(documents)
    await records.save(UNIT, scanned(("", "a")), 1, "a")
    (name,) = documents._texts
    await documents.save(name, {"last": 3})
    assert await records.load(UNIT) == Stretches()
