"""Opening what takes a while beside the rest of a start."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar


class Closes(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T", bound=Closes)


async def begun(opening: Coroutine[Any, Any, T], closing: AsyncExitStack) -> asyncio.Task[T]:
    """A task that has begun when this returns: its threads and the disk go on whatever the caller does, be it imports,
    which hold up the loop. What it opens is closed with `closing`, also when nobody waited for it."""
    task = asyncio.ensure_future(opening)
    closing.push_async_callback(_closed, task)
    await asyncio.sleep(0)
    return task


async def _closed(task: asyncio.Task[T]) -> None:
    (opened,) = await asyncio.gather(task, return_exceptions=True)
    if not isinstance(opened, BaseException):
        await opened.aclose()
