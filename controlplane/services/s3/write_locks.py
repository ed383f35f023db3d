"""The lock under which a conditional write looks and then commits, so that no other conditional write comes between.

A key in etcd under a short lease, taken by compare-and-swap: it excludes every gateway of the cluster, and goes away
by itself when its holder dies. Writes without a condition do not take it: they may overwrite at any time anyway.
Without etcd there is no such lock, and a conditional write is 503 rather than a promise that is not kept.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Final

from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.errors import MillraceError, Unavailable
from controlplane.s3.fault import Code, S3Fault

_WAIT_FIRST_S: Final = 0.02
_WAIT_MOST_S: Final = 0.5


class WriteLocks:
    """`directory` None: no etcd is configured."""

    def __init__(self, directory: Directory | None, clock: Clock, random: Random, node: str, ttl_s: float) -> None:
        self._directory = directory
        self._clock = clock
        self._random = random
        self._node = node
        self._ttl_s = ttl_s

    @asynccontextmanager
    async def hold(self, bucket: str, key: str) -> AsyncIterator[float]:
        """Hold the key's lock; yields the seconds within which the commit must be over.

        Raises Unavailable without etcd, and S3Fault ConditionalRequestConflict when others hold it for long.
        """
        if self._directory is None:
            raise Unavailable(
                "a conditional write needs the lock in etcd, and directory.etcd.endpoints is empty: configure etcd"
            )
        digest = hashlib.sha256(f"{bucket}\n{key}".encode("utf-8", "surrogateescape")).hexdigest()
        name, token = f"locks/s3/{digest}", f"{self._node} {secrets.token_hex(8)}"
        began = self._clock.monotonic()
        pause = _WAIT_FIRST_S
        while True:
            asked_at = self._clock.monotonic()
            revision = await self._directory.compare_and_swap(name, None, token, self._ttl_s)
            if revision is not None:
                break
            if self._clock.monotonic() - began > self._ttl_s / 2:
                raise S3Fault(Code.CONDITIONAL_REQUEST_CONFLICT)
            await self._clock.sleep(pause * (0.5 + self._random.random() / 2))
            pause = min(pause * 2, _WAIT_MOST_S)
        # The lease runs from before the request; the rest is for the clocks and for the last request under way.
        left = self._ttl_s * 0.8 - (self._clock.monotonic() - asked_at)
        try:
            yield left
        finally:
            try:
                await self._directory.compare_and_swap(name, revision, None)
            except MillraceError:
                pass  # its lease ends it
