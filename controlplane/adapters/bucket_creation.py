"""Buckets that are made when they are first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class BucketCreation:
    """Each bucket is made once, however many need it at the same moment: all copies of a new bucket do. What fails is
    tried again by who comes next."""

    def __init__(self) -> None:
        self._made: set[str] = set()
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def once(self, bucket: str, create: Callable[[], Awaitable[object]]) -> None:
        """Raises what `create` raises. Who is cancelled leaves the others waiting."""
        if bucket in self._made:
            return
        task = self._under_way.get(bucket)
        if task is None:
            task = self._under_way[bucket] = asyncio.ensure_future(self._make(bucket, create))
            task.add_done_callback(_looked_at)
        await asyncio.shield(task)

    async def _make(self, bucket: str, create: Callable[[], Awaitable[object]]) -> None:
        try:
            await create()
            self._made.add(bucket)
        finally:
            del self._under_way[bucket]

    async def aclose(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _looked_at(task: asyncio.Task[None]) -> None:
    """Nobody may be left who waits for its failure."""
    if not task.cancelled():
        task.exception()
