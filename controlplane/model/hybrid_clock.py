"""A hybrid logical clock: wall-clock order where the clocks agree, strictly increasing even where they step back.

A stamp is `milliseconds << 16 | counter`; it fits a signed 64-bit integer until the year 6429.
"""

from __future__ import annotations

_COUNTER_BITS = 16


def next_stamp(last: int, now: float) -> int:
    """The stamp after `last` at `now` (Unix seconds): always greater than `last`."""
    wall = int(now * 1000) << _COUNTER_BITS
    return wall if wall > last else last + 1


def wall_seconds(stamp: int) -> float:
    """The Unix seconds in a stamp (millisecond resolution)."""
    return (stamp >> _COUNTER_BITS) / 1000
