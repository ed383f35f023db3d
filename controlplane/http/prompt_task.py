"""A task that begins where it is made and goes on where it is woken, instead of in a later turn of the event loop.

Most requests wait for one thing, another server's answer. An asyncio.Task for that costs turns of the loop, futures,
handles; here the bytes that arrive carry the coroutine on to its end by a plain call. Everything else that a
coroutine awaits is waited for as a Task does: timeouts, task groups and cancellation see a task.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task  # documented for task implementations ("Extending")
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from typing import Any


class Signal:
    """What a PromptTask waits for once. set_result() carries the task on before it returns: it must be the last thing
    that its caller does."""

    __slots__ = ("_done", "task")

    def __init__(self) -> None:
        self._done = False
        self.task: PromptTask | None = None

    def __await__(self) -> Generator[Signal, None, None]:
        if not self._done:
            yield self

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None) -> None:  # noqa: ARG002 - the signature of a future's
        self._done = True
        task, self.task = self.task, None
        if task is not None:
            task.step()


Waiter = asyncio.Future[None] | Signal


def waiter(loop: asyncio.AbstractEventLoop) -> Waiter:
    """For the running task to wait for, and for somebody on `loop` to call set_result(None) on."""
    current: object = asyncio.current_task(loop)
    return Signal() if type(current) is PromptTask else loop.create_future()


class PromptTask:
    """Runs `coro`, which handles its own exceptions and whose result nobody asks for, in a context of its own.

    Has what asyncio asks of the current task: cancel(), uncancel(), cancelling(). It is in no list of all tasks: who
    makes one keeps it, and sees to its end."""

    __slots__ = ("_begun", "_cancels", "_context", "_coro", "_loop", "_must_cancel", "_waits_for", "done")

    def __init__(self, coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        self._coro = coro
        self._loop = loop
        self._context = copy_context()
        self._waits_for: Any = None
        self._begun = False
        self._must_cancel = False
        self._cancels = 0
        self.done = False

    def step(self, error: BaseException | None = None) -> None:
        """Go on, at once; a moment later where another task runs, which must not be the current one meanwhile."""
        loop = self._loop
        self._waits_for = None
        try:
            _enter_task(loop, self)  # type: ignore[arg-type]
        except RuntimeError:
            loop.call_soon(self.step, error)
            return
        if self._must_cancel and self._begun:  # a coroutine that has not begun could not clean up
            self._must_cancel = False
            error = error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError()
        self._begun = True
        try:
            if error is None:
                awaited = self._context.run(self._coro.send, None)
            else:
                awaited = self._context.run(self._coro.throw, error)
        except StopIteration:
            self.done = True
            return
        except asyncio.CancelledError:
            self.done = True
            return
        except BaseException as fault:
            self.done = True
            if not isinstance(fault, Exception):
                raise
            loop.call_exception_handler({"message": "a prompt task failed", "exception": fault})
            return
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]
        self._wait_for(awaited)

    def _wait_for(self, awaited: Any) -> None:
        if awaited is None:  # a turn for the others: asyncio.sleep(0)
            self._loop.call_soon(self.step)
        elif type(awaited) is Signal:
            self._waits_for = awaited
            awaited.task = self
        elif getattr(awaited, "_asyncio_future_blocking", None):
            awaited._asyncio_future_blocking = False
            self._waits_for = awaited
            awaited.add_done_callback(self._woken)
        else:
            self._loop.call_soon(self.step, RuntimeError(f"a task cannot wait for {awaited!r}"))
            return
        if self._must_cancel:
            self._interrupt()

    def _woken(self, future: asyncio.Future[Any]) -> None:
        try:
            future.result()
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's
            self.step(error)
        else:
            self.step()

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002 - the signature of a task's
        """As asyncio.Task.cancel(): CancelledError is raised where the coroutine waits, in a later turn of the loop.
        One that has not begun does so first."""
        if self.done:
            return False
        self._cancels += 1
        self._must_cancel = True
        self._interrupt()
        return True

    def _interrupt(self) -> None:
        awaited = self._waits_for
        if type(awaited) is Signal:
            self._waits_for = awaited.task = None
            self._loop.call_soon(self.step)
        elif awaited is not None and awaited.cancel():
            self._must_cancel = False

    def cancelling(self) -> int:
        return self._cancels

    def uncancel(self) -> int:
        self._cancels = max(0, self._cancels - 1)
        return self._cancels
