"""The checker: every operation and how it was answered, and what must be so in the end. It imports nothing of Millrace.

A key has one writer, which waits for each answer. So what a key may hold is known: the last acknowledged version, or
one of those operations without an answer, which may have happened, or may still happen.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ABSENT = "absent"
"""In place of the MD5 of a version."""


@dataclass
class Key:
    acknowledged: str = ABSENT
    doubtful: set[str] = field(default_factory=set)
    """Versions of operations without an answer since the last one that was settled, ABSENT for a delete."""

    @property
    def possible(self) -> set[str]:
        return {self.acknowledged, *self.doubtful}


@dataclass(frozen=True)
class Violation:
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


class Ledger:
    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.counts: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self._lock = threading.Lock()

    def began(self, key: str, version: str) -> None:
        """Before the request leaves: from now on it may have happened."""
        with self._lock:
            self.keys.setdefault(key, Key()).doubtful.add(version)

    def acknowledged(self, key: str, version: str, *, sure: bool) -> None:
        """`sure`: no earlier try of this operation can still be under way."""
        with self._lock:
            state = self.keys[key]
            if sure:
                state.doubtful.discard(version)
            state.acknowledged = version
            self.counts["deleted" if version == ABSENT else "written"] += 1

    def refused(self, key: str, version: str) -> None:
        """No answer, or an error: it stays doubtful."""
        with self._lock:
            self.counts["without an answer"] += 1

    def settled(self, key: str) -> None:
        """Nothing of the key is under way any more, anywhere, and its last operation was acknowledged."""
        with self._lock:
            self.keys[key].doubtful.clear()

    def read(self, key: str, version: str) -> None:
        """What a reader was given while the key's writer rested: a version, or ABSENT for 404."""
        with self._lock:
            self.counts["read"] += 1
            state = self.keys.get(key, Key())
            if version not in state.possible:
                self.violations.append(Violation(key, f"read {version}, possible were {sorted(state.possible)}"))

    @property
    def in_doubt(self) -> list[str]:
        with self._lock:
            return sorted(key for key, state in self.keys.items() if state.doubtful)

    def judge(self, source: Mapping[str, str], target: Mapping[str, str], *, strict: bool) -> list[Violation]:
        """Compare what both stores hold (MD5 by key) with what was promised.

        `strict`: nothing is in doubt any more, and both must be equal. Else a key with doubtful operations may hold any
        of what is possible, in each store: a write that nobody was promised need not be mirrored.
        """
        found = list(self.violations)
        for key in sorted({*self.keys, *source, *target}):
            state = self.keys.get(key, Key())
            at_source, at_target = source.get(key, ABSENT), target.get(key, ABSENT)
            found += _where(key, "source", at_source, state)
            found += _where(key, "target", at_target, state)
            if at_source != at_target and (strict or not state.doubtful):
                found.append(Violation(key, f"source holds {at_source}, target holds {at_target}"))
        if strict and (doubtful := self.in_doubt):
            found.append(Violation(doubtful[0], f"and {len(doubtful) - 1} more are still in doubt"))
        return found


def _where(key: str, store: str, version: str, state: Key) -> Iterable[Violation]:
    if version in state.possible:
        return
    if version == ABSENT:
        yield Violation(key, f"acknowledged {state.acknowledged} is missing at the {store}")
    elif state.acknowledged == ABSENT:
        yield Violation(key, f"was deleted, and the {store} holds {version} again")
    else:
        yield Violation(key, f"the {store} holds {version}, acknowledged was {state.acknowledged}")
