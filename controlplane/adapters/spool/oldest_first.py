"""A few threads for the digests of many bodies, which work for the body that was begun first.

Bodies that come in beside one another, and are digested by turns, are all complete at the end only: until then nobody
has anything to send. Digested one after the other, the first goes on while the next ones are digested.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from heapq import heappop, heappush
from itertools import count
from threading import Lock
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OldestFirst:
    """Nothing starves: what comes later is younger. A thread whose oldest body has nothing to do works for the next."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = Lock()
        self._order = count()
        self._waiting: list[tuple[int, int, Future[Any], Callable[[], Any]]] = []
        """A heap; the pool holds one call of _work_for_oldest for each."""

    def of_body(self, number: int) -> Executor:
        """For calls for one body; those of lower numbers go first, and of one body in the order they came."""
        return _OfBody(self, number)

    def submit(self, number: int, call: Callable[[], T]) -> Future[T]:
        """Raises RuntimeError after shutdown()."""
        future: Future[T] = Future()
        with self._lock:
            self._pool.submit(self._work_for_oldest)
            heappush(self._waiting, (number, next(self._order), future, call))
        return future

    def shutdown(self) -> None:
        """Cancel what has not begun, and wait for what is running."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            left, self._waiting = self._waiting, []
        for _, _, future, _ in left:
            future.cancel()
        self._pool.shutdown(wait=True)

    def _work_for_oldest(self) -> None:
        with self._lock:
            if not self._waiting:  # shutdown() came between
                return
            _, _, future, call = heappop(self._waiting)
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whoever awaits the future gets it
            future.set_exception(error)
        else:
            future.set_result(result)


class _OfBody(Executor):
    def __init__(self, threads: OldestFirst, number: int) -> None:
        self._threads = threads
        self._number = number

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._threads.submit(self._number, lambda: fn(*args, **kwargs))
