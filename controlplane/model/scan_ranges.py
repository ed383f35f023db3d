"""Shards of a scan: stretches of one bucket's keys that several workers take side by side. Pure.

A range is all keys in (after, until] below a prefix; the ranges of a unit cover every key exactly once, at any moment
and after any number of splits. Keys compare by code point, which is the order of their UTF-8 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.model.keys import Key

LAST: Final = "\U0010ffff"
"""After every character of a key."""

_LOW, _HIGH = 0x20, 0x7F
"""Split points are made of printable ASCII."""

_MOST_SAMPLES: Final = 128


@dataclass(slots=True)
class Range:
    """One worker's stretch. Everything up to and including `cursor` is done: compared, and what was found is durably
    enqueued. A scan that is resumed goes on behind it."""

    cursor: Key
    until: Key | None
    """None: to the end."""
    start: Key = field(init=False, compare=False)
    """Where the cursor was when it was made. Not kept."""
    top: Key | None = None
    """Behind it the source listed nothing more of the range when it was last looked for. Not kept."""
    horizon: str = ""
    """Up to here it is being worked on just now: a split is made behind it. Not kept."""
    pages: int = 0
    """Read since the range was made. Not kept."""
    taken: bool = False
    """By a worker. Not kept."""
    done: bool = False

    def __post_init__(self) -> None:
        self.start = self.cursor


def initial(split_points: Sequence[Key], shards: int) -> list[Range]:
    """At most `shards` ranges, cut at evenly spaced ones of `split_points` (in order: keys of an earlier listing)."""
    if shards > 1 and split_points:
        count = min(shards, len(split_points) + 1)
        cuts = sorted({split_points[len(split_points) * n // count] for n in range(1, count)})
    else:
        cuts = []
    starts = [Key(""), *cuts]
    return [Range(start, until) for start, until in zip(starts, [*cuts, None], strict=True)]


def worth_splitting(ranges: Sequence[Range], prefix: str) -> Range | None:
    """The range that is likely to have the most left: under way for two pages at least, and the widest."""
    candidates = [one for one in ranges if one.taken and not one.done and one.pages >= 2]
    return max(candidates, key=lambda one: _width(one, prefix), default=None)


def split(ranges: list[Range], victim: Range, at: Key) -> Range:
    """Cut the rest of `victim` at `at`, which lies within it and behind its horizon; the new range is what follows."""
    if not victim.horizon < at or (victim.until is not None and at >= victim.until):
        raise ValueError(f"{at!r} is not within the rest of the range")
    new = Range(at, victim.until, top=victim.top)
    victim.until, victim.top = at, None
    ranges.insert(ranges.index(victim) + 1, new)
    return new


class Alphabet:
    """The span of characters that keys were seen to have behind the prefix: halving is about keys that may exist."""

    def __init__(self, prefix: str) -> None:
        self._start = len(prefix)
        self.low, self.high = _HIGH, _LOW

    def see(self, key: Key) -> None:
        for character in key[self._start :]:
            code = ord(character)
            if _LOW <= code < _HIGH:
                self.low, self.high = min(self.low, code), max(self.high, code + 1)


def middle(low: str, high: str, prefix: str, alphabet: Alphabet | None = None) -> Key | None:
    """A key about half way between two, both below `prefix` or LAST behind it; None: there is none to be made."""
    least, most = (_LOW, _HIGH) if alphabet is None or alphabet.low >= alphabet.high else (alphabet.low, alphabet.high)
    low = max(low, prefix)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    base = low[:shared]
    first = ord(low[shared]) if shared < len(low) else least - 1
    last = min(ord(high[shared]), most) if shared < len(high) else most
    if last - first >= 2:  # there is a character between
        return _between(low, high, base + _character(max((first + last) // 2, least)))
    # Neighbours: half of what follows the lower one.
    if first < least:
        return None
    for at in range(shared + 1, len(low) + 1):
        following = ord(low[at]) if at < len(low) else least - 1
        if following < most - 1:
            return _between(low, high, low[:at] + _character(max((following + most + 1) // 2, least)))
    return None


def _character(code: int) -> str:
    """No slash and no dot: servers that keep keys as paths take a made-up key with such for a folder, and list wrongly
    from there on (SeaweedFS)."""
    return "0" if code in (0x2E, 0x2F) else chr(code)


def _between(low: str, high: str, key: str) -> Key | None:
    return Key(key) if low < key < high else None


def _width(one: Range, prefix: str) -> float:
    """A measure of the stretch that is left, as if keys were evenly spread over the characters behind the prefix."""
    high = one.top or one.until or LAST
    return _number(high, len(prefix)) - _number(max(one.cursor, one.horizon), len(prefix))


def _number(key: str, start: int) -> float:
    value = 0.0
    scale = 1.0
    for character in key[start : start + 12]:
        scale /= _HIGH - _LOW + 1
        value += scale * (min(max(ord(character), _LOW), _HIGH) - _LOW + 1)
    return value


class Samples:
    """Keys met in the course of a scan, about evenly spaced: where the next one is cut. Constant memory."""

    def __init__(self) -> None:
        self._stride = 1
        self._seen = 0
        self._keys: list[Key] = []

    def add(self, key: Key) -> None:
        """The last key of a page; pages of all ranges in any order."""
        self._seen += 1
        if self._seen % self._stride:
            return
        self._keys.append(key)
        if len(self._keys) > _MOST_SAMPLES:
            self._keys = self._keys[1::2]
            self._stride *= 2

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple(sorted(set(self._keys)))
