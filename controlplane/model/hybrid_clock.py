"""A hybrid logical clock: wall-clock order where the clocks agree, strictly increasing even where they step back.

A stamp is `milliseconds << 16 | counter`; it fits a signed 64-bit integer until the year 6429. Of a clock that several
writers share without asking each other the lowest 12 bits of the counter are the writer's number.
"""

from __future__ import annotations

_COUNTER_BITS = 16
_WRITER_BITS = 12
WRITERS = 1 << _WRITER_BITS
"""So many numbers of writers there are."""


def next_stamp(last: int, now: float) -> int:
    """The stamp after `last` at `now` (Unix seconds): always greater than `last`."""
    wall = int(now * 1000) << _COUNTER_BITS
    return wall if wall > last else last + 1


def next_stamp_of(writer: int, last: int, now: float) -> int:
    """The same with the writer's number in it (from 0, below WRITERS): stamps of different writers differ.

    More than 16 a millisecond are taken from the milliseconds to come."""
    wall = int(now * 1000) << _COUNTER_BITS | writer
    if wall > last:
        return wall
    base = last >> _WRITER_BITS << _WRITER_BITS | writer
    return base if base > last else base + WRITERS


def wall_seconds(stamp: int) -> float:
    """The Unix seconds in a stamp (millisecond resolution)."""
    return (stamp >> _COUNTER_BITS) / 1000


def last_stamp(at: float) -> int:
    """The greatest stamp that can have been given up to `at` (Unix seconds), by a clock that was right."""
    return (int(at * 1000) + 1 << _COUNTER_BITS) - 1
