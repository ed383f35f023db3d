"""How much a shared journal holds, kept without asking each time: counted now and then, and changed along.

A count takes a while, and changes go on meanwhile. The records that this process changes during a count are counted as
it left them, whatever the count has seen of them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping

from controlplane.model.key_record import Tally


class Count:
    """One count under way: a row for each record."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._pending = array("Q")
        self._failed = array("Q")
        self._bytes: list[int] = []  # may exceed 64 bits
        self._rules: list[str] = []
        self._changed: dict[int, tuple[Tally, str]] = {}

    def saw(self, key: str, tally: Tally, rule: str) -> None:
        self._keys.append(_short(key))
        self._pending.append(tally.pending)
        self._failed.append(tally.failed)
        self._bytes.append(tally.pending_bytes)
        self._rules.append(rule)

    def changed(self, key: str, tally: Tally, rule: str) -> None:
        self._changed[_short(key)] = (tally, rule)

    def totals(self) -> dict[str, Tally]:
        found: dict[str, Tally] = {}
        rows = zip(self._keys, self._pending, self._bytes, self._failed, self._rules, strict=True)
        for key, pending, size, failed, rule in rows:
            if key not in self._changed:
                found[rule] = _sum(found.get(rule, Tally()), Tally(pending, size, failed))
        for tally, rule in self._changed.values():
            found[rule] = _sum(found.get(rule, Tally()), tally)
        return found


class Backlog:
    """The counters, by the digits of a rule."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counted = False
        self._by_rule: dict[str, Tally] = {}
        self._reserved = 0
        self._count: Count | None = None

    def begin_count(self) -> Count:
        self._count = Count()
        return self._count

    def end_count(self, count: Count) -> None:
        self._by_rule = count.totals()
        self._count = None
        self.counted = True

    def reserve(self, full: Callable[[Tally], Exception]) -> None:
        """Take a place for an entry that is about to be written; release() it when that is decided. Raises full()."""
        total = self.total
        if total.pending + total.failed + self._reserved >= self.limit:
            raise full(total)
        self._reserved += 1

    def release(self) -> None:
        self._reserved -= 1

    def change(self, key: str, rule: str, before: Tally, after: Tally) -> None:
        """A record was written."""
        known = self._by_rule.get(rule, Tally())
        self._by_rule[rule] = Tally(
            max(known.pending + after.pending - before.pending, 0),
            max(known.pending_bytes + after.pending_bytes - before.pending_bytes, 0),
            max(known.failed + after.failed - before.failed, 0),
        )
        if self._count is not None:
            self._count.changed(key, after, rule)

    @property
    def total(self) -> Tally:
        total = Tally()
        for tally in self._by_rule.values():
            total = _sum(total, tally)
        return total

    @property
    def by_rule(self) -> Mapping[str, Tally]:
        return self._by_rule


def _short(key: str) -> int:
    """Half of the digits tell records apart well enough, in eight bytes."""
    return int(key[:16], 16)


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(one.pending + other.pending, one.pending_bytes + other.pending_bytes, one.failed + other.failed)
