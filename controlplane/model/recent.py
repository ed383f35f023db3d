"""What was said last of things, of as many as were spoken of not long ago."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At least the last `least` keys, and at most twice as many. Two plain dicts that take turns: an OrderedDict in
    order of use takes five times as long to set, and a copy of a small object sets two."""

    __slots__ = ("_before", "_least", "_now")

    def __init__(self, least: int) -> None:
        self._least = least
        self._now: dict[K, V] = {}
        self._before: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        value = self._now.get(key)
        return self._before.get(key) if value is None else value

    def set(self, key: K, value: V) -> None:
        if len(self._now) >= self._least:
            self._before, self._now = self._now, {}
        self._now[key] = value

    def forget(self, key: K) -> None:
        self._now.pop(key, None)
        self._before.pop(key, None)
