"""Riak objects: siblings with dots under one version vector (what merge_strategy 2 does)."""

import base64
import hashlib
import json
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

Clock = dict[str, int]
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class BadClock(ValueError):
    """A vector clock that cannot be decoded."""


@dataclass(frozen=True)
class Sibling:
    """One value; `dot` is the event that wrote it, `modified` is in seconds."""

    dot: tuple[str, int]
    value: bytes
    metadata: dict[str, Any]
    modified: float
    deleted: bool = False

    @property
    def vtag(self) -> str:
        seed = hashlib.md5(f"{self.dot}{self.modified}".encode() + self.value[:64]).digest()
        return base62(int.from_bytes(seed))

    @property
    def indexes(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.metadata.get("indexes", [])]


@dataclass(frozen=True)
class RiakObject:
    clock: Clock = field(default_factory=dict)
    siblings: tuple[Sibling, ...] = ()

    @property
    def live(self) -> tuple[Sibling, ...]:
        return tuple(s for s in self.siblings if not s.deleted)

    @property
    def modified(self) -> float:
        return max((s.modified for s in self.siblings), default=0.0)

    @property
    def size(self) -> int:
        return sum(len(s.value) for s in self.siblings)


def base62(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = _ALPHABET[digit] + text
    return text or "0"


def merged_clock(*clocks: Clock) -> Clock:
    result: Clock = {}
    for clock in clocks:
        for actor, count in clock.items():
            result[actor] = max(count, result.get(actor, 0))
    return result


def covers(clock: Clock, dot: tuple[str, int]) -> bool:
    return clock.get(dot[0], 0) >= dot[1]


def update(
    stored: RiakObject,
    context: Clock,
    actor: str,
    value: bytes,
    metadata: dict[str, Any],
    *,
    deleted: bool,
    alone: bool,
) -> RiakObject:
    """A write by `actor` that had seen `context`; `alone` keeps only the new value (allow_mult false).

    Events are counted by the microsecond: a key that is written anew after its tombstone was reaped must not look older
    than a copy of the tombstone that a hinted handoff brings back (Riak gives the vnode a new actor for that)."""
    clock = merged_clock(stored.clock, context)
    dot = (actor, max(clock.get(actor, 0) + 1, time.time_ns() // 1000))
    clock[actor] = dot[1]
    kept = () if alone else tuple(s for s in stored.siblings if not covers(context, s.dot))
    return RiakObject(clock, (*kept, Sibling(dot, value, metadata, time.time(), deleted)))


def merge(mine: RiakObject, theirs: RiakObject) -> RiakObject:
    """What both replicas know: a value lives if both have it, or if the other has not seen it."""
    if mine.clock == theirs.clock and len(mine.siblings) == len(theirs.siblings):
        return mine
    my_dots, their_dots = {s.dot for s in mine.siblings}, {s.dot for s in theirs.siblings}
    kept = [s for s in mine.siblings if s.dot in their_dots or not covers(theirs.clock, s.dot)]
    kept += [s for s in theirs.siblings if s.dot not in my_dots and not covers(mine.clock, s.dot)]
    return RiakObject(merged_clock(mine.clock, theirs.clock), tuple(kept))


def dump(value: RiakObject) -> tuple[dict[str, Any], bytes]:
    rows = [[list(s.dot), len(s.value), s.metadata, s.modified, s.deleted] for s in value.siblings]
    return {"clock": value.clock, "siblings": rows}, b"".join(s.value for s in value.siblings)


def restore(header: dict[str, Any], blob: bytes) -> RiakObject:
    siblings, at = [], 0
    for dot, size, metadata, modified, deleted in header["siblings"]:
        siblings.append(Sibling((dot[0], dot[1]), blob[at : at + size], metadata, modified, deleted))
        at += size
    return RiakObject(header["clock"], tuple(siblings))


def clock_text(clock: Clock) -> str:
    """The opaque text of X-Riak-Vclock."""
    return base64.b64encode(b"k" + zlib.compress(json.dumps(clock, sort_keys=True).encode())).decode()


def clock_from_text(text: str) -> Clock:
    """Raises BadClock."""
    try:
        raw = base64.b64decode(text, validate=True)
        loaded = json.loads(zlib.decompress(raw[1:]))
        return {str(actor): int(count) for actor, count in loaded.items()}
    except Exception as error:
        raise BadClock(text) from error
