"""The counters of mirror rules inside a write transaction: kept as differences, written once at its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass

from controlplane.model.rule_stats import lag_slot


@dataclass(slots=True)
class _Change:
    pending: int = 0
    pending_bytes: int = 0
    failed: int = 0
    copied: int = 0
    copied_bytes: int = 0
    lag_total_s: float = 0.0
    progress_at: float = 0.0


class RuleCounts:
    def __init__(self) -> None:
        self._changes: dict[str, _Change] = {}
        self._lags: dict[tuple[str, int], int] = {}

    def clear(self) -> None:
        self._changes.clear()
        self._lags.clear()

    def mark(self) -> RuleCounts:
        """A copy that restore() takes."""
        other = RuleCounts()
        other._changes = {rule: copy(change) for rule, change in self._changes.items()}
        other._lags = dict(self._lags)
        return other

    def restore(self, mark: RuleCounts) -> None:
        self._changes, self._lags = mark._changes, mark._lags

    def move(self, rule: str, pending: int = 0, pending_bytes: int = 0, failed: int = 0) -> None:
        change = self._of(rule)
        change.pending += pending
        change.pending_bytes += pending_bytes
        change.failed += failed

    def progress(self, rules: Iterable[str], now: float) -> None:
        for rule in rules:
            change = self._of(rule)
            change.progress_at = max(change.progress_at, now)

    def copied(self, rule: str, size: int, lag_s: float) -> None:
        change = self._of(rule)
        change.copied += 1
        change.copied_bytes += size
        change.lag_total_s += lag_s
        at = rule, lag_slot(lag_s)
        self._lags[at] = self._lags.get(at, 0) + 1

    def store(self, connection: sqlite3.Connection) -> None:
        """Add the differences to the tables."""
        for rule, change in self._changes.items():
            connection.execute(
                "INSERT INTO rule (name, pending, pending_bytes, failed, copied, copied_bytes, lag_total, progress_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " pending = pending + excluded.pending, pending_bytes = pending_bytes + excluded.pending_bytes,"
                " failed = failed + excluded.failed, copied = copied + excluded.copied,"
                " copied_bytes = copied_bytes + excluded.copied_bytes, lag_total = lag_total + excluded.lag_total,"
                " progress_at = max(progress_at, excluded.progress_at)",
                (
                    rule,
                    change.pending,
                    change.pending_bytes,
                    change.failed,
                    change.copied,
                    change.copied_bytes,
                    change.lag_total_s,
                    change.progress_at,
                ),
            )
        for (rule, slot), count in self._lags.items():
            connection.execute(
                "INSERT INTO lag (rule, slot, copies) VALUES (?, ?, ?)"
                " ON CONFLICT (rule, slot) DO UPDATE SET copies = copies + excluded.copies",
                (rule, slot, count),
            )
        self.clear()

    def _of(self, rule: str) -> _Change:
        change = self._changes.get(rule)
        if change is None:
            change = self._changes[rule] = _Change()
        return change
