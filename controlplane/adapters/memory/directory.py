"""Directory within one process: for `millrace dev` and tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from controlplane.model.endpoints import Endpoint, EndpointSet
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Versioned, require_name, require_part
from controlplane.ports.errors import Unavailable

_FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class _Entry:
    content: Endpoint | str
    revision: int
    expires_at: float
    """By the clock's monotonic seconds."""


class InProcessDirectory:
    """Implements ports.directory.Directory. An entry is gone from the moment its time is over, seen or not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._revision = 1
        self._entries: dict[tuple[str, ...], _Entry] = {}
        self._changed = asyncio.Event()
        """Set and replaced at each change, so that any number of watchers sees it."""
        self._closed = False

    async def announce(self, endpoint: Endpoint, ttl_s: float) -> None:
        key = _key(endpoint)
        there = self._current().get(key)
        expires_at = self._clock.monotonic() + ttl_s
        if there is not None and there.content == endpoint:
            self._entries[key] = _Entry(endpoint, there.revision, expires_at)
            # A watcher may sleep until the old time, or, when the new one is shorter, beyond it.
            self._wake()
        else:
            self._put(key, endpoint, expires_at)

    async def withdraw(self, endpoint: Endpoint) -> None:
        self._remove([key for key in [_key(endpoint)] if key in self._current()])

    async def endpoints(self, service: str) -> EndpointSet:
        require_part(service, "a service name")
        found = [
            entry.content
            for key, entry in sorted(self._current().items())
            if isinstance(entry.content, Endpoint) and key[1] == service
        ]
        return EndpointSet(tuple(found), self._revision)

    async def watch(self, service: str) -> AsyncGenerator[EndpointSet, None]:
        shown: tuple[Endpoint, ...] | None = None
        while True:
            now = await self.endpoints(service)
            if now.endpoints != shown:
                shown = now.endpoints
                yield now
            else:
                await self._change()

    async def get(self, name: str) -> Versioned | None:
        entry = self._current().get(("name", require_name(name)))
        return None if entry is None else Versioned(str(entry.content), entry.revision)

    async def compare_and_swap(
        self, name: str, expected_revision: int | None, value: str | None, ttl_s: float | None = None
    ) -> int | None:
        key = ("name", require_name(name))
        there = self._current().get(key)
        if (None if there is None else there.revision) != expected_revision:
            return None
        if value is not None:
            return self._put(key, value, _FOREVER if ttl_s is None else self._clock.monotonic() + ttl_s)
        self._remove([key] if there is not None else [])
        return self._revision

    async def check(self) -> str:
        self._current()
        return "in this process: nobody else sees it"

    async def aclose(self) -> None:
        self._closed = True
        self._wake()

    def _current(self) -> dict[tuple[str, ...], _Entry]:
        """The entries, once those whose time is over are removed."""
        if self._closed:
            raise Unavailable("the directory was closed")
        now = self._clock.monotonic()
        self._remove([key for key, entry in self._entries.items() if entry.expires_at <= now])
        return self._entries

    def _put(self, key: tuple[str, ...], content: Endpoint | str, expires_at: float) -> int:
        self._revision += 1
        self._entries[key] = _Entry(content, self._revision, expires_at)
        self._wake()
        return self._revision

    def _remove(self, keys: list[tuple[str, ...]]) -> None:
        for key in keys:
            del self._entries[key]
        if keys:
            self._revision += 1
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _change(self) -> None:
        """Return when something may have changed, at the latest when the next entry expires."""
        next_expiry = min((entry.expires_at for entry in self._entries.values()), default=_FOREVER)
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(self._changed.wait())]
        if next_expiry < _FOREVER:
            waits.append(asyncio.ensure_future(self._clock.sleep(max(0.0, next_expiry - self._clock.monotonic()))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _key(endpoint: Endpoint) -> tuple[str, ...]:
    return "endpoint", require_part(endpoint.service, "a service name"), require_part(endpoint.node, "a node name")
